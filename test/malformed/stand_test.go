package malformed

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/bgp"
	"caracal.dev/caracal/fib"
	"caracal.dev/caracal/rib"
)

// stand is a speaker with the mirror and the FIB behind it, as node wires them.
// One goroutine owns mirror and FIB.
type stand struct {
	t       *testing.T
	number  int
	speaker *bgp.Speaker
	kernel  *fib.Fake
	mirror  *rib.Mirror
	fib     *fib.FIB
	queries chan func()
	peers   int // of all stands
	config  bgp.Config
	wrong   map[string]bool   // routes that were in the kernel and never should
	up      map[string]bool   // sessions, by neighbor
	downs   map[string]string // why they ended
}

const (
	speakerPort = 17977
	self        = "self"
)

func (s *stand) listen() netip.AddrPort {
	return netip.AddrPortFrom(offset("127.77.0.1", s.number), speakerPort)
}

// newStand starts a speaker with a neighbor for every stands'th case.
func newStand(t *testing.T, number int, tests []test) *stand {
	s := &stand{
		t: t, number: number, kernel: fib.NewFake(fib.DefaultMark), queries: make(chan func()),
		peers: len(tests), wrong: map[string]bool{}, up: map[string]bool{}, downs: map[string]string{},
		speaker: bgp.New(bgp.Options{Log: slog.New(slog.DiscardHandler)}),
	}
	s.kernel.AddLink("eth0", "10.200.0.1/16", "2001:db8::1/64")
	s.fib = fib.New(s.kernel, fib.Options{})
	if _, err := s.fib.Adopt(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.config = bgp.Config{Global: bgp.Global{
		ASN: ownAS, RouterID: netip.MustParseAddr("10.200.0.1"), Port: speakerPort, ListenAddrs: s.listen().Addr().String(),
	}}
	snap := caracal.NewSnapshot(self)
	snap.Synced = true
	snap.Pools = snap.Pools.Put("v4", caracal.Pool{Name: "v4", CIDR: netip.MustParsePrefix("10.64.0.0/10"), BlockSize: 26})
	snap.Pools = snap.Pools.Put("v6", caracal.Pool{Name: "v6", CIDR: netip.MustParsePrefix("fd00:1::/48"), BlockSize: 122})
	snap.Nodes = snap.Nodes.Put(self, caracal.Node{
		Name: self, ASN: ownAS, IPv4: netip.MustParsePrefix("10.200.0.1/16"), IPv6: netip.MustParsePrefix("2001:db8::1/64"),
	})
	for i, tc := range tests {
		p := &peer{stand: s, index: i, session: tc.session}
		node := strings.TrimPrefix(p.name(), "mesh/")
		snap.Nodes = snap.Nodes.Put(node, caracal.Node{
			Name: node, ASN: p.as(), IPv4: netip.PrefixFrom(p.hop4(), 16), IPv6: netip.PrefixFrom(p.hop6(), 64),
		})
		for _, b := range []netip.Prefix{p.route4(), p.route6()} {
			snap.Blocks = snap.Blocks.Put(b, caracal.Block{CIDR: b, Node: node})
		}
		if i%stands != number {
			continue
		}
		s.config.Neighbors = append(s.config.Neighbors, bgp.Neighbor{
			Name: p.name(), Node: node, Addr: p.addr(), ASN: p.as(), Local: s.listen().Addr(), Passive: true,
			IPv4: true, IPv6: !tc.onlyIPv4, HoldTime: 90 * time.Second, KeepaliveTime: 30 * time.Second,
			ConnectRetry: time.Second, GracefulRestart: true, RestartTime: time.Minute, Multihop: true, MaxPrefixes: 1000,
		})
	}
	slices.SortFunc(s.config.Neighbors, func(a, b bgp.Neighbor) int { return strings.Compare(a.Name, b.Name) })
	owners := rib.NewOwners()
	owners.Update(nil, snap)
	s.mirror = rib.NewMirror(owners)
	s.mirror.SetNeighbors(ownAS, s.config.Neighbors)
	s.start()
	return s
}

func (s *stand) start() {
	if _, err := s.speaker.Apply(s.t.Context(), s.config); err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.run(ctx)
	}()
	s.t.Cleanup(func() {
		if err := s.speaker.Leave(context.Background()); err != nil {
			s.t.Error(err)
		}
		cancel()
		<-done
	})
}

