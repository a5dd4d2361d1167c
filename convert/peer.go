package convert

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"caracal.dev/caracal"
	v1 "caracal.dev/caracal/api/v1"
	"caracal.dev/caracal/selector"
)

// poolsFilter is the name of the BGPFilter that lets nodes pass on what other nodes
// announced, as Calico's nodes do towards other ASes.
const poolsFilter = "calico-passes-on"

// peers converts BGPPeers.
func (c *conversion) peers() {
	passes := false
	for _, d := range c.byKind["BGPPeer"] {
		f := c.spec(d)
		if o := c.peer(d, f); o != nil {
			passes = passes || slices.Contains(o.Spec.Filters, poolsFilter)
			c.add(o)
		}
		f.rest()
	}
	if passes {
		c.add(c.passesOn())
		if slices.ContainsFunc(c.out, hasServices) {
			c.note("addresses of Services with the policy Local are announced to routers by the nodes that have an endpoint, and to no other nodes: where only some nodes peer with a router, and Calico's mesh brought such addresses to them, let every node that may have endpoints peer with it (docs/SERVICES.md)")
		}
	}
	if len(c.wide) > 0 {
		c.note("BGPPeers %s take every route that their neighbors announce, up to 10000 of each family, as Calico takes all without a limit: narrow acceptRanges, acceptDefaultRoute and acceptPools to what you expect, and set maxPrefixes", strings.Join(c.wide, ", "))
	}
}

func hasServices(o v1.Object) bool {
	b, ok := o.(*v1.BGPConfiguration)
	return ok && len(b.Spec.ServiceClusterIPs)+len(b.Spec.ServiceExternalIPs)+len(b.Spec.ServiceLoadBalancerIPs) > 0
}

func (c *conversion) peer(d *document, f *fields) *v1.BGPPeer {
	o := &v1.BGPPeer{}
	o.Name = d.name
	s := &o.Spec
	var ok1, ok2 bool
	s.Node = f.str("node")
	s.NodeSelector, ok1 = f.selector("nodeSelector")
	s.PeerSelector, ok2 = f.selector("peerSelector")
	s.PeerIP, s.ReachableBy = f.str("peerIP"), f.str("reachableBy")
	s.LocalASNumber = f.asn("localASNumber")
	if n := f.asn("asNumber"); n != nil && *n != 0 && s.PeerSelector == "" {
		s.ASNumber = v1.PeerAS(fmt.Sprint(*n))
	}
	s.Filters = c.filterNames(f)
	s.Password = f.password("password")
	s.NextHopMode = nextHop(f)
	if m := f.str("reversePeering"); s.PeerSelector != "" {
		s.ReversePeering = m
	}
	if f.has("localWorkloadSelector") {
		f.lose("localWorkloadSelector", "workloads are no neighbors here; the object is left out", "let the workload's node announce its prefix (NodeConfig.anycastPrefixes), or the workload peer with a router")
		return nil
	}
	c.peerNumbers(f, s)
	c.peerTimes(f, s)
	if !ok1 || !ok2 {
		return nil
	}
	if s.PeerIP != "" {
		c.trust(o)
	}
	return o
}

func nextHop(f *fields) string {
	mode := f.str("nextHopMode")
	if keep := f.yes("keepOriginalNextHop"); keep && mode == "" { // Calico ignores it beside the other
		return string(caracal.NextHopKeep)
	}
	return mode
}

func (c *conversion) filterNames(f *fields) []string {
	var names []string
	for i, name := range f.strs("filters") {
		if slices.Contains(names, name) {
			continue // asked a second time it says nothing new
		}
		names = append(names, name)
		if !slices.ContainsFunc(c.byKind["BGPFilter"], func(d *document) bool { return d.name == name }) {
			f.to.lose(f.key, fmt.Sprintf("spec.filters[%d]", i), name, "there is no such BGPFilter among the documents: as long as there is none, nothing is taken from the neighbor nor announced to it", "convert the BGPFilters as well, or take the name out")
		}
	}
	return names
}

func (c *conversion) peerNumbers(f *fields, s *v1.BGPPeerSpec) {
	if s.LocalASNumber != nil && s.PeerSelector != "" {
		if !c.allIn(*s.LocalASNumber) {
			f.lose("localASNumber", "nodes have the AS numbers of their NodeConfigs towards each other", "write asNumber in the NodeConfigs")
		}
		s.LocalASNumber = nil
	}
	if n := f.number("numAllowedLocalASNumbers"); n != nil && *n != 0 {
		allowed := int(*n)
		if *n > 10 {
			allowed = 10
			f.lose("numAllowedLocalASNumbers", "10 is the most that is taken, and written", "see whether AS paths are longer than that, and why")
		}
		s.NumAllowedLocalASNumbers = &allowed
	}
	if n := f.number("ttlSecurity"); n != nil && *n != 0 {
		hops := int(min(max(*n, -1), 256))
		s.TTLSecurity = &hops
	}
	if a := f.str("sourceAddress"); a != "" && a != v1.UseNodeIP {
		f.lose("sourceAddress", "the kernel is not left the choice of an address here: the session is from the node's own address", "if the neighbor expects another one, write that address as sourceAddress")
	}
}

