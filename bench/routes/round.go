package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"caracal.dev/caracal/bench/stand"
)

// result is one round of one daemon.
type result struct {
	announce, withdraw phase
	peakRSS            int // bytes, over both
	single             latency
}

// phase is the time from the first byte written to the last route in (or out
// of) the kernel, and what the daemon used from then until a second later, when
// it has finished what it put off.
type phase struct {
	wall, cpu time.Duration
}

// run measures s once, in namespaces of its own, with single routes after the
// others.
func run(ctx context.Context, s stand.Subject, shares []stand.Share, single int) (res result, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	defer func() {
		if err != nil {
			err = fmt.Errorf("%s: %w", s.Name(), err)
		}
	}()
	w, err := stand.NewWorld(len(shares))
	if err != nil {
		return res, err
	}
	defer w.Close()
	dir, err := os.MkdirTemp("", "caracal-bench-")
	if err != nil {
		return res, err
	}
	defer os.RemoveAll(dir)
	d, err := s.Start(w, dir, shares)
	if err != nil {
		return res, err
	}
	defer d.Stop()

	peers, err := stand.Connect(ctx, w, d, shares)
	if err != nil {
		return res, err
	}
	defer stand.Abort(peers)
	time.Sleep(time.Second) // lets the daemon settle
	probe, err := w.NewProbe()
	if err != nil {
		return res, err
	}
	defer probe.Close()
	if res, err = (&meter{d, probe, peers, shares}).measure(ctx); err != nil {
		return res, err
	}
	first := shares[0].Routes
	res.single, err = measureSingle(ctx, w, peers[0], w.Addrs[0], first[:min(single, len(first))])
	return res, err
}

// meter times what the peers do to one daemon.
type meter struct {
	daemon *stand.Daemon
	probe  *stand.Probe
	peers  []*stand.Peer
	shares []stand.Share
}

func (m *meter) measure(ctx context.Context) (res result, err error) {
	pid := m.daemon.PID()
	before, err := stand.KernelRoutes(pid)
	if err != nil {
		return res, err
	}
	want := before
	for _, s := range m.shares {
		want += len(s.Routes)
	}
	res.announce, err = m.timed(ctx, (*stand.Peer).Announce, true, func(n int) bool { return n >= want })
	if err != nil {
		return res, fmt.Errorf("announce: %w", err)
	}
	// Not more than announced, either: then the figure would be of something else.
	if n, err := stand.KernelRoutes(pid); err != nil || n != want {
		return res, fmt.Errorf("the kernel holds %d routes, not %d: %w", n, want, err)
	}
	res.withdraw, err = m.timed(ctx, (*stand.Peer).Withdraw, false, func(n int) bool { return n <= before })
	if err != nil {
		return res, fmt.Errorf("withdraw: %w", err)
	}
	res.peakRSS, err = stand.PeakRSS(pid)
	return res, err
}

// timed has every peer send at once and waits until the kernel's count is done.
func (m *meter) timed(ctx context.Context, send func(*stand.Peer) error, there bool, done func(int) bool) (p phase, err error) {
	pid := m.daemon.PID()
	cpu, err := stand.CPUTime(pid)
	if err != nil {
		return p, err
	}
	start := time.Now()
	var g errgroup.Group
	for _, peer := range m.peers {
		g.Go(func() error { return send(peer) })
	}
	// Counting costs the kernel a walk through all routes, and so a share of a
	// processor that the daemon needs; it begins when each peer's last route says
	// that the end is near.
	for _, s := range m.shares {
		last := s.Routes[len(s.Routes)-1]
		err := m.until(ctx, start, func() (bool, error) {
			has, err := m.probe.Has(last)
			return has == there, err
		})
		if err != nil {
			return p, err
		}
	}
	err = m.until(ctx, start, func() (bool, error) {
		n, err := stand.KernelRoutes(pid)
		return done(n), err
	})
	if err != nil {
		return p, err
	}
	p.wall = time.Since(start)
	if err := g.Wait(); err != nil {
		return p, err
	}
	time.Sleep(time.Second)
	after, err := stand.CPUTime(pid)
	p.cpu = after - cpu
	return p, err
}

// pause between two looks is the precision of the wall times.
const pause = 2 * time.Millisecond

// until returns when look does, or with the reason why it never will.
func (m *meter) until(ctx context.Context, start time.Time, look func() (bool, error)) error {
	for {
		if ok, err := look(); ok || err != nil {
			return err
		}
		if err := stand.Lost(m.peers); err != nil {
			return fmt.Errorf("%w; log of the daemon:\n%s", err, m.daemon.LastWords())
		}
		select {
		case <-ctx.Done():
			n, _ := stand.KernelRoutes(m.daemon.PID())
			return fmt.Errorf("the kernel holds %d routes after %v; log of the daemon:\n%s", n, time.Since(start).Round(time.Second), m.daemon.LastWords())
		case <-m.daemon.Exited():
			return m.daemon.Alive()
		case <-time.After(pause):
		}
	}
}
