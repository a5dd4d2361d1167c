package ipam

import (
	"context"
	"slices"
	"testing"
	"time"

	"caracal.dev/caracal"
)

// TestTakenAwayHalf: a node was taken for gone, and who gave its block back died after
// each step. The node, which runs, takes the block for what it is by the records: it
// has it, or has none, and none is damaged. It has what its containers use again once
// it is told of them.
func TestTakenAwayHalf(t *testing.T) {
	ctx := context.Background()
	for _, c := range []struct {
		name  string
		steps int // that were done: claim releasing, block deleted, claim deleted
		used  bool
	}{
		{"released", 1, false}, {"block gone", 2, false}, {"all gone", 3, false},
		{"released, in use", 1, true}, {"block gone, in use", 2, true}, {"all gone, in use", 3, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := NewMemory()
			a := New(s, WithShared())
			a.Configure(Plan{Node: "a", Mode: ModeBlocks, Pools: []caracal.Pool{pool("p", "10.0.0.0/24", 28)}})
			assign(t, a, Request{Handle: "h", V4: 1})
			known := allocations(t, a)
			block := known[0].Block
			if !c.used {
				release(t, a, "h")
				known = nil
			}
			get := func(key string) Record {
				r, err := s.Get(ctx, key)
				if err != nil {
					t.Fatal(err)
				}
				return r
			}
			key := affinityKey("a", block)
			if c.used {
				free, _, err := FreeOf(get(BlockKey(block)), "a", time.Now())
				if err == nil {
					_, err = s.Put(ctx, free)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			claim, err := WithState(get(key), AffinityReleasing)
			if err == nil {
				_, err = s.Put(ctx, claim)
			}
			if c.steps > 1 && err == nil {
				err = s.Delete(ctx, BlockKey(block), get(BlockKey(block)).Revision)
			}
			if c.steps > 2 && err == nil {
				err = s.Delete(ctx, key, get(key).Revision)
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := a.Tidy(ctx); err != nil {
				t.Fatal(err)
			}
			blocks, bad, err := a.Blocks(ctx)
			if err != nil || len(bad) > 0 {
				t.Errorf("blocks %+v, damaged %+v, %v", blocks, bad, err)
			}
			if claims, _, err := Affinities(ctx, s); c.steps > 1 && (err != nil || len(claims) > 0) {
				t.Errorf("claims of nothing are left: %+v %v", claims, err)
			}
			if err := a.Adopt(ctx, known); err != nil {
				t.Error(err)
			}
			got := allocations(t, a)
			if !slices.EqualFunc(got, known, func(x, y Allocation) bool { return x.Addr == y.Addr && x.Handle == y.Handle }) {
				t.Errorf("in use %s, want %s", text(got), text(known))
			}
			assign(t, a, Request{Handle: "next", V4: 1})
			claims, _, err := Affinities(ctx, s)
			if err != nil || len(claims) != 1 || claims[0].State != AffinityConfirmed {
				t.Errorf("claims %+v %v", claims, err)
			}
		})
	}
}
