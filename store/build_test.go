package store

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"caracal.dev/caracal"
	v1 "caracal.dev/caracal/api/v1"
	"caracal.dev/caracal/internal/cputime"
)

// cluster builds for the node self, which must be among the objects.
func cluster(t testing.TB, self string, secrets Secrets, objects ...*Object) (*caracal.Snapshot, []string) {
	t.Helper()
	v := Judge(Proposal{Changed: objects})
	for _, r := range v.Rejected {
		t.Fatalf("%s: %s", r.Object.Key, r.Reason)
	}
	s, problems, _ := Build(caracal.NewSnapshot(self), v.Objects, secrets)
	var words []string
	for _, p := range problems {
		words = append(words, p.Message)
	}
	return s, words
}

// host is a NodeConfig with labels, in YAML's flow style, and more of a spec.
func host(t testing.TB, name, labels, addresses, more string) *Object {
	t.Helper()
	if more != "" {
		more = ", " + more
	}
	return object(t, name+".yaml", "NodeConfig", name+", labels: {"+labels+"}", "addresses: ["+addresses+"]"+more)
}

func bgpPeer(t testing.TB, name, spec string) *Object {
	t.Helper()
	return object(t, name+".yaml", "BGPPeer", name, spec)
}

func peersOf(s *caracal.Snapshot) string {
	var all []string
	for key, p := range s.Peers.All() {
		all = append(all, fmt.Sprintf("%s %s:%d AS%d", key, p.Addr, p.Port, p.ASN))
	}
	return strings.Join(all, "; ")
}

func TestPeerSelector(t *testing.T) {
	objects := []*Object{
		host(t, "rr1", "rr: x", "192.0.2.1/24, 2001:db8::1/64", "routeReflectorClusterID: 10.0.0.1"),
		host(t, "rr2", "rr: x", "192.0.2.2/24", "routeReflectorClusterID: 10.0.0.1, asNumber: 65002"),
		host(t, "w1", "", "192.0.2.11/24, 2001:db8::11/64", ""),
		host(t, "w2", "", "2001:db8::12/64", ""),
		object(t, "c.yaml", "BGPConfiguration", "odd", "nodeSelector: kubernetes.io/hostname == 'w1', listenPort: 1179"),
		bgpPeer(t, "to-rr", "peerSelector: has(rr), holdTime: 9s"),
	}
	w2Warning := "to-rr.yaml: BGPPeer to-rr: node w2 has no address family in common with node rr2, so they do not peer; give both ends an IPv4 or both an IPv6 address"
	for self, want := range map[string]string{
		"rr1": "to-rr@rr2 192.0.2.2:179 AS65002; to-rr@w1 192.0.2.11:1179 AS64512; to-rr@w2 [2001:db8::12]:179 AS64512",
		"w1":  "to-rr@rr1 192.0.2.1:179 AS64512; to-rr@rr2 192.0.2.2:179 AS65002",
		"w2":  "to-rr@rr1 [2001:db8::1]:179 AS64512",
	} {
		s, problems := cluster(t, self, nil, objects...)
		if got := strings.ReplaceAll(strings.ReplaceAll(peersOf(s), " 2001:db8::12:", " [2001:db8::12]:"), " 2001:db8::1:", " [2001:db8::1]:"); got != want {
			t.Errorf("%s peers with %s, want %s", self, got, want)
		}
		if self == "w2" && !slices.Equal(problems, []string{w2Warning}) || self == "w1" && len(problems) > 0 {
			t.Errorf("%s: %q", self, problems)
		}
		for name, want := range map[string]string{"rr1": "rr2", "rr2": "rr1", "w1": "rr1 rr2", "w2": "rr1"} {
			if n, _ := s.Nodes.Get(name); strings.Join(n.Reflectors, " ") != want {
				t.Errorf("reflectors of %s: %s, want %s", name, n.Reflectors, want)
			}
		}
	}
	s, _ := cluster(t, "w1", nil, objects...)
	p, _ := s.Peers.Get("to-rr@rr2")
	if p.Name != "to-rr" || p.Node != "rr2" || !p.Selected || !p.Multihop || p.HoldTime != 9*time.Second {
		t.Errorf("%+v", p)
	}
	if p, _ := s.Peers.Get("to-rr@rr1"); p.Multihop {
		t.Errorf("a session within an AS is no eBGP multihop: %+v", p)
	}
}

