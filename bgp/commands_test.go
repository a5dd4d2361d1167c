package bgp_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/bench/sender"
	"caracal.dev/caracal/bgp"
)

// TestCommands goes through what an operator can do to a neighbor.
func TestCommands(t *testing.T) {
	ctx := context.Background()
	a := newStation(t, "a", "127.0.5.1", bgp.Options{})
	b := newStation(t, "b", "127.0.5.2", bgp.Options{})
	a.conf.Originate = []netip.Prefix{prefix("10.0.1.0/26"), prefix("fd00:1::/122")}
	link(a, b)
	a.apply()
	b.apply()
	b.eventually("a's prefixes", b.has("mesh/a", "10.0.1.0/26", "fd00:1::/122"))
	a.eventually("the session", a.in("mesh/b", bgp.Established)) // a may hear of it after b

	st := a.status("mesh/b")
	if st.State != bgp.Established || st.RemoteASN != asn || st.RouterID != addr("127.0.5.2") ||
		st.Advertised != 2 || st.HoldTime != 30*time.Second || st.NeighborRestartTime != 21*time.Second ||
		st.LocalAddr.Addr() != addr("127.0.5.1") || st.RemoteAddr.Addr() != addr("127.0.5.2") || st.LocalAddr.Port() == 0 ||
		st.Sent.Open == 0 || st.Received.Open == 0 || !slices.Contains(st.Capabilities, "ipv6-unicast") {
		t.Errorf("status: %+v", st)
	}
	if got := listing(t, func(fn func(netip.Prefix, caracal.Attrs) bool) error { return a.AdjOut(ctx, "mesh/b", fn) }); !slices.Equal(got, []string{"10.0.1.0/26 127.0.5.1", "fd00:1::/122 fd00::1"}) {
		t.Errorf("adj-rib-out: %v", got)
	}
	if got := listing(t, func(fn func(netip.Prefix, caracal.Attrs) bool) error { return b.LocRIB(ctx, fn) }); got != nil {
		t.Errorf("b originates nothing, but its loc-rib has %v", got)
	}
	if got := listing(t, func(fn func(netip.Prefix, caracal.Attrs) bool) error { return a.LocRIB(ctx, fn) }); len(got) != 2 {
		t.Errorf("a's loc-rib: %v", got)
	}

	// A refresh sends everything again, and resets nothing.
	updates := func() int { return count(b.sessions("mesh/a", 0), "update") }
	before := updates()
	if err := a.RefreshOut(ctx, "mesh/b"); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patient); updates() < before+2; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no updates after reload out")
		}
	}

	// Disable lasts over changes of the configuration, and tells the reason.
	if err := a.Disable(ctx, "mesh/b", "rack move"); err != nil {
		t.Fatal(err)
	}
	b.eventually("a's prefixes gone", b.has("mesh/a"))
	a.eventually("disabled", a.in("mesh/b", bgp.Disabled))
	if st := a.status("mesh/b"); st.State != bgp.Disabled || !strings.Contains(st.LastError, "rack move") {
		t.Errorf("disabled: %+v", st)
	}
	for what, do := range map[string]func(context.Context, string) error{"restart": a.Restart, "reload out": a.RefreshOut} {
		want := "bgp: " + what + ": mesh/b is disabled; caracal enable mesh/b lets it come up"
		if err := do(ctx, "mesh/b"); err == nil || err.Error() != want {
			t.Errorf("%s of a disabled neighbor: %v", what, err)
		}
	}
	a.conf.Neighbors[0].RestartTime = 25 * time.Second
	if res := a.apply(); !slices.Equal(res.Reset, []string{"mesh/b"}) {
		t.Errorf("a change of a disabled neighbor: %+v", res)
	}
	time.Sleep(1500 * time.Millisecond) // b dials each second
	if st := a.status("mesh/b"); st.State != bgp.Disabled {
		t.Errorf("after a change of its configuration: %+v", st)
	}
	if err := a.Enable(ctx, "mesh/b"); err != nil {
		t.Fatal(err)
	}
	b.eventually("a's prefixes again", b.has("mesh/a", "10.0.1.0/26", "fd00:1::/122"))

	// Restart; one whose session is not up, or not yet seen to be, is left alone.
	a.eventually("up again", a.in("mesh/b", bgp.Established))
	if err := a.Restart(ctx, "mesh/b"); err != nil {
		t.Fatal(err)
	}
	b.eventually("a's prefixes gone", b.has("mesh/a"))
	a.eventually("the end of the session", func() bool { return !a.in("mesh/b", bgp.Established)() })
	if err := a.RefreshOut(ctx, "mesh/b"); err == nil || err.Error() != "bgp: reload out: mesh/b is not established; everything is announced when it comes up" {
		t.Errorf("reload out while it restarts: %v", err)
	}
	b.eventually("a's prefixes after the restart", b.has("mesh/a", "10.0.1.0/26", "fd00:1::/122"))
	if got := a.sessions("mesh/b", 0); !slices.Contains(got, "graceful") {
		t.Errorf("a restart by ourselves keeps the neighbor's paths; events %v", got)
	}

	if err := a.Enable(ctx, "mesh/nobody"); !errors.Is(err, bgp.ErrUnknown) || !strings.Contains(err.Error(), "mesh/b") {
		t.Errorf("an unknown name: %v", err)
	}
}

