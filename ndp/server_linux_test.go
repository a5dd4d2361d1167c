package ndp

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"caracal.dev/caracal/internal/nstest"
)

// slack is how long a router may take to be found. It takes milliseconds once
// both ends have their addresses, which takes up to 2 s (duplicate address
// detection).
const slack = time.Minute

// host is a namespace with a Server.
type host struct {
	*nstest.NS
	server
	t    *testing.T
	stop func()
}

// server is a Server without Run, which a namespace has too.
type server interface {
	Apply([]string)
	Look()
	Bell() <-chan struct{}
	Routers() map[string]netip.Addr
	Status() []Device
}

func newHost(t *testing.T) *host {
	t.Helper()
	h := &host{NS: nstest.New(t), t: t}
	h.start()
	return h
}

func (h *host) start() {
	ctx, cancel := context.WithCancel(context.Background())
	s := NewServer()
	h.server = s
	done := make(chan error, 1)
	go h.Do(func() { done <- s.Run(ctx) })
	stopped := false
	h.stop = func() {
		if !stopped {
			stopped = true
			cancel()
			if err := <-done; err != nil {
				h.t.Error(err)
			}
		}
	}
	h.t.Cleanup(h.stop)
}

// linkLocal returns the address that others see, once it may be used.
func (h *host) linkLocal(dev string) netip.Addr {
	h.t.Helper()
	for deadline := time.Now().Add(slack); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		out := h.Run("ip", "-6", "-o", "addr", "show", "dev", dev, "scope", "link", "-tentative")
		for _, f := range strings.Fields(out) {
			if a, err := netip.ParsePrefix(f); err == nil {
				return a.Addr()
			}
		}
	}
	h.t.Fatalf("%s has no link-local address", dev)
	return netip.Addr{}
}

// finds waits until the routers are these, and their changes have been rung.
func (h *host) finds(want map[string]netip.Addr) {
	h.t.Helper()
	start := time.Now()
	for !maps.Equal(h.Routers(), want) {
		select {
		case <-h.Bell():
		case <-time.After(slack - time.Since(start)):
			h.t.Fatalf("found %v, want %v; %+v", h.Routers(), want, h.Status())
		}
	}
	h.t.Logf("%v found after %v", want, time.Since(start).Round(time.Millisecond))
}

// until waits for what the Server does by itself.
func (h *host) until(what string, is func() bool) {
	h.t.Helper()
	for deadline := time.Now().Add(slack); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			h.t.Fatalf("it is not %s: %+v", what, h.Status())
		}
	}
}

// notDefault checks that the kernel took nobody for a default router.
func (h *host) notDefault() {
	h.t.Helper()
	if out := h.Run("ip", "-6", "route", "show", "default"); out != "" {
		h.t.Errorf("the kernel has a default route: %s", out)
	}
}

func TestTwoServers(t *testing.T) {
	a, b := newHost(t), newHost(t)
	for _, h := range []*host{a, b} {
		// As a host that heeds advertisements, so that it would show.
		h.Sysctl("net/ipv6/conf/default/accept_ra", "2")
		h.Apply([]string{"eth0", "eth0", "nosuch"})
	}
	nstest.Veth(t, a.NS, "eth0", b.NS, "eth0")
	a.Look()
	b.Look()
	lla, llb := a.linkLocal("eth0"), b.linkLocal("eth0")
	a.finds(map[string]netip.Addr{"eth0": llb.WithZone("eth0")})
	b.finds(map[string]netip.Addr{"eth0": lla.WithZone("eth0")})
	a.notDefault()
	b.notDefault()
	status := a.Status()
	if len(status) != 2 || status[0].Reason != "" || status[0].Discarded != 0 || !strings.Contains(status[1].Reason, "device nosuch does not exist") {
		t.Errorf("status %+v", status)
	}

	// A restart of one finds the other by asking, long before its next word.
	a.stop()
	a.start()
	a.Apply([]string{"eth0"})
	begin := time.Now()
	a.finds(map[string]netip.Addr{"eth0": llb.WithZone("eth0")})
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("found again after %v", took)
	}

	// Packets that did not begin on this link are not heeded.
	b.stop()
	a.Apply(nil)
	a.finds(map[string]netip.Addr{})
	a.Apply([]string{"eth0"})
	a.until("listening", func() bool { return len(a.Status()) == 1 && a.Status()[0].Advertised > 0 })
	b.Do(func() {
		c, err := openConn()
		if err != nil {
			t.Fatal(err)
		}
		defer c.close()
		d := deviceNow("eth0")
		if err := c.sendFrom(advertisement(d.hardware), d, allNodes, hopLimit-1); err != nil {
			t.Fatal(err)
		}
	})
	a.until("discarding", func() bool { return a.Status()[0].Discarded > 0 })
	if len(a.Routers()) != 0 {
		t.Errorf("found %v", a.Routers())
	}

	a.Run("ip", "link", "del", "eth0")
	a.Look()
	a.finds(map[string]netip.Addr{})
}

