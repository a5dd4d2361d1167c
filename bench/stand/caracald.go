package stand

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Caracald is the daemon of this repository, its configuration a mesh in which
// each peer is a node that owns the block it announces from.
type Caracald struct {
	Binary string
	// Audit is the time between whole comparisons with the kernel, in whole
	// seconds; 0 for the daemon's default.
	Audit time.Duration
	// Reflect makes the peers its clients (RFC 4456).
	Reflect bool
}

// Name implements [Subject].
func (Caracald) Name() string { return "Caracal" }

// Program implements [Subject].
func (c Caracald) Program() string { return c.Binary }

// Start implements [Subject]. The daemon's socket is [Socket] in dir, its HTTP
// port [HTTPPort] on the loopback of its namespace.
func (c Caracald) Start(w *World, dir string, shares []Share) (*Daemon, error) {
	if err := configure(dir, c.nodes(w, shares)+c.dataplane()+c.reflector()); err != nil {
		return nil, err
	}
	return w.Run(dir, c.Binary,
		"--config", filepath.Join(dir, "config"), "--state-dir", filepath.Join(dir, "state"),
		"--socket", filepath.Join(dir, Socket), "--node", "router", "--http", fmt.Sprintf("127.0.0.1:%d", HTTPPort))
}

// Where a [Caracald] answers.
const (
	Socket   = "caracal.sock"
	HTTPPort = 9179
)

// Configure writes a configuration for the caracald of dir, which takes it as
// soon as it sees it: share i belongs to the node of peer i. The file appears
// with all it has.
func Configure(w *World, dir string, shares []Share) error {
	return configure(dir, Caracald{}.nodes(w, shares))
}

func configure(dir, text string) error {
	conf := filepath.Join(dir, "config", "cluster")
	if err := os.MkdirAll(conf, 0o755); err != nil {
		return err
	}
	tmp := filepath.Join(conf, ".bench.yaml")
	if err := os.WriteFile(tmp, []byte(text), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(conf, "bench.yaml"))
}

func (c Caracald) dataplane() string {
	if c.Audit == 0 {
		return ""
	}
	return fmt.Sprintf(`---
apiVersion: caracal.dev/v1
kind: DataplaneConfiguration
metadata: {name: default}
spec: {auditInterval: %s}
`, c.Audit)
}

// reflector adds what makes of the mesh a reflector and its clients.
func (c Caracald) reflector() string {
	if !c.Reflect {
		return ""
	}
	return fmt.Sprintf(`---
apiVersion: caracal.dev/v1
kind: NodeConfig
metadata: {name: router, labels: {reflector: "yes"}}
spec: {addresses: [%s], routeReflectorClusterID: %s}
---
apiVersion: caracal.dev/v1
kind: BGPPeer
metadata: {name: reflectors}
spec: {nodeSelector: "!has(reflector)", peerSelector: has(reflector)}
`, netip.PrefixFrom(DaemonAddr, prefixBits), DaemonAddr)
}

// nodes has one NodeConfig for the daemon and one for each peer. The
// daemon's address is the highest, so that the peers dial.
func (c Caracald) nodes(w *World, shares []Share) string {
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
	if !c.Reflect {
		node("router", DaemonAddr, "")
	}
	for i, s := range shares {
		node(fmt.Sprintf("peer%d", i), w.Addrs[i], s.Block.String())
	}
	return b.String()
}
