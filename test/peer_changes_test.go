package test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/lab"
)

// change is one field of a caracal.Peer that changes.
type change struct {
	field string // of caracal.Peer
	// from and to are the spec of the BGPPeer, to which the address and the AS
	// number are added where they are not said; name is its other name.
	from, to string
	name     string
	// internal has the neighbor in our own AS.
	internal bool
	// resets is what is predicted, and what comes to pass. ends says that it is
	// predicted as another neighbor.
	resets, ends bool
}

// changes has every field of caracal.Peer.
func changes() []change {
	return []change{
		{field: "Name", name: "another"},
		{field: "Node", internal: true, to: "NODE"},
		{field: "Selected", internal: true, from: "NODE", to: "peerSelector: host == 'NAME'"},
		{field: "Addr", to: "peerIP: 192.168.77.250", resets: true, ends: true},
		{field: "Port", to: "peerIP: ADDR:1179", resets: true},
		{field: "Interface", to: "interface: eth0", resets: true, ends: true},
		{field: "DefaultGateway", to: "peerIP: defaultGateway", resets: true, ends: true},
		{field: "ASN", to: "asNumber: 65001", resets: true},
		{field: "LocalASN", to: "localASNumber: 65100", resets: true},
		{field: "AllowLocalAS", to: "numAllowedLocalASNumbers: 1"},
		{field: "SourceAddr", to: "sourceAddress: 192.168.77.240", resets: true},
		{field: "ReachableBy", to: "reachableBy: 192.168.77.2"},
		{field: "Multihop", to: "ebgpMultihop: true", resets: true},
		{field: "Passive", to: "passive: true", resets: true},
		{field: "TTLSecurity", to: "ttlSecurity: 1", resets: true},
		{field: "Password", to: "password: {secretKeyRef: {name: peers, key: one}}", resets: true},
		{field: "HoldTime", from: "keepaliveTime: 10s", to: "keepaliveTime: 10s, holdTime: 60s"},
		{field: "KeepaliveTime", to: "keepaliveTime: 10s"},
		{field: "BFD", to: "bfd: {enabled: true}"},
		{field: "GracefulRestart", to: "gracefulRestart: {enabled: false}", resets: true},
		{field: "RestartTime", to: "gracefulRestart: {restartTime: 60s}", resets: true},
		{field: "LongLived", to: "gracefulRestart: {longLivedStaleTime: 1h}", resets: true},
		{field: "NextHop", to: "nextHopMode: Self"},
		{field: "ExtendedNextHop", to: "extendedNextHop: true"},
		{field: "AddPathReceive", to: "addPath: {receive: true}", resets: true},
		{field: "AddPathSend", to: "addPath: {sendMax: 2}", resets: true},
		{field: "MaxPrefixes", to: "maxPrefixes: 500"},
		{field: "WarnPrefixes", to: "maxPrefixesWarning: 50"},
		{field: "MaxPrefixesRetry", to: "maxPrefixesRetry: 1m"},
		{field: "Filters", to: "filters: [open]"},
		{field: "AcceptRanges", to: "acceptRanges: [198.51.100.0/24]"},
		{field: "AcceptPools", to: "acceptPools: true"},
		{field: "AcceptDefault", to: "acceptDefaultRoute: true"},
	}
}

// TestPeerChanges changes every field of a BGPPeer, one at a time and each with
// a neighbor of its own, and compares docs/PEER_CHANGES.md, what caracal
// configure check predicts, and what BIRD sees at the other end: the sessions
// that are to reset do once, and no other does.
func TestPeerChanges(t *testing.T) {
	t.Parallel()
	cases := changes()
	checkFields(t, cases)
	l := start(t, neighbors(len(cases)))
	a, r := l.Node("a"), l.Node("r")
	secret := filepath.Join(l.ConfigDir(), "local", "secrets", "peers", "one")
	if err := cmp.Or(os.MkdirAll(filepath.Dir(secret), 0o700), os.WriteFile(secret, []byte("word"), 0o600)); err != nil {
		t.Fatal(err)
	}
	write(t, l, "filter.yaml", "BGPFilter", "open", "{importV4: [{action: Accept}]}")
	write(t, l, "nomesh.yaml", "BGPConfiguration", "nomesh", "{nodeSelector: all(), nodeToNodeMeshEnabled: false}")
	for i, c := range cases {
		c.write(t, l, i, c.from, fmt.Sprint("p", i))
	}
	must(r.StartBIRD(neighborsConf(cases)))(t)
	must(a.StartCaracald())(t)
	eventually(t, 30*time.Second, func() string { return birdsUp(t, r, len(cases)) })

	predicted := make([]bool, len(cases))
	for i, c := range cases {
		predicted[i] = c.make(t, l, i)
	}
	// What was changed last resets last.
	counts := map[string]int{}
	eventually(t, 20*time.Second, func() string {
		counts = closings(r)
		for i, c := range cases {
			if c.resets && counts[birdName(i)] == 0 {
				return c.field + ": the session is not reset"
			}
		}
		return ""
	})
	for i, c := range cases {
		if predicted[i] != c.resets || counts[birdName(i)] > 0 != c.resets || counts[birdName(i)] > 1 {
			t.Errorf("%s: predicted that the session resets: %v; it was reset %d times; want %v", c.field, predicted[i], counts[birdName(i)], c.resets)
		}
	}
}

