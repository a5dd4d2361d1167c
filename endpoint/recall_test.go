package endpoint

import (
	"context"
	"slices"
	"testing"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/ipam"
)

// lose deletes every record of addresses, as the deletion of their definition does.
func (w *world) lose(store ipam.Store) {
	w.t.Helper()
	for _, prefix := range []string{"block/", "affinity/", "borrowed/"} {
		records, _, err := store.List(context.Background(), prefix)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, r := range records {
			if err := store.Delete(context.Background(), r.Key, r.Revision); err != nil {
				w.t.Fatal(err)
			}
		}
	}
	if w.given() != 0 {
		w.t.Fatal("there are records left")
	}
}

// TestRecordsLost deletes all address records under two containers: a third gets an
// address of its own, and those that were there are recorded again.
func TestRecordsLost(t *testing.T) {
	t.Parallel()
	w, store := sharedWorld(t)
	w.start()
	first := w.addReady(request("one"))
	w.addReady(request("two"))
	w.lose(store.Store)
	w.ground.Container("/run/netns/three")
	third, err := w.Add(t.Context(), request("three"))
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range third.Addrs {
		if slices.Contains(first.Addrs, a) {
			t.Errorf("%s is given twice", a)
		}
	}
	w.until("all are recorded", func() bool { return w.given() == 6 })
	if _, err := w.Remove(t.Context(), request("one").ID); err != nil {
		t.Fatal(err)
	}
	w.until("what is deleted is free", func() bool { return w.given() == 4 })
}

// TestRecordsMissed deletes them where no container comes that would show it: they are
// recorded again once the source says that claims are missing.
func TestRecordsMissed(t *testing.T) {
	t.Parallel()
	w, store := sharedWorld(t)
	w.start()
	w.addReady(request("one"))
	w.lose(store.Store)
	w.source.put(func(s *caracal.Snapshot) {
		s.Problems = append(s.Problems, caracal.Problem{Severity: caracal.Held, Kind: kindClaim, Since: time.Now()})
	})
	w.until("it is recorded", func() bool { return w.given() == 2 })
}
