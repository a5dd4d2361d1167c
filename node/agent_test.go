package node

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/bgp"
	"caracal.dev/caracal/fib"
	"caracal.dev/caracal/node/api"
)

func TestPathToKernel(t *testing.T) {
	r := newRig(t)
	r.start()
	r.until("its own block is discarded", func() bool { return r.has("unreachable 10.1.1.0/26") })
	r.until("the block is announced", func() bool {
		c, _ := r.speaker.last()
		return slices.Equal(c.Originate, []netip.Prefix{pfx("10.1.1.0/26")}) && len(c.Neighbors) == 2
	})
	r.converse("mesh/b", "mesh/c")
	r.speaker.say(announce("mesh/b", "10.1.2.0/26", "192.0.2.2"), announce("mesh/c", "10.1.2.0/26", "192.0.2.3"))
	r.until("b's block leads to b", func() bool { return r.has("10.1.2.0/26 via 192.0.2.2 dev eth0") })
	var refused []string
	err := r.agent.Routes(context.Background(), api.RouteQuery{Prefix: pfx("10.1.2.0/26")}, func(p api.RoutePath) bool {
		if p.Refused {
			refused = append(refused, p.Neighbor+": "+p.Why)
		} else if !p.Installed || p.Kernel != "ok" {
			t.Errorf("path of %s not installed: %s", p.Neighbor, p.Why)
		}
		return true
	})
	if err != nil || len(refused) != 1 || !strings.HasPrefix(refused[0], "mesh/c: 10.1.2.0/26 belongs to node b") {
		t.Fatalf("refused %q, %v", refused, err)
	}
	r.speaker.say(bgp.Event{Session: &bgp.Session{Neighbor: "mesh/b", State: bgp.Idle, Was: bgp.Established}})
	r.until("b's route is gone", func() bool { return !r.has("10.1.2.0/26") })
}

// A prefix is announced only once its route is in the kernel.
func TestGate(t *testing.T) {
	r := newRig(t)
	r.store.put(func(s *caracal.Snapshot) {
		s.Pools = s.Pools.Put("pods", caracal.Pool{Name: "pods", CIDR: pfx("10.1.0.0/16"), BlockSize: 26, Advertise: caracal.AdvertiseHosts})
		s.Workloads = s.Workloads.Put("default/w", caracal.Workload{Namespace: "default", Name: "w", Node: "a", Interface: "veth1", Addrs: []netip.Addr{ip("10.1.1.2")}})
	})
	r.start()
	r.until("BGP runs", func() bool { _, n := r.speaker.last(); return n > 0 })
	time.Sleep(50 * time.Millisecond)
	if c, _ := r.speaker.last(); len(c.Originate) != 0 {
		t.Fatalf("announced %v although veth1 does not exist", c.Originate)
	}
	r.kernel.AddLink("veth1")
	r.until("the pod is announced", func() bool {
		c, _ := r.speaker.last()
		return slices.Equal(c.Originate, []netip.Prefix{pfx("10.1.1.2/32")})
	})
	if !r.has("10.1.1.2/32 dev veth1") {
		t.Fatalf("announced before the kernel had it:\n%s", r.kernel)
	}
	r.kernel.SetLink("veth1", false, false)
	r.until("the route is gone", func() bool { return !r.has("10.1.1.2/32 dev veth1") })
	time.Sleep(50 * time.Millisecond)
	if c, _ := r.speaker.last(); len(c.Originate) != 1 {
		t.Fatal("withdrawn while its route is being repaired")
	}
}

