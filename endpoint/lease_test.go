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
	"syscall"
	"testing"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/ipam"
)

func TestJudge(t *testing.T) {
	began := time.Unix(1000, 0)
	at := func(s int) time.Time { return began.Add(time.Duration(s) * time.Second) }
	l := limits{grace: time.Minute, pendingFor: 5 * time.Minute}
	type look struct {
		at   int
		s    sight
		want verdict
	}
	there, lost, away := sight{link: true, up: true, netns: true}, sight{netns: true}, sight{}
	for _, c := range []struct {
		name  string
		state State
		added time.Time
		looks []look
	}{
		{"alive", Ready, at(-100), []look{{0, there, fine}, {100, there, fine}}},
		{"the path is gone, the link is not", Ready, at(-100), []look{{0, sight{link: true}, fine}, {600, sight{link: true}, fine}}},
		{"the link is gone, the namespace is not", Ready, at(-100), []look{{0, lost, broken}, {600, lost, broken}}},
		{"gone", Ready, at(-100), []look{{0, away, suspected}, {30, away, suspected}, {59, away, suspected}, {60, away, gone}}},
		{"gone, but looked at rarely", Ready, at(-100), []look{{0, away, suspected}, {600, away, gone}}},
		{"it was a mistake", Ready, at(-100), []look{{0, away, suspected}, {50, there, fine}, {60, away, suspected}, {110, away, suspected}, {120, away, gone}}},
		{"pending", Pending, at(10), []look{{11, away, fine}, {309, away, fine}, {310, away, abandoned}}},
		{"pending before this start", Pending, at(-1000), []look{{11, away, fine}, {299, there, fine}, {300, there, abandoned}}},
		{"half removed", Deleting, at(-100), []look{{0, there, gone}}},
	} {
		var w watch
		for _, k := range c.looks {
			var got verdict
			got, w = judge(&Endpoint{State: c.state, Added: c.added}, k.s, w, at(k.at), began, l)
			if got != k.want {
				t.Errorf("%s: at %d s: %d, want %d", c.name, k.at, got, k.want)
			}
		}
	}
}

func TestGoneWithoutAWord(t *testing.T) {
	w := newWorld(t)
	w.start()
	ctx := context.Background()
	req, stays := request("c1"), request("c2")
	got := w.addReady(req)
	w.addReady(stays)
	w.ground.Kill(req.NetNS, req.ID)
	look := func(after time.Duration) {
		w.pass(after)
		w.writing.Wait() // or the audit passes over what is just being written
		w.audit(ctx)
	}
	look(0)
	look(59 * time.Second)
	w.ground.Container(req.NetNS) // another namespace by the same path
	look(0)
	if len(w.allocations()) != 4 {
		t.Fatal("freed within the grace period")
	}
	look(time.Second)
	if len(w.allocations()) != 2 || strings.Contains(w.text(), "c1") || !slices.Equal(w.ground.Forgotten(), got.Addrs) {
		t.Fatalf("not freed: %v, %s", w.allocations(), w.text())
	}
	w.clean(1)
	w.ground.Unlink(caracal.HostInterface("c2", "eth0"))
	look(time.Hour)
	look(time.Hour)
	if len(w.allocations()) != 2 {
		t.Error("freed while its namespace is there")
	}
	if p := w.Snapshot().Problems; len(p) != 1 || !strings.Contains(p[0].Message, "c2/eth0 has lost its link") {
		t.Errorf("problems %v", p)
	}
	if _, _, problems, _ := w.CheckUse(ctx); len(problems) != 1 || !strings.Contains(problems[0].Problem, "while the container is there") {
		t.Errorf("check ipam: %v", problems)
	}
}

