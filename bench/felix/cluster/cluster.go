package cluster

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strconv"

	"caracal.dev/caracal"
)

// Size says how large a cluster is.
type Size struct {
	Name string
	// Pods are those of the cluster, Local those of them on each node, which divides
	// Pods. A node has at most 250.
	Pods, Local int
	Policies    int
	// Hard makes every policy select at least one pod of this node.
	Hard bool
	// IPv6 gives nodes and pods an address of each family.
	IPv6 bool
}

// String returns the size in words.
func (s Size) String() string {
	how := "spread over the cluster"
	if s.Hard {
		how = "all of this node's pods"
	}
	return fmt.Sprintf("%d local pods of %d, %d policies %s", s.Local, s.Pods, s.Policies, how)
}

// Sizes are those that are measured: (a), (b), (c) and (c) with every policy on this
// node.
func Sizes() []Size {
	return []Size{
		{Name: "a", Pods: 30, Local: 30, Policies: 100},
		{Name: "b", Pods: 10_000, Local: 250, Policies: 1000},
		{Name: "c", Pods: 100_000, Local: 250, Policies: 10_000},
		{Name: "c-hard", Pods: 100_000, Local: 250, Policies: 10_000, Hard: true},
	}
}

// Self is the node that the Snapshot is of.
const Self = "node-0"

// What a namespace and the whole cluster are divided into.
const (
	podsPerNamespace = 200
	apps             = 10
	teams            = 20
)

// The values of the labels tier and env.
var (
	tiers = [...]string{"frontend", "backend", "cache", "db"}
	envs  = [...]string{"prod", "staging", "dev"}
)

// Cluster is a Snapshot with what changes of it have to choose from.
type Cluster struct {
	Size     Size
	Snapshot *caracal.Snapshot
	// Local are the keys of the workloads on this node, and Near those of others that
	// are in a namespace of one of them.
	Local, Near []string

	namespaces int
}

// New makes the cluster of a size.
func New(s Size) *Cluster {
	c := &Cluster{Size: s, Snapshot: caracal.NewSnapshot(Self)}
	c.namespaces = max(3, s.Pods/podsPerNamespace)
	snap := c.Snapshot
	snap.Generation, snap.Synced = 1, true
	snap.Dataplane = caracal.Dataplane{Table: 254}
	c.nodes()
	for i := range c.namespaces {
		ns := namespace(i)
		snap.Namespaces = snap.Namespaces.Put(ns.Name, ns)
	}
	c.pods()
	for i := range s.Policies {
		p := c.policy(i)
		snap.Policies = snap.Policies.Put(p.Key(), p)
	}
	return c
}

// nodes makes the pools and the nodes with a block each.
func (c *Cluster) nodes() {
	snap := c.Snapshot
	pools := []caracal.Pool{{Name: "pods", CIDR: netip.MustParsePrefix("10.64.0.0/10"), BlockSize: 24}}
	if c.Size.IPv6 {
		pools = append(pools, caracal.Pool{Name: "pods6", CIDR: netip.MustParsePrefix("fd00:64::/96"), BlockSize: 112})
	}
	for _, p := range pools {
		p.IPIP, p.NATOutgoing, p.Advertise = caracal.IPIPNever, true, caracal.AdvertiseBlocks
		snap.Pools = snap.Pools.Put(p.Name, p)
	}
	for i := range c.Size.Pods / c.Size.Local {
		n := caracal.Node{
			Name: nodeName(i), ASN: 64512, Port: 179, MeshEnabled: true,
			IPv4: netip.PrefixFrom(addr4(172<<24|16<<16|uint32(i+1)), 16),
		}
		n.RouterID = n.IPv4.Addr()
		blocks := []netip.Prefix{netip.PrefixFrom(podAddr4(i, 0), 24)}
		if c.Size.IPv6 {
			n.IPv6 = netip.PrefixFrom(addr6(0xfd000016<<32, uint64(i+1)), 64)
			blocks = append(blocks, netip.PrefixFrom(podAddr6(i, 0), 112))
		}
		for _, b := range blocks {
			snap.Blocks = snap.Blocks.Put(b, caracal.Block{CIDR: b, Node: n.Name})
		}
		n.PodCIDRs = blocks
		snap.Nodes = snap.Nodes.Put(n.Name, n)
	}
}

