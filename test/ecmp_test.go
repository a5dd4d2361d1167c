package test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"caracal.dev/caracal/lab"
)

// equals is switches t0, t1, … that announce the same to node a.
type equals struct {
	t      *testing.T
	l      *lab.Lab
	daemon string
}

// TestECMP: switches with equal paths become one multipath route of each
// family, one whose path is worse is left out, and losing one makes the route
// smaller without taking it away.
func TestECMP(t *testing.T) {
	for _, c := range []struct {
		daemon string
		tors   int
	}{{"BIRD", 2}, {"FRR", 2}, {"BIRD", 4}} {
		t.Run(fmt.Sprintf("%s-%d", c.daemon, c.tors), func(t *testing.T) {
			t.Parallel()
			top := lab.Mesh(lab.MeshOptions{Nodes: 1, PodsPerNode: 1})
			all := []int{0, 1, 2, 3}[:c.tors]
			for _, i := range all {
				top.Nodes = append(top.Nodes, routerNode(fmt.Sprint("t", i), byte(201+i), top.Nodes[0].Links[0].Switch))
				top.Objects = append(top.Objects, fmt.Sprintf("apiVersion: caracal.dev/v1\nkind: BGPPeer\nmetadata: {name: t%d}\n"+
					"spec: {node: a, peerIP: 192.168.77.%d, asNumber: %d, acceptRanges: [203.0.113.0/24, \"2001:db8:1::/48\"]}\n", i, 201+i, torASN))
			}
			e := &equals{t, start(t, top), c.daemon}
			for _, i := range all {
				e.start(i)
			}
			must(e.l.Node("a").StartCaracald())(t)
			e.ways(all)
			if c.daemon == "BIRD" {
				e.reconfigure(0, true)
				e.ways(all[1:])
				e.reconfigure(0, false)
				e.ways(all)
			}
			changes := must(e.l.MonitorRoutes(t.Context(), "a"))(t)
			t.Cleanup(func() { changes.Stop() })
			e.lose(0)
			e.ways(all[1:])
			for _, line := range changes.Stop() {
				if strings.HasPrefix(line, "Deleted") && !strings.Contains(line, "dev lo") {
					t.Errorf("the route was not only made smaller: %s", line)
				}
			}
		})
	}
}

// conf is the configuration of the switch i, as that of filterPeer but with
// addresses of its own.
func (e *equals) conf(i int, text string) string {
	text = strings.ReplaceAll(text, "192.168.77.201", fmt.Sprintf("192.168.77.%d", 201+i))
	return strings.ReplaceAll(text, "fd00:77::c9", fmt.Sprintf("fd00:77::%x", 201+i))
}

func (e *equals) start(i int) {
	e.t.Helper()
	n := e.l.Node(fmt.Sprint("t", i))
	what := announced{{"203.0.113.0/24"}, {"2001:db8:1::/48"}}
	if e.daemon == "BIRD" {
		must(n.StartBIRD(e.conf(i, birdPeer(torASN, what))))(e.t)
		return
	}
	conf := frrPeer(torASN, what)
	conf.BGP = e.conf(i, conf.BGP)
	if err := n.StartFRR(conf); err != nil {
		e.t.Fatal(err)
	}
}

// reconfigure makes the switch i prepend its AS number, or not.
func (e *equals) reconfigure(i int, longer bool) {
	e.t.Helper()
	n := e.l.Node(fmt.Sprint("t", i))
	text := e.conf(i, birdPeer(torASN, announced{{"203.0.113.0/24"}, {"2001:db8:1::/48"}}))
	if longer {
		for _, v := range []string{"ipv4", "ipv6"} {
			text = strings.ReplaceAll(text, fmt.Sprintf("export where proto = \"%ss\"", v),
				fmt.Sprintf("export filter { if proto != \"%ss\" then reject; bgp_path.prepend(%d); accept; }", v, torASN))
		}
	}
	path := filepath.Join(n.Dir(), "longer.conf")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		e.t.Fatal(err)
	}
	if out := must(n.BIRDC(e.t.Context(), "configure", `"`+path+`"`))(e.t); !strings.Contains(out, "Reconfigur") {
		e.t.Fatal(out)
	}
}

// lose ends the session of the switch i for good.
func (e *equals) lose(i int) {
	e.t.Helper()
	n := e.l.Node(fmt.Sprint("t", i))
	if e.daemon == "BIRD" {
		must(n.BIRDC(e.t.Context(), "disable", "a"))(e.t)
	} else if err := n.Process("bgpd").Kill(syscall.SIGTERM); err != nil {
		e.t.Fatal(err)
	}
}

// ways waits until node a's routes go by exactly these switches.
func (e *equals) ways(tors []int) {
	e.t.Helper()
	eventually(e.t, 30*time.Second, func() string {
		routes := must(e.l.Node("a").OwnRoutes())(e.t)
		for _, want := range []struct{ dst, via string }{{"203.0.113.0/24", "192.168.77.%d"}, {"2001:db8:1::/48", "fd00:77::%x"}} {
			var got, hops []string
			for _, i := range tors {
				hops = append(hops, fmt.Sprintf(want.via, 201+i))
			}
			for _, r := range routes {
				if r.Dst.String() == want.dst {
					for _, h := range r.Hops {
						got = append(got, h.Via.String())
					}
				}
			}
			slices.Sort(got)
			if !slices.Equal(got, hops) {
				return fmt.Sprintf("%s goes by %v, want %v", want.dst, got, hops)
			}
		}
		return ""
	})
}
