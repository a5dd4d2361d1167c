package node

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/fib"
	"caracal.dev/caracal/ipip"
)

// tunnelStand is a tunnel task over a fake device and firewall.
type tunnelStand struct {
	t        *testing.T
	store    *fakeStore
	device   *ipip.Fake
	firewall *ipip.FakeFirewall
	task     *tunnelTask
	up       uplink
	upErr    error
	noGuard  error
	rings    int
}

func newTunnelStand(t *testing.T, change func(*caracal.Snapshot)) *tunnelStand {
	s := &tunnelStand{t: t, store: &fakeStore{}, device: &ipip.Fake{Module: true}, firewall: &ipip.FakeFirewall{}, up: uplink{"eth0", 7, 1500}}
	snap := tunnelCluster()
	change(snap)
	s.store.snap.Store(snap)
	open := func() (tunnelGuard, error) {
		if s.noGuard != nil {
			return nil, s.noGuard
		}
		return ipip.NewGuard(s.firewall), nil
	}
	s.task = newTunnel(s.store, ipip.New(s.device), open, slog.New(slog.NewTextHandler(io.Discard, nil)), func() {}, func() { s.rings++ })
	s.task.settleTime = 0
	s.task.uplink = func(caracal.Node, *caracal.Table[string, caracal.Node]) (uplink, error) { return s.up, s.upErr }
	return s
}

// modes gives every pool a mode, and node a an address in the tunnel if tunnel
// is not empty.
func modes(mode caracal.IPIPMode, tunnel string) func(*caracal.Snapshot) {
	return func(s *caracal.Snapshot) {
		for name, p := range s.Pools.All() {
			p.IPIP = mode
			s.Pools = s.Pools.Put(name, p)
		}
		a, _ := s.Nodes.Get("a")
		a.Tunnel, _ = netip.ParseAddr(tunnel)
		s.Nodes = s.Nodes.Put("a", a)
	}
}

func (s *tunnelStand) turn() tunnelState {
	s.task.turn(s.t.Context())
	return *s.task.state.Load()
}

func TestTunnelTask(t *testing.T) {
	s := newTunnelStand(t, modes(caracal.IPIPAlways, "10.1.1.1"))
	s.firewall.Log = nil
	st := s.turn()
	if st.err != nil || !st.tried || !st.have.Up || st.have.MTU != 1480 || st.podMTU != 1480 || s.rings != 1 {
		t.Fatalf("%+v, rings %d", st, s.rings)
	}
	if len(s.firewall.Set) != 3 || !s.firewall.InRule {
		t.Errorf("the firewall lets in %v, rule %v", s.firewall.Set, s.firewall.InRule)
	}
	s.device.Did, s.firewall.Log = nil, nil
	if s.turn(); len(s.device.Did)+len(s.firewall.Log) != 0 {
		t.Errorf("the second turn did %v, %v", s.device.Did, s.firewall.Log)
	}

	// What others do to the device, and what becomes of its interface.
	s.device.State.Up = false
	s.device.State.MTU = 1300
	s.device.State.Addrs = nil
	if st := s.turn(); !st.have.Up || st.have.MTU != 1480 || len(st.have.Addrs) != 1 {
		t.Errorf("not repaired: %+v", st.have)
	}
	s.up.mtu = 9000
	if st := s.turn(); st.have.MTU != 8980 || st.podMTU != 8980 {
		t.Errorf("does not follow: %+v", st)
	}
	s.upErr = errors.New("no interface has it")
	if st := s.turn(); st.have.MTU != 8980 || st.uplinkErr == nil || len(s.task.problems()) != 1 {
		t.Errorf("without an interface: %+v, %v", st, s.task.problems())
	}
	s.upErr = nil
	s.store.put(func(c *caracal.Snapshot) { c.Dataplane.TunnelMTU = 1400 })
	if st := s.turn(); st.have.MTU != 1400 || st.podMTU != 1400 {
		t.Errorf("as configured: %+v", st)
	}

	// Nodes that come and go. A list that is not whole shuts nobody out.
	s.store.put(func(c *caracal.Snapshot) {
		c.Incomplete = map[string]string{"NodeConfig": "x"}
		c.Nodes = c.Nodes.Delete("c")
	})
	if s.turn(); len(s.firewall.Set) != 3 {
		t.Errorf("shut out: %v", s.firewall.Set)
	}
	s.store.put(func(c *caracal.Snapshot) { c.Incomplete = nil })
	if s.turn(); len(s.firewall.Set) != 2 {
		t.Errorf("not shut out: %v", s.firewall.Set)
	}
}

