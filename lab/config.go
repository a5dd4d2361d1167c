package lab

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// clusterFile holds the pools and the BGP configuration.
const clusterFile = "cluster.yaml"

// nodeFile is the file that holds all of a node: its NodeConfig and its
// Workloads. One file is one rename, so a node comes and goes at once.
func nodeFile(node string) string { return "node-" + node + ".yaml" }

// documents returns the configuration of t by file name.
func documents(t Topology) map[string]string {
	out := map[string]string{clusterFile: clusterDocument(t)}
	for _, n := range t.Nodes {
		if !n.Router {
			out[nodeFile(n.Name)] = nodeDocument(n)
		}
	}
	return out
}

func clusterDocument(t Topology) string {
	var b strings.Builder
	header(&b, "BGPConfiguration", "default")
	fmt.Fprintf(&b, "spec:\n  asNumber: %d\n", t.ASN())
	if t.BGP.NoMesh {
		b.WriteString("  nodeToNodeMeshEnabled: false\n")
	}
	if d := t.BGP.HoldTime; d != 0 {
		fmt.Fprintf(&b, "  holdTime: %s\n", d)
	}
	if d := t.BGP.RestartTime; d != 0 {
		fmt.Fprintf(&b, "  gracefulRestart: {enabled: true, restartTime: %s}\n", d)
	}
	for _, p := range t.Pools {
		b.WriteString("---\n")
		header(&b, "IPPool", p.Name)
		mode := p.IPIP
		if mode == "" {
			mode = "Never"
		}
		fmt.Fprintf(&b, "spec:\n  cidr: %q\n  blockSize: %d\n  ipipMode: %s\n", p.CIDR, p.BlockSize, mode)
		if p.NATOutgoing {
			b.WriteString("  natOutgoing: true\n")
		}
	}
	for _, o := range t.Objects {
		b.WriteString("---\n" + o)
	}
	return b.String()
}

func nodeDocument(n NodeSpec) string {
	var b strings.Builder
	header(&b, "NodeConfig", n.Name)
	writeLabels(&b, n.Labels)
	b.WriteString("spec:\n")
	if n.ASN != 0 {
		fmt.Fprintf(&b, "  asNumber: %d\n", n.ASN)
	}
	if n.Cluster.IsValid() {
		fmt.Fprintf(&b, "  routeReflectorClusterID: %q\n", n.Cluster)
	}
	if n.Tunnel.IsValid() {
		fmt.Fprintf(&b, "  tunnelAddress: %q\n", n.Tunnel)
	}
	b.WriteString("  addresses:\n")
	for _, f := range Families() {
		if p := n.prefix(f); p.IsValid() {
			fmt.Fprintf(&b, "  - %q\n", p)
		}
	}
	if len(n.Blocks) > 0 {
		b.WriteString("  blocks:\n")
	}
	for _, p := range n.Blocks {
		fmt.Fprintf(&b, "  - %q\n", p)
	}
	if len(n.Anycast) > 0 {
		b.WriteString("  anycastPrefixes:\n")
	}
	for _, p := range n.Anycast {
		fmt.Fprintf(&b, "  - %q\n", p)
	}
	for _, p := range n.Pods {
		b.WriteString("---\n")
		header(&b, "Workload", p.Name)
		writeLabels(&b, p.Labels)
		fmt.Fprintf(&b, "spec:\n  node: %q\n  interfaceName: %s\n  ipNetworks:\n", n.Name, PodInterface(p.Name))
		for _, a := range p.Addrs {
			fmt.Fprintf(&b, "  - %q\n", a)
		}
	}
	return b.String()
}

// writeLabels writes the labels of the metadata that [header] began.
func writeLabels(b *strings.Builder, labels map[string]string) {
	if len(labels) > 0 {
		b.WriteString("  labels:\n")
	}
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		fmt.Fprintf(b, "    %s: %q\n", key, labels[key])
	}
}

// header quotes the name: a node may be called y, n or no, which are booleans in
// YAML 1.1.
func header(b *strings.Builder, kind, name string) {
	fmt.Fprintf(b, "apiVersion: caracal.dev/v1\nkind: %s\nmetadata:\n  name: %q\n", kind, name)
}

// writeFile replaces a file in one rename, so that a reader sees the old text
// or the new one. The name in between is one that the file store passes over.
func writeFile(path, text string) error {
	tmp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new")
	if err := os.WriteFile(tmp, []byte(text), 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