// What an earlier run left stays until the neighbor it leads to was heard, and
// goes only then.
func TestAdoptedRoutes(t *testing.T) {
	r := newRig(t)
	r.deferral = 5 * time.Second // not over before it was looked that nothing is swept
	left := func(dst, via string) {
		hop := fib.Hop{Gateway: ip(via), Link: 1}
		failed, err := r.kernel.Write(context.Background(), []fib.Op{{Verb: fib.Create, Route: fib.Route{Dst: pfx(dst), Kind: fib.Unicast, Hops: []fib.Hop{hop}}}})
		if err != nil || len(failed) > 0 {
			t.Fatal(err, failed)
		}
	}
	left("10.1.2.0/26", "192.0.2.2")   // b announces it again
	left("10.1.2.128/26", "192.0.2.2") // b does not
	left("10.1.3.0/26", "192.0.2.3")   // c is not heard yet
	left("10.1.9.0/26", "192.0.2.9")   // its node is gone
	before := r.kernel.Writes()
	r.start()
	r.until("BGP runs", func() bool { _, n := r.speaker.last(); return n > 0 })
	if !r.speaker.restarting {
		t.Fatal("forwarding state was preserved, but it is not said")
	}
	r.converse("mesh/b")
	r.speaker.say(announce("mesh/b", "10.1.2.0/26", "192.0.2.2"), eor("mesh/b"))
	time.Sleep(100 * time.Millisecond)
	if got := r.kernel.Writes() - before; got != 1 { // the discard route of a's block
		t.Fatalf("%d routes written before the RIB converged:\n%s", got, r.kernel)
	}
	r.until("b's stale route is gone after the deferral", func() bool { return !r.has("10.1.2.128/26") })
	if r.has("10.1.9.0/26") || !r.has("10.1.3.0/26") || !r.has("10.1.2.0/26") {
		t.Fatalf("swept the wrong routes:\n%s", r.kernel)
	}
	st, err := r.agent.Status(context.Background())
	if err != nil || !st.Converged.Holds || st.Counts.FIBStale != 1 {
		t.Fatalf("status %+v, %v", st, err)
	}
	r.converse("mesh/c")
	r.speaker.say(eor("mesh/c"))
	r.until("c was heard and has nothing", func() bool { return !r.has("10.1.3.0/26") })
}

func TestNothingIsTouchedWithoutConfiguration(t *testing.T) {
	r := newRig(t)
	r.store.put(func(s *caracal.Snapshot) {
		s.Nodes = s.Nodes.Delete("a")
		s.Problems = []caracal.Problem{{Severity: caracal.Rejected, Kind: "NodeConfig", Name: "a", Message: `node "a" has no NodeConfig`}}
	})
	r.start()
	r.until("the start waits", func() bool { return strings.Contains(r.agent.Waiting(), "has no NodeConfig") })
	time.Sleep(50 * time.Millisecond)
	if r.kernel.Writes() != 0 {
		t.Fatalf("%d writes", r.kernel.Writes())
	}
	rec := httptest.NewRecorder()
	r.agent.mux().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/readyz", nil))
	if body, _ := io.ReadAll(rec.Body); rec.Code != 503 || !strings.Contains(string(body), `node "a" has no NodeConfig`) {
		t.Fatalf("/readyz %d %s", rec.Code, body)
	}
	if _, err := r.agent.Neighbors(context.Background()); !errors.Is(err, api.ErrRefused) {
		t.Fatalf("Neighbors: %v", err)
	}
	r.store.put(func(s *caracal.Snapshot) {
		s.Nodes = s.Nodes.Put("a", caracal.Node{Name: "a", IPv4: pfx("192.0.2.1/24"), ASN: 64512, RouterID: ip("192.0.2.1"), Port: 179})
		s.Problems = nil
	})
	r.until("it starts once the node is there", func() bool { return r.has("unreachable 10.1.1.0/26") })
}

func TestSpeakerFailureIsShownAndRetried(t *testing.T) {
	r := newRig(t)
	r.speaker.fail = errors.New("bgp: start: 192.0.2.1:179 is in use")
	r.start()
	r.until("the reason is shown", func() bool {
		st, err := r.agent.Status(context.Background())
		return err == nil && !st.Ready.Holds && strings.Contains(st.Ready.Reason, "192.0.2.1:179 is in use")
	})
	if !r.has("unreachable 10.1.1.0/26") {
		t.Fatal("local routes wait for BGP")
	}
	r.speaker.mu.Lock()
	r.speaker.fail = nil
	r.speaker.mu.Unlock()
	r.until("it was tried again", func() bool { _, n := r.speaker.last(); return n > 0 })
}

func TestRestartNeededEndsTheAgent(t *testing.T) {
	r := newRig(t)
	r.start()
	r.until("BGP runs", func() bool { _, n := r.speaker.last(); return n > 0 })
	r.speaker.mu.Lock()
	r.speaker.fail = &bgp.RestartNeeded{Why: "AS number 64512 -> 64513"}
	r.speaker.mu.Unlock()
	r.store.put(func(s *caracal.Snapshot) {
		n, _ := s.Nodes.Get("a")
		n.ASN = 64513
		s.Nodes = s.Nodes.Put("a", n)
	})
	select {
	case err := <-r.done:
		if !errors.Is(err, ErrReexec) || !strings.Contains(err.Error(), "AS number 64512 -> 64513") {
			t.Fatal(err)
		}
		r.done <- nil
	case <-time.After(30 * time.Second):
		t.Fatal("the agent goes on")
	}
	if !r.has("unreachable 10.1.1.0/26") {
		t.Fatal("a restart moved a route")
	}
}

