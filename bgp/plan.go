package bgp

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"caracal.dev/caracal"
)

// connectRetry is short since a node that restarts has only its neighbors'
// restart time to come back; a refused SYN costs nothing. GoBGP makes 1.5 to 2 s
// of anything below 2 s.
const connectRetry = time.Second

// Plan derives the speaker's configuration for the node s.Self. A prefix is
// originated only when ready reports true for it, which is to be when its route
// is in the kernel; a nil ready stands for all. Without a Node of that name the
// Config is the zero value, which [Speaker.Apply] refuses.
//
// Facts are what the world says at this moment; Plan itself asks nobody. What
// was planned last counts among them, for a session that others replace stays
// until they have (see [Config.Lingers]), one whose neighbor is out of sight stays as
// it is, and a prefix stays while those that replace it get around (see
// [Config.Outgoing]).
//
// The problems are sessions and prefixes that were left out, or that are kept
// against the configuration, each with what to do about it; their Since is not
// set.
func Plan(s *caracal.Snapshot, ready func(netip.Prefix) bool, facts Facts) (Config, []caracal.Problem) {
	self, ok := s.SelfNode()
	if !ok {
		return Config{}, []caracal.Problem{{Kind: "Node", Name: s.Self, Message: fmt.Sprintf(
			"node %s is not configured, so it has no BGP sessions; add a NodeConfig for it", s.Self)}}
	}
	p := &planner{
		s: s, self: self, ready: ready, facts: facts, byAddr: map[netip.Addr]Neighbor{},
		lingers: map[string]time.Time{}, locals: -1, hosts: map[netip.Addr]bool{},
	}
	p.peers()
	p.mesh()
	p.linger()
	cfg := Config{
		Global: Global{
			ASN:         self.ASN,
			RouterID:    self.RouterID,
			Port:        self.Port,
			ListenAddrs: p.listen(),
		},
		Neighbors: slices.SortedFunc(maps.Values(p.byAddr), func(a, b Neighbor) int { return strings.Compare(a.Name, b.Name) }),
		Originate: p.originate(),
		Services:  p.serviceRanges(),
		NextHop4:  self.IPv4.Addr(),
		NextHop6:  self.IPv6.Addr(),
		ClusterID: self.ClusterID,
		Drain:     facts.Drain,
		Found:     p.found,
	}
	cfg.Outgoing, cfg.Wake = p.outgoes, p.wake
	if p.reflects.After(facts.Now) {
		cfg.ClusterID, cfg.Reflects = facts.Last.ClusterID, p.reflects
	}
	if len(p.lingers) > 0 {
		cfg.Lingers = p.lingers
	}
	cfg.Filters = p.filters(cfg.Neighbors)
	p.detours(cfg)
	cfg.Communities = p.communities(cfg.Originate)
	slices.SortFunc(p.problems, func(a, b caracal.Problem) int { return strings.Compare(a.Message, b.Message) })
	return cfg, p.problems
}

type planner struct {
	s      *caracal.Snapshot
	self   caracal.Node
	ready  func(netip.Prefix) bool
	facts  Facts
	byAddr map[netip.Addr]Neighbor
	owns   map[string]int // see owned
	// locals is what localAddresses has counted, -1 before it has; shared are the
	// prefixes that other nodes announce as well.
	locals int
	shared map[netip.Prefix]bool
	// hosts are the addresses of our workloads, outgoes see outgoing.
	hosts   map[netip.Addr]bool
	outgoes map[netip.Prefix]time.Time

	found    map[string]netip.Addr
	problems []caracal.Problem

	lingers  map[string]time.Time
	reflects time.Time
	wake     time.Time
}

func (p *planner) warn(kind, name, format string, args ...any) {
	p.problems = append(p.problems, caracal.Problem{Kind: kind, Name: name, Message: fmt.Sprintf(format, args...)})
}

