package node

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/bgp"
	"caracal.dev/caracal/fib"
)

// While one file cannot be read, a block goes to another node that announces
// it: its route replaces our own at once, since the Snapshot names the owner.
func TestHandoverWhileIncomplete(t *testing.T) {
	r := newRig(t)
	r.start()
	r.until("BGP runs", func() bool { _, n := r.speaker.last(); return n > 0 })
	r.converse("mesh/b", "mesh/c")
	r.store.put(func(s *caracal.Snapshot) { s.Incomplete = map[string]string{"Workload": "unreadable"} })
	r.speaker.say(announce("mesh/b", "10.1.1.0/26", "192.0.2.2"))
	time.Sleep(20 * time.Millisecond)
	if !r.has("unreachable 10.1.1.0/26") {
		t.Fatalf("a path took a block of ours:\n%s", r.kernel)
	}
	r.store.put(func(s *caracal.Snapshot) {
		s.Blocks = s.Blocks.Put(pfx("10.1.1.0/26"), caracal.Block{CIDR: pfx("10.1.1.0/26"), Node: "b"})
	})
	r.until("b's route is in", func() bool { return r.has("10.1.1.0/26 via 192.0.2.2") })
}

// A local object out of sight keeps its route, and a path that waited for it
// gets in when it is known to be gone.
func TestPathWaitsForLocalRoute(t *testing.T) {
	r := newRig(t)
	r.start()
	r.until("BGP runs", func() bool { _, n := r.speaker.last(); return n > 0 })
	r.converse("mesh/b", "mesh/c")
	r.store.put(func(s *caracal.Snapshot) {
		s.Incomplete = map[string]string{"NodeConfig": "unreadable"}
		s.Blocks = s.Blocks.Delete(pfx("10.1.1.0/26"))
	})
	time.Sleep(20 * time.Millisecond)
	if !r.has("unreachable 10.1.1.0/26") {
		t.Fatalf("removed although it may only be out of sight:\n%s", r.kernel)
	}
	r.store.put(func(s *caracal.Snapshot) { s.Incomplete = nil })
	r.until("it is gone", func() bool { return !r.has("10.1.1.0/26") })
}

// A workload moves here whose address still has a learned route: the address
// must not be announced on the strength of that route.
func TestGateIsNotOpenedByALearnedRoute(t *testing.T) {
	r := newRig(t)
	r.store.put(func(s *caracal.Snapshot) {
		p, _ := s.Pools.Get("pods")
		p.Advertise = caracal.AdvertiseHosts
		s.Pools = s.Pools.Put("pods", p)
	})
	r.start()
	r.until("BGP runs", func() bool { _, n := r.speaker.last(); return n > 0 })
	r.converse("mesh/b")
	r.speaker.say(announce("mesh/b", "10.1.2.9/32", "192.0.2.2"))
	r.until("the way to b is in", func() bool { return r.has("10.1.2.9/32 via 192.0.2.2") })
	r.store.put(func(s *caracal.Snapshot) {
		s.Workloads = s.Workloads.Put("default/w", caracal.Workload{Namespace: "default", Name: "w", Node: "a", Interface: "veth1", Addrs: []netip.Addr{ip("10.1.2.9")}})
	})
	announced := func() bool {
		c, _ := r.speaker.last()
		return slices.Contains(c.Originate, pfx("10.1.2.9/32"))
	}
	time.Sleep(100 * time.Millisecond)
	if announced() {
		t.Fatalf("announced without a route to it:\n%s", r.kernel)
	}
	r.kernel.AddLink("veth1")
	r.until("it is announced", announced)
	if !r.has("10.1.2.9/32 dev veth1") {
		t.Fatalf("announced before the kernel had it:\n%s", r.kernel)
	}
}

