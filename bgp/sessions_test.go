package bgp_test

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"caracal.dev/caracal/bgp"
	"caracal.dev/caracal/internal/nstest"
)

// These are what a Neighbor's fields do towards BIRD and FRR. In each the
// speaker is in one namespace and the daemon in another.

// opposite is a daemon in the other namespace with a configuration of the test.
type opposite struct {
	ns, dir string
	process *process
}

const oppositeEnv = "CARACAL_TEST_OPPOSITE"

// opposed runs the test in a namespace of its own, and returns the other one
// there; nil outside. prepare is given both.
func opposed(t *testing.T, prepare func(here, there *nstest.NS)) *opposite {
	t.Helper()
	if ns := os.Getenv(oppositeEnv); ns != "" {
		return &opposite{ns: ns, dir: t.TempDir()}
	}
	t.Parallel()
	here, there := nstest.New(t), nstest.New(t)
	nstest.Veth(t, here, "up0", there, "up0")
	here.Addr("up0", here4+"/24", here6+"/64")
	there.Addr("up0", there4+"/24", there6+"/64")
	if prepare != nil {
		prepare(here, there)
	}
	only := "^" + strings.ReplaceAll(t.Name(), "/", "$/^") + "$"
	child := here.Command(os.Args[0], "-test.run="+only, "-test.v", childTimeout)
	child.Env = append(os.Environ(), childEnv+"="+here.Path(), oppositeEnv+"="+there.Path())
	if out, err := child.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	return nil
}

func (o *opposite) bird(t *testing.T, protocols string) {
	file := filepath.Join(o.dir, "bird.conf")
	write(t, file, fmt.Sprintf("log stderr all;\nrouter id %s;\nprotocol device {}\n%s", there4, protocols))
	o.process = run(t, o.ns, "bird", "-f", "-R", "-c", file, "-s", filepath.Join(o.dir, "ctl"), "-P", filepath.Join(o.dir, "pid"))
}

func (o *opposite) frr(t *testing.T, conf string) {
	at := func(name string) string { return filepath.Join(o.dir, name) }
	write(t, at("bgpd.conf"), conf)
	o.process = run(t, o.ns, "/usr/lib/frr/bgpd", "-S", "-f", at("bgpd.conf"), "-i", at("bgpd.pid"), "-z", at("zserv"), "--vty_socket", o.dir, "--log", "stdout")
}

// zebra tells bgpd of devices, which it needs for link-local addresses.
func (o *opposite) zebra(t *testing.T) {
	at := func(name string) string { return filepath.Join(o.dir, name) }
	write(t, at("zebra.conf"), "")
	u, err := user.Lookup("frr")
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	for dir := o.dir; strings.HasPrefix(dir, filepath.Clean(os.TempDir())+"/"); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(o.dir, uid, gid); err != nil {
		t.Fatal(err)
	}
	run(t, o.ns, "/usr/lib/frr/zebra", "-f", at("zebra.conf"), "-i", at("zebra.pid"), "-z", at("zserv"), "--vty_socket", o.dir, "--log", "stdout")
	for deadline := time.Now().Add(patient); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if _, err := os.Stat(at("zserv")); err == nil {
			return
		}
	}
	t.Fatal("zebra did not start")
}

func (o *opposite) birdc(words ...string) string {
	out, _ := exec.Command("birdc", append([]string{"-s", filepath.Join(o.dir, "ctl")}, words...)...).CombinedOutput()
	return string(out)
}

func (o *opposite) vtysh(command string) string {
	out, _ := exec.Command("vtysh", "--vty_socket", o.dir, "-d", "bgpd", "-c", command).CombinedOutput()
	return string(out)
}

// says waits until what the daemon says has all the words.
func says(t *testing.T, ask func() string, words ...string) {
	t.Helper()
	var got string
	for deadline := time.Now().Add(patient); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		got = ask()
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(got, w) }) {
			return
		}
	}
	t.Fatalf("the daemon does not say %q:\n%s", words, got)
}

// tor is a neighbor in another AS at the other end of the wire.
func tor() bgp.Neighbor {
	return bgp.Neighbor{
		Name: "peer/tor", Peer: "tor", Addr: addr(there4), Port: 179, ASN: 65001, Local: addr(here4), External: true,
		IPv4: true, IPv6: true, HoldTime: 9 * time.Second, KeepaliveTime: 3 * time.Second, ConnectRetry: time.Second,
		GracefulRestart: true, RestartTime: 60 * time.Second, MaxPrefixes: 1000,
	}
}

func torStation(t *testing.T, n bgp.Neighbor) *station {
	s := newStationOn(t, "a", here4+","+here6, 179, bgp.Options{})
	s.conf.NextHop6 = addr(here6)
	s.conf.Originate = []netip.Prefix{prefix("10.0.1.0/26"), prefix("fd00:1::/122")}
	s.conf.Neighbors = []bgp.Neighbor{n}
	s.apply()
	return s
}