func count(list []string, what string) int {
	n := 0
	for _, s := range list {
		if s == what {
			n++
		}
	}
	return n
}

func listing(t *testing.T, list func(func(netip.Prefix, caracal.Attrs) bool) error) []string {
	t.Helper()
	var got []string
	if err := list(func(p netip.Prefix, a caracal.Attrs) bool {
		got = append(got, p.String()+" "+a.NextHop.String())
		return true
	}); err != nil {
		t.Fatal(err)
	}
	slices.Sort(got)
	return got
}

// TestChanges holds the promise of what resets a session: each field is changed
// on one neighbor of two, and the sessions tell.
func TestChanges(t *testing.T) {
	a := newStation(t, "a", "127.0.6.1", bgp.Options{})
	changed, c1 := neighborOf(a, "127.0.6.8")
	other, c2 := neighborOf(a, "127.0.6.9")
	a.conf.Neighbors = []bgp.Neighbor{changed, other}
	a.apply()
	s1, s2 := dial(t, c1), dial(t, c2)
	defer func() { s1.Abort() }()
	defer s2.Abort()
	a.sequence(changed.Name, "up")
	a.sequence(other.Name, "up")
	want := []string{"up"}
	for _, tc := range []struct {
		field string
		set   func(*bgp.Neighbor)
		reset bool
	}{
		{"HoldTime", func(n *bgp.Neighbor) { n.HoldTime = time.Minute }, false},
		{"KeepaliveTime", func(n *bgp.Neighbor) { n.KeepaliveTime = 20 * time.Second }, false},
		{"ConnectRetry", func(n *bgp.Neighbor) { n.ConnectRetry = 2 * time.Second }, false},
		{"MaxPrefixes", func(n *bgp.Neighbor) { n.MaxPrefixes = 7 }, false},
		{"Node", func(n *bgp.Neighbor) { n.Node = "b" }, false},
		{"Port", func(n *bgp.Neighbor) { n.Port = 1790 }, true},
		{"RestartTime", func(n *bgp.Neighbor) { n.RestartTime = time.Minute }, true},
		{"IPv6", func(n *bgp.Neighbor) { n.IPv6 = false }, true},
	} {
		tc.set(&a.conf.Neighbors[0])
		res := a.apply()
		if got := slices.Equal(res.Reset, []string{changed.Name}); got != tc.reset || len(res.Added)+len(res.Removed) > 0 {
			t.Errorf("%s: reset %v, want %v", tc.field, res.Reset, tc.reset)
		}
		if !tc.reset {
			continue
		}
		select {
		case <-s1.Done():
		case <-time.After(patient):
			t.Fatalf("%s: the session did not end", tc.field)
		}
		s1 = dial(t, c1)
		want = append(want, "graceful", "up")
		a.sequence(changed.Name, want...)
	}
	a.sequence(other.Name, "up")

	// Another AS number is a change of everything.
	g := a.conf
	g.Global.ASN = 64513
	var restart *bgp.RestartNeeded
	if _, err := a.Apply(context.Background(), g); !errors.As(err, &restart) || restart.Why != "AS number 64512 -> 64513" {
		t.Errorf("another AS number: %v", err)
	}
	a.sequence(other.Name, "up")
}

