package endpoint

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/ipam"
)

// during runs something in the middle of the next ADD, which has addresses but no
// record yet, and gives it a moment to end before the ADD goes on.
func (w *world) during(something func(ctx context.Context)) (ended chan struct{}) {
	ended = make(chan struct{})
	first := true
	w.crash = func(step string) error {
		if step != "assigned" || !first {
			return nil
		}
		first = false
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		go func() {
			defer close(ended)
			defer cancel()
			something(ctx)
		}()
		select {
		case <-ended:
		case <-time.After(100 * time.Millisecond):
		}
		return nil
	}
	return ended
}

// A name is attached once, also when two ask at the same moment: they would have
// the same addresses.
func TestAttachTwiceAtOnce(t *testing.T) {
	w := newWorld(t)
	w.start()
	first := Request{ID: ID{"box", "eth0", ""}, NetNS: "/run/netns/box", Kind: KindAttach}
	second := first
	second.Interface = "eth1"
	var got Wiring
	var err error
	ended := w.during(func(ctx context.Context) { got, err = w.Add(ctx, second) })
	have := w.wire(first)
	<-ended
	if !errors.Is(err, ErrInvalid) {
		t.Errorf("%s has %v, and %s %v: %v", first.Interface, have.Addrs, second.Interface, got.Addrs, err)
	}
}

