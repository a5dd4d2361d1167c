package convert

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"

	"caracal.dev/caracal"
	v1 "caracal.dev/caracal/api/v1"
)

// routerPrefix begins the annotations of kube-router (its docs/bgp.md).
const routerPrefix = "kube-router.io/"

// routers converts what kube-router's annotations say of nodes.
func (c *conversion) routers() {
	var any bool
	servers, clients := map[string][]string{}, map[string][]string{}
	for _, name := range slices.Sorted(maps.Keys(c.hosts)) {
		h := c.hosts[name]
		if !h.router {
			continue
		}
		any = true
		a := &annotations{to: c, key: "Node " + name, of: h.annotations, seen: map[string]bool{}}
		c.router(a, h)
		if id := a.get("rr.server"); id != "" {
			h.clusterID = id
			servers[id] = append(servers[id], name)
		} else if id := a.get("rr.client"); id != "" {
			clients[id] = append(clients[id], name)
		}
		a.rest()
	}
	c.reflectors(servers, clients)
	c.services()
	if any || c.opts.PodCIDRs {
		c.podPools()
	}
	if any {
		c.note("what kube-router is told by its flags is in no document that is read here: look at its DaemonSet for --cluster-asn, --peer-router-ips, --peer-router-asns and their passwords (a BGPPeer for each), --nodes-full-mesh=false (asNumber counts only then, and nodes of different AS have no session), --override-nexthop (nextHopMode: Self), --enable-overlay=false (ipipMode: Never), --overlay-type=full (ipipMode: Always), --enable-pod-egress=false (natOutgoing: false), --bgp-port and --advertise-cluster-ip and its like (serviceClusterIPs and its like)")
	}
}

// annotations are those of kube-router on one node.
type annotations struct {
	to   *conversion
	key  string
	of   map[string]string
	seen map[string]bool
}

func (a *annotations) get(name string) string {
	a.seen[name] = true
	return strings.TrimSpace(a.of[routerPrefix+name])
}

// list reads a comma-separated one.
func (a *annotations) list(name string) []string {
	text := a.get(name)
	if text == "" {
		return nil
	}
	var out []string
	for e := range strings.SplitSeq(text, ",") {
		out = append(out, strings.TrimSpace(e))
	}
	return out
}

func (a *annotations) lose(name, value, why, do string) {
	a.to.lose(a.key, "metadata.annotations."+routerPrefix+name, value, why, do)
}

func (a *annotations) rest() {
	for _, name := range slices.Sorted(maps.Keys(a.of)) {
		if short, ok := strings.CutPrefix(name, routerPrefix); ok && !a.seen[short] {
			a.lose(short, shown(name, a.of[name]), "is no annotation that kube-router is known to have", "if it is meant, look for its like in docs/CONFIGURATION.md")
		}
	}
}

func (c *conversion) router(a *annotations, h *host) {
	if text := a.get("node.asn"); text != "" {
		if n, ok := parseASN(text); ok {
			h.asn = &n
		} else {
			a.lose("node.asn", text, "is not an AS number", "write asNumber in the NodeConfig")
		}
	}
	if one, many := a.list("pod-cidr"), a.list("pod-cidrs"); len(one) > 0 {
		h.podCIDRs = one
	} else if len(many) > 0 {
		h.podCIDRs = many
	}
	if listen := a.list("bgp-local-addresses"); len(listen) > 0 {
		o := &v1.BGPConfiguration{}
		o.Name = "kube-router-" + h.name
		o.Spec.NodeSelector, o.Spec.ListenAddresses = c.ofNode(h.name), listen
		c.add(o)
	}
	filter := c.routerFilter(a, h)
	for _, p := range c.routerPeers(a, h) {
		if filter != "" {
			p.Spec.Filters = []string{filter}
		}
		c.add(p)
	}
}