// TestTunnelSettles: routes wait a moment after pools began to ask, unless all
// nodes are known to be ready, or the device cannot be had.
func TestTunnelSettles(t *testing.T) {
	s := newTunnelStand(t, modes(caracal.IPIPNever, "10.1.1.1"))
	s.task.settleTime = time.Hour
	if st := s.turn(); st.tried || !st.have.Up || s.task.due(time.Now()) {
		t.Errorf("before a pool asks: %+v", st)
	}
	s.store.put(modes(caracal.IPIPAlways, "10.1.1.1"))
	if st := s.turn(); st.tried || s.rings != 0 || !s.task.due(time.Now()) {
		t.Errorf("%+v, rings %d", st, s.rings)
	}
	s.task.began = time.Now().Add(-2 * time.Hour)
	if st := s.turn(); !st.tried || s.rings != 1 || s.task.due(time.Now()) {
		t.Errorf("then: %+v, rings %d", st, s.rings)
	}
	s.device.State.Up = false // by hand: no reason to leave the tunnel
	if st := s.turn(); !st.tried {
		t.Errorf("then: %+v", st)
	}
	all := newTunnelStand(t, modes(caracal.IPIPAlways, ""))
	all.task.settleTime = time.Hour
	all.store.put(func(c *caracal.Snapshot) {
		for name, n := range c.Nodes.All() {
			n.Tunnel = ip("10.1.1.1")
			c.Nodes = c.Nodes.Put(name, n)
		}
	})
	if st := all.turn(); !st.tried {
		t.Errorf("all have an address: %+v", st)
	}
	none := newTunnelStand(t, modes(caracal.IPIPAlways, ""))
	none.task.settleTime, none.device.Module = time.Hour, false
	if st := none.turn(); !st.tried {
		t.Errorf("no module: %+v", st)
	}
}

// TestTunnelGuardFirst: without its guard the device is not brought up, but one
// that is up goes on.
func TestTunnelGuardFirst(t *testing.T) {
	s := newTunnelStand(t, modes(caracal.IPIPAlways, ""))
	s.noGuard = errors.New("no iptables")
	if st := s.turn(); st.have.Up || !st.tried || st.err == nil {
		t.Errorf("%+v", st)
	}
	if ps := s.task.problems(); len(ps) != 3 || !strings.Contains(ps[0].Message, "no iptables") || ps[0].Name != "v4-1" {
		t.Errorf("problems %+v", ps)
	}
	s.device.State.Up, s.device.State.MTU = true, 1000
	if st := s.turn(); st.have.MTU != 1480 || st.err == nil {
		t.Errorf("one that is up: %+v", st)
	}
	s.noGuard = nil
	if st := s.turn(); st.err != nil || !s.firewall.InRule || len(s.task.problems()) != 0 {
		t.Errorf("then: %+v, %v", st, s.task.problems())
	}
	s.device.State.Up = false
	s.device.Did = nil
	s.turn()
	if i := slices.IndexFunc(s.device.Did, func(d ipip.Step) bool { return d.Verb == ipip.SetUp }); i < 0 {
		t.Errorf("did %v", s.device.Did)
	}
}

func TestTunnelNoModule(t *testing.T) {
	s := newTunnelStand(t, func(s *caracal.Snapshot) {})
	s.device.Module = false
	for range 2 {
		st := s.turn()
		if !errors.Is(st.err, ipip.ErrNoModule) || !st.tried || st.podMTU != 1480 {
			t.Fatalf("%+v", st)
		}
	}
	var names []string
	for _, p := range s.task.problems() {
		names = append(names, p.Name)
		if !strings.Contains(p.Message, "module ipip") {
			t.Error(p.Message)
		}
	}
	if !slices.Equal(names, []string{"v4-1", "v4-2"}) { // not v4-3, which asks for nothing
		t.Errorf("problems of %v", names)
	}
	if len(s.firewall.Log) != 0 {
		t.Errorf("the firewall was touched: %v", s.firewall.Log)
	}
	s.store.put(modes(caracal.IPIPNever, ""))
	s.task.linger = 0
	if st := s.turn(); st.err != nil || len(s.task.problems()) != 0 || st.podMTU != 1500 {
		t.Errorf("with Never: %+v, %v", st, s.task.problems())
	}
	s.store.put(modes(caracal.IPIPNever, "10.1.1.1"))
	if s.turn(); len(s.task.problems()) != 1 {
		t.Errorf("with Never and an address: %v", s.task.problems())
	}
}

// TestTunnelAddressAlone: a node with an address for the tunnel can receive what
// others send, before it sends itself.
func TestTunnelAddressAlone(t *testing.T) {
	s := newTunnelStand(t, modes(caracal.IPIPNever, "10.1.1.1"))
	if st := s.turn(); !st.have.Up || !s.firewall.InRule || st.podMTU != 1500 {
		t.Errorf("%+v", st)
	}
}