func (c *conversion) peerTimes(f *fields, s *v1.BGPPeerSpec) {
	if d, ok := f.seconds("maxRestartTime"); ok {
		s.GracefulRestart = &v1.PeerGracefulRestart{RestartTime: d.String()}
	} else if c.meshRestart != "" {
		// That of the mesh is for all here, and in Calico for the mesh alone.
		s.GracefulRestart = &v1.PeerGracefulRestart{RestartTime: v1.DefaultRestartTime.String()}
	}
	d, ok := f.seconds("keepaliveTime")
	if !ok {
		return
	}
	const most = 80 // a third of Calico's hold time
	if d.Seconds() > most {
		f.lose("keepaliveTime", "is more than a third of the hold time, 240s; 80s is written", "write a longer holdTime as well, if the neighbor is to hear less of us")
		d = most * 1e9
	}
	s.HoldTime, s.KeepaliveTime = calicoHoldTime, d.String()
}

// trust writes out what Calico takes for granted of a neighbor that is no node: all
// that it announces is taken, it may be any number of hops away, and what other
// nodes announced is passed on to it if it is in another AS.
func (c *conversion) trust(o *v1.BGPPeer) {
	s := &o.Spec
	at := peerAddr(s.PeerIP)
	if c.isNode(at) {
		return
	}
	s.AcceptRanges = []string{"0.0.0.0/0", "::/0"}
	s.AcceptDefaultRoute = true
	c.wide = append(c.wide, o.Name)
	if !c.external(o) {
		return
	}
	s.AcceptPools = true
	if s.TTLSecurity == nil && !c.near(o, at) {
		s.EBGPMultihop = true
	}
	switch {
	case c.everywhere(o) || len(c.poolObjects) == 0:
	case c.exchange():
		s.Filters = append(s.Filters, poolsFilter)
	default:
		c.note("BGPPeer %s: a node announces its own prefixes to the neighbor; Calico's nodes announced those of other nodes as well, which they had from their other neighbors in other ASes: if anything relies on such a way through a node, see source: RemotePeers of BGPFilters", o.Name)
	}
}

// exchange reports whether nodes hear of each other by themselves, rather than from
// the network's routers alone.
func (c *conversion) exchange() bool {
	return !c.noMesh || slices.ContainsFunc(c.byKind["BGPPeer"], func(d *document) bool {
		f := c.fields(d.key(), "spec", d.tree["spec"])
		return f.has("peerSelector") || c.isNode(peerAddr(f.str("peerIP")))
	})
}

// isNode reports whether an address is a node's.
func (c *conversion) isNode(at netip.Addr) bool {
	for _, h := range c.hosts {
		for _, text := range slices.Concat(h.addrs, h.internal) {
			if a, _, _ := strings.Cut(text, "/"); at.IsValid() && a == at.String() {
				return true
			}
		}
	}
	return false
}

// peerAddr is the address of a peerIP; invalid if it is none.
func peerAddr(s string) netip.Addr {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr()
	}
	a, _ := netip.ParseAddr(strings.Trim(s, "[]"))
	return a
}

// selected are the nodes that have a peer.
func (c *conversion) selected(o *v1.BGPPeer) (yes, no []*host) {
	sel, err := selector.Parse(o.Spec.NodeSelector)
	for name, h := range c.hosts {
		labels := map[string]string{hostnameLabel: name}
		for k, v := range h.labels {
			labels[k] = v
		}
		if err == nil && (o.Spec.Node == "" || o.Spec.Node == name) && sel.Matches(labels) {
			yes = append(yes, h)
		} else {
			no = append(no, h)
		}
	}
	return yes, no
}

// external reports whether the neighbor is in another AS than one of the nodes that
// have it.
func (c *conversion) external(o *v1.BGPPeer) bool {
	n, _ := o.Spec.ASNumber.Number()
	if o.Spec.LocalASNumber != nil {
		return *o.Spec.LocalASNumber != n
	}
	yes, _ := c.selected(o)
	for _, h := range yes {
		if h.asn != nil && *h.asn != n || h.asn == nil && c.asn != n {
			return true
		}
	}
	return len(yes) == 0 && c.asn != n
}

// allIn reports whether every node is in one AS.
func (c *conversion) allIn(n uint32) bool {
	for _, h := range c.hosts {
		if h.asn != nil && *h.asn != n || h.asn == nil && c.asn != n {
			return false
		}
	}
	return c.asn == n
}

// near reports whether the neighbor is on a network of each node that has it.
func (c *conversion) near(o *v1.BGPPeer, at netip.Addr) bool {
	yes, _ := c.selected(o)
	for _, h := range yes {
		if !slices.ContainsFunc(h.addrs, func(text string) bool {
			p, err := netip.ParsePrefix(text)
			return err == nil && p.Masked().Contains(at)
		}) {
			return false
		}
	}
	return len(yes) > 0
}

// everywhere reports whether every node has the peer, so that the neighbor hears of
// each prefix from its owner.
func (c *conversion) everywhere(o *v1.BGPPeer) bool {
	if o.Spec.Node == "" && (o.Spec.NodeSelector == "" || o.Spec.NodeSelector == "all()") {
		return true
	}
	yes, no := c.selected(o)
	return len(yes) > 0 && len(no) == 0
}

func (c *conversion) passesOn() *v1.BGPFilter {
	o := &v1.BGPFilter{}
	o.Name = poolsFilter
	for _, p := range c.poolObjects {
		if p.Spec.DisableBGPExport {
			continue
		}
		r := v1.BGPFilterRule{
			Action: "Accept", CIDR: p.Spec.CIDR, MatchOperator: string(caracal.MatchIn),
			Source: string(caracal.SourceRemotePeers), PeerType: string(caracal.PeerExternal),
		}
		if strings.Contains(p.Spec.CIDR, ":") {
			o.Spec.ExportV6 = append(o.Spec.ExportV6, r)
		} else {
			o.Spec.ExportV4 = append(o.Spec.ExportV4, r)
		}
	}
	return o
}