// routerFilter carries what kube-router does to all that comes from its external
// peers and goes to them, and returns the name of the filter; empty for none.
func (c *conversion) routerFilter(a *annotations, h *host) string {
	o := &v1.BGPFilter{}
	o.Name = "kube-router-" + h.name
	for _, text := range a.list("node.bgp.customimportreject") {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			a.lose("node.bgp.customimportreject", text, "is no range", "write the rule into BGPFilter "+o.Name)
			continue
		}
		r := v1.BGPFilterRule{Action: "Reject", CIDR: p.Masked().String(), MatchOperator: string(caracal.MatchIn)}
		if p.Addr().Is4() {
			o.Spec.ImportV4 = append(o.Spec.ImportV4, r)
		} else {
			o.Spec.ImportV6 = append(o.Spec.ImportV6, r)
		}
	}
	out := v1.BGPFilterRule{Action: "Accept", Source: string(caracal.SourceLocal)}
	for _, text := range a.list("node.bgp.communities") {
		if value, ok := community(text); ok {
			out.Operations = append(out.Operations, v1.FilterOperation{AddCommunity: &v1.AddCommunity{Value: value}})
		} else {
			a.lose("node.bgp.communities", text, "is not a community that can be said here", "write the rule into BGPFilter "+o.Name)
		}
	}
	as, repeat := a.get("path-prepend.as"), a.get("path-prepend.repeat-n")
	if as != "" {
		n, ok := parseASN(as)
		times, err := strconv.ParseUint(repeat, 10, 8)
		switch {
		case !ok || err != nil || times == 0:
			a.lose("path-prepend.as", as, "needs an AS number and path-prepend.repeat-n", "write prependASPath into BGPFilter "+o.Name)
		case times > 20:
			a.lose("path-prepend.repeat-n", repeat, "20 is the most that is prepended, and written", "nothing; many networks drop longer paths")
			times = 20
			fallthrough
		default:
			out.Operations = append(out.Operations, v1.FilterOperation{PrependASPath: &v1.PrependASPath{Prefix: slices.Repeat([]uint32{n}, int(times))}})
		}
	}
	if len(out.Operations) > 0 {
		o.Spec.ExportV4, o.Spec.ExportV6 = []v1.BGPFilterRule{out}, []v1.BGPFilterRule{out}
	}
	if o.Spec.ImportV4 == nil && o.Spec.ImportV6 == nil && o.Spec.ExportV4 == nil {
		return ""
	}
	c.add(o)
	return o.Name
}

// community reads one of kube-router's: a number of 32 bits, two of 16, or a name.
func community(s string) (string, bool) {
	if n, err := strconv.ParseUint(s, 10, 32); err == nil {
		return fmt.Sprintf("%d:%d", n>>16, n&0xffff), true
	}
	if v, ok := communityNames[strings.ToLower(s)]; ok {
		return v, true
	}
	hi, lo, ok := strings.Cut(s, ":")
	_, err1 := strconv.ParseUint(hi, 10, 16)
	_, err2 := strconv.ParseUint(lo, 10, 16)
	return s, ok && err1 == nil && err2 == nil
}

// communityNames are the well-known ones (IANA, "BGP Well-known Communities").
var communityNames = map[string]string{
	"internet": "0:0", "graceful-shutdown": "65535:0", "planned-shut": "65535:0", "accept-own": "65535:1",
	"llgr-stale": "65535:6", "no-llgr": "65535:7", "blackhole": "65535:666",
	"no-export": "65535:65281", "no-advertise": "65535:65282", "no-export-subconfed": "65535:65283", "no-peer": "65535:65284",
}

// routerPeer is an element of the annotation kube-router.io/peers.
type routerPeer struct {
	RemoteIP  string  `json:"remoteip"`
	RemoteASN any     `json:"remoteasn"`
	LocalIP   string  `json:"localip"`
	Password  string  `json:"password"`
	Port      *uint16 `json:"port"`
	BFD       *struct {
		Enabled    bool   `json:"enabled"`
		Port       any    `json:"port"`
		Multiplier *int   `json:"detection_multiplier"`
		Receive    *int64 `json:"required_min_rx_interval"`
		Transmit   *int64 `json:"desired_min_tx_interval"`
	} `json:"bfd"`
}