// TestLocalASAndAnyAS: towards one neighbor we are in another AS, and whichever
// AS it is in will do, but for that one.
func TestLocalASAndAnyAS(t *testing.T) {
	o := opposed(t, nil)
	if o == nil {
		return
	}
	const frr = `
router bgp %d
 bgp router-id 192.0.2.2
 no bgp ebgp-requires-policy
 no bgp network import-check
 neighbor 192.0.2.1 remote-as 65010
 neighbor 192.0.2.1 timers connect 1
 address-family ipv4 unicast
  network 10.0.2.0/26
 exit-address-family
`
	o.frr(t, fmt.Sprintf(frr, 65001))
	n := tor()
	n.ASN, n.LocalASN, n.IPv6 = 0, 65010, false
	a := torStation(t, n)
	// FRR also sends back what is ours.
	a.eventually("the routes of any AS", a.has(n.Name, "10.0.1.0/26", "10.0.2.0/26"))
	says(t, func() string { return o.vtysh("show bgp ipv4 unicast 10.0.1.0/26") }, "\n  65010\n", "from 192.0.2.1")
	st := a.status(n.Name)
	if st.RemoteASN != 65001 || st.HoldTime != 9*time.Second || st.KeepaliveTime != 3*time.Second {
		t.Errorf("status: %+v", st)
	}
	if count, err := a.Advertised(t.Context(), n.Name); count != 1 || err != nil {
		t.Errorf("%d prefixes advertised, %v; want one", count, err)
	}
	for _, want := range []string{"ipv4-unicast", "graceful-restart 61s", "extended-nexthop"} {
		if !slices.Contains(st.LocalCapabilities, want) {
			t.Errorf("our capabilities %q lack %q", st.LocalCapabilities, want)
		}
	}
	a.mu.Lock()
	attrs := a.rib[n.Name+" 10.0.2.0/26"]
	if attrs.Wire == nil || attrs.ASPathText != "65001" {
		t.Errorf("attributes %+v", attrs)
	}
	a.mu.Unlock()

	o.process.kill()
	o.frr(t, fmt.Sprintf(frr, 65010))
	a.eventually("the neighbor in our own AS to be turned away", func() bool {
		return strings.Contains(a.status(n.Name).LastError, "in our own AS 65010")
	})
	if got := a.sessions(n.Name, 0); slices.Contains(got[slices.Index(got, "down")+1:], "up") {
		t.Errorf("a session came up with a neighbor in our own AS: %v", got)
	}
}

// TestUnnumbered: a session between link-local addresses, with IPv6 next hops for
// IPv4 prefixes (RFC 8950) both ways.
func TestUnnumbered(t *testing.T) {
	const conf = `
router bgp 65001
 bgp router-id 192.0.2.2
 no bgp ebgp-requires-policy
 no bgp network import-check
 no bgp default ipv4-unicast
 neighbor fe80::1 remote-as 64512
 neighbor fe80::1 interface up0
 neighbor fe80::1 timers connect 1
 neighbor fe80::1 capability extended-nexthop
 address-family ipv4 unicast
  network 10.0.2.0/26
  neighbor fe80::1 activate
 exit-address-family
 address-family ipv6 unicast
  network fd00:2::/122
  neighbor fe80::1 activate
 exit-address-family
`
	o := opposed(t, func(here, there *nstest.NS) {
		here.Run("ip", "link", "set", "up0", "addrgenmode", "none")
		there.Run("ip", "link", "set", "up0", "addrgenmode", "none")
		there.Run("ip", "addr", "del", there6+"/64", "dev", "up0")
		here.Addr("up0", "fe80::1/64")
		there.Addr("up0", "fe80::2/64")
	})
	if o == nil {
		return
	}
	o.zebra(t)
	o.frr(t, conf)
	n := tor()
	n.Addr, n.Interface, n.Local, n.ExtendedNextHop = addr("fe80::2%up0"), "up0", netip.Addr{}, true
	a := torStation(t, n)
	a.eventually("the prefixes", a.has(n.Name, "10.0.1.0/26", "fd00:1::/122", "10.0.2.0/26", "fd00:2::/122"))
	a.mu.Lock()
	four, six := a.rib[n.Name+" 10.0.2.0/26"].NextHop, a.rib[n.Name+" fd00:2::/122"].NextHop
	a.mu.Unlock()
	if four != addr("fe80::2%up0") || six != addr("fe80::2%up0") {
		t.Errorf("next hops %s and %s", four, six)
	}
	says(t, func() string { return o.vtysh("show bgp neighbors fe80::1") }, "Extended nexthop: advertised and received", "BGP state = Established")
	says(t, func() string { return o.vtysh("show bgp ipv4 unicast") }, "*> 10.0.1.0/26      fe80::1 ")
	says(t, func() string { return o.vtysh("show bgp ipv6 unicast") }, "*> fd00:1::/122     fe80::1 ")
	st := a.status(n.Name)
	if st.RemoteAddr.Addr() != n.Addr {
		t.Errorf("remote address %s", st.RemoteAddr)
	}

	// It dies and comes back: the paths are kept, as of any other neighbor.
	a.settled(n.Name)
	o.process.kill()
	a.eventually("the loss", func() bool { return !a.in(n.Name, bgp.Established)() })
	o.frr(t, conf)
	a.eventually("the session again", a.in(n.Name, bgp.Established))
}

