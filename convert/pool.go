package convert

import (
	"net/netip"
	"slices"
	"strings"

	"caracal.dev/caracal"
	v1 "caracal.dev/caracal/api/v1"
)

// pools converts IPPools.
func (c *conversion) pools() {
	for _, d := range c.byKind["IPPool"] {
		c.pool(d)
	}
}

func (c *conversion) pool(d *document) {
	f := c.spec(d)
	defer f.rest()
	uses := f.strs("allowedUses")
	selection, ok := f.selector("nodeSelector")
	p := &v1.IPPool{}
	p.Name = d.name
	s := &p.Spec
	s.CIDR, s.NodeSelector = f.str("cidr"), selection
	if s.NodeSelector == "all()" {
		s.NodeSelector = ""
	}
	s.NATOutgoing, s.Disabled, s.DisableBGPExport = f.yes("natOutgoing"), f.yes("disabled"), f.yes("disableBGPExport")
	c.blockSize(f, s)
	c.encapsulation(f, s)
	c.assignment(f, s, uses)
	if slices.Contains(uses, "LoadBalancer") {
		f.lose("allowedUses", "addresses of Services are given by none of our programs; the pool is left out", "let another program give them (or keep calico-kube-controllers for it), and list "+s.CIDR+" in serviceLoadBalancerIPs of the BGPConfiguration")
		return
	}
	if !ok {
		return
	}
	if c.opts.Mixed && !s.Disabled {
		s.Disabled = true
		c.note("IPPool %s is written disabled, for Calico still gives its addresses; new pods of moved nodes need a pool of their own until the last node has moved (docs/MIGRATION.md)", d.name)
	}
	c.poolObjects = append(c.poolObjects, p)
	c.add(p)
}

// blockSize writes the size of blocks out, which is the same by default.
func (c *conversion) blockSize(f *fields, s *v1.IPPoolSpec) {
	if n := f.number("blockSize"); n != nil {
		s.BlockSize = int(min(max(*n, -1), 129))
	}
	if s.BlockSize == 0 {
		s.BlockSize = v1.DefaultBlockSize4
		if strings.Contains(s.CIDR, ":") {
			s.BlockSize = v1.DefaultBlockSize6
		}
	}
	if p, err := netip.ParsePrefix(s.CIDR); err == nil && p.Bits() > s.BlockSize && s.Disabled {
		s.BlockSize = p.Bits() // Calico takes any size for a pool that it does not give of
	}
}

// encapsulation carries IPIP; VXLAN there is none here.
func (c *conversion) encapsulation(f *fields, s *v1.IPPoolSpec) {
	never := string(caracal.IPIPNever)
	if s.IPIPMode = f.str("ipipMode"); s.IPIPMode == "" {
		s.IPIPMode = never
	}
	mode := f.str("vxlanMode")
	switch {
	case mode == "" || mode == never:
	case strings.Contains(s.CIDR, ":"):
		f.lose("vxlanMode", "there is no VXLAN here, nor another tunnel for IPv6; without a tunnel the network between the nodes must route the pods' addresses, or all nodes be on one network",
			"let the network route the pool (BGPPeers to its routers), before the first node moves")
	default:
		s.IPIPMode = mode
		f.lose("vxlanMode", "there is no VXLAN here; ipipMode: "+mode+" is written in its place",
			"see that the network between the nodes lets IP protocol 4 through (many clouds do not), and turn Calico itself to ipipMode: "+mode+" with BGP before the first node moves, for the two cannot be mixed in one pool")
	}
}

// assignment disables pools that pods get addresses of only under conditions that
// are not known here.
func (c *conversion) assignment(f *fields, s *v1.IPPoolSpec, uses []string) {
	const closed = "disabled: true is written, so that no pod gets an address of the pool that must not have one; those in use stay"
	if f.has("namespaceSelector") && strings.TrimSpace(f.str("namespaceSelector")) != "all()" {
		f.lose("namespaceSelector", "pools are not chosen by namespace here; "+closed, "remove disabled where every pod may have these addresses")
		s.Disabled = true
	}
	if mode := f.str("assignmentMode"); mode != "" && mode != "Automatic" {
		f.lose("assignmentMode", "a pool is not asked for by name here; "+closed, "remove disabled where every pod may have these addresses")
		s.Disabled = true
	}
	if len(uses) > 0 && !slices.Contains(uses, "Workload") && !slices.Contains(uses, "LoadBalancer") {
		f.lose("allowedUses", "a pool for addresses of tunnels alone is not known here; "+closed, "give NodeConfigs a tunnelAddress where nodes need one of this range")
		s.Disabled = true
	}
}
