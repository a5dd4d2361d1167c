package stand

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// BIRD is BIRD 2 with what a node of a mesh needs and nothing more.
type BIRD struct{}

// Name implements [Subject].
func (BIRD) Name() string { return "BIRD 2" }

// Program implements [Subject].
func (BIRD) Program() string { return "bird" }

// Start implements [Subject].
func (BIRD) Start(w *World, dir string, shares []Share) (*Daemon, error) {
	conf := filepath.Join(dir, "bird.conf")
	if err := os.WriteFile(conf, []byte(birdConfig(w.Addrs[:len(shares)])), 0o600); err != nil {
		return nil, err
	}
	return w.start(dir, "bird", "-f", "-c", conf, "-s", filepath.Join(dir, "bird.ctl"))
}

// birdConfig has one protocol for each peer. The peers dial, so that none waits
// for BIRD's connect timer.
func birdConfig(peers []netip.Addr) string {
	var b strings.Builder
	fmt.Fprintf(&b, `router id %s;
protocol device {}
protocol direct { ipv4; }
protocol kernel { ipv4 { import none; export where source = RTS_BGP; }; }
template bgp mesh {
  local %s as %d;
  passive on;
  graceful restart on;
  ipv4 { import all; export where source = RTS_STATIC; };
}
`, DaemonAddr, DaemonAddr, asn)
	for i, a := range peers {
		fmt.Fprintf(&b, "protocol bgp peer%d from mesh { neighbor %s as %d; }\n", i, a, asn)
	}
	return b.String()
}