// An address of a dead container is not given again before its cooldown.
func TestCooldown(t *testing.T) {
	w := newWorld(t)
	w.source.put(func(s *caracal.Snapshot) {
		s.IPAM.Cooldown = time.Minute
		n, _ := s.SelfNode()
		n.PodCIDRs = []netip.Prefix{pfx("10.1.0.0/30")}
		s.Nodes = s.Nodes.Put("a", n)
		s.Blocks = caracal.NewSnapshot("a").Blocks
	})
	w.start()
	ctx := context.Background()
	var all []Wiring
	var last error
	for i := 0; last == nil && i < 5; i++ {
		req := request(fmt.Sprintf("c%d", i))
		w.ground.Container(req.NetNS)
		var got Wiring
		if got, last = w.Add(ctx, req); last == nil {
			all = append(all, got)
		}
	}
	if !errors.Is(last, ipam.ErrExhausted) || len(all) == 0 {
		t.Fatalf("%d, %v", len(all), last)
	}
	if err := w.Status(ctx); !errors.Is(err, ipam.ErrExhausted) {
		t.Errorf("status of a full node: %v", err)
	}
	if _, err := w.Remove(ctx, request("c0").ID); err != nil {
		t.Fatal(err)
	}
	next := request("next")
	if _, err := w.Add(ctx, next); !errors.Is(err, ipam.ErrExhausted) {
		t.Fatalf("given while it cools: %v", err)
	}
	w.pass(time.Minute)
	if got, err := w.Add(ctx, next); err != nil || !slices.Equal(got.Addrs, all[0].Addrs) {
		t.Fatalf("after the cooldown: %v %v", got.Addrs, err)
	}
}

func TestAbandoned(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.wire(request("c1"))
	w.pass(5 * time.Minute)
	w.addReady(request("c2"))
	w.audit(context.Background())
	w.clean(1)
	if len(w.ground.links) != 1 {
		t.Errorf("links %v", w.ground.links)
	}
}

func TestReboot(t *testing.T) {
	w := newWorld(t)
	w.start()
	given := map[netip.Addr]bool{}
	for i := range 20 {
		for _, a := range w.addReady(request(fmt.Sprintf("c%d", i))).Addrs {
			given[a] = true
		}
	}
	w.stop()
	w.ground.Reboot()
	w.start()
	w.clean(0)
	if w.text() != "" {
		t.Errorf("published: %s", w.text())
	}
	// The same containers come again, in the same network namespaces' names.
	again := map[netip.Addr]bool{}
	for i := range 20 {
		for _, a := range w.addReady(request(fmt.Sprintf("c%d", i))).Addrs {
			if again[a] {
				t.Errorf("%s was given twice", a)
			}
			again[a] = true
		}
	}
	w.clean(20)
}