func TestReversePeering(t *testing.T) {
	nodes := func() []*Object {
		return []*Object{
			host(t, "rr", "rr: x", "192.0.2.1/24", "routeReflectorClusterID: 10.0.0.1"),
			host(t, "w", "", "192.0.2.11/24", ""),
		}
	}
	for _, c := range []struct {
		name       string
		peers      []*Object
		rr, w      string // Peers
		reflectors string // of w
	}{
		{"by itself", []*Object{bgpPeer(t, "p", "nodeSelector: \"!has(rr)\", peerSelector: has(rr)")}, "p@w", "p@rr", "rr"},
		{"from the reflector", []*Object{bgpPeer(t, "p", "nodeSelector: has(rr), peerSelector: \"!has(rr)\"")}, "p@w", "p@rr", "rr"},
		{"manual, one end", []*Object{bgpPeer(t, "p", "nodeSelector: \"!has(rr)\", peerSelector: has(rr), reversePeering: Manual")}, "", "p@rr", ""},
		{"manual, both", []*Object{
			bgpPeer(t, "p", "nodeSelector: \"!has(rr)\", peerSelector: has(rr), reversePeering: Manual"),
			bgpPeer(t, "q", "node: rr, peerSelector: \"!has(rr)\", reversePeering: Manual")}, "q@w", "p@rr", "rr"},
		{"by address, one end", []*Object{bgpPeer(t, "p", "node: w, peerIP: 192.0.2.1, asNumber: internal")}, "", "p", ""},
		{"by address, both", []*Object{
			bgpPeer(t, "p", "peerIP: 192.0.2.1, asNumber: internal"),
			bgpPeer(t, "q", "peerIP: 192.0.2.11, asNumber: internal")}, "q", "p", "rr"},
		{"by address and by selector", []*Object{
			bgpPeer(t, "p", "peerSelector: has(rr)"),
			bgpPeer(t, "q", "node: w, peerIP: 192.0.2.1, asNumber: internal")}, "p@w", "q", "rr"},
	} {
		for self, want := range map[string]string{"rr": c.rr, "w": c.w} {
			s, problems := cluster(t, self, nil, append(nodes(), c.peers...)...)
			var keys []string
			for k := range s.Peers.All() {
				keys = append(keys, k)
			}
			if got := strings.Join(keys, " "); got != want {
				t.Errorf("%s: %s peers with %q, want %q", c.name, self, got, want)
			}
			if n, _ := s.Nodes.Get("w"); strings.Join(n.Reflectors, " ") != c.reflectors {
				t.Errorf("%s: the reflectors of w are %s, want %s", c.name, n.Reflectors, c.reflectors)
			}
			if n, _ := s.Nodes.Get("rr"); len(n.Reflectors) > 0 {
				t.Errorf("%s: the reflectors of rr are %s", c.name, n.Reflectors)
			}
			wantProblem := c.name == "by address and by selector" && self == "w"
			if (len(problems) > 0) != wantProblem {
				t.Errorf("%s: %s has %q", c.name, self, problems)
			}
		}
	}
}

// Two selectors that find the same pair: both ends take the same of them.
func TestSelectorsMeet(t *testing.T) {
	objects := []*Object{
		host(t, "a", "", "192.0.2.1/24", ""), host(t, "b", "rr: x", "192.0.2.2/24", ""),
		bgpPeer(t, "second", "peerSelector: has(rr), holdTime: 9s"),
		bgpPeer(t, "first", "nodeSelector: has(rr), peerSelector: all(), holdTime: 12s"),
	}
	for self, other := range map[string]string{"a": "b", "b": "a"} {
		s, problems := cluster(t, self, nil, objects...)
		if p, ok := s.Peers.Get("first@" + other); !ok || s.Peers.Len() != 1 || p.HoldTime != 12*time.Second {
			t.Errorf("%s peers with %s", self, peersOf(s))
		}
		if want := "second.yaml: BGPPeer second: node " + self + " peers with node " + other + " by BGPPeer first (first.yaml) already, and that is what counts"; !slices.Equal(problems, []string{want}) {
			t.Errorf("%q, want %s", problems, want)
		}
	}
}

