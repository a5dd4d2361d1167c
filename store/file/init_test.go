package file

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func initNodes(t *testing.T, args ...string) []InitNode {
	t.Helper()
	var nodes []InitNode
	for _, a := range args {
		n, err := ParseInitNode(a)
		if err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, n)
	}
	return nodes
}

func prefixes(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func TestInit(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "etc")
	o := InitOptions{
		Dir: dir, Pools: prefixes("10.244.0.0/16", "fd00:10::/48"), ASN: 65001,
		Nodes: initNodes(t, "web1=192.0.2.1/24,2001:db8::1/64", "web2=192.0.2.2/24", "y=192.0.2.3/24,2001:db8::3/64"),
	}
	if err := Init(o); err != nil {
		t.Fatal(err)
	}
	s, err := Load(dir, "web2")
	if err != nil || len(s.Problems) > 0 || !s.Complete() {
		t.Fatalf("%v, problems %v", err, s.Problems)
	}
	var blocks []string
	for _, b := range s.Blocks.All() {
		blocks = append(blocks, b.Node+"="+b.CIDR.String())
	}
	if got, want := strings.Join(blocks, " "), "web1=10.244.0.0/26 web2=10.244.0.64/26 y=10.244.0.128/26 web1=fd00:10::/122 y=fd00:10::40/122"; got != want {
		t.Errorf("blocks %s, want %s", got, want)
	}
	n, _ := s.SelfNode()
	if n.ASN != 65001 {
		t.Errorf("%+v", n)
	}

	// Nothing is overwritten, and nothing written when something is in the way.
	if err := os.Remove(filepath.Join(dir, "cluster", "nodes", "web1.yaml")); err != nil {
		t.Fatal(err)
	}
	err = Init(o)
	if want := "init DIR: DIR/cluster/pool.yaml is there already, and is not overwritten; take another directory (--out)"; err == nil || strings.ReplaceAll(err.Error(), dir, "DIR") != want {
		t.Errorf("second time: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "cluster", "nodes", "web1.yaml")); err == nil {
		t.Error("a file was written in spite of the error")
	}
}

func TestInitManyNodes(t *testing.T) {
	for _, c := range []struct {
		pool  string
		nodes int
		want  int // block size; 0 is an error
	}{{"10.0.0.0/16", 1024, 26}, {"10.0.0.0/16", 1025, 27}, {"10.0.0.0/28", 1, 28}, {"10.0.0.0/28", 4, 30}, {"10.0.0.0/28", 5, 0}, {"fd00::/112", 300, 122}} {
		var nodes []InitNode
		for i := range c.nodes {
			nodes = append(nodes, InitNode{fmt.Sprintf("n%d", i), prefixes(fmt.Sprintf("192.%d.%d.1/24", 1+i/256, i%256), fmt.Sprintf("2001:db8::%x/64", i+1))})
		}
		files, err := InitFiles(InitOptions{Pools: prefixes(c.pool), Nodes: nodes})
		if (err == nil) != (c.want > 0) {
			t.Errorf("%s for %d nodes: %v", c.pool, c.nodes, err)
		} else if want := fmt.Sprintf("blockSize: %d\n", c.want); err == nil && !strings.Contains(files[0].Text, want) {
			t.Errorf("%s for %d nodes: no %s in\n%s", c.pool, c.nodes, want, files[0].Text)
		}
	}
}

func TestInitErrors(t *testing.T) {
	for args, want := range map[string]string{
		"10.0.0.1/16 a=192.0.2.1/24":                    "pool 10.0.0.1/16 has bits set beyond its length; did you mean 10.0.0.0/16?",
		"10.0.0.0/28 a=192.0.2.1/24 a=192.0.2.2/24":     "node a is given twice",
		"fd00::/64 a=192.0.2.1/24":                      "node a has no address of the family of any pool",
		"10.0.0.0/16 a=192.0.2.1/24 b=192.0.2.1/24":     "cluster/nodes/b.yaml: NodeConfig b: spec.addresses: 192.0.2.1 is the address of NodeConfig a (cluster/nodes/a.yaml) already",
		"10.0.0.0/16 A=192.0.2.1/24":                    `cluster/nodes/A.yaml: NodeConfig A: metadata.name: "A" must be lower-case letters, digits, - and ., beginning and ending with a letter or digit, at most 253 of them`,
		"10.0.0.0/16 ../a=192.0.2.1/24":                 `cluster/a.yaml: NodeConfig ../a: metadata.name: "../a" must be lower-case letters, digits, - and ., beginning and ending with a letter or digit, at most 253 of them`,
		"10.0.0.0/16 web1=10.0.0.1/24 web2=10.0.0.2/24": "cluster/pool.yaml: IPPool pods: spec.cidr: 10.0.0.0/16 contains 10.0.0.1, the address of NodeConfig web1 (cluster/nodes/web1.yaml); a pool must be a range that no host or router uses",
		"10.0.1.0/24 web1=10.0.0.1/16":                  "cluster/pool.yaml: IPPool pods: spec.cidr: 10.0.1.0/24 overlaps 10.0.0.0/16, the network of NodeConfig web1 (cluster/nodes/web1.yaml); a pool must be a range that no host or router uses",
		"10.0.0.0/16":                                   "a configuration needs a pool and a node",
	} {
		f := strings.Fields(args)
		_, err := InitFiles(InitOptions{Pools: prefixes(f[0]), Nodes: initNodes(t, f[1:]...)})
		if err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", args, err, want)
		}
	}
	for _, s := range []string{"a", "=192.0.2.1/24", "a=192.0.2.1", "a=", "a=192.0.2.1/24,"} {
		if _, err := ParseInitNode(s); err == nil {
			t.Errorf("%q was read", s)
		}
	}
}
