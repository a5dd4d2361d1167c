package felix

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"caracal.dev/caracal"
)

// The way of a packet, in each family. "=>" is a goto: what follows it is not seen.
// A pod is any workload; "car+" stands for all interfaces of pods, those of other
// names being found by a tree of their own (no foreign interface is ever touched).
//
//	raw PREROUTING
//	  caracal-raw         from car+               => caracal-source
//	  caracal-source      address and interface in set local: RETURN
//	                      neighbor discovery and MLD of the link (IPv6): RETURN
//	                      DROP                       unknown interfaces, false sources
//	filter INPUT
//	  caracal-input       tcp to the BGP port     => caracal-bgp
//	  caracal-bgp         lo, set bgp, unnumbered links: RETURN
//	                      DROP
//	filter FORWARD
//	  caracal-forward     from car+               => caracal-from
//	                      to car+                 => caracal-into
//	                      to ranges of Services: DROP
//	  caracal-from        established: ACCEPT, invalid: DROP
//	                      to the pod itself: ACCEPT  (set local, src,dst)
//	                      IPIP to set nodes, tcp to BGP ports of set bgp: DROP
//	                      the tree of the pods that are isolated for egress, down
//	                      caracal-from-PREFIX     => caracal-e-HASH
//	                      not in it               => caracal-free-out
//	  caracal-free-out    set free-out            => caracal-to
//	                      DROP
//	  caracal-e-HASH      for each policy of the group: jump to caracal-pe-HASH
//	                      DROP
//	  caracal-pe-HASH     what a rule allows      => caracal-to
//	  caracal-to          to car+                 => caracal-into
//	                      ACCEPT
//	  caracal-into        established: ACCEPT, invalid: DROP
//	                      the tree of the pods that are isolated for ingress, down
//	                      caracal-into-PREFIX     => caracal-i-HASH
//	                      not in it               => caracal-free-in
//	  caracal-free-in     set free-in: ACCEPT
//	                      DROP
//	  caracal-i-HASH      for each policy of the group: jump to caracal-pi-HASH
//	                      DROP
//	  caracal-pi-HASH     what a rule allows: ACCEPT
//	nat POSTROUTING
//	  caracal-nat         IPIP, tcp to BGP ports: RETURN
//	                      from set nat to outside of set nonat: MASQUERADE
//
// nf_tables takes 15 chains of ours below one of the kernel's, gotos included
// (NFT_JUMP_STACK_SIZE, nf_tables.h). The longest way through these has 8, and 6 more
// where the trees are as deep as they may be: see treeDepth.
//
// A pod that no policy isolates is in the free sets alone, so that most pods come and
// go without a change of rules. The tree comes first: when a policy's change frees
// one pod and isolates another, both happen in the one moment in which the chains
// change. The free sets have what is freed before it, and lose what is isolated
// after it.
//
// No marks are used: egress that is allowed goes on to ingress, which never returns.
// Nothing falls off the end of a chain that a pod's packet went to but into a DROP.
// A group chain is the list of one tier; another tier would be another such list,
// which goes on to the next where this one has nothing to say.
const (
	chainRaw     = Prefix + "raw"
	chainSource  = Prefix + "source"
	chainInput   = Prefix + "input"
	chainBGP     = Prefix + "bgp"
	chainForward = Prefix + "forward"
	chainFrom    = Prefix + "from"
	chainTo      = Prefix + "to"
	chainInto    = Prefix + "into"
	chainFreeOut = Prefix + "free-out"
	chainFreeIn  = Prefix + "free-in"
	chainNAT     = Prefix + "nat"
)

// podPrefix begins the names of the interfaces that CNI makes.
const podPrefix = "car"

// bucketSize is how many interfaces a chain of a tree tells apart one by one.
const bucketSize = 16

// treeDepth and otherDepth are how many chains may be below the root of a tree of
// isolated workloads, and of one of interfaces of other names. What is still together
// there stands in one list: with the names that CNI makes beyond 4,096 workloads.
const (
	treeDepth  = 2
	otherDepth = 1
)

