package bgp

import (
	"fmt"
	"net/netip"
	"slices"

	"caracal.dev/caracal"
	"caracal.dev/caracal/filter"
)

// ServiceKind is the kind of an address of a Service.
type ServiceKind uint8

// The kinds of [ServiceRoute]. The ranges of each are a list of their own.
const (
	ClusterIP ServiceKind = iota
	ExternalIP
	LoadBalancerIP
)

// String returns the kind as Kubernetes writes it in the singular.
func (k ServiceKind) String() string {
	return [...]string{"ClusterIP", "ExternalIP", "LoadBalancerIP"}[k]
}

// noRange is why an address of each kind is not announced that no range has.
var noRange = [...]string{
	"it is in none of the ranges of serviceClusterIPs",
	"it is in none of the ranges of serviceExternalIPs",
	"it is in none of the ranges of serviceLoadBalancerIPs",
}

// ServiceRoute says of an address of a Service how this node announces it, or
// why it does not; or the same of a range.
type ServiceRoute struct {
	// Service is the Service's key; empty for a range.
	Service string
	Kind    ServiceKind
	// Addr is the address; invalid for a range.
	Addr netip.Addr
	// Local says that only nodes with a ready endpoint serve the address.
	Local bool
	// Range is the most specific range that the address is in, or the range
	// itself; invalid if there is none.
	Range netip.Prefix
	// Announced is the prefix that leads here: the range, or the address by
	// itself. It is invalid if nothing does, and Why says why, in words.
	Announced netip.Prefix
	Why       string
}

// Services says what becomes of each range and of each address of Services on
// the node s.Self, given what [Plan] is given: first the ranges, then the
// addresses in the order of the Services.
func Services(s *caracal.Snapshot, facts Facts) []ServiceRoute {
	p := newServing(s, facts)
	var all []ServiceRoute
	for _, k := range serviceKinds {
		for _, r := range p.ranges[k] {
			all = append(all, p.ofRange(k, r))
		}
	}
	for key, svc := range s.Services.All() {
		p.each(svc, func(r ServiceRoute) {
			r.Service = key
			all = append(all, r)
		})
	}
	return all
}

var serviceKinds = [...]ServiceKind{ClusterIP, ExternalIP, LoadBalancerIP}

// serving is what decides about addresses of Services on one node.
type serving struct {
	s      *caracal.Snapshot
	ranges [len(serviceKinds)][]netip.Prefix
	has    [2]bool // an address of the family, IPv4 and IPv6
	none   string  // why nothing at all is announced; empty if something is
}

func newServing(s *caracal.Snapshot, facts Facts) serving {
	of := s.BGP.Services
	p := serving{s: s, ranges: [...][]netip.Prefix{of.ClusterIPs, of.ExternalIPs, of.LoadBalancerIPs}}
	self, _ := s.SelfNode()
	p.has = [2]bool{self.IPv4.IsValid(), self.IPv6.IsValid()}
	_, excluded := self.Labels[caracal.ExcludeFromLoadBalancers]
	switch {
	case excluded:
		p.none = fmt.Sprintf("node %s has the label %s", s.Self, caracal.ExcludeFromLoadBalancers)
	case facts.Drain == DrainOut:
		p.none = fmt.Sprintf("node %s is drained", s.Self)
	case facts.Unruled:
		p.none = "the rules of NetworkPolicies are not in the kernel yet"
	}
	return p
}

// any reports whether there is any range.
func (p *serving) any() bool {
	return len(p.ranges[ClusterIP])+len(p.ranges[ExternalIP])+len(p.ranges[LoadBalancerIP]) > 0
}

// each calls fn for every address of a Service.
func (p *serving) each(svc caracal.Service, fn func(ServiceRoute)) {
	for _, a := range svc.ClusterIPs {
		fn(p.decide(ClusterIP, a, svc.InternalLocal, svc.ReadyHere(a)))
	}
	for _, a := range svc.ExternalIPs {
		fn(p.decide(ExternalIP, a, svc.ExternalLocal, svc.ReadyHere(a)))
	}
	for _, a := range svc.LoadBalancerIPs {
		fn(p.decide(LoadBalancerIP, a, svc.ExternalLocal, svc.ReadyHere(a)))
	}
}

// decide says what becomes of one address.
func (p *serving) decide(kind ServiceKind, a netip.Addr, local, ready bool) ServiceRoute {
	r := ServiceRoute{Kind: kind, Addr: a, Local: local, Range: p.within(kind, a)}
	switch why := p.refuses(a); {
	case !r.Range.IsValid():
		r.Why = noRange[kind]
	case why != "":
		r.Why = why
	case local && !ready:
		r.Why = "its policy is Local, and no endpoint on this node is ready"
	case local:
		r.Announced = caracal.HostPrefix(a)
	default:
		r.Announced = r.Range
	}
	return r
}

