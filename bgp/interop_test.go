package bgp_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"caracal.dev/caracal/bgp"
	"caracal.dev/caracal/internal/nstest"
)

// The interop tests run a speaker against the BIRD and FRR of Debian, each in a
// network namespace of its own. GoBGP's goroutines run on any thread, so the
// speaker's namespace is that of a whole process: the test binary runs itself
// again inside it.

const (
	childEnv = "CARACAL_TEST_INTEROP" // the daemon's namespace, in the child
	here4    = "192.0.2.1"
	there4   = "192.0.2.2"
	here6    = "2001:db8::1"
	there6   = "2001:db8::2"
	// childTimeout leaves room for a test's own message of what it waited for in vain.
	childTimeout = "-test.timeout=5m"
)

func TestInteropBIRD(t *testing.T) { interop(t, func(ns string) router { return &bird{ns: ns} }) }
func TestInteropFRR(t *testing.T)  { interop(t, func(ns string) router { return &frr{ns: ns} }) }

// router is a daemon that announces 10.0.2.0/26 and fd00:2::/122.
type router interface {
	start(t *testing.T)
	kill(t *testing.T)
	// has returns the daemon's words for its route to a prefix; empty if none.
	has(p string) string
}

func interop(t *testing.T, daemon func(ns string) router) { story(t, daemon, meet) }

// story is told to a daemon in a namespace of its own.
func story(t *testing.T, daemon func(ns string) router, tell func(*testing.T, router)) {
	if ns := os.Getenv(childEnv); ns != "" {
		tell(t, daemon(ns))
		return
	}
	t.Parallel()
	here, there := nstest.New(t), nstest.New(t)
	here.Run("ip", "link", "add", "up0", "type", "veth", "peer", "name", "up0", "netns", there.Name())
	for _, side := range []struct {
		ns     *nstest.NS
		v4, v6 string
	}{{here, here4, here6}, {there, there4, there6}} {
		side.ns.Run("ip", "addr", "add", side.v4+"/24", "dev", "up0")
		side.ns.Run("ip", "addr", "add", side.v6+"/64", "dev", "up0", "nodad")
		side.ns.Run("ip", "link", "set", "up0", "up")
	}
	child := here.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", childTimeout)
	child.Env = append(os.Environ(), childEnv+"="+there.Path())
	out, err := child.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// meet is the whole story with one daemon.
func meet(t *testing.T, r router) {
	a := newInteropStation(t)
	r.start(t)
	n := bgp.Neighbor{
		Name: "mesh/there", Node: "there", Addr: addr(there4), Port: 179, ASN: asn, Local: addr(here4),
		IPv4: true, IPv6: true, HoldTime: 30 * time.Second, KeepaliveTime: 10 * time.Second, ConnectRetry: time.Second,
		GracefulRestart: true, RestartTime: 60 * time.Second, MaxPrefixes: 1000,
		Passive: true, // two that dial at once race inside GoBGP, says the race detector
	}
	a.conf.Originate = []netip.Prefix{prefix("10.0.1.0/26"), prefix("fd00:1::/122")}
	a.conf.Neighbors = []bgp.Neighbor{n}
	a.apply()
	a.eventually("the daemon's prefixes", a.has(n.Name, "10.0.2.0/26", "fd00:2::/122"))
	a.eventually("End-of-RIB of both families", func() bool { return a.eor[n.Name+" false"] && a.eor[n.Name+" true"] })
	a.mu.Lock()
	hop4, hop6 := a.rib[n.Name+" 10.0.2.0/26"].NextHop, a.rib[n.Name+" fd00:2::/122"].NextHop
	a.mu.Unlock()
	if hop4 != addr(there4) || hop6 != addr(there6) {
		t.Errorf("next hops %s and %s", hop4, hop6)
	}
	// IPv6 on a session over IPv4 has a next hop that the daemon can use.
	await(t, r, "10.0.1.0/26", here4)
	await(t, r, "fd00:1::/122", here6)

	a.conf.Originate = a.conf.Originate[:1]
	a.apply()
	await(t, r, "fd00:1::/122", "")
	await(t, r, "10.0.1.0/26", here4)

	// The daemon dies and comes back: a restart, not the end.
	a.settled(n.Name)
	r.kill(t)
	a.eventually("the restart", func() bool {
		return slices.ContainsFunc(a.all, func(e bgp.Event) bool {
			return e.Session != nil && e.Session.Graceful && e.Session.Kept4 && e.Session.Kept6
		})
	})
	a.mu.Lock()
	clear(a.eor)
	a.mu.Unlock()
	r.start(t)
	a.eventually("End-of-RIB after the restart", func() bool { return a.eor[n.Name+" false"] && a.eor[n.Name+" true"] })
	if got := a.sessions(n.Name, 0); slices.Contains(got, "down") || slices.Contains(got, "expired") {
		t.Errorf("events %v", got)
	}
	await(t, r, "10.0.1.0/26", here4)

	// We leave: the daemon drops our route at once.
	if err := a.Leave(context.Background()); err != nil {
		t.Error(err)
	}
	await(t, r, "10.0.1.0/26", "")
	r.kill(t)
}

func newInteropStation(t *testing.T) *station {
	s := newStationOn(t, "a", here4, 179, bgp.Options{})
	s.conf.NextHop6 = addr(here6)
	return s
}

// await waits until the daemon's route to p mentions hop, or is gone.
func await(t *testing.T, r router, p, hop string) {
	t.Helper()
	var got string
	for deadline := time.Now().Add(patient); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		got = r.has(p)
		if hop == "" && got == "" || hop != "" && strings.Contains(got, hop) {
			return
		}
	}
	t.Fatalf("the daemon's route to %s: %q, want one via %q", p, got, hop)
}

