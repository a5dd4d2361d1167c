package records

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/ipam"
)

// fleet is nodes with a pool in common. Each has a client of its own, and a daemon
// that can die and start again.
type fleet struct {
	t     *testing.T
	c     *cluster
	plan  ipam.Plan
	nodes []*node

	mu  sync.Mutex
	has map[netip.Addr]string // what those know who were told
}

type node struct {
	name  string
	store *Store
	alloc atomic.Pointer[ipam.Allocator]
}

func newFleet(t *testing.T, c *cluster, n int, plan ipam.Plan) *fleet {
	f := &fleet{t: t, c: c, plan: plan, has: map[netip.Addr]string{}}
	for i := range n {
		nd := &node{name: fmt.Sprintf("node-%02d", i), store: c.store(t)}
		f.nodes = append(f.nodes, nd)
		f.restart(nd)
	}
	return f
}

// restart is a daemon that remembers nothing.
func (f *fleet) restart(nd *node) {
	a := ipam.New(nd.store, ipam.WithShared())
	p := f.plan
	p.Node = nd.name
	a.Configure(p)
	nd.alloc.Store(a)
}

// patience is for one address, which takes half a minute where the machine is busy.
const patience = 5 * time.Minute

// take gives a handle an address, through whatever fails, until deadline; false if
// there is none.
func (f *fleet) take(nd *node, handle string) bool {
	for end := time.Now().Add(patience); time.Now().Before(end); {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		if rand.IntN(10) == 0 { // the caller gives up
			cancel()
			ctx, cancel = context.WithTimeout(context.Background(), time.Duration(rand.IntN(30))*time.Millisecond)
		}
		got, err := nd.alloc.Load().Assign(ctx, ipam.Request{Handle: handle, Owner: ipam.Owner{Kind: "cni", Namespace: "n", Name: handle}, V4: 1})
		cancel()
		switch {
		case err == nil:
			f.mu.Lock()
			defer f.mu.Unlock()
			for _, g := range got {
				if other := f.has[g.Addr]; other != "" && other != handle {
					f.t.Errorf("%s is of %s and of %s", g.Addr, other, handle)
				}
				f.has[g.Addr] = handle
			}
			return true
		case errors.Is(err, ipam.ErrExhausted):
			return false
		}
		time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond)
	}
	f.t.Errorf("%s got no answer in time", handle)
	return false
}

func (f *fleet) give(nd *node, handle string) {
	f.mu.Lock()
	for a, h := range f.has {
		if h == handle {
			delete(f.has, a)
		}
	}
	f.mu.Unlock()
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if _, err = nd.alloc.Load().Release(context.Background(), handle); err == nil {
			return
		}
		time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond)
	}
	f.t.Errorf("release %s: %v", handle, err)
}

// each runs something for every node at once.
func (f *fleet) each(do func(*node)) {
	var wait sync.WaitGroup
	for _, nd := range f.nodes {
		wait.Go(func() { do(nd) })
	}
	wait.Wait()
}

// check compares what the API has with what those know who were told.
func (f *fleet) check(when string) {
	f.t.Helper()
	ctx := context.Background()
	s := f.c.store(f.t)
	blocks, bad, err := s.List(ctx, "block/")
	if err != nil || len(bad) > 0 {
		f.t.Fatal(bad, err)
	}
	owners := map[netip.Prefix]string{}
	claims, _, err := ipam.Affinities(ctx, s)
	if err != nil {
		f.t.Fatal(err)
	}
	for _, c := range claims {
		owners[c.CIDR] += c.Node
	}
	loans, _, err := ipam.ListBorrowed(ctx, s)
	if err != nil {
		f.t.Fatal(err)
	}
	lent := map[netip.Addr]string{}
	for _, l := range loans {
		lent[l.Addr] = l.Node
	}
	found := 0
	for _, r := range blocks {
		b, err := ipam.ReadBlock(r)
		if err != nil {
			f.t.Fatal(err)
		}
		if owners[b.CIDR] != b.Node {
			f.t.Errorf("%s: block %s of %s is claimed by %q", when, b.CIDR, b.Node, owners[b.CIDR])
		}
		for _, a := range b.Allocations {
			found++
			if f.has[a.Addr] != a.Handle {
				f.t.Errorf("%s: %s is of %s by the API, and of %q", when, a.Addr, a.Handle, f.has[a.Addr])
			}
			if a.Node != b.Node && lent[a.Addr] != a.Node {
				f.t.Errorf("%s: %s is used on %s and not on the list of borrowed ones", when, a.Addr, a.Node)
			}
			delete(lent, a.Addr)
		}
	}
	if found != len(f.has) || len(lent) > 0 {
		f.t.Errorf("%s: %d addresses by the API, %d by those who have them; %d too many are borrowed", when, found, len(f.has), len(lent))
	}
}

