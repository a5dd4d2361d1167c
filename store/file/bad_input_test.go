package file

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Every case begins with the cluster of host.cluster in force. After the change
// the messages are those, and all that was in force before still is.
var badInput = []struct {
	name  string
	files map[string]string // "" removes
	want  []string
	// changed says that the configuration is another afterwards: what was good in
	// the change is taken.
	changed bool
}{
	{name: "no YAML", files: map[string]string{"bgppeers/rack1.yaml": "kind: [\n"}, want: []string{
		"rejected: bgppeers/rack1.yaml: line 1: did not find expected node content; BGPPeer rack1 as accepted at 2026-11-01T12:00:00Z stays in force"}},
	{name: "no YAML, later in a file", files: map[string]string{"bgppeers/rack1.yaml": peer("rack1", 1) + "---\n# c\nkind: x: y\n"}, want: []string{
		"rejected: bgppeers/rack1.yaml: line 10: mapping values are not allowed in this context; BGPPeer rack1 as accepted at 2026-11-01T12:00:00Z stays in force"}},
	{name: "invalid field", files: map[string]string{"bgppeers/rack1.yaml": strings.Replace(peer("rack1", 1), "64512", "0", 1)}, want: []string{
		"rejected: bgppeers/rack1.yaml: BGPPeer rack1: spec.asNumber: must not be 0; the version accepted at 2026-11-01T12:00:00Z stays in force"}},
	{name: "invalid field of a new object", files: map[string]string{"bgppeers/rack2.yaml": strings.Replace(peer("rack2", 2), "64512", "0", 1)}, want: []string{
		"rejected: bgppeers/rack2.yaml: BGPPeer rack2: spec.asNumber: must not be 0"}},
	{name: "unknown kind", files: map[string]string{"x.yaml": doc("Deployment", "deny", "  podSelector: {}\n")}, want: []string{
		"rejected: x.yaml: Deployment deny: kind: Deployment is not known; it must be one of BGPConfiguration, BGPFilter, BGPPeer, DataplaneConfiguration, IPAMConfiguration, IPPool, IPReservation, Namespace, NetworkPolicy, NodeConfig, Workload"}},
	{name: "no kind", files: map[string]string{"x.yaml": "apiVersion: caracal.dev/v1\nmetadata: {name: a}\n"}, want: []string{
		"rejected: x.yaml: document at line 1: kind: is missing; it must be one of BGPConfiguration, BGPFilter, BGPPeer, DataplaneConfiguration, IPAMConfiguration, IPPool, IPReservation, Namespace, NetworkPolicy, NodeConfig, Workload"}},
	{name: "no name", files: map[string]string{"bgppeers/rack1.yaml": strings.Replace(peer("rack1", 1), "  name: rack1", "  labels: {}", 1)}, want: []string{
		"rejected: bgppeers/rack1.yaml: BGPPeer: document at line 1: metadata.name: is missing",
		"rejected: bgppeers/rack1.yaml: BGPPeer rack1: it is not in the file any more, but a document of the file is refused; the version accepted at 2026-11-01T12:00:00Z stays in force"}},
	{name: "cut off in the name", files: map[string]string{"bgppeers/rack1.yaml": peer("rack1", 1)[:strings.Index(peer("rack1", 1), "ck1")]}, want: []string{
		"rejected: bgppeers/rack1.yaml: BGPPeer ra: spec.peerIP: is missing; it, peerSelector or interface must say where the neighbor is; spec.asNumber: is missing; it must be the AS number of the neighbor, internal or external",
		"rejected: bgppeers/rack1.yaml: BGPPeer rack1: it is not in the file any more, but a document of the file is refused; the version accepted at 2026-11-01T12:00:00Z stays in force"}},
	{name: "unknown field", files: map[string]string{"bgppeers/rack1.yaml": peer("rack1", 1) + "  peerAsn: 1\n"}, want: []string{
		"rejected: bgppeers/rack1.yaml: BGPPeer rack1: spec.peerAsn: unknown field; the version accepted at 2026-11-01T12:00:00Z stays in force"}},
	{name: "repeated key", files: map[string]string{"bgppeers/rack1.yaml": peer("rack1", 1) + "  asNumber: 2\n"}, want: []string{
		`rejected: bgppeers/rack1.yaml: BGPPeer rack1: document: line 8: key "asNumber" already set in map; the version accepted at 2026-11-01T12:00:00Z stays in force`}},
	{name: "one of two documents is bad", files: map[string]string{"bgppeers/rack1.yaml": peer("rack1", 1) + "---\n" + doc("BGPPeer", "rack2", "  asNumber: 1\n")}, want: []string{
		"rejected: bgppeers/rack1.yaml: BGPPeer rack2: spec.peerIP: is missing; it, peerSelector or interface must say where the neighbor is"}},
	{name: "empty file", files: map[string]string{"bgppeers/rack1.yaml": "\x00empty"}, want: []string{
		"rejected: bgppeers/rack1.yaml: it is empty; delete the file to remove its objects; BGPPeer rack1 as accepted at 2026-11-01T12:00:00Z stays in force"}},
	{name: "cut off in a line", files: map[string]string{"bgppeers/rack1.yaml": peer("rack1", 1)[:len(peer("rack1", 1))-3]}, want: []string{
		"rejected: bgppeers/rack1.yaml: BGPPeer rack1: the file ends in the middle of a line, where the accepted version goes on; write it again, whole; the version accepted at 2026-11-01T12:00:00Z stays in force"}},
	{name: "mode blocks", files: map[string]string{"cluster/ipam.yaml": doc("IPAMConfiguration", "default", "  mode: blocks\n")}, want: []string{
		"rejected: cluster/ipam.yaml: IPAMConfiguration default: spec.mode: blocks takes a store that all nodes share, such as Kubernetes, for two nodes must not claim the same block; with files write podCIDR, and list each node's blocks in its NodeConfig"}},
	{name: "overlapping pools", files: map[string]string{"cluster/apool.yaml": doc("IPPool", "big", "  cidr: 10.0.0.0/8\n")}, want: []string{
		"rejected: cluster/apool.yaml: IPPool big: spec.cidr: 10.0.0.0/8 overlaps 10.0.0.0/16 of IPPool pods (cluster/pool.yaml)"}},
	{name: "block size shorter than the pool", files: map[string]string{"cluster/pool.yaml": pool() + "  blockSize: 12\n"}, want: []string{
		"rejected: cluster/pool.yaml: IPPool pods: spec.blockSize: a /12 block does not fit into 10.0.0.0/16; it must be from 16 to 32; the version accepted at 2026-11-01T12:00:00Z stays in force"}},
	{name: "two nodes with one address", files: map[string]string{"cluster/nodes/0.yaml": doc("NodeConfig", "z", "  addresses: [192.0.2.2/24]\n")}, want: []string{
		"rejected: cluster/nodes/0.yaml: NodeConfig z: spec.addresses: 192.0.2.2 is the address of NodeConfig b (cluster/nodes/b.yaml) already"}},
	{name: "a change to the address of another node", files: map[string]string{"cluster/nodes/a.yaml": strings.Replace(node("a", 1), "192.0.2.1/24", "192.0.2.2/24", 1)}, want: []string{
		"rejected: cluster/nodes/a.yaml: NodeConfig a: spec.addresses: 192.0.2.2 is the address of NodeConfig b (cluster/nodes/b.yaml) already; the version accepted at 2026-11-01T12:00:00Z stays in force"}},
	{name: "two nodes with one block", files: map[string]string{"cluster/nodes/a.yaml": strings.Replace(node("a", 1), "10.0.1.0/26", "10.0.2.0/26", 1)}, want: []string{
		"rejected: cluster/nodes/a.yaml: NodeConfig a: spec.blocks: 10.0.2.0/26 belongs to NodeConfig b (cluster/nodes/b.yaml) already; a block belongs to one node; the version accepted at 2026-11-01T12:00:00Z stays in force"}},
	{name: "podCIDR over the block of another node", files: map[string]string{"cluster/nodes/z.yaml": doc("NodeConfig", "z", "  addresses: [192.0.2.99/24]\n  podCIDRs: [10.0.2.0/24]\n")}, want: []string{
		"rejected: cluster/nodes/z.yaml: NodeConfig z: spec.podCIDRs: 10.0.2.0/24 overlaps 10.0.2.0/26 of NodeConfig b (cluster/nodes/b.yaml); a block belongs to one node"}},
	{name: "router ID 0.0.0.0", files: map[string]string{"cluster/bgp.yaml": doc("BGPConfiguration", "default", "  routerID: 0.0.0.0\n")}, want: []string{
		"rejected: cluster/bgp.yaml: BGPConfiguration default: spec.routerID: must not be 0.0.0.0 (RFC 6286)"}},
	{name: "router ID for all nodes", files: map[string]string{"cluster/bgp.yaml": doc("BGPConfiguration", "default", "  routerID: 192.0.2.77\n")}, want: []string{
		"rejected: cluster/bgp.yaml: BGPConfiguration default: spec.routerID: 192.0.2.77 would be the router ID of both node a and node b; a router ID belongs to one node, so its BGPConfiguration needs a nodeSelector that selects only this one"}},
	{name: "router ID of another node", files: map[string]string{"cluster/bgp.yaml": doc("BGPConfiguration", "one", "  nodeSelector: kubernetes.io/hostname == 'a'\n  routerID: 192.0.2.2\n")}, want: []string{
		"rejected: cluster/bgp.yaml: BGPConfiguration one: spec.routerID: 192.0.2.2 would be the router ID of both node a and node b; a router ID belongs to one node, so its BGPConfiguration needs a nodeSelector that selects only this one"}},
	{name: "configurations that disagree", changed: true, files: map[string]string{
		"cluster/bgp1.yaml": doc("BGPConfiguration", "one", "  nodeSelector: all()\n  holdTime: 9s\n"),
		"cluster/bgp2.yaml": doc("BGPConfiguration", "two", "  nodeSelector: kubernetes.io/hostname == 'c'\n  holdTime: 12s\n")}, want: []string{
		"rejected: cluster/bgp2.yaml: BGPConfiguration two: spec.holdTime: disagrees with BGPConfiguration one (cluster/bgp1.yaml) about node c, which both select"}},
	{name: "duplicate object", files: map[string]string{"cluster/a-copy.yaml": node("b", 77)}, want: []string{
		"rejected: cluster/a-copy.yaml: NodeConfig b: it is in cluster/nodes/b.yaml too; the one in cluster/nodes/b.yaml is taken, so remove one"}},
	{name: "duplicate object in one file", files: map[string]string{"bgppeers/rack1.yaml": peer("rack1", 9) + "---\n" + peer("rack1", 1)}, want: []string{
		"rejected: bgppeers/rack1.yaml: BGPPeer rack1: it is in this file twice, at line 1 and at line 8; the one at line 8 is taken, so remove one"}},
	{name: "duplicate of a new object", changed: true, files: map[string]string{"x.yaml": peer("new", 2), "y.yaml": peer("new", 3)}, want: []string{
		"rejected: y.yaml: BGPPeer new: it is in x.yaml too; the one in x.yaml is taken, so remove one"}},
	{name: "copy of an object whose file is broken", files: map[string]string{"bgppeers/rack1.yaml": "[\n", "x.yaml": peer("rack1", 2)}, want: []string{
		"rejected: bgppeers/rack1.yaml: line 1: did not find expected node content; BGPPeer rack1 as accepted at 2026-11-01T12:00:00Z stays in force",
		"rejected: x.yaml: BGPPeer rack1: it is in bgppeers/rack1.yaml too; the one in bgppeers/rack1.yaml is taken, so remove one"}},
	{name: "two peers with one address", files: map[string]string{"bgppeers/rack2.yaml": peer("rack2", 1)}, want: []string{
		"rejected: bgppeers/rack2.yaml: BGPPeer rack2: spec.peerIP: node a peers with 198.51.100.1 by BGPPeer rack1 (bgppeers/rack1.yaml) already"}},
	{name: "workload address used twice", changed: true, files: map[string]string{
		"w.yaml": doc("Workload", "v", "  node: a\n  interfaceName: v0\n  ipNetworks: [10.0.1.9]\n") + "---\n" + doc("Workload", "w", "  node: b\n  interfaceName: v0\n  ipNetworks: [10.0.1.9/32]\n")}, want: []string{
		"rejected: w.yaml: Workload default/w: spec.ipNetworks: 10.0.1.9 is an address of Workload default/v (w.yaml) already"}},
	{name: "workload with the address of a node", files: map[string]string{"w.yaml": doc("Workload", "v", "  node: a\n  interfaceName: v0\n  ipNetworks: [192.0.2.3]\n")}, want: []string{
		"rejected: w.yaml: Workload default/v: spec.ipNetworks: 192.0.2.3 is the address of NodeConfig c (cluster/nodes/c.yaml) already"}},
	{name: "workload outside the pools, on no node", changed: true, files: map[string]string{"w.yaml": doc("Workload", "v", "  node: zz\n  interfaceName: v0\n  ipNetworks: [172.16.0.1]\n")}, want: []string{
		"warning: w.yaml: Workload default/v: spec.ipNetworks: 172.16.0.1 is in no IPPool, so other nodes do not accept its route",
		"warning: w.yaml: Workload default/v: spec.node: there is no NodeConfig zz"}},
	{name: "block outside the pools, and of another size", changed: true, files: map[string]string{
		"cluster/nodes/a.yaml": strings.Replace(node("a", 1), "10.0.1.0/26", "10.1.1.0/26, 10.0.9.0/28", 1)}, want: []string{
		"warning: cluster/nodes/a.yaml: NodeConfig a: 10.1.1.0/26 is in no IPPool, so other nodes do not accept its route",
		"warning: cluster/nodes/a.yaml: NodeConfig a: spec.blocks: 10.0.9.0/28 is not of the size of the blocks of IPPool pods, /26"}},
	{name: "selectors that select nothing", changed: true, files: map[string]string{
		"bgppeers/x.yaml":  peer("x", 5) + "  nodeSelector: rack == 'none'\n",
		"bgppeers/y.yaml":  peer("z", 6) + "  node: zz\n",
		"cluster/bgp.yaml": doc("BGPConfiguration", "one", "  nodeSelector: has(gone)\n  holdTime: 9s\n")}, want: []string{
		"warning: bgppeers/x.yaml: BGPPeer x: spec.nodeSelector: rack == 'none' selects no node",
		"warning: bgppeers/y.yaml: BGPPeer z: spec.node: there is no NodeConfig zz, so no node peers",
		"warning: cluster/bgp.yaml: BGPConfiguration one: spec.nodeSelector: has(gone) selects no node"}},
	{name: "peer that is a node", changed: true, files: map[string]string{"bgppeers/x.yaml": doc("BGPPeer", "x", "  peerIP: 192.0.2.3\n  asNumber: 64512\n")}, want: []string{
		"warning: bgppeers/x.yaml: BGPPeer x: spec.peerIP: 192.0.2.3 is node c; while the node-to-node mesh is enabled the nodes peer with it without a BGPPeer"}},
	{name: "missing filter", changed: true, files: map[string]string{
		"bgppeers/tor.yaml": peer("tor", 9) + "  filters: [racks]\n"}, want: []string{
		"warning: bgppeers/tor.yaml: BGPPeer tor: spec.filters[0]: there is no BGPFilter racks; until there is, nothing is taken from the neighbor nor announced to it"}},
	{name: "dangling link", files: map[string]string{"bgppeers/rack1.yaml": "\x00link"}, want: []string{
		"rejected: bgppeers/rack1.yaml: cannot be read: it is a symbolic link to a file that does not exist; BGPPeer rack1 as accepted at 2026-11-01T12:00:00Z stays in force"}},
	{name: "FIFO in place of a file", files: map[string]string{"bgppeers/rack1.yaml": "\x00fifo"}, want: []string{
		"rejected: bgppeers/rack1.yaml: cannot be read: it is not a regular file; BGPPeer rack1 as accepted at 2026-11-01T12:00:00Z stays in force"}},
	{name: "too large", files: map[string]string{"bgppeers/rack1.yaml": strings.Repeat("#\n", maxFile)}, want: []string{
		"rejected: bgppeers/rack1.yaml: cannot be read: it is larger than 16 MiB; BGPPeer rack1 as accepted at 2026-11-01T12:00:00Z stays in force"}},
	{name: "aliases that multiply", files: map[string]string{"x.yaml": bomb()}, want: []string{
		"rejected: x.yaml: document contains excessive aliasing"}},
	{name: "node renamed to another", files: map[string]string{"cluster/nodes/c.yaml": node("b", 3)}, want: []string{
		"rejected: cluster/nodes/c.yaml: NodeConfig b: it is in cluster/nodes/b.yaml too; the one in cluster/nodes/b.yaml is taken, so remove one",
		"rejected: cluster/nodes/c.yaml: NodeConfig c: it is not in the file any more, but a document of the file is refused; the version accepted at 2026-11-01T12:00:00Z stays in force"}},
	{name: "node renamed, with the address of another", files: map[string]string{"cluster/nodes/c.yaml": node("z", 2)}, want: []string{
		"rejected: cluster/nodes/c.yaml: NodeConfig c: it is not in the file any more, but a document of the file is refused; the version accepted at 2026-11-01T12:00:00Z stays in force",
		"rejected: cluster/nodes/c.yaml: NodeConfig z: spec.addresses: 192.0.2.2 is the address of NodeConfig b (cluster/nodes/b.yaml) already"}},
	{name: "pool over the hosts", files: map[string]string{"cluster/pool2.yaml": doc("IPPool", "hosts", "  cidr: 192.0.0.0/16\n")}, want: []string{
		"rejected: cluster/pool2.yaml: IPPool hosts: spec.cidr: 192.0.0.0/16 contains 192.0.2.1, the address of NodeConfig a (cluster/nodes/a.yaml); a pool must be a range that no host or router uses"}},
}