// routerPeers carries the peers of a node: of the one annotation, or of the older
// ones, in which the first of each belong together.
func (c *conversion) routerPeers(a *annotations, h *host) []*v1.BGPPeer {
	var peers []routerPeer
	if text := a.get("peers"); text != "" {
		if err := yaml.Unmarshal([]byte(text), &peers); err != nil {
			a.lose("peers", "(not shown)", "cannot be read", "write a BGPPeer for each of the neighbors")
		}
	}
	ips, asns, ports, sources, passwords := a.list("peer.ips"), a.list("peer.asns"), a.list("peer.ports"), a.list("peer.localips"), a.list("peer.passwords")
	if len(peers) == 0 {
		at := func(list []string, i int) string {
			if i < len(list) {
				return list[i]
			}
			return ""
		}
		for i, ip := range ips {
			p := routerPeer{RemoteIP: ip, RemoteASN: at(asns, i), LocalIP: at(sources, i), Password: at(passwords, i)}
			if n, err := strconv.ParseUint(at(ports, i), 10, 16); err == nil {
				port := uint16(n)
				p.Port = &port
			}
			peers = append(peers, p)
		}
	}
	var out []*v1.BGPPeer
	for _, p := range peers {
		out = append(out, c.routerPeer(h, p))
	}
	return out
}

func (c *conversion) routerPeer(h *host, p routerPeer) *v1.BGPPeer {
	o := &v1.BGPPeer{}
	part := strings.ReplaceAll(strings.ToLower(p.RemoteIP), ":", "-")
	o.Name = "kube-router-" + h.name + "-" + strings.Trim(part, "-")
	s := &o.Spec
	s.Node, s.PeerIP = h.name, p.RemoteIP
	if a, err := netip.ParseAddr(p.RemoteIP); err == nil && p.Port != nil && *p.Port != 0 {
		s.PeerIP = netip.AddrPortFrom(a, *p.Port).String()
	}
	if n, ok := parseASN(strings.TrimSuffix(fmt.Sprint(p.RemoteASN), ".0")); ok {
		s.ASNumber = v1.PeerAS(fmt.Sprint(n))
	} else if f, ok := p.RemoteASN.(float64); ok {
		s.ASNumber = v1.PeerAS(strconv.FormatUint(uint64(f), 10))
	}
	s.SourceAddress = p.LocalIP
	if p.Password != "" {
		s.Password = &v1.Password{SecretKeyRef: &v1.SecretKeyRef{Name: "kube-router-" + h.name, Key: strings.Trim(part, "-")}}
		c.note("BGPPeer %s: the password stands in an annotation of the Node (base64); put it, decoded, into local/secrets/%s/%s of the host, or into a Secret of that name in the namespace of caracald, and its name into resourceNames of the Role caracal-secrets, and then take it out of the annotation", o.Name, s.Password.SecretKeyRef.Name, s.Password.SecretKeyRef.Key)
	}
	if p.BFD != nil && p.BFD.Enabled {
		s.BFD = &v1.PeerBFD{Multiplier: p.BFD.Multiplier}
		if p.BFD.Transmit != nil {
			s.BFD.TransmitInterval = fmt.Sprintf("%dms", *p.BFD.Transmit)
		}
		if p.BFD.Receive != nil {
			s.BFD.ReceiveInterval = fmt.Sprintf("%dms", *p.BFD.Receive)
		}
	}
	// kube-router takes all that its peers announce, but for the default route and
	// the node's own prefixes.
	s.AcceptRanges, s.AcceptPools = []string{"0.0.0.0/0", "::/0"}, c.external(o)
	c.note("BGPPeer %s takes every route that the neighbor announces but the default one, up to 10000 of each family, as kube-router does: narrow acceptRanges and acceptPools to what you expect", o.Name)
	return o
}

