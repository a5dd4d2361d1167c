package convert

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	v1 "caracal.dev/caracal/api/v1"
)

// calicoHoldTime is BIRD's default, which Calico does not change (BIRD's manual,
// BGP, "hold time").
const calicoHoldTime = "4m0s"

// bgpConfigurations converts the BGPConfiguration "default", and those named
// "node.NAME", which Calico lets override it for one node. With Calico there is one
// in force even if none was written.
func (c *conversion) bgpConfigurations() {
	c.asn = v1.DefaultASN
	var found bool
	for _, d := range c.byKind["BGPConfiguration"] {
		node, forNode := strings.CutPrefix(d.name, "node.")
		switch {
		case d.name == v1.DefaultName:
			found = true
			c.bgpDefault(d)
		case forNode:
			c.bgpOfNode(d, node)
		default:
			c.lose(d.key(), "metadata.name", d.name, "Calico reads those named default and node.NAME only, so it is without effect; it is left out", "nothing")
		}
	}
	if !found && c.isCalico() {
		o := &v1.BGPConfiguration{}
		o.Name = v1.DefaultName
		mesh := true
		o.Spec.NodeToNodeMeshEnabled, o.Spec.HoldTime = &mesh, calicoHoldTime
		c.add(o)
	}
}

func (c *conversion) bgpDefault(d *document) {
	f := c.spec(d)
	defer f.rest()
	o := &v1.BGPConfiguration{}
	o.Name = v1.DefaultName
	s := &o.Spec
	mesh := true
	if b := f.boolean("nodeToNodeMeshEnabled"); b != nil {
		mesh = *b
	}
	c.noMesh = !mesh
	s.NodeToNodeMeshEnabled = &mesh
	if s.ASNumber = f.asn("asNumber"); s.ASNumber != nil {
		c.asn = *s.ASNumber
	}
	s.HoldTime = calicoHoldTime
	s.NodeMeshPassword = f.password("nodeMeshPassword")
	if d, ok := f.seconds("nodeMeshMaxRestartTime"); ok {
		s.GracefulRestart = &v1.GracefulRestart{RestartTime: d.String()}
		c.meshRestart = d.String()
	}
	c.bgpShared(f, s)
	if b := f.str("bindMode"); b != "" && b != "None" && b != "NodeIP" {
		f.lose("bindMode", "is no bindMode of Calico", "see listenAddresses of the BGPConfiguration")
	}
	f.loseUnless("serviceLoadBalancerAggregation", "Enabled", "the ranges of serviceLoadBalancerIPs are announced as they are, and single addresses for Services with externalTrafficPolicy: Local only",
		"give the Services that must be withdrawn by themselves externalTrafficPolicy: Local (docs/SERVICES.md)")
	for _, name := range []string{"localWorkloadPeeringIPV4", "localWorkloadPeeringIPV6"} {
		if f.has(name) {
			f.lose(name, "workloads are no neighbors here", "let the workload's node announce its prefix (NodeConfig.anycastPrefixes), or the workload peer with a router")
		}
	}
	for _, name := range []string{"ipv4NormalRoutePriority", "ipv6NormalRoutePriority"} {
		f.loseUnless(name, "1024", "our routes have a metric of their own", "write metric in the DataplaneConfiguration, if the metric matters beside other routes of the hosts")
	}
	// What BIRD reads of devices, and which of Calico's two programs writes a route,
	// is of no effect without them.
	f.skip("ignoredInterfaces", "programClusterRoutes")
	c.add(o)
}

// bgpOfNode converts a "node.NAME".
func (c *conversion) bgpOfNode(d *document, node string) {
	f := c.spec(d)
	defer f.rest()
	o := &v1.BGPConfiguration{}
	o.Name, o.Spec.NodeSelector = d.name, c.ofNode(node)
	f.skip("nodeToNodeMeshEnabled", "asNumber", "bindMode") // Calico reads them of default alone
	before := o.Spec
	c.bgpShared(f, &o.Spec)
	if c.hosts[node] == nil {
		f.lose("", "there is no Node "+node+" among the documents; it is left out", "give the Nodes as well (kubectl get nodes -o yaml)")
		return
	}
	if fmt.Sprint(o.Spec) != fmt.Sprint(before) {
		c.add(o)
	}
}