// TestHammer: fifty nodes fight for a pool of 16 blocks with 128 addresses, while
// answers get lost, callers give up, daemons die and the API is away for a while.
// Nobody gets an address that somebody has, and none is lost.
func TestHammer(t *testing.T) {
	c := open(t)
	a := c.API
	f := newFleet(t, c, 50, ipam.Plan{Mode: ipam.ModeBlocks, Pools: []caracal.Pool{{Name: "p", CIDR: pfx("10.0.0.0/25"), BlockSize: 29}}})
	lost := errors.New("connection lost")
	c.failing(func(r *http.Request) (error, error) {
		switch rand.IntN(40) {
		case 0:
			return lost, nil
		case 1:
			return nil, lost
		}
		return nil, nil
	})
	held := make([][]string, len(f.nodes))
	index := map[*node]int{}
	for i, nd := range f.nodes {
		index[nd] = i
	}
	var outage sync.WaitGroup
	outage.Go(func() {
		time.Sleep(500 * time.Millisecond)
		a.Kill()
		time.Sleep(300 * time.Millisecond)
		a.Restart(t)
	})
	f.each(func(nd *node) {
		for i := range 3 {
			handle := fmt.Sprintf("%s/%d", nd.name, i)
			if i == 1 {
				f.restart(nd)
			}
			if f.take(nd, handle) {
				held[index[nd]] = append(held[index[nd]], handle)
			}
			if i == 0 && f.take(nd, handle+"x") { // comes and goes
				f.give(nd, handle+"x")
			}
		}
	})
	outage.Wait()
	t.Logf("full after %d requests", c.requests.Load())
	c.fail.Store(nil)
	f.each(f.tidy)
	f.check("full")
	if n := len(f.has); n < 120 {
		t.Errorf("only %d of 128 addresses are given, though 150 were asked for", n)
	}
	// With strictAffinity nobody gets one of another node's.
	strict := f.plan
	strict.Node, strict.StrictAffinity = "node-late", true
	late := ipam.New(c.store(t), ipam.WithShared())
	late.Configure(strict)
	if got, err := late.Assign(t.Context(), ipam.Request{Handle: "late", V4: 1}); !errors.Is(err, ipam.ErrExhausted) {
		t.Errorf("strictAffinity: %v %v", got, err)
	}
	f.each(func(nd *node) {
		for _, h := range held[index[nd]] {
			f.give(nd, h)
		}
		f.tidy(nd)
	})
	f.check("empty")
}

func (f *fleet) tidy(nd *node) {
	var err error
	for range 20 {
		if err = nd.alloc.Load().Tidy(context.Background()); err == nil {
			return
		}
	}
	f.t.Errorf("tidy up %s: %v", nd.name, err)
}

// TestSteady: in a block with room an address costs one request, and its return one.
func TestSteady(t *testing.T) {
	c := open(t)
	f := newFleet(t, c, 10, ipam.Plan{Mode: ipam.ModeBlocks, Pools: []caracal.Pool{{Name: "p", CIDR: pfx("10.0.0.0/16"), BlockSize: 26}}})
	ctx := context.Background()
	f.each(func(nd *node) {
		if _, err := nd.alloc.Load().Assign(ctx, ipam.Request{Handle: "first", V4: 1}); err != nil {
			t.Error(err)
		}
	})
	t.Logf("start of a node and its first address: %.1f requests", float64(c.requests.Load())/float64(len(f.nodes)))
	const each = 20
	for _, what := range []string{"Assign", "Release"} {
		before, began := c.requests.Load(), time.Now()
		f.each(func(nd *node) {
			for i := range each {
				handle := fmt.Sprint("h", i)
				var err error
				if what == "Assign" {
					_, err = nd.alloc.Load().Assign(ctx, ipam.Request{Handle: handle, V4: 1})
				} else {
					_, err = nd.alloc.Load().Release(ctx, handle)
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
		n, took := int64(each*len(f.nodes)), time.Since(began)
		if got := c.requests.Load() - before; got != n {
			t.Errorf("%d × %s cost %d requests", n, what, got)
		}
		t.Logf("%s: %.0f per second, one after the other on each of %d nodes", what, float64(n)/took.Seconds(), len(f.nodes))
	}
}
