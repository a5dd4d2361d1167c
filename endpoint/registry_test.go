package endpoint

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/ipam"
)

func TestAddReadyRemove(t *testing.T) {
	w := newWorld(t)
	w.start()
	ctx := context.Background()
	req := request("c1")
	req.Labels = map[string]string{"app": "web"}
	got := w.wire(req)
	if len(got.Addrs) != 2 || !pfx("10.1.0.0/24").Contains(got.Addrs[0]) || !pfx("fd00:1::/120").Contains(got.Addrs[1]) {
		t.Fatalf("addresses %v", got.Addrs)
	}
	if got.HostInterface != caracal.HostInterface("c1", "eth0") || got.HostMAC != HostMAC || got.MTU != 1440 || got.Node != "a" ||
		!slices.Equal(got.Gateways, []netip.Addr{Gateway4, Gateway6}) {
		t.Fatalf("wiring %+v", got)
	}
	if w.text() != "" {
		t.Errorf("published before it is ready:\n%s", w.text())
	}
	if again, err := w.Add(ctx, req); err != nil || !slices.Equal(again.Addrs, got.Addrs) {
		t.Errorf("again: %+v %v", again, err)
	}
	if err := w.Ready(ctx, req.ID); err != nil {
		t.Fatal(err)
	}
	if err := w.Ready(ctx, req.ID); err != nil {
		t.Errorf("ready again: %v", err)
	}
	if want := fmt.Sprintf("default/pod-c1 cni %v\n", got.Addrs); w.text() != want {
		t.Errorf("published\n%swant\n%s", w.text(), want)
	}
	if wl, _ := w.Snapshot().Workloads.Get("default/pod-c1"); wl.Labels["app"] != "web" || wl.Interface != got.HostInterface || wl.Node != "a" {
		t.Errorf("workload %+v", wl)
	}
	w.clean(1)
	problems, _, err := w.Check(ctx, req.ID)
	if err != nil || len(problems) > 0 {
		t.Errorf("check %v %v", problems, err)
	}
	freed, err := w.Remove(ctx, req.ID)
	if err != nil || !slices.Equal(freed, got.Addrs) {
		t.Fatalf("freed %v, %v", freed, err)
	}
	if w.text() != "" || !slices.Equal(w.ground.Forgotten(), got.Addrs) || len(w.ground.links) != 0 {
		t.Errorf("left: %s; forgotten %v, links %v", w.text(), w.ground.Forgotten(), w.ground.links)
	}
	w.clean(0)
	if freed, err := w.Remove(ctx, req.ID); err != nil || len(freed) > 0 {
		t.Errorf("remove again: %v %v", freed, err)
	}
	if _, _, err := w.Check(ctx, req.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("check of nothing: %v", err)
	}
	if err := w.Ready(ctx, req.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("ready of nothing: %v", err)
	}
}

