package convert

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	v1 "caracal.dev/caracal/api/v1"
)

// mixedIPv6 lets nodes of both sorts exchange routes of IPv6. Between two of ours one
// session, over IPv4 where both have it, carries both families; Calico has a BIRD
// for each family, which speaks over addresses of that family alone.
func (c *conversion) mixedIPv6() {
	if !c.opts.Mixed {
		return
	}
	var config v1.BGPConfigurationSpec
	for _, o := range c.out {
		if b, ok := o.(*v1.BGPConfiguration); ok && b.Name == v1.DefaultName {
			config = b.Spec
		}
	}
	found := false
	for _, name := range slices.Sorted(maps.Keys(c.hosts)) {
		h := c.hosts[name]
		v6 := addrOf(h, true)
		if !v6.IsValid() || !addrOf(h, false).IsValid() || !h.calico {
			continue
		}
		found = true
		if c.noMesh {
			continue
		}
		asn := c.asn
		if h.asn != nil {
			asn = *h.asn
		}
		o := &v1.BGPPeer{}
		o.Name = "calico-ipv6-" + name
		o.Spec = v1.BGPPeerSpec{
			NodeSelector: strings.Replace(c.ofNode(name), " == ", " != ", 1),
			PeerIP:       v6.String(), ASNumber: v1.PeerAS(fmt.Sprint(asn)), Password: config.NodeMeshPassword,
		}
		if c.meshRestart != "" {
			o.Spec.GracefulRestart = &v1.PeerGracefulRestart{RestartTime: c.meshRestart}
		}
		c.add(o)
	}
	switch {
	case found && c.noMesh:
		c.note("Calico has sessions of their own for IPv6, and the mesh is off: write a BGPPeer with the IPv6 address of each route reflector among the nodes, for as long as nodes of both sorts are there (docs/MIGRATION.md)")
	case found:
		c.note("the BGPPeers calico-ipv6-… are for as long as nodes of both sorts are there: Calico has sessions of their own for IPv6; delete them after the last node has moved")
	}
}

// addrOf is the address of a family that Calico peers with; invalid if there is none.
func addrOf(h *host, v6 bool) netip.Addr {
	for _, text := range h.addrs {
		first, _, _ := strings.Cut(text, "/")
		if a, err := netip.ParseAddr(first); err == nil && a.Is6() == v6 {
			return a
		}
	}
	return netip.Addr{}
}