// checkFields holds that no field is forgotten, and that the table for operators
// says the same.
func checkFields(t *testing.T, cases []change) {
	t.Helper()
	text, err := os.ReadFile("../docs/PEER_CHANGES.md")
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\| [^|]* \\| (resets|stays)[^|]* \\|").FindAllStringSubmatch(string(text), -1) {
		told[m[1]] = m[2] == "resets"
	}
	want := map[string]bool{}
	for _, c := range cases {
		want[c.field] = c.resets
	}
	if !maps.Equal(told, want) {
		t.Errorf("docs/PEER_CHANGES.md says %v\nthe test %v", told, want)
	}
	for f := range reflect.TypeFor[caracal.Peer]().Fields() {
		if _, ok := want[f.Name]; !ok {
			t.Errorf("what another %s does is not known", f.Name)
		}
	}
}

const firstNeighbor = 100

// neighborAddr is the address of the neighbor number i.
func neighborAddr(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{192, 168, 77, byte(firstNeighbor + i)})
}

func birdName(i int) string { return fmt.Sprint("p", i) }

// changedAddr is the address of node a: as text greater than the neighbors', so that a
// dials, be they nodes or not.
const changedAddr = "192.168.77.9"

// neighbors is a node a with one router that has n addresses more.
func neighbors(n int) lab.Topology {
	top := lab.Mesh(lab.MeshOptions{Nodes: 1, PodsPerNode: 1})
	link := &top.Nodes[0].Links[0]
	link.Addrs[0] = netip.MustParsePrefix(changedAddr + "/24")
	link.Addrs = append(link.Addrs, netip.MustParsePrefix("192.168.77.240/24"))
	r := lab.NodeSpec{Name: "r", Router: true, Links: []lab.Link{{Name: "eth0", Switch: link.Switch, Addrs: []netip.Prefix{netip.MustParsePrefix("192.168.77.2/24")}}}}
	for i := range n {
		r.Links[0].Addrs = append(r.Links[0].Addrs, netip.PrefixFrom(neighborAddr(i), 24))
	}
	top.Nodes = append(top.Nodes, r)
	return top
}

// neighborsConf has BIRD wait for all those sessions. The ports, which it does not
// use for that, only make it take them for sessions with different neighbors.
func neighborsConf(cases []change) string {
	var b strings.Builder
	b.WriteString("log stderr all;\nrouter id 192.0.2.2;\nprotocol device {}\n")
	for i, c := range cases {
		asn := 65000
		if c.internal {
			asn = 64512
		}
		fmt.Fprintf(&b, "protocol bgp %s { debug { events }; local %s as %d; neighbor %s port %d as 64512; passive; graceful restart on;\n"+
			"\tipv4 { import all; export none; }; ipv6 { import all; export none; }; }\n", birdName(i), neighborAddr(i), asn, changedAddr, 10000+i)
	}
	return b.String()
}

// closings counts by neighbor how often BIRD's session ended.
func closings(r *lab.Node) map[string]int {
	counts := map[string]int{}
	for _, m := range regexp.MustCompile(`(?m)> (p\d+): BGP session closed`).FindAllStringSubmatch(r.Process("bird").Log(), -1) {
		counts[m[1]]++
	}
	return counts
}

// birdsUp says which of BIRD's sessions are not.
func birdsUp(t *testing.T, r *lab.Node, n int) string {
	t.Helper()
	out, err := r.BIRDC(t.Context(), "show", "protocols")
	if err != nil {
		return err.Error()
	}
	if up := strings.Count(out, "Established"); up != n {
		return fmt.Sprintf("%d of %d sessions are up:\n%s", up, n, out)
	}
	return ""
}

