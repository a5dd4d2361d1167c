package store

import (
	"net/netip"

	v1 "caracal.dev/caracal/api/v1"
)

// site is where a NodeConfig says that its node is, and what belongs to it. It is
// read from the texts once for each object: with 5,000 nodes each judgement asks for
// it some 50,000 times.
type site struct {
	v4, v6  netip.Prefix
	ranges  []netip.Prefix // podCIDRs and blocks, sorted
	anycast []netip.Prefix // sorted
}

func siteOf(n *v1.NodeConfig) *site {
	p := &site{ranges: n.Ranges(), anycast: n.Anycast()}
	p.v4, p.v6 = n.Addrs()
	return p
}

// site returns that of an object; an empty one for all but a NodeConfig. It must not
// be changed.
func (o *Object) site() *site {
	if o.placed != nil {
		return o.placed
	}
	if n, ok := o.Value.(*v1.NodeConfig); ok {
		return siteOf(n)
	}
	return &site{}
}