// TestTunnelRelease: the device lingers, then is left to others; one that was
// never ours is not touched.
func TestTunnelRelease(t *testing.T) {
	s := newTunnelStand(t, modes(caracal.IPIPAlways, "10.1.1.1"))
	s.turn()
	s.store.put(modes(caracal.IPIPNever, ""))
	s.device.Did = nil
	if st := s.turn(); !st.have.Up || len(s.device.Did) != 0 || !s.firewall.InRule {
		t.Errorf("does not linger: %+v, did %v", st, s.device.Did)
	}
	s.task.linger = 0
	s.store.put(func(c *caracal.Snapshot) { c.Incomplete = map[string]string{"IPPool": "x"} })
	if st := s.turn(); !st.have.Up || !s.firewall.InRule {
		t.Errorf("released on what may be a lack of sight: %+v", st)
	}
	s.store.put(func(c *caracal.Snapshot) { c.Incomplete = nil })
	if st := s.turn(); st.have.Up || len(st.have.Addrs) != 0 || s.firewall.Set != nil || st.tried {
		t.Errorf("not released: %+v, %v", st, s.firewall.Set)
	}
	s.device.State.Up = true // by somebody else
	s.device.Did, s.firewall.Log = nil, nil
	if s.turn(); len(s.device.Did)+len(s.firewall.Log) != 0 {
		t.Errorf("did %v, %v", s.device.Did, s.firewall.Log)
	}

	other := newTunnelStand(t, modes(caracal.IPIPNever, ""))
	other.device.State = ipip.State{Exists: true, Up: true, MTU: 1480}
	other.task.linger = 0
	if st := other.turn(); !st.have.Up || len(other.device.Did) != 0 {
		t.Errorf("somebody else's: %+v", st)
	}
	// Of an earlier run there is the guard.
	earlier := newTunnelStand(t, modes(caracal.IPIPNever, ""))
	earlier.device.State = ipip.State{Exists: true, Up: true, MTU: 1480}
	earlier.firewall.Set = map[netip.Addr]bool{}
	if st := earlier.turn(); !st.have.Up {
		t.Error("it does not linger after a restart")
	}
	earlier.task.linger = 0
	if st := earlier.turn(); st.have.Up || earlier.firewall.Set != nil {
		t.Errorf("one of an earlier run: %+v", st)
	}
}

func TestTunnelTouchedBy(t *testing.T) {
	s := newTunnelStand(t, func(*caracal.Snapshot) {})
	s.turn() // eth0 is 7, tunl0 2
	link := func(index int, name string) fib.Events {
		return fib.Events{Links: []fib.LinkEvent{{Link: fib.Link{Index: index, Name: name}}}}
	}
	for _, c := range []struct {
		what string
		ev   fib.Events
		want bool
	}{
		{"the device", link(2, "tunl0"), true},
		{"a device of that name", link(9, "tunl0"), true},
		{"its interface", link(7, "eth0"), true},
		{"a pod's", link(8, "cara1"), false},
		{"an address", fib.Events{Addrs: []fib.AddrEvent{{Link: 3, IPv4: true}}}, true},
		{"an IPv6 address", fib.Events{Addrs: []fib.AddrEvent{{Link: 3}}}, false},
		{"lost", fib.Events{Lost: true}, true},
		{"a route", fib.Events{ForeignMany: true}, false},
	} {
		if got := s.task.touchedBy(c.ev); got != c.want {
			t.Errorf("%s: %v", c.what, got)
		}
	}
}

// TestTunnelRuns: what happens is seen at once, and what failed is tried again.
func TestTunnelRuns(t *testing.T) {
	s := newTunnelStand(t, modes(caracal.IPIPAlways, ""))
	events := make(chan fib.Events)
	s.task.events = events
	var beats int
	s.task.beat = func() { beats++ }
	s.device.Fail = map[ipip.Verb]error{ipip.SetUp: errors.New("busy")}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.task.run(ctx); err != nil {
			t.Error(err)
		}
	})
	until := func(what string, is func(*tunnelState) bool) {
		t.Helper()
		for end := time.Now().Add(60 * time.Second); !is(s.task.state.Load()); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s: %+v", what, *s.task.state.Load())
			}
		}
	}
	until("a failure", func(st *tunnelState) bool { return st.tried && st.err != nil })
	s.store.put(func(c *caracal.Snapshot) { c.Dataplane.TunnelMTU = 1000 })
	until("a new Snapshot", func(st *tunnelState) bool { return st.have.MTU == 1000 })
	close(events)
	cancel()
	wg.Wait()
	if beats == 0 {
		t.Error("no beat")
	}
}
