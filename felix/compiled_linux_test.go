package felix_test

import (
	"context"
	"testing"
	"time"

	"caracal.dev/caracal/bench/felix/cluster"
	"caracal.dev/caracal/felix"
	"caracal.dev/caracal/internal/nstest"
)

// TestCompiledRulesets has the kernel follow a cluster's changes by Deltas alone:
// after each, an audit finds nothing to do but to destroy what is not used.
func TestCompiledRulesets(t *testing.T) {
	for _, backend := range []string{felix.BackendNFT, felix.BackendLegacy} {
		t.Run(backend, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			ns := nstest.New(t)
			var f *felix.Filter
			var err error
			ns.Do(func() { f, err = felix.Open(felix.FilterOptions{Backend: backend}) })
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			cl := cluster.New(cluster.Sizes()[0])
			c := felix.NewCompiler()
			c.Update(felix.Input{Snapshot: cl.Snapshot})
			res, err := f.Audit(ctx, c)
			t.Logf("first: %+v", res)
			if err != nil {
				t.Fatal(err)
			}
			snap := cl.Snapshot
			for _, change := range cl.Changes(0) {
				for _, do := range []func(){
					func() { snap = cluster.Apply(snap, change.Do) },
					func() { snap = cluster.Apply(snap, change.Undo) },
				} {
					do()
					d, _ := c.Update(felix.Input{Snapshot: snap})
					if _, err := f.Apply(ctx, c, d); err != nil {
						t.Fatalf("%s: %v", change.Name, err)
					}
					res, err := f.Audit(ctx, c)
					if err != nil || res.Chains+res.Hooks+res.Added+res.Removed > 0 {
						t.Errorf("%s: the audit found %+v, %v", change.Name, res, err)
					}
				}
			}
		})
	}
}
