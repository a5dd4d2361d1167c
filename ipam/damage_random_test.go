package ipam

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"caracal.dev/caracal"
)

// TestDamageRandom plays a node of its own store whose records are damaged or
// lost, one or two before each start. What its workloads have is told at each
// start, and must stay theirs; nobody else may get it at any time.
func TestDamageRandom(t *testing.T) {
	for seed := range uint64(150) {
		w := &worn{t: t, r: rand.New(rand.NewPCG(seed, 2)), s: NewMemory(), c: newClock(), has: map[string][]Allocation{}}
		w.plan = Plan{
			Node: "a", Mode: ModeBlocks, Cooldown: time.Minute, Static: pfx("10.0.0.0/29", "fd00::/125"),
			Pools: []caracal.Pool{pool("p", "10.1.0.0/27", 30), pool("q", "fd01::/120", 126)},
		}
		w.a = newAllocator(t, w.s, w.c, w.plan)
		for range 40 {
			w.step()
		}
	}
}

type worn struct {
	t    *testing.T
	r    *rand.Rand
	s    *Memory
	c    *clock
	plan Plan
	a    *Allocator
	has  map[string][]Allocation
}

func (w *worn) step() {
	handle := fmt.Sprint("h", w.r.IntN(20))
	switch w.r.IntN(8) {
	case 0, 1, 2, 3:
		w.assign(handle)
	case 4, 5:
		if _, err := w.a.Release(context.Background(), handle); err != nil {
			w.t.Fatal(err)
		}
		delete(w.has, handle)
	case 6:
		w.c.advance(time.Duration(w.r.IntN(90)) * time.Second)
		if err := w.a.Tidy(context.Background()); err != nil {
			w.t.Fatal(err)
		}
	case 7:
		w.restart()
	}
}

func (w *worn) assign(handle string) {
	got, err := w.a.Assign(context.Background(), Request{Handle: handle, V4: 1, V6: w.r.IntN(2)})
	if err != nil {
		if !errors.Is(err, ErrExhausted) {
			w.t.Fatal(err)
		}
		return
	}
	if had := w.has[handle]; len(had) > 0 && text(had) != text(got) {
		w.t.Fatalf("%s had %s, and got %s", handle, text(had), text(got))
	}
	w.has[handle] = got
	w.noneTwice()
}

func (w *worn) noneTwice() {
	holder := map[netip.Addr]string{}
	for handle, as := range w.has {
		for _, x := range as {
			if other := holder[x.Addr]; other != "" {
				w.t.Fatalf("%s is of %s and of %s", x.Addr, handle, other)
			}
			holder[x.Addr] = handle
		}
	}
}

// restart damages some records and starts anew; before what is known is told,
// somebody already wants an address.
func (w *worn) restart() {
	ctx := context.Background()
	records, _, _ := w.s.List(ctx, "")
	for range w.r.IntN(3) {
		if len(records) == 0 {
			break
		}
		switch r := records[w.r.IntN(len(records))]; w.r.IntN(3) {
		case 0:
			if _, ok := blockOfKey(r.Key); ok { // lost without a trace but its affinity
				_ = w.s.Delete(ctx, r.Key, r.Revision)
			}
		default:
			if _, err := w.s.Get(ctx, r.Key); err == nil {
				w.s.Damage(r.Key)
			}
		}
	}
	w.a = newAllocator(w.t, w.s, w.c, w.plan)
	early := fmt.Sprint("early", w.r.IntN(1000))
	got, err := w.a.Assign(ctx, Request{Handle: early, V4: 1})
	if err == nil {
		w.has[early] = got
		w.noneTwice()
	} else if !errors.Is(err, ErrExhausted) {
		w.t.Fatal(err)
	}
	var known []Allocation
	for _, as := range w.has {
		known = append(known, as...)
	}
	if err := w.a.Adopt(ctx, known); err != nil {
		w.t.Fatal(err)
	}
	if err := w.a.Tidy(ctx); err != nil {
		w.t.Fatal(err)
	}
	is := map[string]string{}
	for _, x := range allocations(w.t, w.a) {
		is[x.Handle] += x.Addr.String() + " "
	}
	for handle, as := range w.has {
		if is[handle] != text(as)+" " {
			w.t.Fatalf("%s has %s, and the records say %s", handle, text(as), is[handle])
		}
	}
	if len(is) != len(w.has) {
		w.t.Fatalf("the records say %v of those who have nothing; known are %v", is, w.has)
	}
	if _, bad, err := w.a.Blocks(ctx); err != nil || len(bad) > 0 {
		w.t.Fatalf("not mended: %v %v", bad, err)
	}
}
