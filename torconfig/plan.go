package torconfig

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"caracal.dev/caracal"
)

// Query says which switch is asked for.
type Query struct {
	// Peer is the name of the BGPPeer; empty if the nodes have only one, or only
	// such as ask the same of a switch.
	Peer string
	// ASN is the AS number of the switch where the configuration does not say it
	// ("asNumber: external"); 0 otherwise.
	ASN uint32
}

// Plan returns the configuration of the switch that the nodes of views peer
// with. Each view is the Snapshot of one node, its Peers those of that node.
// The error says in words why there is no one such switch, and what to ask for.
func Plan(views []*caracal.Snapshot, q Query) (Config, error) {
	byPeer := map[string][]session{}
	for _, v := range views {
		for _, s := range sessions(v) {
			if q.Peer == "" || q.Peer == s.peer.Name {
				byPeer[s.peer.Name] = append(byPeer[s.peer.Name], s)
			}
		}
	}
	c, err := plan(byPeer, q)
	if err != nil {
		return Config{}, fmt.Errorf("torconfig: plan: %w", err)
	}
	if len(views) > 0 {
		c.Generation, c.Digest = views[0].Generation, views[0].Digest
	}
	return c, nil
}

func plan(byPeer map[string][]session, q Query) (Config, error) {
	names := slices.Sorted(maps.Keys(byPeer))
	if len(names) == 0 {
		if q.Peer != "" {
			return Config{}, fmt.Errorf("none of these nodes has a session by a BGPPeer %q with a switch", q.Peer)
		}
		return Config{}, errors.New("none of these nodes has a BGPPeer that is a switch")
	}
	first, err := one(byPeer[names[0]], q)
	if err != nil {
		return Config{}, err
	}
	first.Peers = names
	for _, name := range names[1:] {
		other, err := one(byPeer[name], q)
		if err != nil {
			return Config{}, err
		}
		if !first.same(other) {
			return Config{}, fmt.Errorf("these nodes peer with different switches; say which with --peer: %s", strings.Join(names, ", "))
		}
		if other.Addr != first.Addr {
			first.Addr = netip.Addr{}
		}
	}
	return first, nil
}

// same reports whether two switches are configured alike, but for their address
// and the names of things.
func (c Config) same(other Config) bool {
	return c.ASN == other.ASN && slices.EqualFunc(c.Groups, other.Groups, func(a, b Group) bool {
		return a.Settings == b.Settings && slices.Equal(a.Out, b.Out) && reflect.DeepEqual(a.Neighbors, b.Neighbors)
	})
}

// session is one node's end of a session with a switch.
type session struct {
	view *caracal.Snapshot
	node caracal.Node
	peer caracal.Peer
}

// sessions lists those that a node has with what is not a node of ours.
func sessions(v *caracal.Snapshot) []session {
	self, ok := v.SelfNode()
	if !ok {
		return nil
	}
	ours := map[netip.Addr]bool{}
	for _, n := range v.Nodes.All() {
		ours[n.IPv4.Addr()], ours[n.IPv6.Addr()] = true, true
	}
	var out []session
	for _, p := range v.Peers.All() {
		if p.Node == "" && (!p.Addr.IsValid() || !ours[p.Addr.Unmap()]) {
			out = append(out, session{v, self, p})
		}
	}
	return out
}

// one returns the configuration of the switch that the sessions of one BGPPeer
// are with.
func one(list []session, q Query) (Config, error) {
	p := list[0].peer
	c := Config{Peers: []string{p.Name}, Addr: p.Addr.Unmap(), ASN: cmp.Or(p.ASN, q.ASN)}
	switch {
	case c.ASN == 0:
		return c, fmt.Errorf("the configuration does not say which AS number the switch of BGPPeer %s has; say it with --as", p.Name)
	case q.ASN != 0 && q.ASN != c.ASN:
		return c, fmt.Errorf("the switch of BGPPeer %s has AS number %d, not %d", p.Name, c.ASN, q.ASN)
	}
	notes := map[string]bool{}
	for _, s := range list {
		if asn := cmp.Or(s.peer.ASN, q.ASN); asn != c.ASN {
			return c, fmt.Errorf("by BGPPeer %s, node %s peers with AS %d and node %s with AS %d: those are different switches; ask for the nodes of one",
				p.Name, list[0].node.Name, c.ASN, s.node.Name, asn)
		}
		n, err := s.neighbor()
		if err != nil {
			return c, err
		}
		set := s.settings(c.ASN)
		c.add(set, s.out(set.Internal), n)
		for _, text := range s.notes() {
			notes[text] = true
		}
	}
	c.Notes = slices.Sorted(maps.Keys(notes))
	for i := range c.Groups {
		slices.SortFunc(c.Groups[i].Neighbors, func(a, b Neighbor) int { return strings.Compare(a.Node, b.Node) })
	}
	return c, nil
}