func (c *Cluster) pods() {
	near := map[string]bool{}
	places := rand.New(rand.NewPCG(1, 2)).Perm(c.Size.Pods)
	for i, place := range places {
		w := c.pod(i, place/c.Size.Local, place%c.Size.Local)
		c.Snapshot.Workloads = c.Snapshot.Workloads.Put(w.Key(), w)
		if w.Node == Self {
			c.Local = append(c.Local, w.Key())
			near[w.Namespace] = true
		}
	}
	for key, w := range c.Snapshot.Workloads.All() {
		if near[w.Namespace] && w.Node != Self {
			c.Near = append(c.Near, key)
		}
	}
}

// pod makes the pod number i of the cluster, the one number k of its node.
func (c *Cluster) pod(i, node, k int) caracal.Workload {
	ns, inside := i%c.namespaces, i/c.namespaces
	app := inside % apps
	id := strconv.FormatUint(uint64(i)*2654435761%(1<<32)|1<<32, 36)
	w := caracal.Workload{
		Namespace: namespaceName(ns), Name: fmt.Sprintf("%s-%s", appName(app), id),
		Node: nodeName(node), Interface: caracal.HostInterface(id, "eth0"),
		Addrs: []netip.Addr{podAddr4(node, k+2)},
		Labels: map[string]string{
			"app": appName(app), "tier": tiers[app%len(tiers)], "version": "v" + strconv.Itoa(1+inside%3),
			"pod-template-hash": strconv.FormatUint(uint64(ns*apps+app)|1<<32, 36),
			"team":              teamName(ns), "instance": id,
		},
		Ports: []caracal.Port{
			{Name: "http", Protocol: "TCP", Port: uint16(8080 + app%3)},
			{Name: "metrics", Protocol: "TCP", Port: 9090},
			{Name: "dns", Protocol: "UDP", Port: 53},
		},
		Source: "cni",
	}
	switch w.Namespace {
	case "monitoring":
		w.Labels["app"] = "prometheus"
	case "kube-system":
		w.Labels["k8s-app"] = "kube-dns"
	}
	if c.Size.IPv6 {
		w.Addrs = append(w.Addrs, podAddr6(node, k+2))
	}
	return w
}

func namespace(i int) caracal.Namespace {
	name := namespaceName(i)
	return caracal.Namespace{Name: name, Labels: map[string]string{
		caracal.NamespaceNameLabel: name, "team": teamName(i), "env": envs[i%len(envs)],
	}}
}

func namespaceName(i int) string {
	switch i {
	case 0:
		return "kube-system"
	case 1:
		return "monitoring"
	}
	return fmt.Sprintf("%s-%d", teamName(i), i)
}

func teamName(namespace int) string { return "team-" + strconv.Itoa(namespace%teams) }
func appName(i int) string          { return "app-" + strconv.Itoa(i) }
func nodeName(i int) string         { return "node-" + strconv.Itoa(i) }

// podAddr4 is address k of the block of a node.
func podAddr4(node, k int) netip.Addr { return addr4(10<<24 | 64<<16 | uint32(node)<<8 | uint32(k)) }
func podAddr6(node, k int) netip.Addr {
	return addr6(0xfd000064<<32, uint64(node)<<16|uint64(k))
}

func addr4(v uint32) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], v)
	return netip.AddrFrom4(b)
}

func addr6(hi, lo uint64) netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], hi)
	binary.BigEndian.PutUint64(b[8:], lo)
	return netip.AddrFrom16(b)
}
