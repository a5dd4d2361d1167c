package bgp

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"caracal.dev/caracal"
)

// This file has what is read of the speaker. It never waits for Apply, which may
// wait for sessions to end: an operator looks most when much goes on.

// RefreshIn is what "reload in" asks of the speaker, which is nothing: GoBGP
// cannot send ROUTE-REFRESH (RFC 2918), and the mirror holds every path as it
// was received, so judging the mirror again has the same effect. It fails only
// for an unknown name.
func (s *Speaker) RefreshIn(_ context.Context, name string) error {
	if _, err := s.tracker.named(name); err != nil {
		return fmt.Errorf("bgp: reload in: %w", err)
	}
	return nil
}

// Neighbors returns what is known of all neighbors, sorted by name.
func (s *Speaker) Neighbors(ctx context.Context) ([]NeighborStatus, error) {
	e := s.running.Load()
	if e == nil {
		return nil, nil
	}
	all, err := e.list(ctx, netip.Addr{})
	if err != nil {
		return nil, fmt.Errorf("bgp: list neighbors: %w", err)
	}
	list := s.tracker.status()
	for i := range list {
		n := &list[i]
		c := all[n.Addr]
		n.Sent.add(c.sent)
		n.Received.add(c.received)
		if n.State != Established {
			continue
		}
		n.HoldTime, n.KeepaliveTime = c.hold, c.keepalive
		n.Deferring, n.Prefixes = c.deferring, c.most
		if n.IPv4 {
			n.Advertised += s.announced[0].Load()
		}
		if n.IPv6 {
			n.Advertised += s.announced[1].Load()
		}
	}
	slices.SortFunc(list, func(a, b NeighborStatus) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// Advertised counts the prefixes that a neighbor is announced now; 0 while its
// session is down. Other than NeighborStatus.Advertised, which is all that may go
// to it, the count asks the export policy, and takes as long as that does.
func (s *Speaker) Advertised(ctx context.Context, name string) (uint64, error) {
	n, err := s.tracker.named(name)
	if err != nil {
		return 0, fmt.Errorf("bgp: count adj-rib-out: %w", err)
	}
	if s.tracker.state(n.Addr) != Established {
		return 0, nil
	}
	count, err := s.running.Load().advertised(ctx, n.Addr)
	if err != nil {
		return 0, fmt.Errorf("bgp: count adj-rib-out of %s: %w", name, err)
	}
	return count, nil
}

// AdjOut calls fn with what a neighbor is announced until fn returns false; with
// nothing while its session is down. LocalPref is 0 for a neighbor of another
// AS, which is sent none (RFC 4271 section 5.1.5).
func (s *Speaker) AdjOut(ctx context.Context, name string, fn func(netip.Prefix, caracal.Attrs) bool) error {
	n, err := s.tracker.named(name)
	if err != nil {
		return fmt.Errorf("bgp: list adj-rib-out: %w", err)
	}
	if s.tracker.state(n.Addr) != Established {
		return nil
	}
	external := n.external(s.tracker.ownASN())
	sent := func(p netip.Prefix, a caracal.Attrs) bool {
		if external {
			a.LocalPref = 0
		}
		return fn(p, a)
	}
	if err := s.running.Load().adjOut(ctx, n, sent); err != nil {
		return fmt.Errorf("bgp: list adj-rib-out of %s: %w", name, err)
	}
	return nil
}

// LocRIB calls fn with what this node originates until fn returns false.
func (s *Speaker) LocRIB(ctx context.Context, fn func(netip.Prefix, caracal.Attrs) bool) error {
	e := s.running.Load()
	if e == nil {
		return nil
	}
	if err := e.locRIB(ctx, fn); err != nil {
		return fmt.Errorf("bgp: list loc-rib: %w", err)
	}
	return nil
}
