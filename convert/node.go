package convert

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"caracal.dev/caracal"
	v1 "caracal.dev/caracal/api/v1"
)

// host is a node, as a Node of Kubernetes and one of Calico say it together.
type host struct {
	name   string
	labels map[string]string
	// addrs are what Calico found, with the length of the network; internal those
	// of Kubernetes, without.
	addrs, internal []string
	asn             *uint32
	clusterID       string
	tunnel          string
	podCIDRs        []string
	blocks          []string
	annotations     map[string]string
	// calico and router say that something of Calico or kube-router is on it.
	calico, router bool
}

const hostnameLabel = "kubernetes.io/hostname"

// gatherHosts reads the nodes. What Calico's own resource says wins over
// annotations, which are where Calico keeps it in Kubernetes.
func (c *conversion) gatherHosts() {
	for _, d := range c.byKind["Node"] {
		h := c.host(d.name)
		meta := c.fields(d.key(), "metadata", d.tree["metadata"])
		h.labels = stringMap(meta.m["labels"])
		h.annotations = stringMap(meta.m["annotations"])
		spec, status := c.spec(d), c.fields(d.key(), "status", d.tree["status"])
		h.podCIDRs = spec.strs("podCIDRs")
		if one := spec.str("podCIDR"); one != "" && len(h.podCIDRs) == 0 {
			h.podCIDRs = []string{one}
		}
		for _, a := range status.groups("addresses") {
			if a.str("type") == "InternalIP" {
				h.internal = append(h.internal, a.str("address"))
			}
		}
		c.annotations(d.key(), h)
	}
	for _, d := range c.byKind["CalicoNode"] {
		h := c.host(d.name)
		h.calico = true
		meta := c.fields(d.key(), "metadata", d.tree["metadata"])
		if h.labels == nil {
			h.labels = map[string]string{}
		}
		maps.Copy(h.labels, stringMap(meta.m["labels"]))
		c.calicoNode(c.spec(d), h)
	}
}

func (c *conversion) host(name string) *host {
	if c.hosts[name] == nil {
		c.hosts[name] = &host{name: name}
	}
	return c.hosts[name]
}

func stringMap(v any) map[string]string {
	m, _ := v.(map[string]any)
	out := map[string]string{}
	for k, e := range m {
		if s, ok := e.(string); ok {
			out[k] = s
		}
	}
	return out
}

// calicoNode reads the spec of a Node of Calico.
func (c *conversion) calicoNode(f *fields, h *host) {
	f.skip("orchRefs", "addresses", "interfaces", "ipv4VXLANTunnelAddr", "ipv6VXLANTunnelAddr", "vxlanTunnelMACAddr", "vxlanTunnelMACAddrV6", "wireguard")
	defer f.rest()
	b := f.group("bgp")
	if b == nil {
		return
	}
	defer b.rest()
	h.addrs = nil
	for _, name := range []string{"ipv4Address", "ipv6Address"} {
		if a := b.str(name); a != "" {
			h.addrs = append(h.addrs, a)
		}
	}
	if n := b.asn("asNumber"); n != nil {
		h.asn = n
	}
	if a := b.str("ipv4IPIPTunnelAddr"); a != "" {
		h.tunnel = a
	}
	if id := b.str("routeReflectorClusterID"); id != "" {
		h.clusterID = id
	}
}

// annotations reads those of Calico, as calico-node writes them, and lists those of
// the two that are not known. Those of kube-router are read in routers.
func (c *conversion) annotations(key string, h *host) {
	for _, name := range slices.Sorted(maps.Keys(h.annotations)) {
		v := h.annotations[name]
		short, ok := strings.CutPrefix(name, groupCalico+"/")
		if strings.HasPrefix(name, routerPrefix) {
			h.router = true
		}
		if !ok {
			continue
		}
		h.calico = true
		switch {
		case v == "":
		case short == "IPv4Address" || short == "IPv6Address":
			h.addrs = append(h.addrs, v)
		case short == "IPv4IPIPTunnelAddr":
			h.tunnel = v
		case short == "RouteReflectorClusterID":
			h.clusterID = v
		case short == "ASNumber":
			if n, ok := parseASN(v); ok {
				h.asn = &n
			} else {
				c.lose(key, "metadata.annotations."+name, v, "is not an AS number", "write asNumber in the NodeConfig")
			}
		case short == "kube-labels" || short == "Interfaces" || strings.Contains(short, "VXLANTunnel") || strings.Contains(short, "Wireguard"):
			// Calico's own bookkeeping.
		default:
			c.lose(key, "metadata.annotations."+name, shown(name, v), "is no annotation that Calico is known to have", "if it is meant, look for its like in docs/CONFIGURATION.md")
		}
	}
}

// gatherBlocks finds which blocks of Calico's pools are whose. Both an IPAMBlock and
// a BlockAffinity say it; the first is what addresses are given by.
func (c *conversion) gatherBlocks() {
	owner := map[string]string{}
	for _, d := range c.byKind["BlockAffinity"] {
		f := c.spec(d)
		kind := f.str("type")
		if f.str("state") == "confirmed" && !f.yes("deleted") && (kind == "" || kind == "host") {
			owner[f.str("cidr")] = f.str("node")
		}
	}
	for _, d := range c.byKind["IPAMBlock"] {
		f := c.spec(d)
		cidr := f.str("cidr")
		if f.yes("deleted") {
			continue
		}
		delete(owner, cidr)
		node, ok := strings.CutPrefix(f.str("affinity"), "host:")
		if ok {
			owner[cidr] = node
		}
		c.borrowed(d.key(), f, cidr, node)
	}
	for _, cidr := range slices.Sorted(maps.Keys(owner)) {
		name := owner[cidr]
		if cidr == "" || name == "" {
			continue
		}
		if c.hosts[name] == nil {
			c.lose("IPAMBlock "+cidr, "spec.affinity", "host:"+name, "no Node of that name is given, so nobody announces the block here", "give the Nodes as well (kubectl get nodes -o yaml)")
			continue
		}
		c.hosts[name].blocks = append(c.hosts[name].blocks, cidr)
		c.hosts[name].calico = true
	}
}

