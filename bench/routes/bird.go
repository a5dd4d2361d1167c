package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// bird is BIRD 2 with what a node of a mesh needs and nothing more.
type bird struct{}

func (bird) name() string { return "BIRD 2" }

func (bird) program() string { return "bird" }

func (bird) start(w *world, dir string, _ []share) (*daemon, error) {
	conf := filepath.Join(dir, "bird.conf")
	if err := os.WriteFile(conf, []byte(birdConfig(w)), 0o600); err != nil {
		return nil, err
	}
	return w.start(dir, "bird", "-f", "-c", conf, "-s", filepath.Join(dir, "bird.ctl"))
}

// birdConfig has one protocol for each peer. The peers dial, so that none waits
// for BIRD's connect timer.
func birdConfig(w *world) string {
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
`, daemonAddr, daemonAddr, asn)
	for i, a := range w.addrs {
		fmt.Fprintf(&b, "protocol bgp peer%d from mesh { neighbor %s as %d; }\n", i, a, asn)
	}
	return b.String()
}
