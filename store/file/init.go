package file

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"caracal.dev/caracal"
	v1 "caracal.dev/caracal/api/v1"
)

// InitOptions describe a first configuration.
type InitOptions struct {
	// Dir is where it goes: a directory that does not hold these files yet.
	Dir string
	// Pools are the ranges that pods get addresses from.
	Pools []netip.Prefix
	Nodes []InitNode
	// ASN is the AS number of all nodes; 64512 if 0.
	ASN uint32
}

// InitNode is a node with its addresses and the lengths of their networks.
type InitNode struct {
	Name  string
	Addrs []netip.Prefix
}

// InitFile is a file of a first configuration.
type InitFile struct {
	// Path is relative to the directory.
	Path, Text string
}

// ParseInitNode reads NAME=ADDR/LEN[,ADDR/LEN].
func ParseInitNode(s string) (InitNode, error) {
	name, addrs, ok := strings.Cut(s, "=")
	if !ok || name == "" {
		return InitNode{}, fmt.Errorf("node %q must be NAME=ADDR/LEN or NAME=ADDR/LEN,ADDR/LEN, such as web1=192.0.2.1/24", s)
	}
	n := InitNode{Name: name}
	for a := range strings.SplitSeq(addrs, ",") {
		p, err := netip.ParsePrefix(a)
		if err != nil {
			return InitNode{}, fmt.Errorf("node %s: %q is not an address with the prefix length of its network, such as 192.0.2.1/24", name, a)
		}
		n.Addrs = append(n.Addrs, p)
	}
	return n, nil
}

// Init writes a first configuration. It overwrites nothing: if any of its files
// is there already, it writes none.
func Init(o InitOptions) error {
	files, err := InitFiles(o)
	if err != nil {
		return fmt.Errorf("init %s: %w", o.Dir, err)
	}
	for _, f := range files {
		path := filepath.Join(o.Dir, f.Path)
		if _, err := os.Lstat(path); err == nil {
			return fmt.Errorf("init %s: %s is there already, and is not overwritten; take another directory (--out)", o.Dir, path)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("init %s: %w", o.Dir, err)
		}
	}
	for _, f := range files {
		if err := writeNew(filepath.Join(o.Dir, f.Path), f.Text); err != nil {
			return fmt.Errorf("init %s: %w", o.Dir, err)
		}
	}
	return nil
}

