package bgp_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/bgp"
)

const (
	asn     = 64512
	patient = time.Minute
)

// station is a Speaker under test with a record of its events.
type station struct {
	*bgp.Speaker
	t    *testing.T
	name string
	conf bgp.Config
	mu   sync.Mutex
	all  []bgp.Event
	rib  map[string]*caracal.Attrs // "neighbor prefix"
	eor  map[string]bool           // "neighbor v6"
	bell chan struct{}
}

// testPort is one that no test's child uses.
const testPort = 17900

func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }
func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// newStation starts a speaker on 127.0.b.i that has no neighbors yet. GoBGP
// writes package variables at each start, so all stations of a test start before
// any has a session.
func newStation(t *testing.T, name, ip string, opts bgp.Options) *station {
	t.Helper()
	return newStationOn(t, name, ip, testPort, opts)
}

// newStationOn starts it on a list of addresses.
func newStationOn(t *testing.T, name, listen string, port uint16, opts bgp.Options) *station {
	t.Helper()
	ip, _, _ := strings.Cut(listen, ",")
	opts.Log = slog.New(slog.NewTextHandler(newTestLog(t), &slog.HandlerOptions{Level: slog.LevelDebug}))
	s := &station{Speaker: bgp.New(opts), t: t, name: name,
		rib: map[string]*caracal.Attrs{}, eor: map[string]bool{}, bell: make(chan struct{}, 1)}
	s.conf = bgp.Config{
		Global:   bgp.Global{ASN: asn, RouterID: addr(ip), Port: port, ListenAddrs: listen},
		NextHop4: addr(ip), NextHop6: addr("fd00::" + strings.TrimPrefix(ip[strings.LastIndex(ip, "."):], ".")),
	}
	s.apply()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.record(ctx)
	}()
	t.Cleanup(func() {
		if err := s.Leave(context.Background()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
		<-done
	})
	return s
}

func (s *station) record(ctx context.Context) {
	for {
		select {
		case <-s.Bell():
		case <-ctx.Done():
			return
		}
		events := s.Take()
		s.mu.Lock()
		s.all = append(s.all, events...)
		for _, e := range events {
			switch {
			case e.Update != nil:
				for _, n := range e.Update.Withdrawn {
					delete(s.rib, e.Update.Neighbor+" "+n.Prefix.String())
				}
				for _, n := range e.Update.Announced {
					s.rib[e.Update.Neighbor+" "+n.Prefix.String()] = e.Update.Attrs
				}
			case e.EndOfRIB != nil:
				s.eor[fmt.Sprint(e.EndOfRIB.Neighbor, " ", e.EndOfRIB.IPv6)] = true
			case e.Session.Removed, e.Session.Was == bgp.Established && !e.Session.Expired && !e.Session.Graceful:
				for key := range s.rib {
					if strings.HasPrefix(key, e.Session.Neighbor+" ") {
						delete(s.rib, key)
					}
				}
			}
		}
		s.mu.Unlock()
		select {
		case s.bell <- struct{}{}:
		default:
		}
	}
}

func (s *station) apply() bgp.Result {
	s.t.Helper()
	slices.SortFunc(s.conf.Neighbors, func(a, b bgp.Neighbor) int { return strings.Compare(a.Name, b.Name) })
	res, err := s.Apply(context.Background(), s.conf)
	if err != nil {
		s.t.Fatalf("%s: %v", s.name, err)
	}
	return res
}

// eventually waits until ok holds, looking at each batch of events.
func (s *station) eventually(what string, ok func() bool) {
	s.t.Helper()
	deadline := time.After(patient)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	holds := func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return ok()
	}
	for !holds() {
		select {
		case <-s.bell:
		case <-tick.C:
		case <-deadline:
			s.mu.Lock()
			defer s.mu.Unlock()
			s.t.Fatalf("%s: not within %s: %s\nevents:\n%s", s.name, patient, what, render(s.all))
		}
	}
}

// has reports that the neighbor announced exactly the prefixes.
func (s *station) has(neighbor string, prefixes ...string) func() bool {
	return func() bool {
		n := 0
		for key := range s.rib {
			if strings.HasPrefix(key, neighbor+" ") {
				n++
			}
		}
		for _, p := range prefixes {
			if s.rib[neighbor+" "+p] == nil {
				return false
			}
		}
		return n == len(prefixes)
	}
}

// in reports that the neighbor's last event about its state says so.
func (s *station) in(neighbor string, state bgp.State) func() bool {
	return func() bool {
		for _, e := range slices.Backward(s.all) {
			if e.Session != nil && e.Session.Neighbor == neighbor {
				return e.Session.State == state
			}
		}
		return false
	}
}

// downs counts how often sessions with a neighbor ended.
func (s *station) downs(neighbor string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, e := range s.all {
		if e.Session != nil && e.Session.Neighbor == neighbor && e.Session.Was == bgp.Established && !e.Session.Expired {
			n++
		}
	}
	return n
}

func render(events []bgp.Event) string {
	var b strings.Builder
	for _, e := range events {
		switch {
		case e.Update != nil:
			fmt.Fprintf(&b, "update %s +%d -%d %v\n", e.Update.Neighbor, len(e.Update.Announced), len(e.Update.Withdrawn), e.Update.Announced)
		case e.EndOfRIB != nil:
			fmt.Fprintf(&b, "eor %s v6=%v\n", e.EndOfRIB.Neighbor, e.EndOfRIB.IPv6)
		default:
			fmt.Fprintf(&b, "session %+v\n", *e.Session)
		}
	}
	return b.String()
}