func TestPeerNumbers(t *testing.T) {
	for _, c := range []struct {
		labels, spec string
		want         string // "remote local", or the problem
	}{
		{"", "peerIP: 10.0.0.1, asNumber: 65001", "65001 0"},
		{"", "peerIP: 10.0.0.1, asNumber: internal", "64512 0"},
		{"", "interface: eth1, asNumber: external", "0 0"},
		{"", "peerIP: defaultGateway, asNumber: external, localASNumber: 65010", "0 65010"},
		{"tor: \"65001\"", "peerIP: 10.0.0.1, asNumberFromLabel: tor", "65001 0"},
		{"tor: \"4200000000\", own: \"65009\"", "peerIP: 10.0.0.1, asNumberFromLabel: tor, localASNumberFromLabel: own", "4200000000 65009"},
		{"own: \"64512\"", "peerIP: 10.0.0.1, asNumber: internal, localASNumber: 64512", "spec.localASNumber"},
		{"", "peerIP: 10.0.0.1, asNumber: 65001, localASNumber: 64512", "65001 0"},
		{"", "peerIP: 10.0.0.1, asNumberFromLabel: tor", "p.yaml: BGPPeer p: spec.asNumberFromLabel: node a has no label tor, so it does not peer; add the label to its NodeConfig"},
		{"tor: x1", "peerIP: 10.0.0.1, asNumberFromLabel: tor", `p.yaml: BGPPeer p: spec.asNumberFromLabel: the label tor of node a is "x1", which is no AS number, so it does not peer`},
		{"tor: \"0\"", "peerIP: 10.0.0.1, asNumberFromLabel: tor", `p.yaml: BGPPeer p: spec.asNumberFromLabel: the label tor of node a is "0", which is no AS number, so it does not peer`},
		{"tor: \"65001\"", "peerIP: 10.0.0.1, asNumberFromLabel: tor, localASNumber: 65001", "p.yaml: BGPPeer p: the local AS number and the neighbor's are both 65001 on node a, so it does not peer; a local AS number is for a neighbor in another AS"},
		{"", "peerIP: 10.0.0.1, asNumber: 64512, localASNumber: 65001", "p.yaml: BGPPeer p: the neighbor is in AS 64512, that of node a, which is to be AS 65001 towards it; so it does not peer: remove the local AS number"},
	} {
		if strings.HasPrefix(c.want, "spec.") {
			if _, _, err := v1.Decode([]byte("apiVersion: caracal.dev/v1\nkind: BGPPeer\nmetadata: {name: p}\nspec: {" + c.spec + "}\n")); err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("%s: %v", c.spec, err)
			}
			continue
		}
		s, problems := cluster(t, "a", nil, host(t, "a", c.labels, "192.0.2.1/24", ""), bgpPeer(t, "p", c.spec))
		got := strings.Join(problems, "|")
		if p, ok := s.Peers.Get("p"); ok {
			got += fmt.Sprint(p.ASN, p.LocalASN)
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.spec, got, c.want)
		}
	}
}

