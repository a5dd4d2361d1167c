package bgp

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// This file has what an operator asks of one neighbor.

// ErrUnknown is the error for a neighbor name that is not configured.
var ErrUnknown = errors.New("no such neighbor")

func unknown(name string, known []string) error {
	slices.Sort(known)
	return fmt.Errorf("%w %q; it has %s", ErrUnknown, name, strings.Join(known, ", "))
}

func (s *Speaker) neighbor(name string) (Neighbor, error) {
	n, ok := s.have.neighbors[name]
	if !ok {
		return Neighbor{}, unknown(name, slices.Collect(maps.Keys(s.have.neighbors)))
	}
	return n, nil
}

// Disable takes a neighbor down and keeps it down, also over changes of its
// configuration, until [Speaker.Enable] or the end of the process. The neighbor
// is told the reason (RFC 9003).
func (s *Speaker) Disable(ctx context.Context, name, reason string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, err := s.neighbor(name)
	if err != nil {
		return fmt.Errorf("bgp: disable: %w", err)
	}
	if _, ok := s.disabled[name]; ok {
		return nil
	}
	s.disabled[name] = reason
	s.tracker.setDisabled(n.Addr, &reason)
	if err := s.engine.disable(ctx, n.Addr, reason); err != nil {
		delete(s.disabled, name)
		s.tracker.setDisabled(n.Addr, nil)
		return fmt.Errorf("bgp: disable %s: %w", name, err)
	}
	return nil
}

// Enable undoes [Speaker.Disable], and brings back a neighbor that passed its
// prefix limit. It does nothing to a neighbor that is enabled. One that has got
// another name since is meant by the old one as well, and one that is no longer
// configured is not disabled when it comes again.
func (s *Speaker) Enable(ctx context.Context, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.have.neighbors[name]; !ok {
		delete(s.disabled, name)
		if now := s.relays.name(name); s.have.neighbors[now].Name == now {
			name = now
		}
	}
	n, err := s.neighbor(name)
	if err != nil {
		return fmt.Errorf("bgp: enable: %w", err)
	}
	if s.tracker.state(n.Addr) != Disabled {
		return nil
	}
	if err := s.up(ctx, n); err != nil {
		return fmt.Errorf("bgp: enable %s: %w", name, err)
	}
	return nil
}

// up lets a neighbor come up that is disabled or held. The caller holds the lock.
func (s *Speaker) up(ctx context.Context, n Neighbor) error {
	if err := s.engine.update(ctx, n, s.options[n.Name]); err != nil { // without the limit
		return err
	}
	if err := s.engine.enable(ctx, n.Addr); err != nil {
		return err
	}
	delete(s.disabled, n.Name)
	s.tracker.setDisabled(n.Addr, nil)
	return nil
}

// established says what to do about a neighbor that is not.
func (s *Speaker) established(n Neighbor, otherwise string) error {
	switch _, disabled := s.disabled[n.Name]; {
	case disabled:
		return fmt.Errorf("%s is disabled; caracal enable %s lets it come up", n.Name, n.Name)
	case s.tracker.state(n.Addr) == Disabled:
		return fmt.Errorf("%s is held down, since it passed its prefix limit; caracal enable %s lets it come up", n.Name, n.Name)
	case s.tracker.state(n.Addr) != Established:
		return fmt.Errorf("%s is not established; %s", n.Name, otherwise)
	}
	return nil
}

// Restart ends a neighbor's session with a Cease (RFC 4486 subcode 4) and lets
// it come up again. Its paths are kept meanwhile, as stale. It is an error while
// there is no session.
func (s *Speaker) Restart(ctx context.Context, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, err := s.neighbor(name)
	if err == nil {
		err = s.established(n, "there is no session to restart, and it tries to come up by itself")
	}
	if err != nil {
		return fmt.Errorf("bgp: restart: %w", err)
	}
	s.tracker.restarting(n.Addr)
	if err := s.engine.reset(ctx, n.Addr); err != nil {
		return fmt.Errorf("bgp: restart %s: %w", name, err)
	}
	return nil
}

// RefreshOut announces everything to a neighbor again. It is an error while
// there is no session.
func (s *Speaker) RefreshOut(ctx context.Context, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, err := s.neighbor(name)
	if err == nil {
		err = s.established(n, "everything is announced when it comes up")
	}
	if err != nil {
		return fmt.Errorf("bgp: reload out: %w", err)
	}
	if err := s.engine.refreshOut(ctx, n.Addr); err != nil {
		return fmt.Errorf("bgp: reload out %s: %w", name, err)
	}
	return nil
}