// borrowed lists addresses of a block that pods of another node have: they are
// announced as /32 and /128 by that node, and not taken from it.
func (c *conversion) borrowed(key string, f *fields, cidr, owner string) {
	for i, a := range f.groups("attributes") {
		at := a.group("secondary")
		if at == nil {
			continue
		}
		node := at.str("node")
		if node == "" || node == owner || at.str("type") == "ipipTunnelAddress" {
			continue
		}
		what := at.str("namespace") + "/" + at.str("pod")
		c.lose(key, fmt.Sprintf("spec.attributes[%d]", i), what+" on "+node, fmt.Sprintf("the pod has an address of %s, a block of %s: other Caracal nodes do not take its route from %s",
			cidr, orNobody(owner), node), "start the pod anew before the first node moves, once Calico's IPAMConfiguration has strictAffinity: true")
	}
}

func orNobody(s string) string {
	if s == "" {
		return "nobody"
	}
	return s
}

// nodeConfigs writes the nodes.
func (c *conversion) nodeConfigs() {
	tunnels := slices.ContainsFunc(c.poolObjects, func(p *v1.IPPool) bool { return p.Spec.IPIPMode != string(caracal.IPIPNever) })
	for _, name := range slices.Sorted(maps.Keys(c.hosts)) {
		h := c.hosts[name]
		key := "Node " + name
		n := &v1.NodeConfig{}
		n.Name, n.Labels = name, h.labels
		n.Spec.Addresses = c.addresses(key, h)
		n.Spec.ASNumber = h.asn
		n.Spec.RouteReflectorClusterID = c.clusterID(key, h.clusterID)
		if tunnels {
			n.Spec.TunnelAddress = h.tunnel
		}
		n.Spec.Blocks = h.blocks
		if h.router || c.opts.PodCIDRs {
			n.Spec.PodCIDRs = h.podCIDRs
		}
		c.add(n)
	}
}

// addresses are one of each family, with the length of its network.
func (c *conversion) addresses(key string, h *host) []string {
	var out []string
	var have [2]bool
	family := func(a netip.Addr) int {
		if a.Is4() {
			return 0
		}
		return 1
	}
	for _, text := range h.addrs {
		p, err := netip.ParsePrefix(text)
		if a, errAddr := netip.ParseAddr(text); err != nil && errAddr == nil {
			p, err = caracal.HostPrefix(a), nil
		}
		if err != nil {
			c.lose(key, "addresses", text, "is no address", "write the address of the node, with the length of its network, into its NodeConfig")
			continue
		}
		out = append(out, p.String())
		have[family(p.Addr())] = true
	}
	for _, text := range h.internal {
		a, err := netip.ParseAddr(text)
		if err != nil || have[family(a)] {
			continue
		}
		// An IPv6 address beside one of Calico's IPv4 is one that Calico does not use.
		if h.calico && len(h.addrs) > 0 {
			continue
		}
		have[family(a)] = true
		out = append(out, caracal.HostPrefix(a).String())
		c.note("node %s: the length of the network that %s is on is not in the documents, so /%d stands there; write the right one if IPPools have ipipMode: CrossSubnet, or neighbors are on that network", h.name, a, a.BitLen())
	}
	return out
}

// clusterID writes a cluster ID as 32 bits in IPv4 notation: Calico takes any, and
// kube-router numbers, too.
func (c *conversion) clusterID(key, id string) string {
	if id == "" {
		return ""
	}
	a, err := netip.ParseAddr(id)
	if n, ok := parseASN(id); err != nil && ok {
		a, err = netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}), nil
	}
	if err != nil || !a.Is4() {
		c.lose(key, "routeReflectorClusterID", id, "is no 32-bit cluster ID, so the node is no route reflector", "write routeReflectorClusterID in its NodeConfig")
		return ""
	}
	probe := &v1.NodeConfig{}
	probe.Name = "a"
	probe.Spec = v1.NodeConfigSpec{Addresses: []string{"192.0.2.1/24"}, RouteReflectorClusterID: a.String()}
	probe.Default()
	if len(probe.Validate()) > 0 {
		b := a.As4()
		b[0] = 10
		other := netip.AddrFrom4(b)
		c.lose(key, "routeReflectorClusterID", id, fmt.Sprintf("is not taken as a cluster ID; %s is written in its place", other),
			"see that all reflectors of the same clients get the same one, those of the network as well")
		a = other
	}
	return a.String()
}

// ofNode returns a selector of one node.
func (c *conversion) ofNode(name string) string {
	if h := c.hosts[name]; h != nil && h.labels[hostnameLabel] != "" {
		name = h.labels[hostnameLabel]
	}
	return fmt.Sprintf("%s == '%s'", hostnameLabel, name)
}
