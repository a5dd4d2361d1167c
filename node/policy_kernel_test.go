package node

import (
	"testing"

	"caracal.dev/caracal"
	"caracal.dev/caracal/felix"
	"caracal.dev/caracal/internal/nstest"
)

// TestCleanupWithoutPrograms: where iptables is not installed nothing of ours can be.
func TestCleanupWithoutPrograms(t *testing.T) {
	_, err := felix.Open(felix.FilterOptions{Programs: t.TempDir()})
	if !noPrograms(err) {
		t.Errorf("a host without iptables says: %v", err)
	}
}

// TestCleanupPolicy: what is written is listed, removed, and then no more there.
func TestCleanupPolicy(t *testing.T) {
	nstest.New(t).Do(func() {
		rules, err := OpenRules("")
		if err != nil {
			t.Fatal(err)
		}
		defer rules.Close()
		snap := caracal.NewSnapshot("a")
		snap.Generation = 1
		want := felix.NewCompiler()
		want.Update(felix.Input{Snapshot: snap})
		if _, err := rules.Audit(t.Context(), want); err != nil {
			t.Fatal(err)
		}
		for _, step := range []struct {
			yes            bool
			total, deleted bool
		}{{false, true, false}, {true, true, true}, {false, false, false}, {true, false, false}} {
			res, err := CleanupPolicy(t.Context(), step.yes)
			if err != nil || (res.Total > 0) != step.total || (res.Deleted > 0) != step.deleted || len(res.Failed) > 0 {
				t.Errorf("%+v: %+v, %v", step, res, err)
			}
		}
	})
}