func TestQueue(t *testing.T) {
	w := newWorld(t)
	w.start()
	a, b, c := request("c1"), request("c2"), request("c3")
	for _, r := range []Request{a, b, c} {
		w.addReady(r)
	}
	w.stop()
	queue := filepath.Join(w.dir, "deletions")
	leave := func(id ID) {
		text := fmt.Sprintf(`{"id":{"container_id":%q,"ifname":%q,"network":%q}}`, id.ContainerID, id.Interface, id.Network)
		if err := os.WriteFile(filepath.Join(queue, ".tmp"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(queue, ".tmp"), filepath.Join(queue, id.ContainerID+".json")); err != nil {
			t.Fatal(err)
		}
		now := time.Unix(2e9, 0)
		if err := os.Chtimes(filepath.Join(queue, id.ContainerID+".json"), now, now); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	leave(a.ID)
	if err := os.WriteFile(filepath.Join(queue, "torn.json"), []byte(`{"id":`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(queue, "pipe.json"), 0o600); err != nil {
		t.Fatal(err)
	}
	// Two that a plugin was killed over, one of them just now.
	for name, age := range map[string]time.Duration{".old.json.1": 2 * time.Hour, ".new.json.2": 0} {
		path, at := filepath.Join(queue, name), w.clock().Add(-age)
		if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Chtimes(path, at, at)); err != nil {
			t.Fatal(err)
		}
	}
	w.start()
	if unfinished, _ := filepath.Glob(filepath.Join(queue, ".*.json.*")); len(unfinished) != 1 || filepath.Base(unfinished[0]) != ".new.json.2" {
		t.Errorf("unfinished files after the start: %q", unfinished)
	}
	if strings.Contains(w.text(), "c1") || !strings.Contains(w.text(), "c2") {
		t.Errorf("at the start: %s", w.text())
	}
	w.clean(2)
	w.ground.Stick(caracal.HostInterface("c2", "eth0"), true)
	leave(b.ID)
	w.until("what fails is told of", func() bool {
		return slices.ContainsFunc(w.Snapshot().Problems, func(p caracal.Problem) bool { return strings.Contains(p.Message, "device or resource busy") })
	})
	w.ground.Stick(caracal.HostInterface("c2", "eth0"), false)
	left := func() []string { files, _ := filepath.Glob(filepath.Join(queue, "*.json")); return files }
	w.until("the file is gone", func() bool { return len(left()) == 0 })
	w.until("no problem is left", func() bool { return len(w.Snapshot().Problems) == 0 })
	w.clean(1)
	if _, err := os.Stat(filepath.Join(queue, "torn.json.corrupt")); err != nil {
		t.Error(err)
	}
}

// A deletion that is older than the endpoint is of an earlier one.
func TestQueueOlderThanAdd(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.mu.Lock()
	w.now = time.Now()
	w.mu.Unlock()
	req := request("c1")
	w.addReady(req)
	w.stop()
	file := filepath.Join(w.dir, "deletions", "c1.json")
	if err := os.WriteFile(file, []byte(`{"id":{"container_id":"c1","ifname":"eth0","network":"net"}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(file, old, old); err != nil {
		t.Fatal(err)
	}
	w.start()
	w.clean(1)
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
		t.Error("the file is still there")
	}
}

var errCrash = errors.New("crash")

// The daemon dies after any step of ADD, Ready and DEL. What the next one makes of
// it is either all there, or gone after a retry or in time.
func TestCrash(t *testing.T) {
	for _, point := range []string{"half", "written", "renamed", "assigned", "recorded", "opened", "unpublished", "unlinked", "released"} {
		for nth := 1; nth <= 3; nth++ {
			for _, after := range []string{"nothing", "retry", "delete"} {
				t.Run(fmt.Sprintf("%s%d %s", point, nth, after), func(t *testing.T) { crashAt(t, point, nth, after) })
			}
		}
	}
}

func crashAt(t *testing.T, point string, nth int, after string) {
	w := newWorld(t)
	w.start()
	w.addReady(request("other"))
	n, died := 0, false
	var mu sync.Mutex
	crash := func(at string) error {
		mu.Lock()
		defer mu.Unlock()
		if at == point {
			n++
		}
		if died = died || n >= nth; died {
			w.mortal.dead.Store(true)
			return errCrash
		}
		return nil
	}
	w.writing.Wait()
	w.crash, w.Registry.dir.crash = crash, crash
	ctx := context.Background()
	req := request("c1")
	life := func() error {
		w.ground.Container(req.NetNS)
		got, err := w.Add(ctx, req)
		if err != nil {
			return err
		}
		w.ground.Link(got.HostInterface, true)
		if err := w.Ready(ctx, req.ID); err != nil {
			return err
		}
		w.ground.Kill(req.NetNS, req.ID)
		_, err = w.Remove(ctx, req.ID)
		return err
	}
	if err := life(); died && !errors.Is(err, errCrash) && !errors.Is(err, errDead) {
		t.Fatalf("%v instead of a crash", err)
	}
	w.start()
	switch after {
	case "retry":
		if err := life(); err != nil {
			t.Fatal(err)
		}
	case "delete":
		w.ground.Kill(req.NetNS, req.ID)
		if _, err := w.Remove(ctx, req.ID); err != nil {
			t.Fatal(err)
		}
	default:
		w.ground.Kill(req.NetNS, req.ID)
		w.writing.Wait() // or the audit passes over what is just being written
		w.audit(ctx)
		w.pass(10 * time.Minute)
		w.writing.Wait() // or the audit passes over what is just being written
		w.audit(ctx)
	}
	w.clean(1)
	if w.Snapshot().Workloads.Len() != 1 {
		t.Errorf("published: %s", w.text())
	}
}

func TestReleaseByHand(t *testing.T) {
	w := newWorld(t)
	w.start()
	ctx := context.Background()
	req := request("c1")
	got := w.addReady(req)
	a := got.Addrs[0]
	found, err := w.Lookup(ctx, a)
	if err != nil || found.State != ipam.StateAllocated || found.Endpoint == nil || found.Allocation.Handle != "cni/net/c1/eth0" {
		t.Fatalf("%+v %v", found, err)
	}
	if _, err := w.ReleaseAddress(ctx, a, false); !errors.Is(err, ErrInUse) {
		t.Fatalf("of a living container: %v", err)
	}
	w.ground.Kill(req.NetNS, req.ID)
	if handle, err := w.ReleaseAddress(ctx, a, false); err != nil || handle != "cni/net/c1/eth0" {
		t.Fatal(handle, err)
	}
	w.clean(0)
	if _, err := w.ReleaseAddress(ctx, a, true); !errors.Is(err, ipam.ErrNotFound) {
		t.Fatalf("of nobody: %v", err)
	}
	if _, err := w.o.IPAM.Assign(ctx, ipam.Request{Handle: "tunnel", Owner: ipam.Owner{Kind: "tunnel"}, V4: 1}); err != nil {
		t.Fatal(err)
	}
	tunnel := w.allocations()[0].Addr
	if _, err := w.ReleaseAddress(ctx, tunnel, false); !errors.Is(err, ErrInUse) {
		t.Fatalf("of the tunnel: %v", err)
	}
	use, err := w.Use(ctx)
	if err != nil || use.Mode != ipam.ModePodCIDR || len(use.Pools) != 1 || use.Pools[0].Allocated != 1 {
		t.Errorf("use %+v %v", use, err)
	}
}

func TestCollect(t *testing.T) {
	w := newWorld(t)
	w.start()
	ctx := context.Background()
	keep, dead, young, other := request("keep"), request("dead"), request("young"), request("other")
	other.Network = "other"
	for _, r := range []Request{keep, dead, other} {
		w.addReady(r)
	}
	w.wire(young)
	box := w.addReady(Request{ID: ID{"box", "eth0", ""}, NetNS: "/run/netns/box", Kind: KindAttach})
	removed, err := w.Collect(ctx, "net", []ID{{"keep", "eth0", ""}})
	if err != nil || !slices.Equal(removed, []ID{dead.ID}) {
		t.Fatalf("%v %v", removed, err)
	}
	w.clean(4)
	if freed, err := w.Remove(ctx, ID{ContainerID: "box"}); err != nil || !slices.Equal(freed, box.Addrs) {
		t.Errorf("detach by name: %v %v", freed, err)
	}
}

// A node that is alone claims blocks of its pools, and announces them.
func TestClaimedBlocks(t *testing.T) {
	w := newWorld(t)
	w.source.put(func(s *caracal.Snapshot) {
		s.IPAM.Mode = "blocks"
		n, _ := s.SelfNode()
		n.PodCIDRs = nil
		s.Nodes = s.Nodes.Put("a", n)
		s.Blocks = caracal.NewSnapshot("a").Blocks
		s.Pools = s.Pools.Put("pods", caracal.Pool{Name: "pods", CIDR: pfx("10.8.0.0/16"), BlockSize: 26})
	})
	w.start()
	got := w.addReady(request("c1"))
	if len(got.Addrs) != 1 || !slices.Equal(got.Pools, []string{"pods"}) {
		t.Fatalf("%+v", got)
	}
	announced := func() (out []netip.Prefix) {
		for p, b := range w.Snapshot().Blocks.All() {
			if b.Node == "a" && p.Bits() == 26 && p.Contains(got.Addrs[0]) {
				out = append(out, p)
			}
		}
		return out
	}
	if len(announced()) != 1 {
		t.Errorf("blocks after the first: %v", announced())
	}
	w.start()
	if len(announced()) != 1 {
		t.Errorf("blocks after a restart: %v", announced())
	}
}
