package bgp_test

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/bgp"
)

// move is a node's daemon as far as Plan is concerned: what it planned last, the
// clock, and what it knows of its sessions.
type move struct {
	t     *testing.T
	s     *caracal.Snapshot
	facts bgp.Facts
	said  []caracal.Problem
}

// newMove starts on node a of n nodes with a mesh that has been up for long.
func newMove(t *testing.T, n int) *move {
	t.Helper()
	s := caracal.NewSnapshot("a")
	s.Synced = true
	s.BGP = caracal.BGP{HoldTime: 90 * time.Second, KeepaliveTime: 30 * time.Second,
		GracefulRestart: true, RestartTime: 120 * time.Second, MeshEnabled: true}
	for i := range n {
		name := string(rune('a' + i))
		id := netip.AddrFrom4([4]byte{192, 0, 2, byte(1 + i)})
		s.Nodes = s.Nodes.Put(name, caracal.Node{Name: name, ASN: 64512, RouterID: id, Port: 179, MeshEnabled: true, IPv4: netip.PrefixFrom(id, 24)})
	}
	m := &move{t: t, s: s, facts: bgp.Facts{Now: time.Unix(1e9, 0), Sessions: map[string]bgp.SessionFact{}, Covered: map[string]time.Time{}}}
	m.plan()
	m.up()
	m.after(time.Hour)
	return m
}

func (m *move) plan() bgp.Config {
	c, problems := bgp.Plan(m.s, nil, m.facts)
	m.facts.Last, m.said = c, problems
	return c
}

// up establishes every session that is planned, with End-of-RIB now.
func (m *move) up() {
	for _, n := range m.facts.Last.Neighbors {
		if !m.facts.Sessions[n.Name].Established {
			m.facts.Sessions[n.Name] = bgp.SessionFact{Established: true, Since: m.facts.Now, EndOfRIB: m.facts.Now}
		}
	}
}

func (m *move) after(d time.Duration) { m.facts.Now = m.facts.Now.Add(d) }

// cover says that what lingers has come another way since now.
func (m *move) cover() {
	for name := range m.facts.Last.Lingers {
		m.facts.Covered[name] = m.facts.Now
	}
}

// want compares the names of the neighbors, with a star for a client and a hash
// for a reflector.
func (m *move) want(when string, names ...string) {
	m.t.Helper()
	var got []string
	for _, n := range m.plan().Neighbors {
		name := n.Name
		if n.Client {
			name += "*"
		}
		if n.Reflector {
			name += "#"
		}
		got = append(got, name)
	}
	if !slices.Equal(got, names) {
		m.t.Errorf("%s: %v, want %v; %v, problems %v", when, got, names, m.facts.Last.Lingers, m.said)
	}
}

// reflect makes nodes reflectors, to which all others are clients; with none
// it takes that back.
func (m *move) reflect(reflectors ...string) {
	m.s.Peers = caracal.NewTable[string, caracal.Peer]()
	for name, n := range m.s.Nodes.All() {
		n.ClusterID, n.Reflectors = netip.Addr{}, nil
		if slices.Contains(reflectors, name) {
			n.ClusterID = addr("10.255.0.1")
		}
		for _, r := range reflectors {
			if r != name {
				n.Reflectors = append(n.Reflectors, r)
			}
		}
		m.s.Nodes = m.s.Nodes.Put(name, n)
	}
	for name, n := range m.s.Nodes.All() {
		self, _ := m.s.SelfNode()
		if name != m.s.Self && (n.ClusterID.IsValid() || self.ClusterID.IsValid()) {
			p := caracal.Peer{Name: "rr", Node: name, Selected: true, Addr: n.IPv4.Addr(), Port: 179, ASN: 64512, GracefulRestart: true}
			m.s.Peers = m.s.Peers.Put(p.Key(), p)
		}
	}
}

