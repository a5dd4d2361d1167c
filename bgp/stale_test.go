package bgp_test

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"caracal.dev/caracal/bgp"
)

// TestWhoKeepsPaths: a change of a neighbor resets its session, and what it
// announced is kept if it is still the same speaker.
func TestWhoKeepsPaths(t *testing.T) {
	a := newStation(t, "a", "127.0.14.1", bgp.Options{})
	for _, tc := range []struct {
		name, from string
		node       string
		change     func(*bgp.Neighbor)
		want       string
	}{
		{"a node's AS number", "127.0.14.8", "b", func(n *bgp.Neighbor) { n.ASN = 64999 }, "graceful"},
		{"a node's address", "127.0.14.9", "b", func(n *bgp.Neighbor) { n.Addr = addr("127.0.14.99") }, "graceful"},
		{"another AS", "127.0.14.10", "", func(n *bgp.Neighbor) { n.ASN = 64999 }, "down"},
		{"another address", "127.0.14.11", "", func(n *bgp.Neighbor) { n.Addr = addr("127.0.14.98") }, "down"},
		{"another node", "127.0.14.12", "b", func(n *bgp.Neighbor) { n.Node, n.ASN = "c", 64999 }, "down"},
	} {
		n, c := neighborOf(a, tc.from)
		n.Name, n.Node = "peer/"+strings.ReplaceAll(tc.name, " ", "-"), tc.node
		a.conf.Neighbors = []bgp.Neighbor{n}
		a.apply()
		s := dial(t, c)
		s.Announce([]netip.Prefix{prefix("10.1.0.0/26")}, path4(tc.from))
		a.sequence(n.Name, "up", "update")
		tc.change(&a.conf.Neighbors[0])
		if res := a.apply(); !slices.Equal(res.Reset, []string{n.Name}) {
			t.Errorf("%s: %+v", tc.name, res)
		}
		a.sequence(n.Name, "up", "update", tc.want)
		st := a.status(n.Name)
		if st.Restarting != (tc.want == "graceful") || st.Addr != a.conf.Neighbors[0].Addr {
			t.Errorf("%s: %+v", tc.name, st)
		}
		s.Abort()
	}
}

// TestNodesSwapAddresses: neighbors are told apart by address, so the two must
// not meet on the way.
func TestNodesSwapAddresses(t *testing.T) {
	a := newStation(t, "a", "127.0.15.1", bgp.Options{})
	b, cb := neighborOf(a, "127.0.15.8")
	c, cc := neighborOf(a, "127.0.15.9")
	b.Name, b.Node, c.Name, c.Node = "mesh/b", "b", "mesh/c", "c"
	a.conf.Neighbors = []bgp.Neighbor{b, c}
	a.apply()
	sb, sc := dial(t, cb), dial(t, cc)
	a.sequence("mesh/b", "up")
	a.sequence("mesh/c", "up")
	b.Addr, c.Addr = c.Addr, b.Addr
	a.conf.Neighbors = []bgp.Neighbor{b, c}
	a.apply()
	<-sb.Done()
	<-sc.Done()
	sb = dial(t, cb) // now c
	defer sb.Abort()
	sb.Announce([]netip.Prefix{prefix("10.1.0.0/26")}, path4("127.0.15.8"))
	a.sequence("mesh/c", "up", "graceful", "up", "update")
	a.sequence("mesh/b", "up", "graceful")
}

// TestResetThatFails: what a neighbor announced before we reset its session is
// kept until its restart time ends, also if GoBGP does not take it back.
func TestResetThatFails(t *testing.T) {
	a := newStation(t, "a", "127.0.16.1", bgp.Options{})
	n, c := neighborOf(a, "127.0.16.9")
	n.Node = "b"
	a.conf.Neighbors = []bgp.Neighbor{n}
	a.apply()
	moved := n
	moved.Addr = addr("127.0.16.10")
	fail := func() func() error {
		t.Helper()
		leave, err := a.Squat(moved)
		if err != nil {
			t.Fatal(err)
		}
		bad := a.conf
		bad.Neighbors = []bgp.Neighbor{moved}
		for range 2 { // it is tried again
			if res, err := a.Apply(context.Background(), bad); err == nil || res.Failed[n.Name] == nil {
				t.Fatalf("a neighbor with the address of another was taken: %+v %v", res, err)
			}
		}
		// The other one, which has its address here, may have gone on to Active meanwhile.
		if st := a.status(n.Name); !st.Restarting || st.State != bgp.Idle && st.State != bgp.Active || st.LastError == "" {
			t.Errorf("while it cannot be added: %+v", st)
		}
		return leave
	}
	s := dial(t, c)
	a.sequence(n.Name, "up")
	leave := fail()
	<-s.Done()
	if err := leave(); err != nil {
		t.Fatal(err)
	}
	a.conf.Neighbors = []bgp.Neighbor{moved}
	a.apply()
	c.Local = moved.Addr
	c.RestartTime = 6 * time.Second // this time it ends, but not before it was looked at
	s = dial(t, c)
	defer s.Abort()
	s.EndOfRIB(false)
	s.EndOfRIB(true)
	want := []string{"up", "graceful", "up", "eor", "eor"}
	a.sequence(n.Name, want...)
	moved.Addr = addr("127.0.16.11")
	leave = fail()
	defer leave()
	want = append(want, "graceful", "expired")
	a.sequence(n.Name, want...)
	a.conf.Neighbors = nil
	a.apply()
	a.sequence(n.Name, append(want, "removed")...)
}