// listen returns the addresses to accept sessions on, as [Global] wants them.
func (p *planner) listen() string {
	addrs := slices.Clone(p.s.BGP.ListenAddrs)
	if len(addrs) == 0 {
		for _, a := range []netip.Addr{p.self.IPv4.Addr(), p.self.IPv6.Addr()} {
			if a.IsValid() {
				addrs = append(addrs, a)
			}
		}
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	text := make([]string, 0, len(addrs))
	for _, a := range slices.Compact(addrs) {
		text = append(text, a.String())
	}
	return strings.Join(text, ",")
}

// add takes a neighbor unless its address is taken: GoBGP, as most speakers,
// tells neighbors apart by address. Two BGPPeers that say the same of one
// session, as those of its two ends may, are one.
func (p *planner) add(kind, name string, n Neighbor) {
	if n.Addr == p.self.IPv4.Addr() || n.Addr == p.self.IPv6.Addr() {
		p.warn(kind, name, "%s has this node's own address %s, so there is no session; correct one of the two", n.Name, n.Addr)
		return
	}
	other, taken := p.byAddr[n.Addr]
	if !taken {
		p.byAddr[n.Addr] = n
		return
	}
	same := n
	same.Peer = other.Peer
	if same != other {
		p.warn(kind, name, "%s and %s have the same address %s; only %s is used, remove one", n.label(), other.label(), n.Addr, other.label())
	}
}

// label names a neighbor with where it comes from, for two that contend.
func (n Neighbor) label() string {
	if n.Peer != "" && !strings.HasPrefix(n.Name, "peer/") {
		return fmt.Sprintf("%s of BGPPeer %s", n.Name, n.Peer)
	}
	return n.Name
}

// base is a neighbor with what all neighbors share.
func (p *planner) base(v6 bool) Neighbor {
	b := p.s.BGP
	return Neighbor{
		Local:           p.self.Addr(v6),
		IPv4:            p.self.IPv4.IsValid(),
		IPv6:            p.self.IPv6.IsValid(),
		HoldTime:        b.HoldTime,
		KeepaliveTime:   b.KeepaliveTime,
		GracefulRestart: b.GracefulRestart,
		RestartTime:     b.RestartTime,
		NextHop:         caracal.NextHopAuto,
	}
}

// common are the families that this node and another have both.
func (p *planner) common(node caracal.Node) (v4, v6 bool) {
	return p.self.IPv4.IsValid() && node.IPv4.IsValid(), p.self.IPv6.IsValid() && node.IPv6.IsValid()
}

// between is the session of two nodes as far as the nodes alone say: all that must
// stay the same when it comes from a BGPPeer instead of the mesh. It reports false if
// the nodes have no family in common.
//
// Of each pair the end dials whose address is the greater one as text, so that the
// two never race to connect: one would close the other's connection, and an end that
// keeps routes over a restart would drop them at the second (RFC 4724 section 4.2).
// Between our own nodes any order would do; this is Calico's, whose nodes wait for us
// by it in a cluster that is on the move.
func (p *planner) between(node caracal.Node) (Neighbor, bool) {
	v4, v6 := p.common(node)
	if !v4 && !v6 {
		return Neighbor{}, false
	}
	n := p.base(!v4)
	n.Name, n.Node = "mesh/"+node.Name, node.Name
	n.Addr, n.Port, n.ASN = node.Addr(!v4), node.Port, node.ASN
	n.Passive = n.Addr.String() > n.Local.String()
	n.Impatient = n.Passive
	n.IPv4, n.IPv6 = v4, v6
	n.ConnectRetry = connectRetry
	n.Multihop = node.ASN != p.self.ASN
	n.Password, n.BFD = p.s.BGP.MeshPassword, p.s.BGP.MeshBFD
	return n, true
}

// unreadable reports whether a session must stay down since its password cannot
// be read.
func unreadable(w caracal.Password) bool { return w.From != "" && w.Secret.IsZero() }

// filters are those that the neighbors name. One that does not exist is missing
// here too, and whoever asks for it takes that for a rejection.
func (p *planner) filters(neighbors []Neighbor) map[string]caracal.Filter {
	var found map[string]caracal.Filter
	for _, n := range neighbors {
		if n.Filters == "" {
			continue
		}
		for name := range strings.SplitSeq(n.Filters, ",") {
			if f, ok := p.s.Filters.Get(name); ok {
				if found == nil {
					found = map[string]caracal.Filter{}
				}
				found[name] = f
			}
		}
	}
	return found
}