func writeNew(path, text string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// InitFiles returns the files of a first configuration: the pools, the speakers'
// configuration, and a NodeConfig with a block of each pool for each node.
func InitFiles(o InitOptions) ([]InitFile, error) {
	if len(o.Pools) == 0 || len(o.Nodes) == 0 {
		return nil, errors.New("a configuration needs a pool and a node")
	}
	if o.ASN == 0 {
		o.ASN = v1.DefaultASN
	}
	blocks := make([][]netip.Prefix, len(o.Nodes))
	var pools strings.Builder
	for i, pool := range o.Pools {
		if pool != pool.Masked() {
			return nil, fmt.Errorf("pool %s has bits set beyond its length; did you mean %s?", pool, pool.Masked())
		}
		size, err := carve(pool, o.Nodes, blocks)
		if err != nil {
			return nil, err
		}
		writePool(&pools, i, pool, size)
	}
	files := []InitFile{
		{filepath.Join("cluster", "pool.yaml"), pools.String()},
		{filepath.Join("cluster", "bgp.yaml"), fmt.Sprintf(initBGP, v1.APIVersion, o.ASN)},
	}
	names := map[string]bool{}
	for i, n := range o.Nodes {
		if names[n.Name] {
			return nil, fmt.Errorf("node %s is given twice", n.Name)
		}
		names[n.Name] = true
		if len(blocks[i]) == 0 {
			return nil, fmt.Errorf("node %s has no address of the family of any pool", n.Name)
		}
		files = append(files, InitFile{filepath.Join("cluster", "nodes", n.Name+".yaml"), nodeText(n, blocks[i])})
	}
	return files, checkFiles(files)
}

// carve gives each node that has an address of the pool's family a block of it,
// and returns the prefix length of the blocks: the usual one, or longer where the
// pool would not do for all nodes.
func carve(pool netip.Prefix, nodes []InitNode, blocks [][]netip.Prefix) (int, error) {
	usual, longest := v1.DefaultBlockSize4, 30 // a block of fewer than 4 is no use
	if pool.Addr().Is6() {
		usual, longest = v1.DefaultBlockSize6, 126
	}
	var takers []int
	for i, n := range nodes {
		if slices.ContainsFunc(n.Addrs, func(a netip.Prefix) bool { return a.Addr().Is4() == pool.Addr().Is4() }) {
			takers = append(takers, i)
		}
	}
	size := max(usual, pool.Bits())
	for size-pool.Bits() < 31 && len(takers) > 1<<(size-pool.Bits()) {
		size++
	}
	if size > longest {
		return 0, fmt.Errorf("pool %s is too small for %d nodes: each needs a block of at least 4 addresses", pool, len(takers))
	}
	next := pool.Addr()
	for _, i := range takers {
		block := netip.PrefixFrom(next, size)
		blocks[i] = append(blocks[i], block)
		next = after(block)
	}
	return size, nil
}

// after returns the first address behind a range.
func after(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	bit := p.Bits() - 1
	// Add one at the range's last bit, with carry.
	for carry := uint16(1) << (7 - bit%8); bit >= 0 && carry > 0; bit = bit/8*8 - 1 {
		sum := uint16(b[bit/8]) + carry
		b[bit/8] = byte(sum)
		carry = sum >> 8
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

func writePool(b *strings.Builder, i int, pool netip.Prefix, size int) {
	name := "pods"
	if i > 0 {
		b.WriteString("---\n")
		name = fmt.Sprintf("pods-%d", i+1)
	}
	fmt.Fprintf(b, initPool, v1.APIVersion, name, pool, size, caracal.AdvertiseBlocks)
}

func nodeText(n InitNode, blocks []netip.Prefix) string {
	lines := func(list []netip.Prefix) string {
		var b strings.Builder
		for _, p := range list {
			fmt.Fprintf(&b, "    - %s\n", p)
		}
		return b.String()
	}
	return fmt.Sprintf(initNode, v1.APIVersion, n.Name, lines(n.Addrs), lines(blocks))
}

// checkFiles refuses what would not be accepted: names, addresses, overlaps.
func checkFiles(files []InitFile) error {
	found := &scan{badDirs: map[string]error{}}
	for _, f := range files {
		parsed := &file{path: f.Path}
		parsed.parse([]byte(f.Text), nil)
		found.files = append(found.files, parsed)
	}
	for _, p := range plan(input{scan: found}).problems {
		return errors.New(p.Message)
	}
	return nil
}

const initPool = `# A range that pods get their addresses from. This file is the same on every
# host of the cluster.
apiVersion: %s
kind: IPPool
metadata:
  name: "%s"
spec:
  # Prefixes inside the pools are accepted only from the node that owns them.
  cidr: %s
  # The prefix length of a block, the part of the pool that one node owns.
  blockSize: %d
  # "blocks": a node announces each of its blocks. "hosts": it announces each
  # workload by itself.
  advertise: %s
`

const initBGP = `# How the nodes speak BGP. Everything here has a default; this is for all nodes.
# Another BGPConfiguration, with a nodeSelector, overrides single fields for the
# nodes that it selects.
apiVersion: %s
kind: BGPConfiguration
metadata:
  name: default
spec:
  # The AS number of the nodes; one for private use is right within a cluster.
  asNumber: %d
  # Every two nodes peer with each other directly.
  nodeToNodeMeshEnabled: true
  # The TCP port to listen on. Firewalls between the nodes must let it through.
  listenPort: 179
  # How long a neighbor may be silent before its session ends.
  holdTime: 90s
  # While a daemon restarts, its neighbors keep its routes for that long.
  gracefulRestart:
    enabled: true
    restartTime: 120s
`

const initNode = `# A host of the cluster. This file is the same on every host.
apiVersion: %s
kind: NodeConfig
metadata:
  # The daemon on the host is started with this name (--node), or the host has it
  # as its hostname.
  name: "%s"
spec:
  # The host's own addresses, with the prefix length of the network they are on:
  # one of IPv4, one of IPv6, or both. The nodes peer with each other over them.
  addresses:
%s  # The parts of the pools that this host's pods get addresses from. No two nodes
  # share one; a node may have several.
  blocks:
%s`