// TestThreeOnALink has two routers on one link: the first stays.
func TestThreeOnALink(t *testing.T) {
	a, b, c, sw := newHost(t), newHost(t), newHost(t), nstest.New(t)
	sw.Run("ip", "link", "add", "br0", "type", "bridge")
	sw.Run("ip", "link", "set", "br0", "up")
	for i, h := range []*host{a, b, c} {
		port := fmt.Sprintf("p%d", i)
		nstest.Veth(t, sw, port, h.NS, "eth0")
		sw.Run("ip", "link", "set", port, "master", "br0")
	}
	b.Apply([]string{"eth0"})
	llb, llc := b.linkLocal("eth0"), c.linkLocal("eth0")
	a.linkLocal("eth0")
	a.Apply([]string{"eth0"})
	a.finds(map[string]netip.Addr{"eth0": llb.WithZone("eth0")})
	c.Apply([]string{"eth0"})
	a.until("noticing the other", func() bool { return slices.Equal(a.Status()[0].Others, []netip.Addr{llc}) })
	if got := a.Routers()["eth0"]; got != llb.WithZone("eth0") {
		t.Errorf("router %s, the first was %s", got, llb)
	}
}

// frr runs zebra, and bgpd if there is a configuration for it, in a namespace.
func frr(t *testing.T, ns *nstest.NS, zebra, bgpd string) (vtysh func(string) string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "ndp-frr-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	u, err := user.Lookup("frr")
	if err != nil {
		t.Fatalf("%v; install FRR (Debian: apt-get install frr)", err)
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	if err := os.Chown(dir, uid, gid); err != nil {
		t.Fatal(err)
	}
	for _, d := range []struct{ name, conf string }{{"zebra", zebra}, {"bgpd", bgpd}} {
		if d.conf == "" {
			continue
		}
		file := filepath.Join(dir, d.name+".conf")
		if err := os.WriteFile(file, []byte(d.conf), 0o644); err != nil {
			t.Fatal(err)
		}
		cmd := ns.Command("/usr/lib/frr/"+d.name, "-f", file, "-i", filepath.Join(dir, d.name+".pid"),
			"-z", filepath.Join(dir, "zserv.api"), "--vty_socket", dir, "--log", "stdout")
		if err := cmd.Start(); err != nil {
			t.Fatalf("%v; install FRR (Debian: apt-get install frr)", err)
		}
		t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
		deadline := time.Now().Add(slack)
		for {
			if _, err := os.Stat(filepath.Join(dir, d.name+".vty")); err == nil {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s did not start", d.name)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	return func(command string) string {
		out, err := ns.Try("vtysh", "--vty_socket", dir, "-c", command)
		if err != nil {
			t.Log(err)
		}
		return out
	}
}

// TestFRRAdvertises finds FRR, which advertises itself because it is told to,
// and as a default router, which the kernel must not take it for.
func TestFRRAdvertises(t *testing.T) {
	a, r := newHost(t), nstest.New(t)
	a.Sysctl("net/ipv6/conf/all/forwarding", "1")
	nstest.Veth(t, a.NS, "eth0", r, "eth0")
	frr(t, r, "interface eth0\n ipv6 nd ra-interval 10\n no ipv6 nd suppress-ra\n", "")
	far := (&host{NS: r, t: t}).linkLocal("eth0")
	a.Apply([]string{"eth0"})
	a.finds(map[string]netip.Addr{"eth0": far.WithZone("eth0")})
	a.notDefault()
}

// TestFRRUnnumbered finds FRR's bgpd, which advertises itself on an interface
// that it has an unnumbered neighbor on, and is found by it: it dials.
func TestFRRUnnumbered(t *testing.T) {
	a, r := newHost(t), nstest.New(t)
	a.Sysctl("net/ipv6/conf/all/forwarding", "1")
	nstest.Veth(t, a.NS, "eth0", r, "eth0")
	vtysh := frr(t, r, "!\n", "router bgp 65000\n bgp router-id 192.0.2.1\n neighbor eth0 interface remote-as external\n neighbor eth0 timers connect 1\n")
	near, far := a.linkLocal("eth0"), (&host{NS: r, t: t}).linkLocal("eth0")
	a.Apply([]string{"eth0"})
	a.finds(map[string]netip.Addr{"eth0": far.WithZone("eth0")})
	a.notDefault()
	deadline := time.Now().Add(slack)
	for {
		out := vtysh("show bgp neighbors eth0")
		if strings.Contains(out, near.String()) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("FRR did not find %s:\n%s", near, out)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