// bomb is a small document that its aliases make large.
func bomb() string {
	text := "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
	for i := 1; i < 9; i++ {
		was, is := string(rune('0'+i-1)), string(rune('0'+i))
		text += "a" + is + ": &a" + is + " [" + strings.TrimSuffix(strings.Repeat("*a"+was+", ", 10), ", ") + "]\n"
	}
	return text
}

// apply puts each file into place in one step, lest the store see the moment
// between.
func (h *host) apply(files map[string]string) {
	h.t.Helper()
	for name, text := range files {
		if text == "" {
			h.remove(name)
			continue
		}
		tmp := ".new"
		switch text {
		case "\x00empty":
			h.write(tmp, "")
		case "\x00link":
			if err := os.Symlink("nowhere", filepath.Join(h.dir, tmp)); err != nil {
				h.t.Fatal(err)
			}
		case "\x00fifo":
			if err := unix.Mkfifo(filepath.Join(h.dir, tmp), 0o644); err != nil {
				h.t.Fatal(err)
			}
		default:
			h.write(tmp, text)
		}
		path := filepath.Join(h.dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.Rename(filepath.Join(h.dir, tmp), path)); err != nil {
			h.t.Fatal(err)
		}
	}
}

func TestBadInput(t *testing.T) {
	for _, c := range badInput {
		t.Run(c.name, func(t *testing.T) {
			h := newHost(t)
			h.cluster()
			h.start()
			h.wantProblems()
			before := h.store.Snapshot()
			h.clock.add(time2)
			h.apply(c.files)
			h.reload()
			h.wantProblems(c.want...)
			after := h.store.Snapshot()
			if same := before.Digest == after.Digest; same == c.changed {
				t.Errorf("the configuration is the same: %v", same)
			}
			if c.changed {
				return
			}
			// Also over a restart, and again when the file is good again.
			h.restart()
			h.wantProblems(c.want...)
			if got := h.store.Snapshot().Digest; got != before.Digest {
				t.Errorf("after a restart the digest is %s, was %s", got, before.Digest)
			}
			h.repair(c.files)
			h.reload()
			h.wantProblems()
			if got := h.store.Snapshot().Digest; got != before.Digest {
				t.Errorf("after the repair the digest is %s, was %s", got, before.Digest)
			}
		})
	}
}