func (s *stand) run(ctx context.Context) {
	for {
		wake := time.NewTimer(time.Hour)
		if due := s.fib.Due(); !due.IsZero() {
			wake.Reset(max(time.Millisecond, time.Until(due)))
		}
		select {
		case <-ctx.Done():
			return
		case <-s.speaker.Bell():
		case query := <-s.queries:
			query()
		case <-wake.C:
		}
		wake.Stop()
		s.turn(ctx)
	}
}

// turn takes what happened through to the kernel.
func (s *stand) turn(ctx context.Context) {
	for _, e := range s.speaker.Take() {
		s.mirror.Apply(e)
		if e.Session == nil {
			continue
		}
		s.up[e.Session.Neighbor] = e.Session.State == bgp.Established
		if e.Session.Was == bgp.Established {
			s.downs[e.Session.Neighbor] = e.Session.Reason
		}
	}
	for s.mirror.Decide(1000, func(c rib.Choice) {
		if len(c.NextHops) == 0 {
			s.fib.Unset(c.NLRI)
		} else {
			s.fib.Set(fib.Want{Dst: c.NLRI, Kind: fib.Learned, NextHops: c.NextHops})
		}
	}) {
	}
	s.fib.Notify(s.kernel.Events())
	for {
		r := s.fib.Apply(ctx)
		if r.Written > 0 {
			s.inspect(ctx)
		}
		if !r.More {
			return
		}
	}
}

// inspect looks for routes that may never be in the kernel: of what no case's
// node owns, or by another way than by the owner's address.
func (s *stand) inspect(ctx context.Context) {
	_, _ = s.kernel.Dump(ctx, fib.Filter{Own: true}, func(r fib.Read) {
		p := s.owner(r.Dst)
		right := p != nil && r.Kind == fib.Unicast && len(r.Hops) == 1 &&
			(r.Dst.Addr().Is4() && r.Hops[0].Gateway == p.hop4() || r.Hops[0].Gateway == p.hop6())
		if !right {
			s.wrong[r.Route.String()] = true
		}
	})
}

// owner is the peer that may announce a prefix; nil if none may.
func (s *stand) owner(dst netip.Prefix) *peer {
	for i := range s.peers {
		p := &peer{index: i}
		if caracal.Covers(p.route4(), dst) || caracal.Covers(p.route6(), dst) {
			return p
		}
	}
	return nil
}

// ask runs fn between two turns.
func (s *stand) ask(fn func()) {
	done := make(chan struct{})
	s.queries <- func() {
		defer close(done)
		fn()
	}
	<-done
}

// path returns what the mirror has of a neighbor for a prefix.
func (s *stand) path(neighbor string, prefix netip.Prefix) (view rib.PathView, ok bool) {
	s.ask(func() {
		ref, found := s.mirror.Ref(prefix)
		if !found {
			return
		}
		for _, v := range s.mirror.View(ref) {
			if v.Neighbor == neighbor {
				view, ok = v, true
			}
		}
	})
	return view, ok
}

// installed lists which of the prefixes are in the kernel.
func (s *stand) installed(prefixes ...netip.Prefix) (in []netip.Prefix) {
	s.ask(func() {
		for _, p := range prefixes {
			if s.fib.Installed(p) {
				in = append(in, p)
			}
		}
	})
	return in
}

// eventually waits until the kernel has exactly these of the peer's routes.
func (s *stand) eventually(p *peer, want ...netip.Prefix) error {
	all := []netip.Prefix{p.route4(), p.route6(), p.other4(), p.last4()}
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		got := s.installed(all...)
		if slices.Equal(got, s.sorted(all, want)) {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the kernel has %v of the neighbor's routes, want %v", got, want)
		}
	}
}

// sorted puts want into the order of all.
func (s *stand) sorted(all, want []netip.Prefix) (out []netip.Prefix) {
	for _, p := range all {
		if slices.Contains(want, p) {
			out = append(out, p)
		}
	}
	return out
}