// add puts a neighbor into the group of its settings.
func (c *Config) add(s Settings, out []Permit, n Neighbor) {
	for i := range c.Groups {
		if g := &c.Groups[i]; g.Settings == s && slices.Equal(g.Out, out) {
			g.Neighbors = append(g.Neighbors, n)
			return
		}
	}
	name := "caracal-" + c.Peers[0]
	if len(c.Groups) > 0 {
		name = fmt.Sprintf("%s-%d", name, len(c.Groups)+1)
	}
	c.Groups = append(c.Groups, Group{Name: name, Settings: s, Out: out, Neighbors: []Neighbor{n}})
}

// settings turns the node's side of the session around. The switch sends BFD
// packets as often as the node wants to have them, and the other way round.
func (s session) settings(switchASN uint32) Settings {
	p, b := s.peer, s.view.BGP
	out := Settings{
		ASN: cmp.Or(p.LocalASN, s.node.ASN), Hold: cmp.Or(p.HoldTime, b.HoldTime), Keepalive: cmp.Or(p.KeepaliveTime, b.KeepaliveTime),
		GracefulRestart: p.GracefulRestart, RestartTime: cmp.Or(p.RestartTime, b.RestartTime), LongLived: p.LongLived,
		TTLSecurity: p.TTLSecurity, Multihop: p.Multihop, Secret: p.Password.From,
		IPv4: s.node.IPv4.IsValid(), IPv6: s.node.IPv6.IsValid(),
		ExtendedNextHop: p.ExtendedNextHop || p.Interface != "",
		AddPathTX:       p.AddPathReceive, AddPathRX: p.AddPathSend > 0,
	}
	out.Internal = out.ASN == switchASN
	a := p.Addr.Unmap()
	out.Direct = !p.Multihop && p.TTLSecurity < 2 && (p.Interface != "" || p.DefaultGateway || s.node.IPv4.Contains(a) || s.node.IPv6.Contains(a))
	if p.BFD.Enabled {
		out.Transmit, out.Receive, out.Multiplier = p.BFD.Receive, p.BFD.Transmit, p.BFD.Multiplier
	}
	return out
}

// neighbor is the node as the switch sees it.
func (s session) neighbor() (Neighbor, error) {
	n := Neighbor{Node: s.node.Name, Port: s.node.Port}
	if s.peer.Interface == "" {
		v6 := s.peer.Addr.Unmap().Is6()
		if s.peer.DefaultGateway {
			v6 = !s.node.IPv4.IsValid()
		}
		n.Addr = s.peer.SourceAddr.Unmap()
		if !n.Addr.IsValid() {
			n.Addr = s.node.Addr(v6)
		}
		if !n.Addr.IsValid() {
			return n, fmt.Errorf("node %s has no address of the family of BGPPeer %s, so there is no session", s.node.Name, s.peer.Name)
		}
	}
	all := announces(s.view, s.node)
	n.In4, n.In6 = family(all, false), family(all, true)
	return n, nil
}

// notes are what a prefix list cannot say.
func (s session) notes() []string {
	var out []string
	if len(s.peer.Filters) > 0 {
		out = append(out, "The nodes also apply BGPFilter "+strings.Join(s.peer.Filters, ", ")+".")
	}
	if s.peer.DefaultGateway {
		out = append(out, "The nodes peer with the next hop of their default route: that is to be an address of this switch.")
	}
	if s.peer.Interface != "" {
		out = append(out, "Unnumbered sessions: replace each PORT-TO-node by the name of the port that the node is on, and have router advertisements sent there.")
	}
	return out
}