// process is a daemon in the foreground, killed by its own id.
type process struct{ cmd *exec.Cmd }

func run(t *testing.T, ns, name string, args ...string) *process {
	t.Helper()
	cmd := exec.Command("nsenter", append([]string{"--net=" + ns, "--", name}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log, err := os.Create(filepath.Join(t.TempDir(), filepath.Base(name)+".log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s (is it installed?): %v", name, err)
	}
	p := &process{cmd}
	t.Cleanup(func() {
		p.kill()
		log.Close()
		if text, _ := os.ReadFile(log.Name()); t.Failed() {
			t.Logf("%s:\n%s", name, text)
		}
	})
	return p
}

func (p *process) kill() {
	p.cmd.Process.Kill()
	p.cmd.Wait()
}

type bird struct {
	ns, socket string
	process    *process
}

func (b *bird) start(t *testing.T) {
	dir := t.TempDir()
	b.socket = filepath.Join(dir, "ctl")
	conf := filepath.Join(dir, "bird.conf")
	write(t, conf, fmt.Sprintf(`
log stderr all;
router id %[1]s;
protocol device {}
protocol direct { ipv4; ipv6; }
protocol static static4 { ipv4; route 10.0.2.0/26 blackhole; }
protocol static static6 { ipv6; route fd00:2::/122 blackhole; }
protocol bgp here {
	local %[1]s as 64512; neighbor %[2]s as 64512;
	connect delay time 1; graceful restart on; debug { states, routes, events };
	ipv4 { import all; export where proto = "static4"; next hop self; };
	ipv6 { import all; export where proto = "static6"; next hop self; next hop address %[3]s; };
}
`, there4, here4, there6))
	b.process = run(t, b.ns, "bird", "-f", "-R", "-c", conf, "-s", b.socket, "-P", filepath.Join(dir, "pid"))
}

func (b *bird) kill(*testing.T) { b.process.kill() }

func (b *bird) has(p string) string {
	out, _ := exec.Command("birdc", "-s", b.socket, "show", "route", "all", "for", p).CombinedOutput()
	if !strings.Contains(string(out), p) {
		return ""
	}
	return string(out)
}

// frr is bgpd alone; without zebra it takes next hops for reachable.
type frr struct {
	ns, dir string
	process *process
}

func (f *frr) start(t *testing.T) {
	f.dir = t.TempDir()
	at := func(name string) string { return filepath.Join(f.dir, name) }
	write(t, at("bgpd.conf"), fmt.Sprintf(`
router bgp 64512
 bgp router-id %[1]s
 no bgp network import-check
 no bgp ebgp-requires-policy
 bgp graceful-restart
 bgp graceful-restart preserve-fw-state
 neighbor %[2]s remote-as 64512
 neighbor %[2]s timers connect 1
 address-family ipv4 unicast
  network 10.0.2.0/26
 exit-address-family
 address-family ipv6 unicast
  network fd00:2::/122
  neighbor %[2]s activate
  neighbor %[2]s route-map six out
 exit-address-family
route-map six permit 10
 set ipv6 next-hop global %[3]s
`, there4, here4, there6))
	f.process = run(t, f.ns, "/usr/lib/frr/bgpd", "-S", "-f", at("bgpd.conf"), "-i", at("bgpd.pid"), "-z", at("zserv"), "--vty_socket", f.dir, "--log", "stdout")
}

func (f *frr) kill(*testing.T) { f.process.kill() }

func (f *frr) has(p string) string {
	family := "ipv4"
	if strings.Contains(p, ":") {
		family = "ipv6"
	}
	out, _ := exec.Command("vtysh", "--vty_socket", f.dir, "-d", "bgpd", "-c", "show bgp "+family+" unicast "+p).CombinedOutput()
	if !strings.Contains(string(out), "valid") {
		return ""
	}
	return string(out)
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
