package main

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// caracald is the daemon of this repository, its configuration a mesh in which
// each peer is a node that owns the block it announces from.
type caracald struct{ binary string }

func (caracald) name() string { return "Caracal" }

func (c caracald) program() string { return c.binary }

func (c caracald) start(w *world, dir string, shares []share) (*daemon, error) {
	conf := filepath.Join(dir, "config", "cluster")
	if err := os.MkdirAll(conf, 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(conf, "bench.yaml"), []byte(caracalConfig(w, shares)), 0o600); err != nil {
		return nil, err
	}
	return w.start(dir, c.binary,
		"--config", filepath.Join(dir, "config"), "--state-dir", filepath.Join(dir, "state"),
		"--socket", filepath.Join(dir, "caracal.sock"), "--node", "router", "--http", "127.0.0.1:9179")
}

// caracalConfig has one NodeConfig for the daemon and one for each peer. The
// daemon's address is the highest, so that the peers dial.
func caracalConfig(w *world, shares []share) string {
	var b strings.Builder
	b.WriteString(`apiVersion: caracal.dev/v1
kind: IPPool
metadata: {name: bench}
spec: {cidr: 10.0.0.0/8, blockSize: 26}
`)
	node := func(name string, addr netip.Addr, podCIDRs string) {
		fmt.Fprintf(&b, `---
apiVersion: caracal.dev/v1
kind: NodeConfig
metadata: {name: %s}
spec: {addresses: [%s], podCIDRs: [%s]}
`, name, netip.PrefixFrom(addr, prefixBits), podCIDRs)
	}
	node("router", daemonAddr, "")
	for i, s := range shares {
		node(fmt.Sprintf("peer%d", i), w.addrs[i], s.block.String())
	}
	return b.String()
}