func TestMaxPrefixes(t *testing.T) {
	a := newStation(t, "a", "127.0.7.1", bgp.Options{})
	n, c := neighborOf(a, "127.0.7.9")
	n.MaxPrefixes = 3
	a.conf.Neighbors = []bgp.Neighbor{n}
	a.apply()
	s := dial(t, c)
	hosts := make([]netip.Prefix, 4)
	for i := range hosts {
		hosts[i] = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 32)
	}
	s.Announce(hosts[:3], path4("127.0.7.9"))
	a.eventually("three prefixes", a.has(n.Name, "10.0.0.0/32", "10.0.0.1/32", "10.0.0.2/32"))
	s.Announce(hosts[3:], path4("127.0.7.9"))
	<-s.Done()
	a.sequence(n.Name, "up", "update", "update", "down")
	st := a.status(n.Name)
	if st.State != bgp.Disabled || !st.Held || !strings.HasPrefix(st.LastError, "more than 3 prefixes") {
		t.Errorf("past the limit: %+v", st)
	}
	if err := a.Enable(context.Background(), n.Name); err != nil {
		t.Fatal(err)
	}
	s = dial(t, c)
	defer s.Abort()
	a.sequence(n.Name, "up", "update", "update", "down", "up")
	if st := a.status(n.Name); st.Held {
		t.Errorf("enabled again: %+v", st)
	}
}

// TestAdjOutLocalPref: a neighbor of another AS is sent no LOCAL_PREF.
func TestAdjOutLocalPref(t *testing.T) {
	a := newStation(t, "a", "127.0.32.1", bgp.Options{})
	internal, c1 := neighborOf(a, "127.0.32.8")
	external, c2 := neighborOf(a, "127.0.32.9")
	external.ASN, c2.ASN, external.Multihop = 65001, 65001, true
	a.conf.Originate = []netip.Prefix{prefix("10.0.1.0/26")}
	a.conf.Neighbors = []bgp.Neighbor{internal, external}
	a.apply()
	for want, s := range map[uint32]struct {
		bgp.Neighbor
		c sender.Config
	}{100: {internal, c1}, 0: {external, c2}} {
		session := dial(t, s.c)
		defer session.Abort()
		a.sequence(s.Name, "up")
		var got []uint32
		a.eventually("the announcement", func() bool {
			got = nil
			err := a.AdjOut(t.Context(), s.Name, func(_ netip.Prefix, attrs caracal.Attrs) bool {
				got = append(got, attrs.LocalPref)
				return true
			})
			return err == nil && len(got) > 0
		})
		if len(got) != 1 || got[0] != want {
			t.Errorf("%s: LOCAL_PREF %d, want %d", s.Name, got, want)
		}
	}
}

// TestLoop: what GoBGP would drop unseen comes through for the mirror to judge,
// or an older path of the prefix would stand for good.
func TestLoop(t *testing.T) {
	a := newStation(t, "a", "127.0.8.1", bgp.Options{})
	n, c := neighborOf(a, "127.0.8.9")
	n.ASN, c.ASN, n.Multihop = 65001, 65001, true
	a.conf.Neighbors = []bgp.Neighbor{n}
	a.apply()
	s := dial(t, c)
	defer s.Abort()
	one := []netip.Prefix{prefix("10.9.0.0/26")}
	s.Announce(one, sender.Path{NextHop: addr("127.0.8.9"), ASPath: []uint32{65001}})
	s.Announce(one, sender.Path{NextHop: addr("127.0.8.9"), ASPath: []uint32{65001, asn, 65002}})
	a.eventually("the looping path", func() bool {
		attrs := a.rib[n.Name+" 10.9.0.0/26"]
		return attrs != nil && attrs.ASPathText == "65001 64512 65002" && attrs.ASPathLen == 3 && attrs.ASPath[1] == asn
	})
}