// TestMoveToReflectors goes through a client's move there and back.
func TestMoveToReflectors(t *testing.T) {
	m := newMove(t, 4)
	m.want("mesh", "mesh/b", "mesh/c", "mesh/d")
	before := m.facts.Last
	m.reflect("c", "d")
	m.want("configured", "mesh/b", "mesh/c#", "mesh/d#")
	if r := bgp.Resets(before, m.facts.Last); len(r) != 0 {
		t.Errorf("the new roles reset %v", r)
	}
	if wake := m.facts.Last.Wake; !wake.After(m.facts.Now) || wake.After(m.facts.Now.Add(5*time.Second)) {
		t.Errorf("the next look is at %v, now is %v", wake, m.facts.Now)
	}
	if len(m.said) != 1 || !strings.Contains(m.said[0].Message, "mesh/b stay although") {
		t.Errorf("problems: %v", m.said)
	}
	m.after(time.Hour)
	m.want("nothing by the reflectors", "mesh/b", "mesh/c#", "mesh/d#")
	m.cover()
	m.after(9 * time.Second)
	m.want("covered for 9 s", "mesh/b", "mesh/c#", "mesh/d#")
	m.after(2 * time.Second)
	down := m.facts.Sessions["mesh/d"]
	m.facts.Sessions["mesh/d"] = bgp.SessionFact{Since: m.facts.Now}
	m.want("a reflector is down", "mesh/b", "mesh/c#", "mesh/d#")
	m.facts.Sessions["mesh/d"] = bgp.SessionFact{Established: true, Since: m.facts.Now, EndOfRIB: m.facts.Now}
	m.after(9 * time.Second)
	m.want("it is back for 9 s", "mesh/b", "mesh/c#", "mesh/d#")
	m.facts.Sessions["mesh/d"] = down
	silent := m.facts.Sessions["mesh/b"]
	silent.Silent = true
	m.facts.Sessions["mesh/b"] = silent
	m.want("b announces nothing, so nothing shows that it has a reflector", "mesh/b", "mesh/c#", "mesh/d#")
	silent.Silent = false
	m.facts.Sessions["mesh/b"] = silent
	m.want("all well", "mesh/c#", "mesh/d#")
	if !m.facts.Last.Wake.IsZero() || m.facts.Last.Lingers != nil || len(m.said) != 0 {
		t.Errorf("left over: %v %v %v", m.facts.Last.Wake, m.facts.Last.Lingers, m.said)
	}
	delete(m.facts.Sessions, "mesh/b")

	m.reflect()
	m.want("back", "mesh/b", "mesh/c#", "mesh/d#") // they may reflect on
	if r := bgp.Resets(before, m.facts.Last); len(r) != 0 {
		t.Errorf("the old roles reset %v", r)
	}
	m.up()
	m.after(time.Hour)
	m.want("for good", "mesh/b", "mesh/c", "mesh/d")
}

// TestReflectorServesOn is the same as a reflector sees it.
func TestReflectorServesOn(t *testing.T) {
	m := newMove(t, 4)
	m.reflect("a", "b")
	m.want("reflector", "mesh/b#", "mesh/c*", "mesh/d*")
	if !m.facts.Last.ClusterID.IsValid() {
		t.Error("no cluster ID")
	}
	m.after(time.Hour)
	m.reflect()
	for _, tc := range []struct {
		after time.Duration
		on    bool
	}{{0, true}, {59 * time.Second, true}, {2 * time.Second, false}} {
		m.after(tc.after)
		c := m.plan()
		if clients := m.clients(); c.ClusterID.IsValid() != tc.on || clients != tc.on || tc.on != c.Wake.After(m.facts.Now) && tc.on {
			t.Errorf("%s on: cluster %s, clients %v, wake %v", tc.after, c.ClusterID, clients, c.Wake)
		}
	}
}

func (m *move) clients() bool {
	return slices.ContainsFunc(m.facts.Last.Neighbors, func(n bgp.Neighbor) bool { return n.Client })
}

