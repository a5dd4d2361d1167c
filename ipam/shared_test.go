package ipam

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"time"

	"caracal.dev/caracal"
)

// slow is a store that takes its time, so that those who use it meet.
type slow struct{ *Memory }

func (s slow) Put(ctx context.Context, r Record) (string, error) {
	time.Sleep(time.Duration(rand.IntN(200)) * time.Microsecond)
	return s.Memory.Put(ctx, r)
}

func (s slow) Get(ctx context.Context, key string) (Record, error) {
	r, err := s.Memory.Get(ctx, key)
	time.Sleep(time.Duration(rand.IntN(50)) * time.Microsecond)
	return r, err
}

// owners is who has which address, as those say who were told.
type owners struct {
	mu  sync.Mutex
	has map[netip.Addr]string
}

// TestShared: three nodes of four containers each fight for a pool that is too
// small for all; no address has two owners at any time, and none is lost.
func TestShared(t *testing.T) {
	s := slow{NewMemory()}
	o := &owners{has: map[netip.Addr]string{}}
	var nodes []*Allocator
	for _, name := range []string{"a", "b", "c"} {
		a := New(s, WithShared())
		a.Configure(Plan{Node: name, Mode: ModeBlocks, Pools: []caracal.Pool{pool("p", "10.0.0.0/29", 31), pool("q", "fd00::/125", 127)}})
		nodes = append(nodes, a)
	}
	var wait sync.WaitGroup
	for i, a := range nodes {
		for j := range 4 {
			wait.Go(func() { o.live(t, a, fmt.Sprintf("%d/%d", i, j)) })
		}
		wait.Go(func() {
			for range 20 {
				if err := a.Tidy(context.Background()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	for _, a := range nodes {
		if err := a.Tidy(context.Background()); err != nil {
			t.Error(err)
		}
		if got := allocations(t, a); len(got) > 0 {
			t.Errorf("still in use: %s", text(got))
		}
	}
	if loans, _, err := ListBorrowed(context.Background(), s); err != nil || len(loans) > 0 {
		t.Errorf("still borrowed: %v %v", loans, err)
	}
	for i := range 8 { // all of it is there again, if partly with other nodes
		assign(t, nodes[0], Request{Handle: fmt.Sprint("all", i), V4: 1, V6: 1})
	}
}

// live is a container that comes and goes.
func (o *owners) live(t *testing.T, a *Allocator, handle string) {
	ctx := context.Background()
	for range 30 {
		got, err := a.Assign(ctx, Request{Handle: handle, V4: 1, V6: 1})
		if errors.Is(err, ErrExhausted) {
			continue
		}
		if err != nil {
			t.Error(err)
			return
		}
		o.mu.Lock()
		for _, g := range got {
			if other := o.has[g.Addr]; other != "" {
				t.Errorf("%s is of %s and of %s", g.Addr, other, handle)
			}
			o.has[g.Addr] = handle
		}
		o.mu.Unlock()
		time.Sleep(time.Duration(rand.IntN(300)) * time.Microsecond)
		o.mu.Lock()
		for _, g := range got {
			delete(o.has, g.Addr)
		}
		o.mu.Unlock()
		if freed, err := a.Release(ctx, handle); err != nil || len(freed) != 2 {
			t.Errorf("release %s: %v %v", handle, freed, err)
		}
	}
}