// bgpShared reads what both sorts of BGPConfigurations may have.
func (c *conversion) bgpShared(f *fields, s *v1.BGPConfigurationSpec) {
	if n := f.number("listenPort"); n != nil {
		port := int(min(max(*n, -1), 1<<20))
		s.ListenPort = &port
	}
	f.loseUnless("logSeverityScreen", "Info", "the level of the log is no resource here", "start caracald with --log-level")
	for _, l := range []struct {
		name string
		to   *[]v1.ServiceRange
	}{{"serviceClusterIPs", &s.ServiceClusterIPs}, {"serviceExternalIPs", &s.ServiceExternalIPs}, {"serviceLoadBalancerIPs", &s.ServiceLoadBalancerIPs}} {
		for _, g := range f.groups(l.name) {
			r := v1.ServiceRange{CIDR: g.str("cidr")}
			if p, err := netip.ParsePrefix(r.CIDR); err == nil {
				r.CIDR = p.Masked().String()
			}
			if !slices.Contains(*l.to, r) {
				*l.to = append(*l.to, r)
			}
			g.rest()
		}
	}
	for _, g := range f.groups("communities") {
		s.Communities = append(s.Communities, v1.NamedCommunity{Name: g.str("name"), Value: g.str("value")})
		g.rest()
	}
	c.advertisements(f, s)
}

// advertisements carries prefixAdvertisements. In Calico a prefix gets the
// communities of every range that it is in, here those of the most specific range
// alone: so each range gets those of the ranges around it as well.
func (c *conversion) advertisements(f *fields, s *v1.BGPConfigurationSpec) {
	byRange := map[netip.Prefix][]string{}
	var broken []v1.PrefixAdvertisement
	for _, g := range f.groups("prefixAdvertisements") {
		cidr, list := g.str("cidr"), g.strs("communities")
		g.rest()
		p, err := netip.ParsePrefix(cidr)
		if err != nil {
			broken = append(broken, v1.PrefixAdvertisement{CIDR: cidr, Communities: list})
			continue
		}
		byRange[p.Masked()] = append(byRange[p.Masked()], list...)
	}
	ranges := slices.SortedFunc(maps.Keys(byRange), netip.Prefix.Compare)
	for _, p := range ranges {
		var all []string
		for _, around := range ranges {
			if around.Bits() <= p.Bits() && around.Contains(p.Addr()) {
				all = append(all, byRange[around]...)
			}
		}
		slices.Sort(all)
		s.PrefixAdvertisements = append(s.PrefixAdvertisements, v1.PrefixAdvertisement{CIDR: p.String(), Communities: slices.Compact(all)})
	}
	s.PrefixAdvertisements = append(s.PrefixAdvertisements, broken...)
	if len(s.PrefixAdvertisements) == 0 {
		s.Communities = nil // names that nothing uses
	}
}

// password carries a reference to a secret; nil if there is none.
func (f *fields) password(name string) *v1.Password {
	g := f.group(name)
	if g == nil {
		return nil
	}
	defer g.rest()
	ref := g.group("secretKeyRef")
	if ref == nil {
		return nil
	}
	defer ref.rest()
	p := &v1.Password{SecretKeyRef: &v1.SecretKeyRef{Name: ref.str("name"), Key: ref.str("key")}}
	if ref.yes("optional") {
		ref.lose("optional", "a session whose password cannot be read stays down here, and never runs without", "see that the secret is there")
	}
	f.to.note("%s: the password is in the secret %s, key %s: put it into local/secrets/%s/%s of the hosts, or into a Secret of that name in the namespace of caracald, and its name into resourceNames of the Role caracal-secrets", f.key, p.SecretKeyRef.Name, p.SecretKeyRef.Key, p.SecretKeyRef.Name, p.SecretKeyRef.Key)
	return p
}