// defaultBGPPort is IANA's (RFC 4271 section 8.2.1).
const defaultBGPPort = 179

var hooks = []struct {
	table       Table
	chain       string
	spec, about string
}{
	{RawTable, "PREROUTING", "-j " + chainRaw, "sources of workloads"},
	{FilterTable, "INPUT", "-p tcp -j " + chainInput, "BGP"},
	{FilterTable, "FORWARD", "-j " + chainForward, "policies"},
	{NATTable, "POSTROUTING", "-j " + chainNAT, "natOutgoing"},
}

var ruleDrop = Rule{Spec: "-j DROP", About: "nothing allows it"}

// renderFixed makes the chains that there always are.
func (c *Compiler) renderFixed() {
	var others []string
	for name := range c.ifaces {
		if !strings.HasPrefix(name, podPrefix) {
			others = append(others, name)
		}
	}
	slices.Sort(others)
	for _, f := range families {
		c.renderRaw(f, others)
		c.renderInput(f)
		c.renderForward(f, others)
		c.renderNAT(f)
	}
}

// renderNAT makes the chain of natOutgoing. What nodes and neighbors trust for its
// source never gets the node's: they have more addresses than we know to protect.
func (c *Compiler) renderNAT(f Family) {
	var rules []Rule
	if f == IPv4 {
		rules = append(rules, Rule{"-p 4 -j RETURN", "IPIP is of nodes"})
	}
	for _, m := range c.bgpMatches() {
		rules = append(rules, Rule{"-p tcp " + m + " -j RETURN", "BGP is of nodes"})
	}
	nat := "-m set --match-set " + setNAT.name(f) + " src -m set ! --match-set " + setNoNAT.name(f) + " dst -j MASQUERADE --random-fully"
	c.setChain(ChainKey{f, NATTable, chainNAT}, append(rules, Rule{nat, "natOutgoing"}))
}

// bgpMatches are the matches of the ports that some node's BGP listens on.
func (c *Compiler) bgpMatches() []string {
	var ports [][2]int
	for _, p := range append(slices.Collect(maps.Keys(c.bgpPorts)), defaultBGPPort) {
		ports = append(ports, [2]int{int(p), int(p)})
	}
	return portMatches(ports)
}

func (c *Compiler) renderRaw(f Family, others []string) {
	c.setChain(ChainKey{f, RawTable, chainRaw}, c.fromPods(f, RawTable, "-i", others, chainSource))
	source := []Rule{{matchSet(setLocal.name(f), "src,src") + " -j RETURN", "an address of the workload"}}
	if f == IPv6 {
		// RFC 4861: a pod asks for routers and neighbors, and answers for itself; what
		// is forbidden to it is to be a router. RFC 2710 and 3810: it joins groups.
		// Only from addresses that no router forwards (ip6_forward, ip6_output.c), or it
		// would be a way to other pods with any address.
		for _, from := range []string{"fe80::/10", "::/128"} {
			for _, kind := range []int{133, 135, 136, 130, 131, 132, 143} {
				source = append(source, Rule{fmt.Sprintf("-s %s -p ipv6-icmp -m icmp6 --icmpv6-type %d -j RETURN", from, kind), "neighbor discovery and MLD"})
			}
		}
	}
	c.setChain(ChainKey{f, RawTable, chainSource}, append(source, Rule{"-j DROP", "no address of the workload, or no workload known"}))
}