// Every field of a BGPPeer reaches the Peer.
func TestPeerInFull(t *testing.T) {
	secrets := func(ref v1.SecretKeyRef) caracal.Password {
		return caracal.Password{From: SecretPath(ref), Secret: caracal.NewSecret("word")}
	}
	s, problems := cluster(t, "a", secrets,
		host(t, "a", "", "192.0.2.1/24", "anycastPrefixes: [203.0.113.2/32, 203.0.113.1/32]"),
		object(t, "c", "BGPConfiguration", "default", `bfd: {transmitInterval: 50ms, nodeMeshEnabled: true}, nodeMeshPassword: {secretKeyRef: {name: mesh, key: word}},
  communities: [{name: blue, value: "65000:7"}],
  prefixAdvertisements: [{cidr: 10.0.0.0/8, communities: [blue, no-export]}, {cidr: 10.1.0.0/16, communities: ["1:2:3"]}]`),
		object(t, "f", "BGPFilter", "racks", `importV4: [{action: Accept, cidr: 10.0.0.0/8, matchOperator: In, prefixLength: {max: 24}, communities: {values: ["65000:1"]}, asPathPrefix: [65001], source: RemotePeers, peerType: eBGP,
  operations: [{addCommunity: {value: "65000:2"}}, {prependASPath: {prefix: [65001, 65002]}}, {setLocalPreference: {value: 200}}, {setMED: {value: 0}}]}, {action: Reject}]`),
		bgpPeer(t, "p", `peerIP: "198.51.100.1:1790", asNumber: 65001, localASNumber: 65010, numAllowedLocalASNumbers: 2, sourceAddress: 192.0.2.1,
  reachableBy: 192.0.2.254, ttlSecurity: 2, passive: true, password: {secretKeyRef: {name: tor, key: key}}, holdTime: 9s, keepaliveTime: 2s,
  bfd: {receiveInterval: 100ms, multiplier: 5}, gracefulRestart: {restartTime: 30s, longLivedStaleTime: 1h}, nextHopMode: Self, extendedNextHop: true,
  addPath: {receive: true, sendMax: 4}, maxPrefixes: 10, maxPrefixesWarning: 50, maxPrefixesRetry: 0s, filters: [racks], acceptRanges: [172.16.0.0/12, 10.0.0.0/8],
  acceptPools: true, acceptDefaultRoute: true`))
	want := caracal.Peer{
		Name: "p", Addr: netip.MustParseAddr("198.51.100.1"), Port: 1790, ASN: 65001, LocalASN: 65010, AllowLocalAS: 2,
		SourceAddr: netip.MustParseAddr("192.0.2.1"), ReachableBy: netip.MustParseAddr("192.0.2.254"), Multihop: true, Passive: true, TTLSecurity: 2,
		Password: caracal.Password{From: "local/secrets/tor/key", Secret: caracal.NewSecret("word")}, HoldTime: 9 * time.Second, KeepaliveTime: 2 * time.Second,
		BFD:             caracal.BFD{Enabled: true, Transmit: 50 * time.Millisecond, Receive: 100 * time.Millisecond, Multiplier: 5},
		GracefulRestart: true, RestartTime: 30 * time.Second, LongLived: time.Hour, NextHop: caracal.NextHopSelf, ExtendedNextHop: true,
		AddPathReceive: true, AddPathSend: 4, MaxPrefixes: 10, WarnPrefixes: 5, Filters: []string{"racks"},
		AcceptRanges: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12")}, AcceptPools: true, AcceptDefault: true,
	}
	if p, _ := s.Peers.Get("p"); !reflect.DeepEqual(p, want) || len(problems) > 0 {
		t.Errorf("got  %+v\nwant %+v\n%q", p, want, problems)
	}
	if m := s.BGP.MeshBFD; m != (caracal.BFD{Enabled: true, Transmit: 50 * time.Millisecond, Receive: 300 * time.Millisecond, Multiplier: 3}) || s.BGP.MeshPassword.From != "local/secrets/mesh/word" {
		t.Errorf("%+v", s.BGP)
	}
	if got, want := fmt.Sprint(s.BGP.Advertisements), "[{10.1.0.0/16 [1:2:3]} {10.0.0.0/8 [65535:65281 65000:7]}]"; got != want {
		t.Errorf("advertisements %s, want %s", got, want)
	}
	if n, _ := s.Nodes.Get("a"); fmt.Sprint(n.Anycast) != "[203.0.113.1/32 203.0.113.2/32]" {
		t.Errorf("anycast %s", n.Anycast)
	}
	f, _ := s.Filters.Get("racks")
	if len(f.Import4) != 2 || f.Import4[1].Accept || len(f.Import4[0].Operations) != 4 || f.Import4[0].MinLen != 8 || f.Import4[0].MaxLen != 24 || !f.Import4[0].HasLen {
		t.Errorf("%+v", f)
	}
}

// A place is taken once on a node, whatever the place is.
func TestPeerConflicts(t *testing.T) {
	a := []*Object{host(t, "a", "", "192.0.2.1/24", ""), host(t, "b", "rack: r", "192.0.2.2/24", "")}
	for _, c := range []struct{ first, second, want string }{
		{"peerIP: 10.0.0.1, asNumber: 1", "peerIP: \"10.0.0.1:1790\", asNumber: 1", "spec.peerIP: node a peers with 10.0.0.1 by BGPPeer p1 (p1.yaml) already"},
		{"peerIP: defaultGateway, asNumber: 1", "nodeSelector: has(rack), peerIP: defaultGateway, asNumber: 1", "spec.peerIP: node b peers with its default gateway by BGPPeer p1 (p1.yaml) already"},
		{"interface: eth1, asNumber: 1", "interface: eth1, asNumber: 2, node: b", "spec.peerIP: node b peers with the neighbor on eth1 by BGPPeer p1 (p1.yaml) already"},
		{"interface: eth1, asNumber: 1", "interface: eth2, asNumber: 1", ""},
		{"peerIP: 10.0.0.1, asNumber: 1, node: a", "peerIP: 10.0.0.1, asNumber: 1, node: b", ""},
	} {
		v := Judge(Proposal{InForce: inForce(append(slices.Clone(a), bgpPeer(t, "p1", c.first))...), Changed: []*Object{bgpPeer(t, "p2", c.second)}})
		got := ""
		for _, r := range v.Rejected {
			got += r.Reason
		}
		if got != c.want {
			t.Errorf("%s and %s: %s, want %s", c.first, c.second, got, c.want)
		}
	}
}