// An earlier mark's route stays as long as the kernel refuses its replacement.
func TestEarlierMarkStaysUntilReplaced(t *testing.T) {
	r := newRig(t)
	r.state = t.TempDir()
	old := fib.Mark{Table: 254, Protocol: 67, Metric: 50}
	r.earlier = fib.NewFake(old)
	r.earlier.AddLink("eth0", "192.0.2.1/24")
	for _, dst := range []string{"10.1.2.0/26", "10.1.8.0/26"} {
		route := fib.Route{Dst: pfx(dst), Kind: fib.Unicast, Hops: []fib.Hop{{Gateway: ip("192.0.2.2"), Link: 1}}}
		if _, err := r.earlier.Write(context.Background(), []fib.Op{{Verb: fib.Create, Route: route}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := writeMarks(r.state, []fib.Mark{old}); err != nil {
		t.Fatal(err)
	}
	r.kernel.Refuse(func(op fib.Op) syscall.Errno {
		if op.Route.Dst == pfx("10.1.2.0/26") {
			return syscall.ENOMEM
		}
		return 0
	})
	r.start()
	r.until("BGP runs", func() bool { _, n := r.speaker.last(); return n > 0 })
	r.converse("mesh/b", "mesh/c")
	r.speaker.say(announce("mesh/b", "10.1.2.0/26", "192.0.2.2"), eor("mesh/b"), eor("mesh/c"))
	r.until("the route nobody wants is gone", func() bool { return r.earlier.String() == "10.1.2.0/26 via 192.0.2.2 dev eth0" })
	time.Sleep(100 * time.Millisecond)
	if r.earlier.String() == "" {
		t.Fatal("the earlier route went although nothing replaced it")
	}
	r.kernel.Refuse(nil)
	r.until("it is replaced, then removed", func() bool { return r.has("10.1.2.0/26 via 192.0.2.2") && r.earlier.String() == "" })
}

// A host that goes down while its daemon still waits for a configuration does
// not have to wait for it.
func TestLeaveWhileWaiting(t *testing.T) {
	r := newRig(t)
	r.store.put(func(s *caracal.Snapshot) { s.Nodes = s.Nodes.Delete("a") })
	r.start()
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
}

// Behind a reflector can be any next hop: while it is not heard, nothing that
// was adopted goes.
func TestUnheardReflectorProtectsEverything(t *testing.T) {
	r := newRig(t)
	r.store.put(func(s *caracal.Snapshot) {
		s.Peers = s.Peers.Put("rr", caracal.Peer{Name: "rr", Addr: ip("192.0.2.200"), ASN: 64512})
	})
	route := fib.Route{Dst: pfx("10.1.9.0/26"), Kind: fib.Unicast, Hops: []fib.Hop{{Gateway: ip("192.0.2.9"), Link: 1}}}
	if _, err := r.kernel.Write(context.Background(), []fib.Op{{Verb: fib.Create, Route: route}}); err != nil {
		t.Fatal(err)
	}
	r.start()
	r.until("BGP runs", func() bool { _, n := r.speaker.last(); return n > 0 })
	r.converse("mesh/b", "mesh/c")
	r.speaker.say(eor("mesh/b"), eor("mesh/c"))
	r.until("the deferral is over", func() bool {
		st, err := r.agent.Status(context.Background())
		return err == nil && st.Converged.Holds
	})
	time.Sleep(100 * time.Millisecond)
	if !r.has("10.1.9.0/26") {
		t.Fatal("swept before the reflector was heard")
	}
	r.converse("peer/rr@192.0.2.200")
	r.speaker.say(eor("peer/rr@192.0.2.200"), bgp.Event{EndOfRIB: &bgp.EndOfRIB{Neighbor: "peer/rr@192.0.2.200", IPv6: true}})
	r.until("it is swept", func() bool { return !r.has("10.1.9.0/26") })
}

// A block inside a network that the host is on is not discarded: that would cut
// the host off.
func TestBlockInsideOwnNetwork(t *testing.T) {
	r := newRig(t)
	r.networks = []netip.Prefix{pfx("192.0.2.0/24"), pfx("10.1.1.0/25"), pfx("10.1.7.0/26")}
	r.store.put(func(s *caracal.Snapshot) { // a bridge with the block's own prefix is no harm
		s.Blocks = s.Blocks.Put(pfx("10.1.7.0/26"), caracal.Block{CIDR: pfx("10.1.7.0/26"), Node: "a"})
	})
	r.start()
	r.until("the other block is announced", func() bool {
		c, _ := r.speaker.last()
		return slices.Equal(c.Originate, []netip.Prefix{pfx("10.1.7.0/26")})
	})
	if r.has("10.1.1.0/26") {
		t.Fatalf("the host is cut off:\n%s", r.kernel)
	}
	st, err := r.agent.Status(context.Background())
	said := slices.ContainsFunc(st.Problems, func(p caracal.Problem) bool {
		return strings.Contains(p.Message, "block 10.1.1.0/26 of this node lies inside a network")
	})
	if err != nil || !said {
		t.Fatalf("%+v, %v", st.Problems, err)
	}
}

// A node whose own NodeConfig goes is not ready, and says so.
func TestOwnNodeGone(t *testing.T) {
	r := newRig(t)
	r.start()
	r.until("BGP runs", func() bool { _, n := r.speaker.last(); return n > 0 })
	r.converse("mesh/b", "mesh/c")
	r.speaker.say(eor("mesh/b"), eor("mesh/c"))
	ready := func() (bool, string) {
		st, err := r.agent.Status(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		return st.Ready.Holds, st.Ready.Reason
	}
	r.until("it is ready", func() bool { ok, _ := ready(); return ok })
	r.store.put(func(s *caracal.Snapshot) { s.Nodes = s.Nodes.Delete("a") })
	if ok, why := ready(); ok || why != `node "a" is not in the configuration` {
		t.Fatalf("ready %v: %s", ok, why)
	}
}