func (c *Compiler) renderInput(f Family) {
	port := uint16(defaultBGPPort)
	if self, ok := c.in.Snapshot.SelfNode(); ok && self.Port != 0 {
		port = self.Port
	}
	c.setChain(ChainKey{f, FilterTable, chainInput}, []Rule{{fmt.Sprintf("-p tcp --dport %d -g %s", port, chainBGP), "BGP"}})
	rules := []Rule{
		{"-i lo -j RETURN", "BGP from the node itself"},
		{matchSet(setBGP.name(f), "src") + " -j RETURN", "BGP from nodes and peers"},
	}
	if f == IPv6 {
		for _, name := range c.in.Unnumbered {
			if validInterface(name) {
				rules = append(rules, Rule{"-s fe80::/10 -i " + name + " -j RETURN", "BGP from unnumbered peers"})
			}
		}
		for _, a := range c.in.Neighbors {
			if validInterface(a.Zone()) {
				rules = append(rules, Rule{"-s " + a.WithZone("").String() + "/128 -i " + a.Zone() + " -j RETURN", "BGP from a link-local peer"})
			}
		}
	}
	c.setChain(ChainKey{f, FilterTable, chainBGP}, append(rules, Rule{"-j DROP", "BGP from strangers"}))
}

func (c *Compiler) renderForward(f Family, others []string) {
	set := func(name string, rules ...Rule) { c.setChain(ChainKey{f, FilterTable, name}, rules) }
	toPods := c.fromPods(f, FilterTable, "-o", others, chainInto)
	set(chainForward, slices.Concat(c.fromPods(f, FilterTable, "-i", others, chainFrom), toPods, c.unserved(f))...)
	set(chainTo, append(slices.Clone(toPods), Rule{"-j ACCEPT", "to no workload of this node"})...)
	unknown := Rule{"-j DROP", "no workload known"}
	set(chainFreeOut, Rule{matchSet(setFreeOut.name(f), "src,src") + " -g " + chainTo, "not isolated for egress"}, unknown)
	set(chainFreeIn, Rule{matchSet(setFreeIn.name(f), "dst,dst") + " -j ACCEPT", "not isolated for ingress"}, unknown)
}

// unserved are the rules against packets to addresses that no Service has: what a
// proxy takes has another destination by now. The node attracts them with the
// range that it announces, and its default route would send them back to where
// they came from, round and round. A route to discard them is no way: connections
// of the node itself are routed before they are translated (ip_route_output comes
// before the hook OUTPUT), and would fail.
func (c *Compiler) unserved(f Family) []Rule {
	var rules []Rule
	for _, p := range serviceRanges(c.in.Snapshot) {
		if familyOf(p.Addr()) == f {
			rules = append(rules, Rule{"-d " + p.String() + " -j DROP", "no Service has the address"})
		}
	}
	return rules
}

// serviceRanges are the ranges of Services, sorted.
func serviceRanges(s *caracal.Snapshot) []netip.Prefix {
	r := s.BGP.Services
	all := slices.Concat(r.ClusterIPs, r.ExternalIPs, r.LoadBalancerIPs)
	slices.SortFunc(all, netip.Prefix.Compare)
	return slices.Compact(all)
}

// before are the rules before the tree of a direction.
func (c *Compiler) before(f Family, b bound) []Rule {
	rules := []Rule{
		{"-m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT", "connections that were allowed"},
		{"-m conntrack --ctstate INVALID -j DROP", "of no connection"},
	}
	if b == inbound {
		return append(rules, c.midway(setFreeOut.name(f), "dst,dst")...)
	}
	rules = append(rules, Rule{matchSet(setLocal.name(f), "src,dst") + " -j ACCEPT", "to itself"})
	if f == IPv4 {
		rules = append(rules, Rule{"-p 4 " + matchSet(setNodes.name(f), "dst") + " -j DROP", "IPIP is of nodes"})
	}
	for _, m := range c.bgpMatches() {
		rules = append(rules, Rule{"-p tcp " + m + " " + matchSet(setBGP.name(f), "dst") + " -j DROP", "BGP is of nodes"})
	}
	return append(rules, c.midway(setFreeIn.name(f), "src,src")...)
}

// groupRules are the rules of the workloads that some policies isolate.
func groupRules(policies []*policy, b bound) []Rule {
	rules := make([]Rule, 0, len(policies)+1)
	for _, p := range policies {
		rules = append(rules, Rule{"-j " + p.chain(b), cleanAbout(p.key, "")})
	}
	return append(rules, ruleDrop)
}