func TestAnycastConflicts(t *testing.T) {
	pool := object(t, "pool.yaml", "IPPool", "pods", "cidr: 10.0.0.0/16")
	a := host(t, "a", "", "192.0.2.1/24", "anycastPrefixes: [203.0.113.0/28]")
	for _, c := range []struct {
		inForce []*Object
		changed *Object
		want    string
	}{
		{[]*Object{a}, host(t, "b", "", "192.0.2.2/24", "anycastPrefixes: [203.0.113.0/28]"), ""},
		{[]*Object{a}, host(t, "b", "", "192.0.2.2/24", "anycastPrefixes: [203.0.113.1/32]"), ""},
		{[]*Object{pool}, host(t, "b", "", "192.0.2.2/24", "anycastPrefixes: [10.0.4.0/24]"), "spec.anycastPrefixes: 10.0.4.0/24 overlaps 10.0.0.0/16 of IPPool pods (pool.yaml); an anycast prefix lies outside of all pools, and holds no address of a node"},
		{[]*Object{a}, object(t, "q.yaml", "IPPool", "q", "cidr: 203.0.113.0/24"), "spec.cidr: 203.0.113.0/24 overlaps 203.0.113.0/28, an anycast prefix of NodeConfig a (a.yaml)"},
		{[]*Object{a}, host(t, "b", "", "203.0.113.5/24", ""), "spec.addresses: 203.0.113.5/32 overlaps 203.0.113.0/28, an anycast prefix of NodeConfig a (a.yaml)"},
		{[]*Object{a}, host(t, "b", "", "192.0.2.2/24", "anycastPrefixes: [192.0.2.1/32]"), "spec.anycastPrefixes: 192.0.2.1/32 overlaps 192.0.2.1/32 of NodeConfig a (a.yaml); an anycast prefix lies outside of all pools, and holds no address of a node"},
		{[]*Object{a}, host(t, "b", "", "192.0.2.2/24", "blocks: [203.0.113.8/29]"), "spec.blocks: 203.0.113.8/29 overlaps 203.0.113.0/28, an anycast prefix of NodeConfig a (a.yaml)"},
		{[]*Object{host(t, "a", "", "192.0.2.1/24", "blocks: [203.0.113.0/26]")}, host(t, "b", "", "192.0.2.2/24", "anycastPrefixes: [203.0.113.8/29]"), "spec.anycastPrefixes: 203.0.113.8/29 overlaps 203.0.113.0/26 of NodeConfig a (a.yaml); an anycast prefix lies outside of all pools, and holds no address of a node"},
	} {
		v := Judge(Proposal{InForce: inForce(c.inForce...), Changed: []*Object{c.changed}})
		got := ""
		for _, r := range v.Rejected {
			got += r.Reason
		}
		if got != c.want {
			t.Errorf("%s:\n%s, want\n%s", c.changed.Text.Canonical, got, c.want)
		}
	}
}