// write writes a file with one object.
func write(t *testing.T, l *lab.Lab, file, kind, name, spec string) {
	t.Helper()
	if err := l.WriteConfig(file, object(kind, name, spec)); err != nil {
		t.Fatal(err)
	}
}

// write writes a version of the BGPPeer of a change.
func (c change) write(t *testing.T, l *lab.Lab, i int, spec, name string) {
	t.Helper()
	for file, text := range c.files(i, spec, name) {
		if err := l.WriteConfig(file, text); err != nil {
			t.Fatal(err)
		}
	}
}

// files are those of a version of the BGPPeer of a change.
func (c change) files(i int, spec, name string) map[string]string {
	out := map[string]string{}
	addr := neighborAddr(i).String()
	if spec == "NODE" {
		name := fmt.Sprint("n", i)
		out[fmt.Sprintf("node-%d.yaml", i)] = fmt.Sprintf("apiVersion: caracal.dev/v1\nkind: NodeConfig\nmetadata: {name: %s, labels: {host: %s}}\nspec: {addresses: [%s/24, \"fd00:77::%d/64\"]}\n",
			name, name, addr, firstNeighbor+i)
		spec = ""
	}
	spec = strings.NewReplacer("ADDR", addr, "NAME", fmt.Sprint("n", i)).Replace(spec)
	parts := []string{"node: a"}
	if spec != "" {
		parts = append(parts, spec)
	}
	selector := strings.Contains(spec, "peerSelector")
	if !selector && !strings.Contains(spec, "peerIP:") && !strings.Contains(spec, "interface:") {
		parts = append(parts, "peerIP: "+addr)
	}
	if !selector && !strings.HasPrefix(spec, "asNumber:") {
		asn := 65000
		if c.internal {
			asn = 64512
		}
		parts = append(parts, fmt.Sprint("asNumber: ", asn))
	}
	out[fmt.Sprintf("peer-%d.yaml", i)] = object("BGPPeer", name, "{"+strings.Join(parts, ", ")+"}")
	return out
}

// make carries a change out and reports whether it is predicted to reset its
// session, which is the only one that may be.
func (c change) make(t *testing.T, l *lab.Lab, i int) (resets bool) {
	t.Helper()
	a, name := l.Node("a"), cmp.Or(c.name, fmt.Sprint("p", i))
	// In place the daemon would take it before it can be checked.
	dir := filepath.Join(a.Dir(), "new")
	run(t, a, "rm", "-rf", dir)
	run(t, a, "cp", "-a", l.ConfigDir(), dir)
	for file, text := range c.files(i, c.to, name) {
		if err := os.WriteFile(filepath.Join(dir, "cluster", file), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p := configure(t, a, "configure", "check", "--from", dir)
	if len(p.Changes) == 0 {
		t.Errorf("%s: no change is seen", c.field)
	}
	var touched []string
	for _, r := range p.Resets {
		touched = append(touched, r.Neighbor)
	}
	if c.ends {
		touched = append(touched, p.Ends...)
	} else if len(p.Ends)+len(p.Starts) > 0 {
		t.Errorf("%s: sessions would end %v and start %v", c.field, p.Ends, p.Starts)
	}
	if len(touched) > 1 {
		t.Errorf("%s: more than one session would end: %v", c.field, touched)
	}
	for _, n := range touched {
		if !strings.HasSuffix(n, "@"+neighborAddr(i).String()) {
			t.Errorf("%s: the session of another neighbor would end: %s", c.field, n)
		}
	}
	t.Logf("%s: resets %v, ends %v", c.field, p.Resets, p.Ends)
	c.write(t, l, i, c.to, name)
	configure(t, a, "configure")
	return len(touched) > 0
}

// prediction is what "caracal configure check -o json" says.
type prediction struct {
	Changes, Ends, Starts []string
	Resets                []struct{ Neighbor, Reason string }
	Problems              []lab.Problem
}

func configure(t *testing.T, n *lab.Node, words ...string) prediction {
	t.Helper()
	var p prediction
	text, err := n.CLI(t.Context(), append(words, "-o", "json")...)
	if text == "" && err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		t.Fatal(err)
	}
	for _, problem := range p.Problems {
		if problem.Severity != "warning" {
			t.Errorf("%v: %s", words, problem.Message)
		}
	}
	return p
}