// link makes two stations mesh neighbors.
func link(a, b *station, change ...func(*bgp.Neighbor)) {
	one := func(self, other *station) bgp.Neighbor {
		n := bgp.Neighbor{
			Name: "mesh/" + other.name, Node: other.name,
			Addr: addr(other.conf.Global.ListenAddrs), Port: testPort, ASN: asn,
			Local: addr(self.conf.Global.ListenAddrs), IPv4: true, IPv6: true,
			HoldTime: 30 * time.Second, KeepaliveTime: 10 * time.Second, ConnectRetry: time.Second,
			GracefulRestart: true, RestartTime: 20 * time.Second, MaxPrefixes: 1000,
		}
		n.Passive = n.Addr.Less(n.Local)
		for _, c := range change {
			c(&n)
		}
		return n
	}
	a.conf.Neighbors = append(a.conf.Neighbors, one(a, b))
	b.conf.Neighbors = append(b.conf.Neighbors, one(b, a))
}

// testLog prints what a speaker says while its test runs. GoBGP's goroutines may
// outlive BgpServer.Stop by a moment; what they say then goes nowhere.
type testLog struct {
	mu    sync.Mutex
	t     *testing.T
	ended bool
}

func newTestLog(t *testing.T) *testLog {
	l := &testLog{t: t}
	t.Cleanup(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.ended = true
	})
	return l
}

func (l *testLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.ended {
		l.t.Log(strings.TrimSpace(string(p)))
	}
	return len(p), nil
}

func TestMesh(t *testing.T) {
	a := newStation(t, "a", "127.0.1.1", bgp.Options{})
	b := newStation(t, "b", "127.0.1.2", bgp.Options{})
	c := newStation(t, "c", "127.0.1.3", bgp.Options{})
	a.conf.Originate = []netip.Prefix{prefix("10.0.1.0/26"), prefix("fd00:1::/122")}
	b.conf.Originate = []netip.Prefix{prefix("10.0.2.0/26")}
	link(a, b)
	a.apply()
	b.apply()
	b.eventually("a's prefixes", b.has("mesh/a", "10.0.1.0/26", "fd00:1::/122"))
	a.eventually("b's prefix", a.has("mesh/b", "10.0.2.0/26"))
	b.eventually("End-of-RIB of both families", func() bool { return b.eor["mesh/a false"] && b.eor["mesh/a true"] })

	b.mu.Lock()
	got4, got6 := *b.rib["mesh/a 10.0.1.0/26"], *b.rib["mesh/a fd00:1::/122"]
	b.mu.Unlock()
	if got4.NextHop != addr("127.0.1.1") || got4.LocalPref != 100 || got4.Origin != caracal.OriginIGP || len(got4.ASPath) != 0 {
		t.Errorf("IPv4 attributes: %+v", got4)
	}
	if got6.NextHop != addr("fd00::1") {
		t.Errorf("IPv6 next hop %s over an IPv4 session, want fd00::1", got6.NextHop)
	}

	// A new node touches no other session.
	c.conf.Originate = []netip.Prefix{prefix("10.0.3.0/26")}
	link(a, c)
	link(b, c)
	if res := a.apply(); !slices.Equal(res.Added, []string{"mesh/c"}) || res.Reset != nil || res.Removed != nil {
		t.Errorf("adding a node: %+v", res)
	}
	b.apply()
	c.apply()
	a.eventually("c's prefix", a.has("mesh/c", "10.0.3.0/26"))
	c.eventually("a's prefixes", c.has("mesh/a", "10.0.1.0/26", "fd00:1::/122"))
	// Nothing is passed on: c's prefix reaches b from c alone.
	b.eventually("c's prefix", b.has("mesh/c", "10.0.3.0/26"))
	b.eventually("still a's prefixes alone from a", b.has("mesh/a", "10.0.1.0/26", "fd00:1::/122"))
	if n := a.downs("mesh/b") + b.downs("mesh/a"); n != 0 {
		t.Errorf("%d sessions between a and b ended when c was added", n)
	}

	// Withdrawing and announcing.
	a.conf.Originate = []netip.Prefix{prefix("10.0.1.64/26"), prefix("fd00:1::/122")}
	if res := a.apply(); len(res.Originated) != 1 || len(res.Withdrawn) != 1 {
		t.Errorf("changing a prefix: %+v", res)
	}
	b.eventually("the changed prefix", b.has("mesh/a", "10.0.1.64/26", "fd00:1::/122"))

	// Applying twice does nothing.
	if res := a.apply(); len(res.Added)+len(res.Removed)+len(res.Reset)+len(res.Originated)+len(res.Withdrawn) != 0 {
		t.Errorf("applying twice: %+v", res)
	}

	// Removing a node.
	a.conf.Neighbors = slices.DeleteFunc(a.conf.Neighbors, func(n bgp.Neighbor) bool { return n.Name == "mesh/c" })
	if res := a.apply(); !slices.Equal(res.Removed, []string{"mesh/c"}) {
		t.Errorf("removing a node: %+v", res)
	}
	a.eventually("c gone", func() bool {
		return a.has("mesh/c")() && slices.ContainsFunc(a.all, func(e bgp.Event) bool {
			return e.Session != nil && e.Session.Removed && e.Session.Neighbor == "mesh/c"
		})
	})
	c.eventually("a down with a Cease", func() bool {
		return slices.ContainsFunc(c.all, func(e bgp.Event) bool {
			return e.Session != nil && e.Session.Neighbor == "mesh/a" && e.Session.Was == bgp.Established &&
				!e.Session.Graceful && strings.Contains(e.Session.Reason, "Cease: peer deconfigured")
		})
	})
	if n := a.downs("mesh/b") + b.downs("mesh/a"); n != 0 {
		t.Errorf("%d sessions between a and b ended when c was removed", n)
	}
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }
