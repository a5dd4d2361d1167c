package node

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"caracal.dev/caracal"
	"caracal.dev/caracal/fib"
	"caracal.dev/caracal/node/api"
)

func ip(s string) netip.Addr    { return netip.MustParseAddr(s) }
func pfx(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func text(set []fib.Want, unset []netip.Prefix) string {
	var b strings.Builder
	for _, w := range set {
		fmt.Fprintf(&b, "+%s %s %s\n", w.Dst, w.Kind, w.Link)
	}
	for _, p := range unset {
		fmt.Fprintf(&b, "-%s\n", p)
	}
	return b.String()
}

func TestLocal(t *testing.T) {
	l := newLocal(nowhere)
	last := caracal.NewSnapshot("a")
	last.Synced = true
	step := func(name, want string, change func(*caracal.Snapshot)) {
		t.Helper()
		next := *last
		change(&next)
		set, unset := l.update(last, &next, func(netip.Prefix) string { return "" })
		if got := text(set, unset); got != want {
			t.Fatalf("%s:\n%swant\n%s", name, got, want)
		}
		last = &next
	}
	put := func(s *caracal.Snapshot, node, name, link string, addrs ...string) {
		w := caracal.Workload{Namespace: "default", Name: name, Node: node, Interface: link}
		for _, a := range addrs {
			w.Addrs = append(w.Addrs, ip(a))
		}
		s.Workloads = s.Workloads.Put(w.Key(), w)
	}
	step("own block and pod", "+10.1.0.0/26 discard \n+10.1.0.2/32 local veth1\n+fd00::2/128 local veth1\n", func(s *caracal.Snapshot) {
		s.Blocks = s.Blocks.Put(pfx("10.1.0.0/26"), caracal.Block{CIDR: pfx("10.1.0.0/26"), Node: "a"})
		s.Blocks = s.Blocks.Put(pfx("10.1.1.0/26"), caracal.Block{CIDR: pfx("10.1.1.0/26"), Node: "b"})
		put(s, "a", "one", "veth1", "10.1.0.2", "fd00::2")
		put(s, "b", "two", "veth2", "10.1.1.2")
	})
	step("others' changes", "", func(s *caracal.Snapshot) { put(s, "b", "two", "veth3", "10.1.1.3") })
	step("labels do not matter", "", func(s *caracal.Snapshot) {
		w, _ := s.Workloads.Get("default/one")
		w.Labels = map[string]string{"a": "b"}
		s.Workloads = s.Workloads.Put("default/one", w)
	})
	step("interface and address change", "+10.1.0.3/32 local veth9\n+fd00::2/128 local veth9\n-10.1.0.2/32\n", func(s *caracal.Snapshot) {
		put(s, "a", "one", "veth9", "10.1.0.3", "fd00::2")
	})
	step("not complete: nothing is removed", "", func(s *caracal.Snapshot) {
		s.Incomplete = map[string]string{"Workload": "unreadable"}
		s.Workloads = s.Workloads.Delete("default/one")
	})
	step("complete again: what was owing is removed", "-10.1.0.3/32\n-fd00::2/128\n", func(s *caracal.Snapshot) { s.Incomplete = nil })
	step("the block goes to b", "-10.1.0.0/26\n", func(s *caracal.Snapshot) {
		s.Blocks = s.Blocks.Put(pfx("10.1.0.0/26"), caracal.Block{CIDR: pfx("10.1.0.0/26"), Node: "b"})
	})
	peer := func(s *caracal.Snapshot, addr, by string) {
		p := caracal.Peer{Name: "tor", Addr: ip(addr), ASN: 65000}
		if by != "" {
			p.ReachableBy = ip(by)
		}
		s.Peers = s.Peers.Put(p.Key(), p)
	}
	step("a peer that routes lead to", "", func(s *caracal.Snapshot) { peer(s, "192.0.2.9", "") })
	step("a peer behind a gateway", "+192.0.2.9/32 pinned \n", func(s *caracal.Snapshot) { peer(s, "192.0.2.9", "10.0.0.1") })
	step("another gateway", "+192.0.2.9/32 pinned \n", func(s *caracal.Snapshot) { peer(s, "192.0.2.9", "10.0.0.2") })
	step("another address", "+192.0.2.8/32 pinned \n-192.0.2.9/32\n", func(s *caracal.Snapshot) { peer(s, "192.0.2.8", "10.0.0.2") })
	step("no gateway any more", "-192.0.2.8/32\n", func(s *caracal.Snapshot) { peer(s, "192.0.2.8", "") })
}

// TestLocalAgainstScratch holds what the deltas add up to against a local that
// sees only the last Snapshot.
func TestLocalAgainstScratch(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	l := newLocal(nowhere)
	last := caracal.NewSnapshot("a")
	last.Synced = true
	have := map[netip.Prefix]fib.Want{}
	nodes := []string{"a", "b"}
	for range 3000 {
		next := *last
		key := fmt.Sprintf("w%d", rng.IntN(6))
		switch rng.IntN(4) {
		case 0:
			next.Workloads = next.Workloads.Delete("default/" + key)
		case 1:
			b := pfx(fmt.Sprintf("10.1.%d.0/26", rng.IntN(4)))
			next.Blocks = next.Blocks.Put(b, caracal.Block{CIDR: b, Node: nodes[rng.IntN(2)]})
		default:
			w := caracal.Workload{Namespace: "default", Name: key, Node: nodes[rng.IntN(2)], Interface: fmt.Sprintf("veth%d", rng.IntN(2)),
				Addrs: []netip.Addr{ip(fmt.Sprintf("10.1.0.%d", 10*int(key[1]-'0')+rng.IntN(3)))}}
			next.Workloads = next.Workloads.Put(w.Key(), w)
		}
		set, unset := l.update(last, &next, func(netip.Prefix) string { return "" })
		for _, w := range set {
			have[w.Dst] = w
		}
		for _, p := range unset {
			delete(have, p)
		}
		scratch := newLocal(nowhere)
		scratch.update(caracal.NewSnapshot("a"), &next, func(netip.Prefix) string { return "" })
		if !reflect.DeepEqual(have, scratch.wants) {
			t.Fatalf("have %v\nwant %v", have, scratch.wants)
		}
		last = &next
	}
}

// nowhere is a host that is on no network.
func nowhere() []netip.Prefix { return nil }

func TestDownProblem(t *testing.T) {
	for _, c := range []struct {
		i    api.Interface
		want string
	}{
		{api.Interface{Use: "workload default/a", Up: true, Carrier: true}, ""},
		{api.Interface{}, ""},
		{api.Interface{Use: "workload default/a"}, "down, but it is in use: its routes are not installed"},
		{api.Interface{Use: "workload default/a", Up: true}, "no carrier, but it is in use"},
	} {
		if got := downProblem(c.i); got != c.want {
			t.Errorf("%+v: %q, want %q", c.i, got, c.want)
		}
	}
}
