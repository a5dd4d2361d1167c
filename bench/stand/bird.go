package stand

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// BIRD is BIRD 2 with what a node of a mesh needs and nothing more.
type BIRD struct {
	// Reflect makes the peers its clients (RFC 4456).
	Reflect bool
}

// Name implements [Subject].
func (BIRD) Name() string { return "BIRD 2" }

// Program implements [Subject].
func (BIRD) Program() string { return "bird" }

// Start implements [Subject].
func (bird BIRD) Start(w *World, dir string, shares []Share) (*Daemon, error) {
	conf := filepath.Join(dir, "bird.conf")
	if err := os.WriteFile(conf, []byte(birdConfig(w.Addrs[:len(shares)], bird.Reflect)), 0o600); err != nil {
		return nil, err
	}
	return w.Run(dir, "bird", "-f", "-c", conf, "-s", filepath.Join(dir, "bird.ctl"))
}

// birdConfig has one protocol for each peer. The peers dial, so that none waits
// for BIRD's connect timer.
func birdConfig(peers []netip.Addr, reflect bool) string {
	var b strings.Builder
	passOn, client := "source = RTS_STATIC", ""
	if reflect {
		passOn, client = "source = RTS_BGP", "rr client;"
	}
	fmt.Fprintf(&b, `router id %s;
protocol device {}
protocol direct { ipv4; }
protocol kernel { ipv4 { import none; export where source = RTS_BGP; }; }
template bgp mesh {
  local %s as %d;
  passive on;
  graceful restart on;
  %s
  ipv4 { import all; export where %s; };
}
`, DaemonAddr, DaemonAddr, asn, client, passOn)
	for i, a := range peers {
		fmt.Fprintf(&b, "protocol bgp peer%d from mesh { neighbor %s as %d; }\n", i, a, asn)
	}
	return b.String()
}
