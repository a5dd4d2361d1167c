package torconfig

import (
	"flag"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"caracal.dev/caracal"
	"caracal.dev/caracal/bgp"
)

var update = flag.Bool("update", false, "write the golden files anew")

// render plans and writes a case.
func render(t *testing.T, name string, f Format) string {
	t.Helper()
	tc := cases[name]
	c, err := Plan(views(tc.change, tc.nodes...), Query{})
	if err != nil {
		t.Fatal(err)
	}
	text, err := c.Render(f)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestGolden holds the whole text for each case and format. None has the secret
// in it.
func TestGolden(t *testing.T) {
	for name := range cases {
		for _, f := range Formats() {
			got := render(t, name, f)
			path := filepath.Join("testdata", name+"."+string(f))
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("%s: got\n%s\nwant\n%s", path, got, want)
			}
			if strings.Contains(got, "hunter2") {
				t.Errorf("%s: the secret is in it", path)
			}
		}
	}
}

// TestLoads: the programs that are to read it find nothing wrong with any of it.
func TestLoads(t *testing.T) {
	for name := range cases {
		for f, check := range map[Format][]string{
			FRR:  {"/usr/bin/vtysh", "--dryrun", "--inputfile"},
			BIRD: {"/usr/sbin/bird", "-p", "-c"},
		} {
			file := filepath.Join(t.TempDir(), "conf")
			if err := os.WriteFile(file, []byte(render(t, name, f)), 0o644); err != nil {
				t.Fatal(err)
			}
			out, err := exec.Command(check[0], append(check[1:], file)...).CombinedOutput()
			if err != nil || len(out) > 0 {
				t.Errorf("%s, %s: %v (Debian: apt-get install frr bird2)\n%s", name, f, err, out)
			}
		}
	}
}

// TestPermits: the prefix lists permit exactly what the speaker of each node
// originates, and of single addresses those of its blocks.
func TestPermits(t *testing.T) {
	c, err := Plan(views(nil, "a", "b", "c-1.example", "d"), Query{})
	if err != nil {
		t.Fatal(err)
	}
	permits := map[string][]Permit{}
	for _, n := range c.Groups[0].Neighbors {
		permits[n.Node] = append(append(permits[n.Node], n.In4...), n.In6...)
	}
	allowed := func(node string, p netip.Prefix) bool {
		for _, e := range permits[node] {
			if e.Matches(p) {
				return true
			}
		}
		return false
	}
	for _, node := range c.nodes() {
		v := cluster(node, nil)
		w := caracal.Workload{Namespace: "default", Name: "single", Node: "b", Addrs: []netip.Addr{netip.MustParseAddr("10.65.1.3")}}
		v.Workloads = v.Workloads.Put(w.Key(), w)
		config, _ := bgp.Plan(v, nil, bgp.Facts{})
		if len(config.Originate) == 0 {
			t.Errorf("%s originates nothing", node)
		}
		for _, p := range config.Originate {
			for _, other := range c.nodes() {
				if got, want := allowed(other, p), other == node; got != want {
					t.Errorf("%s of node %s, in the list of %s: %t, want %t", p, node, other, got, want)
				}
			}
		}
	}
}

// TestPlanErrors: there is not always one switch to write for.
func TestPlanErrors(t *testing.T) {
	two := func(change func(*caracal.Peer)) []*caracal.Snapshot {
		v := views(nil, "a", "b")
		for _, s := range v {
			p, _ := s.Peers.Get("tor")
			p.Name = "tor2"
			change(&p)
			s.Peers = s.Peers.Put(p.Key(), p)
		}
		return v
	}
	differing := views(nil, "a", "b")
	p, _ := differing[1].Peers.Get("tor")
	p.ASN = 65002
	differing[1].Peers = differing[1].Peers.Put(p.Key(), p)
	external := func(p *caracal.Peer) { p.ASN = 0 }
	for _, tc := range []struct {
		name, want string
		views      []*caracal.Snapshot
		q          Query
	}{
		{"no nodes", "none of these nodes has a BGPPeer that is a switch", nil, Query{}},
		{"unknown node", "none of these nodes has a BGPPeer that is a switch", views(nil, "x"), Query{}},
		{"a node is no switch", "none of these nodes", views(func(p *caracal.Peer) { p.Addr = netip.MustParseAddr("192.0.2.2") }, "a"), Query{}},
		{"unknown peer", `by a BGPPeer "other"`, views(nil, "a"), Query{Peer: "other"}},
		{"two switches", "different switches; say which with --peer: tor, tor2", two(func(p *caracal.Peer) { p.ASN = 65002 }), Query{}},
		{"two racks", "node a peers with AS 65001 and node b with AS 65002", differing, Query{}},
		{"external", "say it with --as", views(external, "a"), Query{}},
		{"wrong AS", "has AS number 65001, not 65002", views(nil, "a"), Query{ASN: 65002}},
		{"no address of the family", "node a has no address of the family", noIPv6(), Query{}},
	} {
		_, err := Plan(tc.views, tc.q)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
	c, err := Plan(two(func(p *caracal.Peer) { p.Addr = netip.MustParseAddr("192.0.2.253") }), Query{})
	if err != nil || len(c.Peers) != 2 || c.Addr.IsValid() {
		t.Errorf("two switches with the same configuration: %+v, %v", c, err)
	}
	if c, err := Plan(two(func(p *caracal.Peer) { p.ASN = 65002 }), Query{Peer: "tor2"}); err != nil || c.ASN != 65002 {
		t.Errorf("one of two switches: %+v, %v", c, err)
	}
	if c, err := Plan(views(external, "a"), Query{ASN: 65002}); err != nil || c.ASN != 65002 {
		t.Errorf("external with --as: %+v, %v", c, err)
	}
	if _, err := (Config{}).Render("ios"); err == nil {
		t.Error("an unknown format is rendered")
	}
}

// noIPv6 is a node that has no IPv6 address for its IPv6 peer.
func noIPv6() []*caracal.Snapshot {
	v := views(func(p *caracal.Peer) { p.Addr = netip.MustParseAddr("2001:db8::ffff") }, "a")
	n, _ := v[0].Nodes.Get("a")
	n.IPv6 = netip.Prefix{}
	v[0].Nodes = v[0].Nodes.Put("a", n)
	return v
}

// TestLimit: a limit leaves room for twice what a node announces.
func TestLimit(t *testing.T) {
	for _, tc := range []struct {
		prefix string
		max    int
		want   int
	}{{"10.0.0.0/26", 26, 100}, {"10.0.0.0/26", 32, 1000}, {"10.0.0.0/20", 32, 100_000}, {"fd00::/64", 128, 2 * many}} {
		p := prefix(tc.prefix)
		n := Neighbor{In4: []Permit{{p, p.Bits(), tc.max}}, In6: []Permit{{p, p.Bits(), tc.max}}}
		for _, v6 := range []bool{false, true} {
			if got := (Group{Neighbors: []Neighbor{n}}).Limit(v6); got != tc.want {
				t.Errorf("%s to %d: %d, want %d", tc.prefix, tc.max, got, tc.want)
			}
		}
	}
}