// reflectors joins the clients and servers of each cluster ID, and all servers.
func (c *conversion) reflectors(servers, clients map[string][]string) {
	among := func(name string, nodes, to []string) {
		if len(to) == 0 || len(nodes) < 2 {
			return
		}
		o := &v1.BGPPeer{}
		o.Name = name
		o.Spec.NodeSelector, o.Spec.PeerSelector = c.ofNodes(nodes), c.ofNodes(to)
		c.add(o)
	}
	var all []string
	for _, id := range slices.Sorted(maps.Keys(servers)) {
		all = append(all, servers[id]...)
		among("kube-router-rr-"+strings.ToLower(strings.ReplaceAll(id, ":", "-")), slices.Concat(servers[id], clients[id]), servers[id])
	}
	if len(servers) > 1 {
		among("kube-router-rr-servers", all, all)
	}
	for _, id := range slices.Sorted(maps.Keys(clients)) {
		if len(servers[id]) == 0 {
			c.lose("Node "+clients[id][0], "metadata.annotations."+routerPrefix+"rr.client", id, "no node is the server of it", "give the Nodes of the servers as well")
		}
	}
}

// ofNodes is a selector of several nodes.
func (c *conversion) ofNodes(names []string) string {
	var quoted []string
	for _, n := range names {
		_, value, _ := strings.Cut(c.ofNode(n), "'")
		quoted = append(quoted, "'"+value)
	}
	slices.Sort(quoted)
	return hostnameLabel + " in {" + strings.Join(slices.Compact(quoted), ", ") + "}"
}

// services lists what annotations of kube-router on Services ask of its proxy.
func (c *conversion) services() {
	for _, d := range c.byKind["Service"] {
		meta := c.fields(d.key(), "metadata", d.tree["metadata"])
		notes := stringMap(meta.m["annotations"])
		for _, name := range slices.Sorted(maps.Keys(notes)) {
			if !strings.HasPrefix(name, routerPrefix) {
				continue
			}
			do := "see whether kube-proxy can do it (docs/KUBE-PROXY.md)"
			if strings.Contains(name, "advertise") {
				do = "what is announced is said by ranges in the BGPConfiguration (docs/SERVICES.md)"
			}
			c.lose(d.key(), "metadata.annotations."+name, notes[name], "is for kube-router's own proxy or announcements", do)
		}
	}
}

// podPools writes a pool around the podCIDRs of each family, where none was given:
// other nodes take no route of a range that is in no pool.
func (c *conversion) podPools() {
	for _, v6 := range []bool{false, true} {
		var all []netip.Prefix
		for _, h := range c.hosts {
			for _, text := range h.podCIDRs {
				if p, err := netip.ParsePrefix(text); err == nil && p.Addr().Is6() == v6 && (h.router || c.opts.PodCIDRs) {
					all = append(all, p.Masked())
				}
			}
		}
		covered := func(p netip.Prefix) bool {
			return slices.ContainsFunc(c.poolObjects, func(o *v1.IPPool) bool {
				pool, err := netip.ParsePrefix(o.Spec.CIDR)
				return err == nil && caracal.Covers(pool, p)
			})
		}
		if all = slices.DeleteFunc(all, covered); len(all) == 0 {
			continue
		}
		c.podPool(all, v6)
	}
	if !slices.ContainsFunc(c.out, func(o v1.Object) bool { return o.ResourceKind() == v1.KindIPAMConfiguration }) {
		o := &v1.IPAMConfiguration{}
		o.Name, o.Spec.Mode = v1.DefaultName, v1.IPAMPodCIDR
		c.add(o)
	}
}

func (c *conversion) podPool(all []netip.Prefix, v6 bool) {
	around := all[0]
	block := 0
	for _, p := range all {
		for !caracal.Covers(around, p) {
			around = netip.PrefixFrom(around.Addr(), around.Bits()-1).Masked()
		}
		block = max(block, p.Bits())
	}
	o := &v1.IPPool{}
	o.Name, o.Spec.IPIPMode = "pods-ipv4", string(caracal.IPIPCrossSubnet)
	if v6 {
		o.Name, o.Spec.IPIPMode = "pods-ipv6", string(caracal.IPIPNever)
	}
	o.Spec.CIDR, o.Spec.BlockSize, o.Spec.NATOutgoing = around.String(), block, true
	c.note("IPPool %s is the smallest range around the podCIDRs that were given, %s: write the cluster's whole range (--cluster-cidr of kube-controller-manager) instead, or nodes that come later lie outside of it", o.Name, around)
	c.poolObjects = append(c.poolObjects, o)
	c.add(o)
}