// TestLingers has the moves that are not simply from one to the other.
func TestLingers(t *testing.T) {
	gateway := caracal.Peer{Name: "gw", Addr: addr("192.0.2.254"), Port: 179, ASN: 64512}
	for _, tc := range []struct {
		name string
		do   func(m *move)
	}{
		{"reflectors without clients stay in the mesh while it runs", func(m *move) {
			edit(m.s, "b", func(n *caracal.Node) { n.ClusterID = addr("10.255.0.1") })
			m.want("at once", "mesh/b", "mesh/c")
			m.after(time.Hour)
			m.cover()
			m.after(time.Hour)
			m.want("an hour later", "mesh/b", "mesh/c")
			if len(m.said) != 2 || !m.facts.Last.Wake.IsZero() {
				m.t.Errorf("said %v, wake %v", m.said, m.facts.Last.Wake)
			}
			m.facts.Last = bgp.Config{}
			m.want("after a restart", "mesh/c")
		}},
		{"a mesh that an operator ends, with a foreign reflector", func(m *move) {
			m.s.BGP.MeshEnabled = false
			peer(m.s, gateway)
			m.want("not up yet", "mesh/b", "mesh/c", "peer/gw@192.0.2.254#")
			m.up()
			m.cover()
			m.after(11 * time.Second)
			m.want("up and covered", "peer/gw@192.0.2.254#")
		}},
		{"the foreign reflector does not come", func(m *move) {
			m.s.BGP.MeshEnabled = false
			peer(m.s, gateway)
			m.want("not up yet", "mesh/b", "mesh/c", "peer/gw@192.0.2.254#")
			m.after(121 * time.Second)
			m.want("after the restart time", "peer/gw@192.0.2.254#")
		}},
		{"a mesh that ends without anything instead", func(m *move) {
			m.s.BGP.MeshEnabled = false
			m.want("at once")
		}},
		{"from a foreign reflector to the mesh", func(m *move) {
			m.s.BGP.MeshEnabled = false
			peer(m.s, gateway)
			m.facts.Last = bgp.Config{}
			m.want("gateway", "peer/gw@192.0.2.254#")
			m.up()
			m.facts.Sessions = map[string]bgp.SessionFact{"peer/gw@192.0.2.254": m.facts.Sessions["peer/gw@192.0.2.254"]}
			m.s.BGP.MeshEnabled, m.s.Peers = true, caracal.NewTable[string, caracal.Peer]()
			m.want("not up yet", "mesh/b", "mesh/c", "peer/gw@192.0.2.254#")
			m.after(5 * time.Second)
			m.up()
			m.after(9 * time.Second)
			m.want("up for 9 s", "mesh/b", "mesh/c", "peer/gw@192.0.2.254#")
			m.after(2 * time.Second)
			m.want("up for 11 s", "mesh/b", "mesh/c")
		}},
		{"a neighbor that was only removed", func(m *move) {
			peer(m.s, gateway)
			m.want("gateway beside the mesh", "mesh/b", "mesh/c", "peer/gw@192.0.2.254#")
			m.up()
			m.s.Peers = caracal.NewTable[string, caracal.Peer]()
			m.want("at once", "mesh/b", "mesh/c")
		}},
		{"a node that is gone", func(m *move) {
			m.s.Nodes = m.s.Nodes.Delete("b")
			m.want("at once", "mesh/c")
		}},
		{"a password that cannot be read", func(m *move) {
			m.s.BGP.MeshPassword = caracal.Password{From: "local/secrets/mesh/password", Err: "no such file"}
			m.want("neighbors, for the speaker to refuse", "mesh/b", "mesh/c")
			if len(m.said) != 1 || !strings.Contains(m.said[0].Message, "local/secrets/mesh/password cannot be read: no such file") {
				m.t.Errorf("said %v", m.said)
			}
			m.s.Problems = []caracal.Problem{{Kind: "BGPConfiguration", Message: "spec.nodeMeshPassword: local/secrets/mesh/password: no such file"}}
			if m.plan(); len(m.said) != 0 {
				m.t.Errorf("said again what the store says: %v", m.said)
			}
		}},
		{"a gateway out of sight", func(m *move) {
			m.s.BGP.MeshEnabled = false
			m.facts.Gateway4 = addr("192.0.2.254")
			m.facts.Last = bgp.Config{}
			peer(m.s, caracal.Peer{Name: "tor", DefaultGateway: true, Port: 179, ASN: 65000})
			m.want("gateway", "peer/tor@192.0.2.254")
			m.facts.Gateway4 = netip.Addr{}
			m.want("out of sight", "peer/tor@192.0.2.254")
			m.facts.Gateway4 = addr("192.0.2.253")
			m.want("another", "peer/tor@192.0.2.253")
			peer(m.s, caracal.Peer{Name: "tor", Addr: addr("192.0.2.77"), Port: 179, ASN: 65000})
			m.want("no gateway", "peer/tor@192.0.2.77")
			m.facts.Gateway4 = netip.Addr{}
			peer(m.s, caracal.Peer{Name: "tor", DefaultGateway: true, Port: 179, ASN: 65000})
			m.want("a gateway that there is not")
			m.said = nil
			m.facts.Gateway4, m.facts.Last = netip.Addr{}, bgp.Config{}
			m.want("none at the start")
			if len(m.said) != 1 || !strings.Contains(m.said[0].Message, "no IPv4 default route") {
				m.t.Errorf("said %v", m.said)
			}
		}},
		{"a router out of sight", func(m *move) {
			m.s.BGP.MeshEnabled = false
			m.facts.Routers = map[string]netip.Addr{"eth1": addr("fe80::1%eth1")}
			m.facts.Last = bgp.Config{}
			peer(m.s, caracal.Peer{Name: "tor", Interface: "eth1", Port: 179})
			m.want("router", "peer/tor@eth1")
			if n := m.facts.Last.Neighbors[0]; n.Addr != addr("fe80::1%eth1") || n.Interface != "eth1" || !n.ExtendedNextHop || !n.External || n.ASN != 0 || n.Local.IsValid() {
				m.t.Errorf("%+v", n)
			}
			m.facts.Routers = nil
			m.want("out of sight", "peer/tor@eth1")
			m.facts.Last = bgp.Config{}
			m.want("none at the start")
		}},
	} {
		t.Run(tc.name, func(t *testing.T) { tc.do(newMove(t, 3)) })
	}
}