func TestLeave(t *testing.T) {
	r := newRig(t)
	r.start()
	r.until("BGP runs", func() bool { _, n := r.speaker.last(); return n > 0 })
	r.agent.Leave()
	select {
	case err := <-r.done:
		if err != nil {
			t.Fatal(err)
		}
		r.done <- nil
	case <-time.After(30 * time.Second):
		t.Fatal("the agent does not leave")
	}
	if !r.speaker.left || !r.has("unreachable 10.1.1.0/26") {
		t.Fatalf("left %v, kernel\n%s", r.speaker.left, r.kernel)
	}
}

func TestMetrics(t *testing.T) {
	r := newRig(t)
	r.start()
	r.until("BGP runs", func() bool { _, n := r.speaker.last(); return n > 0 })
	r.converse("mesh/b", "mesh/c")
	r.speaker.say(announce("mesh/b", "10.1.2.0/26", "192.0.2.2"), announce("mesh/c", "0.0.0.0/0", "192.0.2.3"))
	r.until("the route is in", func() bool { return r.has("10.1.2.0/26") })
	// The routes task answers after it has counted what it wrote.
	if _, err := r.agent.Status(t.Context()); err != nil {
		t.Fatal(err)
	}
	rec := httptest.NewRecorder()
	r.agent.mux().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	body := rec.Body.String()
	for _, want := range []string{
		`caracal_bgp_neighbor_prefixes{fate="refused",neighbor="mesh/c"} 1`,
		`caracal_bgp_neighbor_prefixes{fate="installed",neighbor="mesh/b"} 1`,
		`caracal_bgp_sessions{state="Established"} 2`,
		`caracal_path_to_kernel_seconds_count 1`,
		`caracal_fib_routes{state="installed"} 2`,
		`# TYPE go_goroutines gauge`,
		`# TYPE go_gc_heap_live_bytes gauge`,
		`# TYPE process_open_fds gauge`,
	} {
		if !strings.Contains(body, want+"\n") {
			t.Errorf("missing %s in\n%s", want, body)
		}
	}
}

func TestHealthNamesTheStuckTask(t *testing.T) {
	p := newPulse("routes", "speaker")
	p.beat("routes")()
	if s := p.stuck(time.Now()); s != "" {
		t.Fatal(s)
	}
	if s := p.stuck(time.Now().Add(time.Minute)); !strings.HasPrefix(s, "the routes task has not turned for") {
		t.Fatal(s)
	}
}

// After a change of the metric the routes of the earlier one go, but only when
// those that replace them are in.
func TestEarlierMark(t *testing.T) {
	r := newRig(t)
	r.state = t.TempDir()
	old := fib.Mark{Table: 254, Protocol: 67, Metric: 50}
	r.earlier = fib.NewFake(old)
	r.earlier.AddLink("eth0", "192.0.2.1/24")
	route := fib.Route{Dst: pfx("10.1.2.0/26"), Kind: fib.Unicast, Hops: []fib.Hop{{Gateway: ip("192.0.2.2"), Link: 1}}}
	if _, err := r.earlier.Write(context.Background(), []fib.Op{{Verb: fib.Create, Route: route}}); err != nil {
		t.Fatal(err)
	}
	if err := writeMarks(r.state, []fib.Mark{old}); err != nil {
		t.Fatal(err)
	}
	r.start()
	r.until("BGP runs", func() bool { _, n := r.speaker.last(); return n > 0 })
	if !r.speaker.restarting {
		t.Fatal("the routes of the earlier mark forward, but it is not said")
	}
	r.converse("mesh/b")
	r.speaker.say(announce("mesh/b", "10.1.2.0/26", "192.0.2.2"), eor("mesh/b"))
	r.until("the new route is in", func() bool { return r.has("10.1.2.0/26 via 192.0.2.2") })
	if r.earlier.String() == "" {
		t.Fatal("the earlier routes went before c was heard")
	}
	r.converse("mesh/c")
	r.speaker.say(eor("mesh/c"))
	r.until("the earlier route is gone", func() bool { return r.earlier.String() == "" })
	r.until("only the present mark is on record", func() bool {
		marks, err := ReadMarks(r.state)
		return err == nil && slices.Equal(marks, []fib.Mark{fib.DefaultMark})
	})
}