// TestAddPathReceive: BIRD sends all it has for a prefix.
func TestAddPathReceive(t *testing.T) {
	o := opposed(t, nil)
	if o == nil {
		return
	}
	o.bird(t, `
ipv4 table t;
protocol static one { ipv4 { table t; preference 200; }; route 10.0.2.0/26 via 192.0.2.11; }
protocol static two { ipv4 { table t; preference 100; }; route 10.0.2.0/26 via 192.0.2.12; }
protocol bgp here {
	local 192.0.2.2 as 65001; neighbor 192.0.2.1 as 64512; connect delay time 1;
	ipv4 { table t; import all; export all; add paths tx; next hop keep; };
}
`)
	n := tor()
	n.IPv6, n.AddPathReceive = false, true
	a := torStation(t, n)
	hops := map[uint32]netip.Addr{}
	a.eventually("two paths with identifiers", func() bool {
		for _, e := range a.all {
			if e.Update != nil {
				for _, p := range e.Update.Announced {
					hops[p.ID] = e.Update.Attrs.NextHop
				}
			}
		}
		return len(hops) == 2
	})
	var got []string
	for id, hop := range hops {
		got = append(got, hop.String())
		if id == 0 {
			t.Error("a path without identifier")
		}
	}
	if slices.Sort(got); !slices.Equal(got, []string{"192.0.2.11", "192.0.2.12"}) {
		t.Errorf("next hops %v", got)
	}
	if caps := a.status(n.Name).Capabilities; !slices.ContainsFunc(caps, func(c string) bool { return strings.HasPrefix(c, "add-path ipv4-unicast") }) {
		t.Errorf("capabilities %q", caps)
	}
}

// TestFailedToR: BFD, which is not here, says that a ToR is gone; once it is back
// the session is up long before the ToR would have ended the old one, and stays.
func TestFailedToR(t *testing.T) {
	const bird = `
protocol static { ipv4; route 10.0.2.0/26 blackhole; }
protocol bgp here {
	local 192.0.2.2 as 65001; neighbor 192.0.2.1 as 64512; connect delay time 1; connect retry time 1; error wait time 1, 4;
	graceful restart on;
	ipv4 { import all; export where source = RTS_STATIC; };
}
`
	const frr = `
router bgp 65001
 bgp router-id 192.0.2.2
 no bgp ebgp-requires-policy
 no bgp network import-check
 bgp graceful-restart
 neighbor 192.0.2.1 remote-as 64512
 neighbor 192.0.2.1 timers connect 1
 address-family ipv4 unicast
  network 10.0.2.0/26
 exit-address-family
`
	for _, tc := range []struct {
		name  string
		start func(*testing.T, *opposite)
	}{
		{"BIRD", func(t *testing.T, o *opposite) { o.bird(t, bird) }},
		{"FRR", func(t *testing.T, o *opposite) { o.frr(t, frr) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := opposed(t, nil)
			if o == nil {
				return
			}
			tc.start(t, o)
			n := tor()
			n.IPv6, n.HoldTime, n.KeepaliveTime = false, 30*time.Second, 10*time.Second
			a := torStation(t, n)
			route := func() bool { return a.rib[n.Name+" 10.0.2.0/26"] != nil }
			a.eventually("its route", route)
			link := func(state string) {
				t.Helper()
				if out, err := exec.Command("nsenter", "--net="+o.ns, "ip", "link", "set", "up0", state).CombinedOutput(); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
			}
			link("down")
			if err := a.Fail(t.Context(), n.Name, "BFD down", false); err != nil {
				t.Fatal(err)
			}
			a.eventually("the end of its route", func() bool { return !route() })
			time.Sleep(3 * time.Second) // it is away, and dialed in vain
			link("up")
			back := time.Now()
			a.eventually("its route again", route)
			t.Logf("back after %s", time.Since(back))
			if d := time.Since(back); d > 15*time.Second { // 2 s on a machine of its own
				t.Errorf("back after %s", d)
			}
			downs := a.downs(n.Name) // two that dial at once may have lost one already
			time.Sleep(2 * time.Second)
			if a.downs(n.Name) != downs {
				t.Error("the session did not stay")
			}
		})
	}
}