// TestRoles holds what two ends are to each other.
func TestRoles(t *testing.T) {
	s := newMove(t, 4).s
	edit(s, "a", func(n *caracal.Node) { n.ClusterID = addr("10.255.0.1"); n.Reflectors = []string{"b"} })
	edit(s, "b", func(n *caracal.Node) { n.ClusterID = addr("10.255.0.2"); n.Reflectors = []string{"a"} })
	edit(s, "c", func(n *caracal.Node) { n.Reflectors = []string{"a"} })
	edit(s, "d", func(n *caracal.Node) { n.ASN = 64999 })
	node := func(name, at string, asn uint32) {
		p := caracal.Peer{Name: "p", Node: name, Selected: true, Addr: addr(at), Port: 179, ASN: asn}
		s.Peers = s.Peers.Put(p.Key(), p)
	}
	node("b", "192.0.2.2", 64512)
	node("c", "192.0.2.3", 64512)
	node("d", "192.0.2.4", 64999)
	peer(s, caracal.Peer{Name: "bird", Addr: addr("192.0.2.100"), Port: 179, ASN: 64512})
	peer(s, caracal.Peer{Name: "tor", Addr: addr("192.0.2.101"), Port: 179, ASN: 65000})
	peer(s, caracal.Peer{Name: "any", Addr: addr("192.0.2.102"), Port: 179})
	peer(s, caracal.Peer{Name: "local", Addr: addr("192.0.2.103"), Port: 179, ASN: 65000, LocalASN: 65000})
	c, problems := bgp.Plan(s, nil, bgp.Facts{})
	got := map[string]string{}
	for _, n := range c.Neighbors {
		got[n.Name] = fmt.Sprintf("client=%v reflector=%v external=%v", n.Client, n.Reflector, n.External)
	}
	want := map[string]string{
		"mesh/b":                 "client=false reflector=true external=false",
		"mesh/c":                 "client=true reflector=false external=false",
		"mesh/d":                 "client=false reflector=false external=false",
		"peer/bird@192.0.2.100":  "client=true reflector=false external=false",
		"peer/tor@192.0.2.101":   "client=false reflector=false external=true",
		"peer/any@192.0.2.102":   "client=false reflector=false external=true",
		"peer/local@192.0.2.103": "client=false reflector=false external=true",
	}
	if !maps.Equal(got, want) || len(problems) != 0 {
		t.Errorf("got %v\nwant %v\n%v", got, want, problems)
	}
}