// fromPods returns the rules that lead to a chain what comes from ("-i") or goes to
// ("-o") interfaces of pods, and sets the chains of the tree that it may need.
func (c *Compiler) fromPods(f Family, t Table, flag string, others []string, to string) []Rule {
	rules := []Rule{{flag + " " + podPrefix + "+ -g " + to, "workloads"}}
	tr := tree{
		flag: flag, chain: Prefix + "x" + flag[1:] + "-", step: "-j ", depth: otherDepth,
		leaf: func(name string) Rule { return Rule{flag + " " + name + " -g " + to, "workloads"} },
	}
	rules = append(rules, tr.grow(others, 0)...)
	c.setTree(ChainKey{f, t, tr.chain}, tr.chains)
	return rules
}

// renderTrees makes the trees of isolated workloads that were touched.
func (c *Compiler) renderTrees() {
	for _, f := range families {
		for _, b := range bounds {
			if !c.tx.trees[f][b] && !c.tx.fixed && !c.tx.first {
				continue
			}
			leaves := &c.leaves[f][b]
			root, free := [...]string{chainInto, chainFrom}[b], [...]string{chainFreeIn, chainFreeOut}[b]
			tr := tree{
				flag: b.iface(), chain: root + "-", step: "-g ", depth: treeDepth, end: []Rule{{"-g " + free, "not isolated"}},
				leaf: func(name string) Rule { return leaves.rules[name] },
			}
			rules := append(c.before(f, b), tr.grow(leaves.names, 0)...)
			c.setChain(ChainKey{f, FilterTable, root}, rules)
			c.setTree(ChainKey{f, FilterTable, tr.chain}, tr.chains)
		}
	}
}

// setTree makes the chains below a root those given, and drops the others that it
// had.
func (c *Compiler) setTree(root ChainKey, chains map[string][]Rule) {
	key := root
	for _, name := range c.trees[root] {
		if _, still := chains[name]; !still {
			key.Name = name
			c.dropChain(key)
		}
	}
	for name, rules := range chains {
		key.Name = name
		c.setChain(key, rules)
	}
	c.trees[root] = slices.Collect(maps.Keys(chains))
}

// tree tells interfaces apart by the letters of their names: a chain has few of
// them, or one rule for each next letter. Its shape depends on the names alone.
type tree struct {
	flag  string                 // "-i" or "-o"
	chain string                 // what the names of the chains below the root begin with
	step  string                 // how to go down: "-g ", or "-j " where the root has more rules
	leaf  func(name string) Rule // for one interface
	end   []Rule                 // of each chain
	depth int                    // how many chains may be below one another

	chains map[string][]Rule
}

// grow returns the rules for sorted names, depth chains below the root, and adds the
// chains below.
func (t *tree) grow(names []string, depth int) []Rule {
	rules := make([]Rule, 0, bucketSize+len(t.end))
	if len(names) <= bucketSize || depth == t.depth {
		for _, n := range names {
			rules = append(rules, t.leaf(n))
		}
		return append(rules, t.end...)
	}
	prefix := shared(names[0], names[len(names)-1])
	for len(names) > 0 {
		if len(names[0]) == len(prefix) {
			rules = append(rules, t.leaf(prefix))
			names = names[1:]
			continue
		}
		next := names[0][:len(prefix)+1]
		n := 1
		for n < len(names) && strings.HasPrefix(names[n], next) {
			n++
		}
		if n == 1 {
			rules = append(rules, t.leaf(names[0]))
		} else {
			below := t.grow(names[:n], depth+1)
			if t.chains == nil {
				t.chains = map[string][]Rule{}
			}
			t.chains[t.chain+next] = below
			rules = append(rules, Rule{t.flag + " " + next + "+ " + t.step + t.chain + next, "workloads"})
		}
		names = names[n:]
	}
	return append(rules, t.end...)
}

// shared returns what two names begin with.
func shared(a, b string) string {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return a[:n]
}