func TestRefused(t *testing.T) {
	w := newWorld(t)
	w.start()
	ctx := context.Background()
	w.source.put(func(s *caracal.Snapshot) {
		s.Workloads = s.Workloads.Put("default/db", caracal.Workload{Namespace: "default", Name: "db", Node: "a", Interface: "veth9", Addrs: []netip.Addr{ip("10.1.0.77")}})
	})
	w.until("the plan reserves it", func() bool { return slices.Contains(w.plan.Load().Reserved, pfx("10.1.0.77/32")) })
	w.addReady(Request{ID: ID{"box", "eth0", ""}, NetNS: "/run/netns/box", Kind: KindAttach})
	for _, c := range []struct {
		name   string
		change func(*Request)
		is     error
		words  string
	}{
		{"no container", func(r *Request) { r.ContainerID = "" }, ErrInvalid, "container ID"},
		{"a path as container", func(r *Request) { r.ContainerID = "../x" }, ErrInvalid, "container ID"},
		{"a long interface", func(r *Request) { r.Interface = "abcdefghijklmnop" }, ErrInvalid, "interface name"},
		{"no network", func(r *Request) { r.Network = "" }, ErrInvalid, "network's name"},
		{"a relative namespace", func(r *Request) { r.NetNS = "x" }, ErrInvalid, "absolute"},
		{"another kind", func(r *Request) { r.Kind = "vm" }, ErrInvalid, "kind"},
		{"multicast MAC", func(r *Request) { r.MAC = "01:00:5e:00:00:01" }, ErrInvalid, "MAC"},
		{"link-local address", func(r *Request) { r.Addrs = []netip.Addr{ip("fe80::1")} }, ErrInvalid, "fe80::1"},
		{"an address twice", func(r *Request) { r.Addrs = []netip.Addr{ip("10.1.0.9"), ip("10.1.0.9")} }, ErrInvalid, "twice"},
		{"foreign address", func(r *Request) { r.Addrs = []netip.Addr{ip("10.9.0.9")} }, ipam.ErrUnavailable, "10.9.0.9"},
		{"configured address", func(r *Request) { r.Addrs = []netip.Addr{ip("10.1.0.77")} }, ipam.ErrTaken, "configured Workload default/db"},
		{"unknown pool", func(r *Request) { r.Pools = []string{"nope"} }, ipam.ErrUnavailable, "nope"},
		{"second interface of an attached name", func(r *Request) { r.ID, r.Kind = ID{"box", "eth1", ""}, KindAttach }, ErrInvalid, "detach it first"},
	} {
		req := request("c1")
		c.change(&req)
		_, err := w.Add(ctx, req)
		if !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	w.clean(1)
}

// Before the configuration is there, and where routing waits, an answer says so.
func TestNotYet(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	whole := w.source.Snapshot()
	w.source.put(func(s *caracal.Snapshot) { *s = *caracal.NewSnapshot("a") })
	w.make()
	if _, err := w.Add(ctx, request("c1")); !errors.Is(err, ErrNotReady) {
		t.Errorf("before the start: %v", err)
	}
	w.run()
	w.source.put(func(s *caracal.Snapshot) { s.Synced = true }) // without the node
	w.until("what is wrong can be told", func() bool { return w.Snapshot().Synced })
	if _, err := w.Add(ctx, request("c1")); !errors.Is(err, ErrNotReady) || !strings.Contains(err.Error(), "which addresses this node has") {
		t.Errorf("without a node: %v", err)
	}
	if err := w.Status(ctx); !errors.Is(err, ErrNotReady) {
		t.Errorf("status: %v", err)
	}
	w.source.put(func(s *caracal.Snapshot) { *s = *whole })
	w.until("it has begun", func() bool { return w.Status(ctx) == nil })
	why := "the daemon has not started routing: x"
	w.plane.waiting.Store(&why)
	req := request("c1")
	w.wire(req)
	if err := w.Ready(ctx, req.ID); !errors.Is(err, ErrNotReady) || !strings.Contains(err.Error(), why) {
		t.Errorf("ready: %v", err)
	}
	w.plane.waiting.Store(nil)
	if err := w.Ready(ctx, req.ID); err != nil {
		t.Error(err)
	}
}

// A route that does not come is named, and the endpoint can be tried again.
func TestReadyTooLate(t *testing.T) {
	w := newWorld(t)
	w.change = func(o *Options) { o.ReadyWait = 20 * time.Millisecond }
	w.start()
	req := request("c1")
	got := w.wire(req)
	w.plane.held.Store(true)
	err := w.Ready(context.Background(), req.ID)
	if !errors.Is(err, ErrNotReady) || !strings.Contains(err.Error(), got.Addrs[0].String()) {
		t.Fatal(err)
	}
	if w.text() != "" {
		t.Errorf("still published: %s", w.text())
	}
	w.plane.held.Store(false)
	if err := w.Ready(context.Background(), req.ID); err != nil {
		t.Fatal(err)
	}
	w.clean(1)
}

func TestManyAtOnce(t *testing.T) {
	w := newWorld(t)
	w.start()
	var wg sync.WaitGroup
	seen := make([]Wiring, 100)
	for i := range seen {
		wg.Go(func() {
			req := request(fmt.Sprintf("c%d", i))
			w.ground.Container(req.NetNS)
			got, err := w.Add(context.Background(), req)
			if err == nil {
				w.ground.Link(got.HostInterface, true)
				err = w.Ready(context.Background(), req.ID)
			}
			if err != nil {
				t.Error(err)
			}
			seen[i] = got
		})
	}
	wg.Wait()
	who := map[netip.Addr]int{}
	for i, got := range seen {
		for _, a := range got.Addrs {
			if j, ok := who[a]; ok {
				t.Errorf("%s is that of %d and %d", a, i, j)
			}
			who[a] = i
		}
	}
	w.clean(100)
	if n := w.Snapshot().Workloads.Len(); n != 100 {
		t.Errorf("%d workloads", n)
	}
	for i := range seen {
		wg.Go(func() {
			if _, err := w.Remove(context.Background(), request(fmt.Sprintf("c%d", i)).ID); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	w.clean(0)
}

// The late end of a dead container does nothing to the one that took its place.
func TestLateDelete(t *testing.T) {
	w := newWorld(t)
	w.start()
	ctx := context.Background()
	dead, next := request("old"), request("new")
	next.WorkloadName = dead.WorkloadName
	w.addReady(dead)
	w.ground.Kill(dead.NetNS, dead.ID)
	was := w.addReady(next)
	if n := w.Snapshot().Workloads.Len(); n != 2 {
		t.Errorf("both are routed until one is known to be dead, not %d:\n%s", n, w.text())
	}
	if _, err := w.Remove(ctx, dead.ID); err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("default/pod-old cni %v\n", was.Addrs); w.text() != want {
		t.Errorf("published\n%swant\n%s", w.text(), want)
	}
	if _, ok := w.ground.links[was.HostInterface]; !ok {
		t.Error("the successor's link is gone")
	}
	if _, err := w.Remove(ctx, dead.ID); err != nil { // later still
		t.Fatal(err)
	}
	other := next.ID
	other.Network = "another"
	if freed, err := w.Remove(ctx, other); err != nil || len(freed) > 0 {
		t.Errorf("of another network: %v %v", freed, err)
	}
	w.clean(1)
}

// What was added is on disk when Add answers, torn records are made again from
// the address records.
func TestTornRecord(t *testing.T) {
	for _, cut := range []int{0, 10, 100, 200} {
		w := newWorld(t)
		w.start()
		req := request("c1")
		got := w.addReady(req)
		dead := request("c2")
		w.addReady(dead)
		w.stop()
		w.ground.Kill(dead.NetNS, dead.ID)
		for _, id := range []ID{req.ID, dead.ID} {
			file := filepath.Join(w.dir, "endpoints", caracal.HostInterface(id.ContainerID, id.Interface)+".json")
			if err := os.Truncate(file, int64(cut)); err != nil {
				t.Fatal(err)
			}
		}
		w.start()
		if want := fmt.Sprintf("default/pod-c1 cni %v\n", got.Addrs); w.text() != want {
			t.Errorf("cut at %d: published\n%swant\n%s", cut, w.text(), want)
		}
		if list := w.allocations(); len(list) != 2 {
			t.Errorf("cut at %d: the dead one keeps its addresses: %v", cut, list)
		}
		if p := w.Snapshot().Problems; len(p) != 1 || !strings.Contains(p[0].Message, "c1/eth0 was lost; it was made again") {
			t.Errorf("cut at %d: problems %v", cut, p)
		}
		if freed, err := w.Remove(context.Background(), req.ID); err != nil || !slices.Equal(freed, got.Addrs) {
			t.Errorf("cut at %d: %v %v", cut, freed, err)
		}
	}
}
