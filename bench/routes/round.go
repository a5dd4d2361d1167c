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
	if res, err = measure(ctx, d, peers, shares); err != nil {
		return res, err
	}
	first := shares[0].Routes
	res.single, err = measureSingle(ctx, w, peers[0], w.Addrs[0], first[:min(single, len(first))])
	return res, err
}

func measure(ctx context.Context, d *stand.Daemon, peers []*stand.Peer, shares []stand.Share) (res result, err error) {
	pid := d.PID()
	before, err := stand.KernelRoutes(pid)
	if err != nil {
		return res, err
	}
	want := before
	for _, s := range shares {
		want += len(s.Routes)
	}
	res.announce, err = timed(ctx, d, (*stand.Peer).Announce, peers, func(n int) bool { return n >= want })
	if err != nil {
		return res, fmt.Errorf("announce: %w", err)
	}
	// Not more than announced, either: then the figure would be of something else.
	if n, err := stand.KernelRoutes(pid); err != nil || n != want {
		return res, fmt.Errorf("the kernel holds %d routes, not %d: %w", n, want, err)
	}
	res.withdraw, err = timed(ctx, d, (*stand.Peer).Withdraw, peers, func(n int) bool { return n <= before })
	if err != nil {
		return res, fmt.Errorf("withdraw: %w", err)
	}
	res.peakRSS, err = stand.PeakRSS(pid)
	return res, err
}

// timed has every peer send at once and waits until the kernel's count is done.
func timed(ctx context.Context, d *stand.Daemon, send func(*stand.Peer) error, peers []*stand.Peer, done func(int) bool) (p phase, err error) {
	pid := d.PID()
	cpu, err := stand.CPUTime(pid)
	if err != nil {
		return p, err
	}
	start := time.Now()
	var g errgroup.Group
	for _, peer := range peers {
		g.Go(func() error { return send(peer) })
	}
	for {
		n, err := stand.KernelRoutes(pid)
		if err != nil {
			return p, err
		}
		if done(n) {
			break
		}
		if err := stand.Lost(peers); err != nil {
			return p, fmt.Errorf("%w; log of the daemon:\n%s", err, d.LastWords())
		}
		select {
		case <-ctx.Done():
			return p, fmt.Errorf("the kernel holds %d routes after %v; log of the daemon:\n%s", n, time.Since(start).Round(time.Second), d.LastWords())
		case <-d.Exited():
			return p, d.Alive()
		case <-time.After(5 * time.Millisecond):
		}
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