// TestRestarting: with adopted routes the R and F bits are set, without them they
// are not. Either way everything is announced at once, to its End-of-RIB, before
// the neighbor's own: a helper drops it all if we die before that. A withdrawal
// has to wait, since GoBGP still defers.
func TestRestarting(t *testing.T) {
	a := newStation(t, "a", "127.0.9.1", bgp.Options{Restarting: true, DeferralTime: 30 * time.Second})
	b := newStation(t, "b", "127.0.9.2", bgp.Options{})
	for _, tc := range []struct {
		st   *station
		from string
		want byte // flags of the capability's first octet and of a family
	}{{a, "127.0.9.8", 0x80}, {b, "127.0.9.9", 0}} {
		n, c := neighborOf(tc.st, tc.from)
		tc.st.conf.Originate = []netip.Prefix{prefix("10.0.1.0/26")}
		tc.st.conf.Neighbors = []bgp.Neighbor{n}
		tc.st.apply()
		open, updates := make(chan []byte, 100), make(chan []byte, 100)
		c.OnMessage = func(kind byte, body []byte) {
			switch kind {
			case sender.Open:
				open <- slices.Clone(body)
			case sender.Update:
				updates <- slices.Clone(body)
			}
		}
		s := dial(t, c)
		defer s.Abort()
		restart := capability(t, <-open, 64)
		if restart[0]&0x80 != tc.want || restart[5]&0x80 != tc.want || restart[9]&0x80 != tc.want {
			t.Errorf("%s: graceful restart capability % x", tc.st.name, restart)
		}
		for _, what := range []string{"the path", "End-of-RIB", "End-of-RIB"} {
			select {
			case <-updates:
			case <-time.After(patient):
				t.Errorf("%s: %s is not announced", tc.st.name, what)
			}
		}
		tc.st.conf.Originate = nil
		if tc.want != 0 {
			if st := tc.st.status(n.Name); !st.Deferring || st.Advertised != 1 {
				t.Errorf("%s: status does not say that changes wait: %+v", tc.st.name, st)
			}
			if _, err := tc.st.Apply(t.Context(), tc.st.conf); err == nil || !strings.Contains(err.Error(), "10.0.1.0/26: cannot be withdrawn") {
				t.Errorf("%s: withdrawn while GoBGP defers: %v", tc.st.name, err)
			}
			s.EndOfRIB(false)
			s.EndOfRIB(true)
			tc.st.eventually("the end of the restart", func() bool { return !tc.st.status(n.Name).Deferring })
		}
		tc.st.apply()
		tc.st.eventually("the withdrawal", func() bool {
			select {
			case u := <-updates:
				return binary.BigEndian.Uint16(u) != 0 // RFC 4271 section 4.3
			default:
				return false
			}
		})
	}
}

// capability returns the value of a capability in the body of an OPEN.
func capability(t *testing.T, open []byte, code byte) []byte {
	t.Helper()
	params := open[10:]
	for len(params) > 2 {
		kind, length := params[0], int(params[1])
		value := params[2 : 2+length]
		params = params[2+length:]
		for kind == 2 && len(value) > 1 {
			if value[0] == code {
				return value[2 : 2+int(value[1])]
			}
			value = value[2+int(value[1]):]
		}
	}
	t.Fatalf("no capability %d in % x", code, open)
	return nil
}

// TestPortInUse is the message an operator sees, and that the next Apply works
// once the port is free.
func TestPortInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.10.1:17901")
	if err != nil {
		t.Fatal(err)
	}
	s := bgp.New(bgp.Options{Log: quiet()})
	conf := bgp.Config{Global: bgp.Global{ASN: asn, RouterID: addr("127.0.10.1"), Port: 17901, ListenAddrs: "127.0.10.1"}}
	_, err = s.Apply(context.Background(), conf)
	if err == nil {
		t.Fatal("no error")
	}
	self, err2 := os.ReadFile("/proc/self/comm")
	if err2 != nil {
		t.Fatal(err2)
	}
	holder := fmt.Sprintf("%s (pid %d)", strings.TrimSpace(string(self)), os.Getpid())
	for _, want := range []string{"bgp: start: listen on 127.0.10.1:17901: the port is in use by " + holder, "ss -ltnp 'sport = :17901'", "listenPort"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
	if list, err := s.Neighbors(context.Background()); err != nil || list != nil {
		t.Errorf("neighbors before the start: %v %v", list, err)
	}
	l.Close()
	if _, err := s.Apply(context.Background(), conf); err != nil {
		t.Errorf("once the port is free: %v", err)
	}
	if err := s.Leave(context.Background()); err != nil {
		t.Error(err)
	}

	conf.Global.ListenAddrs = "192.0.2.77"
	_, err = bgp.New(bgp.Options{Log: quiet()}).Apply(context.Background(), conf)
	if err == nil || !strings.Contains(err.Error(), "no interface has the address 192.0.2.77") {
		t.Errorf("an address of nobody: %v", err)
	}
	if _, err := bgp.New(bgp.Options{Log: quiet()}).Apply(context.Background(), bgp.Config{}); err == nil {
		t.Error("an empty configuration was taken")
	}
}
