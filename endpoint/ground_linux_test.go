package endpoint

import (
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/internal/nstest"
)

func hostIn(t *testing.T, n *nstest.NS) (h *Host) {
	t.Helper()
	var err error
	n.Do(func() { h, err = NewHost() })
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestHostNetNS(t *testing.T) {
	n, other := nstest.New(t), nstest.New(t)
	h := hostIn(t, n)
	id := func(path string) string {
		t.Helper()
		got, err := h.NetNS(path)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if a, b := id(n.Path()), id(other.Path()); a == "" || b == "" || a == b {
		t.Errorf("two namespaces are %q and %q", a, b)
	}
	// A process in it has the same one, until it ends.
	sleep := other.Command("sleep", "600")
	if err := sleep.Start(); err != nil {
		t.Fatal(err)
	}
	proc := filepath.Join("/proc", strconv.Itoa(sleep.Process.Pid), "ns/net")
	for end := time.Now().Add(60 * time.Second); id(proc) != id(other.Path()); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("that of the process is %q, want %q", id(proc), id(other.Path()))
		}
	}
	_ = sleep.Process.Kill()
	_ = sleep.Wait()
	if got := id(proc); got != "" {
		t.Errorf("that of a process that ended is %q", got)
	}
	empty := filepath.Join(t.TempDir(), "leftover")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{empty, empty + "/x", "/nonexistent/x"} {
		if got := id(path); got != "" {
			t.Errorf("%s is %q", path, got)
		}
	}
	boot, err := h.BootID()
	if err != nil || len(boot) != 36 {
		t.Errorf("boot ID %q, %v", boot, err)
	}
}

func TestHostLinks(t *testing.T) {
	n := nstest.New(t)
	h := hostIn(t, n)
	up, down := caracal.HostInterface("c1", "eth0"), caracal.HostInterface("c2", "eth0")
	n.Run("ip", "link", "add", up, "type", "veth", "peer", "name", "p1")
	n.Run("ip", "link", "add", down, "type", "veth", "peer", "name", "p2")
	n.Run("ip", "link", "set", up, "up")
	links, err := h.Links()
	if err != nil || len(links) != 2 || !links[up] || links[down] {
		t.Fatalf("%v %v", links, err)
	}
	if err := h.DeleteLink("p1"); err == nil {
		t.Error("a foreign interface was deleted")
	}
	n.Run("ip", "neigh", "add", "10.65.0.7", "lladdr", "02:00:00:00:00:07", "dev", up, "nud", "permanent")
	n.Run("ip", "neigh", "add", "fd00:65::7", "lladdr", "02:00:00:00:00:07", "dev", up, "nud", "permanent")
	n.Run("ip", "neigh", "add", "10.65.0.8", "lladdr", "02:00:00:00:00:08", "dev", up, "nud", "stale")
	n.Run("ip", "neigh", "add", "10.65.0.9", "lladdr", "02:00:00:00:00:09", "dev", down, "nud", "permanent")
	if addrs, err := h.AddrsOf(up); err != nil || !slices.Equal(addrs, []netip.Addr{ip("10.65.0.7"), ip("fd00:65::7")}) {
		t.Errorf("addresses %v, %v", addrs, err)
	}
	foreign := caracal.HostInterface("c3", "eth0")
	n.Run("ip", "link", "add", foreign, "type", "bridge")
	if err := h.DeleteLink(foreign); err == nil || !strings.Contains(err.Error(), "a bridge and no veth") {
		t.Errorf("an interface that has our name and is no veth: %v", err)
	}
	n.Run("ip", "link", "show", foreign)
	n.Run("ip", "link", "delete", foreign)
	for range 2 { // the second time it is gone
		if err := h.DeleteLink(up); err != nil {
			t.Error(err)
		}
	}
	if links, err = h.Links(); err != nil || len(links) != 1 {
		t.Errorf("%v %v", links, err)
	}
}

// What the kernel remembers of an address is gone, and nothing else.
func TestHostForget(t *testing.T) {
	n := nstest.New(t)
	h := hostIn(t, n)
	n.Device("eth0", "192.0.2.1/24", "10.1.0.5/32", "10.1.0.6/32", "fd00:1::5/128", "fd00:1::6/128")
	for _, iptables := range []string{"iptables", "ip6tables"} { // has the kernel track this namespace
		n.Run(iptables, "-A", "OUTPUT", "-m", "conntrack", "--ctstate", "NEW", "-j", "ACCEPT")
	}
	flows := [][2]string{
		{"10.1.0.5", "192.0.2.1"}, {"192.0.2.1", "10.1.0.5"}, {"10.1.0.6", "192.0.2.1"}, {"fd00:1::5", "fd00:1::6"}, {"fd00:1::6", "fd00:1::6"},
	}
	n.Do(func() {
		for _, f := range flows {
			d := net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(f[0])}}
			c, err := d.Dial("udp", net.JoinHostPort(f[1], "9"))
			if err != nil {
				t.Fatal(err)
			}
			_, _ = c.Write([]byte("x"))
			c.Close()
		}
	})
	list := func() string {
		t.Helper()
		var all strings.Builder
		for _, family := range []string{"ipv4", "ipv6"} {
			var out []byte
			var err error
			n.Do(func() { out, err = exec.Command("conntrack", "-L", "-f", family, "-p", "udp").Output() })
			if err != nil {
				t.Fatal(err)
			}
			all.Write(out)
		}
		return all.String()
	}
	if got := strings.Count(list(), "udp"); got != len(flows) {
		t.Fatalf("%d connections\n%s", got, list())
	}
	if err := h.Forget([]netip.Addr{ip("10.1.0.5"), ip("fd00:1::5")}); err != nil {
		t.Fatal(err)
	}
	got := list()
	if strings.Count(got, "udp") != 2 || strings.Contains(got, "10.1.0.5") || strings.Contains(got, "fd00:1::5 ") {
		t.Errorf("left:\n%s", got)
	}
}