// ofRange says what becomes of a range. A range of one address is nothing that
// many Services share, so it is announced as the Service says that has it.
func (p *serving) ofRange(k ServiceKind, r netip.Prefix) ServiceRoute {
	route := ServiceRoute{Kind: k, Range: r}
	switch why := p.refuses(r.Addr()); {
	case why != "":
		route.Why = why
	case r.IsSingleIP():
		route.Why = "a range of one address is announced as the Service that has it says"
	default:
		route.Announced = r
	}
	return route
}

// refuses says why an address cannot be announced whatever its Service is; empty
// if it can.
func (p *serving) refuses(a netip.Addr) string {
	switch {
	case p.none != "":
		return p.none
	case a.Is4() && !p.has[0], a.Is6() && !p.has[1]:
		return fmt.Sprintf("node %s has no address of that family to be its next hop", p.s.Self)
	}
	return ""
}

// within returns the most specific range of a kind with an address in it.
func (p *serving) within(k ServiceKind, a netip.Addr) netip.Prefix {
	var best netip.Prefix
	for _, r := range p.ranges[k] {
		if r.Contains(a) && (!best.IsValid() || r.Bits() > best.Bits()) {
			best = r
		}
	}
	return best
}

// services calls want for what is announced of Services. As for anycast, no route
// of ours need be there first: a proxy serves the addresses on every node. What
// keeps workloads apart must be, for traffic comes with the announcement.
func (p *planner) services(want func(netip.Prefix)) {
	from := newServing(p.s, p.facts)
	if !from.any() || from.none != "" {
		return
	}
	single := false // a range of one address: any Service may be announced by it
	for _, k := range serviceKinds {
		for _, r := range from.ranges[k] {
			single = single || r.IsSingleIP()
			if route := from.ofRange(k, r); route.Announced.IsValid() {
				want(route.Announced)
			}
		}
	}
	alone := func(r ServiceRoute) {
		if r.Announced.IsValid() && r.Announced.IsSingleIP() {
			want(r.Announced)
		}
	}
	for _, svc := range p.s.Services.All() {
		// Of ten thousand few have an endpoint here.
		if single || (svc.ReadyHere4 || svc.ReadyHere6) && (svc.InternalLocal || svc.ExternalLocal) {
			from.each(svc, alone)
		}
	}
}

// serviceRanges are the ranges of Services of all kinds that hold all others.
func (p *planner) serviceRanges() []netip.Prefix {
	of := p.s.BGP.Services
	all := slices.Concat(of.ClusterIPs, of.ExternalIPs, of.LoadBalancerIPs)
	slices.SortFunc(all, netip.Prefix.Compare)
	var outer []netip.Prefix
	for _, r := range all { // a range comes before those within it
		if n := len(outer); n == 0 || !caracal.Covers(outer[n-1], r) {
			outer = append(outer, r)
		}
	}
	return outer
}

// serviceRoutes is how many prefixes of Services any node may announce at most.
func (p *planner) serviceRoutes() int {
	r := p.s.BGP.Services
	return len(r.ClusterIPs) + len(r.ExternalIPs) + len(r.LoadBalancerIPs) + p.localAddresses()
}

// localAddresses counts the addresses with the policy Local of the kinds that have
// ranges.
func (p *planner) localAddresses() int {
	if p.locals >= 0 {
		return p.locals
	}
	p.locals = 0
	of := p.s.BGP.Services
	if len(of.ClusterIPs)+len(of.ExternalIPs)+len(of.LoadBalancerIPs) == 0 {
		return 0
	}
	for _, svc := range p.s.Services.All() {
		if svc.InternalLocal && len(of.ClusterIPs) > 0 {
			p.locals += len(svc.ClusterIPs)
		}
		if svc.ExternalLocal && len(of.ExternalIPs) > 0 {
			p.locals += len(svc.ExternalIPs)
		}
		if svc.ExternalLocal && len(of.LoadBalancerIPs) > 0 {
			p.locals += len(svc.LoadBalancerIPs)
		}
	}
	return p.locals
}

// getsServices reports whether a neighbor is announced what is said of Services:
// whoever brings traffic from outside, or speaks to those who do. Nodes serve the
// addresses themselves.
func (n Neighbor) getsServices() bool { return n.Node == "" || n.Reflector }

// detours warns where this node would pass on single addresses of Services with
// itself as the next hop: it would get traffic for endpoints that it does not have,
// and its proxy drops that.
func (p *planner) detours(cfg Config) {
	if !cfg.ClusterID.IsValid() {
		return
	}
	e := exporter{cfg: cfg}
	named := func(r filter.Rule) bool { return r.Accept && r.Source == caracal.SourceRemotePeers }
	for _, n := range cfg.Neighbors {
		if !n.External || n.NextHop == caracal.NextHopKeep || n.Filters == "" {
			continue
		}
		rules := e.chain(n.Filters)
		if slices.ContainsFunc(slices.Concat(rules.Exports(false), rules.Exports(true)), named) && p.localAddresses() > 0 {
			p.warn("BGPPeer", n.Peer, "%s is passed on addresses of Services with the policy Local with this node, a reflector, as the next hop, where their traffic is dropped; set nextHopMode: Keep in its BGPPeer, or have it peer with the nodes", n.Name)
		}
	}
}