// However the nodes and peers look: Reflectors are what a plain search finds,
// and each end of a session between nodes sees the other.
func TestReflectorsProperties(t *testing.T) {
	selectors := []string{"all()", "has(rr)", "!has(rr)", "rack == '1'", "rack == '2'", "kubernetes.io/hostname == 'n1'", "rack == '9'"}
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 3))
		var objects []*Object
		n := 2 + r.IntN(7)
		for i := range n {
			labels, more := fmt.Sprintf("rack: \"%d\"", 1+r.IntN(2)), ""
			if r.IntN(3) == 0 {
				labels += ", rr: x"
			}
			if r.IntN(3) == 0 {
				more = "routeReflectorClusterID: 10.0.0.9"
			}
			addrs := []string{fmt.Sprintf("192.0.2.%d/24", i+1), fmt.Sprintf("2001:db8::%x/64", i+1), fmt.Sprintf("192.0.2.%d/24, 2001:db8::%x/64", i+1, i+1)}[r.IntN(3)]
			objects = append(objects, host(t, fmt.Sprintf("n%d", i), labels, addrs, more))
		}
		for i := range r.IntN(4) {
			spec := "nodeSelector: \"" + selectors[r.IntN(len(selectors))] + "\""
			if r.IntN(4) == 0 {
				spec += fmt.Sprintf(", peerIP: 192.0.2.%d, asNumber: internal", 1+r.IntN(n))
			} else {
				spec += ", peerSelector: \"" + selectors[r.IntN(len(selectors))] + "\", reversePeering: " + []string{"Auto", "Manual"}[r.IntN(2)]
			}
			objects = append(objects, bgpPeer(t, fmt.Sprintf("p%d", i), spec))
		}
		accepted := Judge(Proposal{Changed: objects}).Objects
		snaps := map[string]*caracal.Snapshot{}
		wants := map[string]map[string]bool{} // by node, the nodes it has a Peer for
		for i := range n {
			self := fmt.Sprintf("n%d", i)
			snaps[self], _, _ = Build(caracal.NewSnapshot(self), accepted, nil)
			wants[self] = map[string]bool{}
			for _, p := range snaps[self].Peers.All() {
				if p.Node != "" {
					wants[self][p.Node] = true
				}
			}
		}
		for self, s := range snaps {
			for name, node := range s.Nodes.All() {
				var want []string
				for other, on := range s.Nodes.All() {
					if on.ClusterID.IsValid() && wants[name][other] && wants[other][name] {
						want = append(want, other)
					}
				}
				if !slices.Equal(node.Reflectors, want) {
					t.Fatalf("seed %d: on %s the reflectors of %s are %s, want %s", seed, self, name, node.Reflectors, want)
				}
			}
		}
	}
}

func largeCluster(t testing.TB, reflectors int) []*Object {
	objects := []*Object{object(t, "pool", "IPPool", "pods", "cidr: 10.0.0.0/8")}
	for i := range 1000 {
		labels, more := fmt.Sprintf("rack: r%d, tor: \"%d\"", i/25, 65000+i/25), fmt.Sprintf("blocks: [10.%d.%d.0/26]", i/250, i%250)
		if i < reflectors {
			labels, more = labels+", rr: x", more+", routeReflectorClusterID: 10.255.0.1"
		}
		objects = append(objects, host(t, fmt.Sprintf("n%d", i), labels, fmt.Sprintf("172.16.%d.%d/12", 1+i/250, 1+i%250), more))
	}
	return inForce(append(objects,
		bgpPeer(t, "rr-mesh", "nodeSelector: has(rr), peerSelector: has(rr)"),
		bgpPeer(t, "to-rr", "nodeSelector: \"!has(rr)\", peerSelector: has(rr)"),
		bgpPeer(t, "tor1", "peerIP: defaultGateway, asNumberFromLabel: tor"),
		bgpPeer(t, "tor2", "nodeSelector: \"rack in {'r1', 'r2', 'r3'}\", peerIP: 172.31.0.2, asNumberFromLabel: tor"),
		bgpPeer(t, "other", "nodeSelector: \"rack not in {'r1', 'r2', 'r3'}\", peerIP: 172.31.0.2, asNumber: external"),
	)...)
}

// TestLargeBuild keeps a build of 1,000 nodes quick: tenfold slack on 50 ms, and
// several tries on a machine that is busy with other things.
func TestLargeBuild(t *testing.T) {
	const limit = 500 * time.Millisecond
	for _, reflectors := range []int{2, 500} {
		objects := largeCluster(t, reflectors)
		best := time.Hour
		for tries := 0; best > limit && tries < 20; tries++ {
			start := cputime.Used()
			s, _, _ := Build(caracal.NewSnapshot("n0"), objects, nil)
			best = min(best, cputime.Used()-start)
			if s.Peers.Len() != 999+2 {
				t.Fatalf("%d peers", s.Peers.Len())
			}
			if n, _ := s.Nodes.Get("n999"); len(n.Reflectors) != reflectors {
				t.Fatalf("%d reflectors", len(n.Reflectors))
			}
		}
		t.Logf("%d reflectors: %v", reflectors, best)
		if best > limit {
			t.Errorf("a build with %d reflectors takes %v", reflectors, best)
		}
	}
}

func BenchmarkBuild(b *testing.B) {
	objects := largeCluster(b, 2)
	prev, _, _ := Build(caracal.NewSnapshot("n0"), objects, nil)
	for b.Loop() {
		Build(prev, objects, nil)
	}
}