// A deletion that was read from the queue just before its container is added again
// is not about the new one.
func TestQueueWhileAdding(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.mu.Lock()
	w.now = time.Now().Add(time.Minute)
	w.mu.Unlock()
	file := filepath.Join(w.dir, "c1.json")
	if err := os.WriteFile(file, []byte(`{"id":{"container_id":"c1","ifname":"eth0","network":"net"}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	var err error
	ended := w.during(func(ctx context.Context) { err = w.applyDeletion(ctx, file) })
	w.wire(request("c1"))
	<-ended
	if err != nil {
		t.Error(err)
	}
	w.clean(1)
}

// What a runtime lists as gone may have been added again by the time that its turn
// comes.
func TestCollectWhileAdding(t *testing.T) {
	w := newWorld(t)
	w.start()
	req := request("c1")
	w.addReady(req)
	ctx := context.Background()
	unlock, err := w.lock(ctx, req.key())
	if err != nil {
		t.Fatal(err)
	}
	type answer struct {
		removed []ID
		err     error
	}
	collected := make(chan answer, 1)
	go func() {
		removed, err := w.Collect(ctx, "net", nil)
		collected <- answer{removed, err}
	}()
	select {
	case <-collected:
		t.Fatal("it did not wait")
	case <-time.After(100 * time.Millisecond):
	}
	next := *w.get(req.key())
	next.State, next.Added = Pending, w.clock()
	w.put(&next)
	unlock()
	if a := <-collected; a.err != nil || len(a.removed) > 0 {
		t.Errorf("collected %v, %v", a.removed, a.err)
	}
}

// An address is not released by hand while its container is being added.
func TestReleaseWhileAdding(t *testing.T) {
	w := newWorld(t)
	w.start()
	var err error
	ended := w.during(func(ctx context.Context) { _, err = w.ReleaseAddress(ctx, w.allocations()[0].Addr, false) })
	w.wire(request("c1"))
	<-ended
	if !errors.Is(err, ErrInUse) {
		t.Errorf("released: %v", err)
	}
	w.clean(1)
}

// Addresses of which there is no endpoint, as after an ADD that failed at the
// address records and was never tried again, are free in time.
func TestOrphans(t *testing.T) {
	w := newWorld(t)
	w.start()
	ctx := context.Background()
	ghost := func(name string) ipam.Request {
		return ipam.Request{Handle: "cni/net/" + name + "/eth0", V4: 1, V6: 1, Owner: ipam.Owner{Kind: KindCNI, ContainerID: name, Interface: "eth0"}}
	}
	for _, name := range []string{"ghost", "linked"} {
		if _, err := w.o.IPAM.Assign(ctx, ghost(name)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.o.IPAM.Assign(ctx, ipam.Request{Handle: "tunnel", V4: 1, Owner: ipam.Owner{Kind: "tunnel"}}); err != nil {
		t.Fatal(err)
	}
	w.ground.Link(caracal.HostInterface("linked", "eth0"), true)
	w.addReady(request("c1"))
	handles := func() (out []string) {
		for _, a := range w.allocations() {
			out = append(out, a.Handle)
		}
		slices.Sort(out)
		return slices.Compact(out)
	}
	all := handles()
	w.audit(ctx)
	w.pass(w.o.Grace / 2)
	w.audit(ctx)
	if got := handles(); !slices.Equal(got, all) {
		t.Fatalf("too early: %v", got)
	}
	w.pass(w.o.Grace)
	w.audit(ctx)
	if got := handles(); !slices.Equal(got, []string{"cni/net/c1/eth0", "cni/net/linked/eth0", "tunnel"}) {
		t.Errorf("left: %v", got)
	}
	if n := len(w.ground.Forgotten()); n != 2 {
		t.Errorf("the connections of %d addresses were forgotten, want 2", n)
	}
}

// What an ADD left that failed in the middle is not the answer to another question.
func TestOrphanOfAnotherRequest(t *testing.T) {
	w := newWorld(t)
	w.start()
	req := request("c1")
	left := ipam.Request{Handle: "cni/net/c1/eth0", V4: 1, Owner: ipam.Owner{Kind: KindCNI, ContainerID: "c1", Interface: "eth0"}}
	if _, err := w.o.IPAM.Assign(context.Background(), left); err != nil {
		t.Fatal(err)
	}
	req.Addrs = []netip.Addr{ip("10.1.0.77")}
	if got := w.addReady(req); len(got.Addrs) != 2 || got.Addrs[0] != req.Addrs[0] {
		t.Errorf("it has %v", got.Addrs)
	}
	w.clean(1)
}

// Whoever may ask for an address by name does not get one that a node has.
func TestAddressOfNode(t *testing.T) {
	w := newWorld(t)
	tunnel := ip("10.1.0.9")
	w.source.put(func(s *caracal.Snapshot) {
		n, _ := s.Nodes.Get("a")
		n.Tunnel = tunnel
		s.Nodes = s.Nodes.Put("a", n)
	})
	w.start()
	req := request("c1")
	w.ground.Container(req.NetNS)
	req.Addrs = []netip.Addr{tunnel}
	if got, err := w.Add(context.Background(), req); !errors.Is(err, ipam.ErrTaken) || !strings.Contains(err.Error(), "10.1.0.9 is that of node a") {
		t.Errorf("%v %v", got.Addrs, err)
	}
	w.clean(0)
}

// A record that could not be read again is not written.
func TestRecordTooLarge(t *testing.T) {
	w := newWorld(t)
	w.start()
	req := request("c1")
	w.ground.Container(req.NetNS)
	req.Labels = map[string]string{"large": strings.Repeat("x", maxRecord)}
	if _, err := w.Add(context.Background(), req); !errors.Is(err, ErrInvalid) {
		t.Errorf("%v", err)
	}
	w.clean(0)
}

// A clock that was set back does not keep what was never wired up for years.
func TestJudgeClockSetBack(t *testing.T) {
	began := time.Unix(1e9, 0)
	e := &Endpoint{State: Pending, Added: began.Add(10 * 365 * 24 * time.Hour)}
	if v, _ := judge(e, sight{}, watch{}, began.Add(time.Hour), began, limits{time.Minute, 5 * time.Minute}); v != abandoned {
		t.Errorf("it is kept: %d", v)
	}
}

// A container that could not be taken away keeps its address, also if the record of
// its block is lost at the same time.
func TestStuckAndDamaged(t *testing.T) {
	w := newWorld(t)
	w.start()
	req, ctx := request("c1"), context.Background()
	got := w.addReady(req)
	w.ground.Stick(got.HostInterface, true)
	if _, err := w.Remove(ctx, req.ID); err == nil {
		t.Fatal("it was not stuck")
	}
	w.stop()
	w.store.(*ipam.Memory).Damage(ipam.BlockKey(pfx("10.1.0.0/26")))
	w.start()
	for i := range 64 {
		if next := w.addReady(request("next" + strconv.Itoa(i))); next.Addrs[0] == got.Addrs[0] {
			t.Fatalf("%s was given again", next.Addrs[0])
		}
	}
	w.ground.Stick(got.HostInterface, false)
	w.audit(ctx)
	w.clean(64)
}

// unsure is an allocator that cannot write at the start.
type unsure struct {
	Allocator
	fails *atomic.Bool
}

func (u unsure) Adopt(ctx context.Context, known []ipam.Allocation) error {
	if u.fails.Load() {
		return errors.New("no space left on device")
	}
	return u.Allocator.Adopt(ctx, known)
}

// What the address records did not take at the start they are told again.
func TestReassertAgain(t *testing.T) {
	w := newWorld(t)
	w.start()
	req, ctx := request("c1"), context.Background()
	w.addReady(req)
	w.stop()
	w.store.(*ipam.Memory).Damage(ipam.BlockKey(pfx("10.1.0.0/26")))
	var fails atomic.Bool
	fails.Store(true)
	w.change = func(o *Options) { o.IPAM = unsure{o.IPAM, &fails} }
	w.start()
	if p := w.Snapshot().Problems; len(p) != 1 || !strings.Contains(p[0].Message, "no space left on device") {
		t.Fatalf("told %v", p)
	}
	fails.Store(false)
	w.audit(ctx)
	if p := w.Snapshot().Problems; len(p) != 0 {
		t.Errorf("still told %v", p)
	}
	w.clean(1)
}
