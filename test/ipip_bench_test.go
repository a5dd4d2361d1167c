//go:build bench

package test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"caracal.dev/caracal/lab"
)

// TestTunnelCost moves bytes by TCP between two pods, directly and through the
// tunnel by turns, and prints the ratio of speed and of CPU for each byte. One
// processor does everything: both pods, both nodes, the router.
//
//	go test -tags bench -run TunnelCost -v ./test
func TestTunnelCost(t *testing.T) {
	if !inUML(t, true, 10*time.Minute) {
		return
	}
	l := start(t, lab.Subnets(lab.SubnetOptions{Nodes: 2, PodsPerNode: 1, IPIP: "Never", Informed: true}))
	if err := l.StartAll(); err != nil {
		t.Fatal(err)
	}
	reach(t, l)
	const bytes, rounds, each = 32 << 20, 8, 8
	type cost struct{ took, busy []float64 } // in seconds, for each transfer
	costs := map[string]*cost{"Never": {}, "Always": {}}
	for range rounds {
		for mode, c := range costs {
			if err := l.WriteConfig("cluster.yaml", poolFile(t, l, mode)); err != nil {
				t.Fatal(err)
			}
			eventuallyTunneled(t, l, mode)
			for range each {
				before := busy(t)
				c.took = append(c.took, transfer(t, l, "a1", "b1", bytes, 5*time.Minute).Seconds())
				c.busy = append(c.busy, (busy(t) - before).Seconds())
			}
		}
	}
	for mode, c := range costs {
		slices.Sort(c.took)
		slices.Sort(c.busy)
		t.Logf("%s: best %.0f, median %.0f Mbit/s; CPU for a GB: best %.2f, median %.2f s", mode,
			8*bytes/c.took[0]/1e6, 8*bytes/c.took[rounds*each/2]/1e6, c.busy[0]/bytes*1e9, c.busy[rounds*each/2]/bytes*1e9)
	}
	direct, tunnel := costs["Never"], costs["Always"]
	for _, which := range []int{0, rounds * each / 2} {
		t.Logf("IPIP against direct: %.2f of the speed, %.2f times the CPU for each byte",
			direct.took[which]/tunnel.took[which], tunnel.busy[which]/direct.busy[which])
	}
}

// busy is the time that the processor was not idle (proc(5), /proc/stat).
func busy(t *testing.T) time.Duration {
	t.Helper()
	line, _, _ := strings.Cut(string(must(os.ReadFile("/proc/stat"))(t)), "\n")
	var user, nice, system, idle, wait, irq, soft time.Duration
	if _, err := fmt.Sscan(strings.TrimPrefix(line, "cpu"), &user, &nice, &system, &idle, &wait, &irq, &soft); err != nil {
		t.Fatal(err)
	}
	return (user + nice + system + irq + soft) * time.Second / 100
}
