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
	// up is the time from the start of the process to the last session, converged
	// to the last route in the kernel; cpu is what the daemon used for it.
	up, converged, cpu time.Duration
	// atRest is the share of one processor that it uses once it has settled.
	atRest float64
	// bare is its size without any peer, resident that at the end of the rest, and
	// peak its largest, in bytes.
	bare, resident, peak int
}

// times are how long a daemon has to finish what it put off, and how long it is
// then watched.
type times struct{ settle, rest time.Duration }

// run measures s once, in namespaces of its own.
func run(ctx context.Context, s stand.Subject, shares []stand.Share, t times) (res result, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute+t.settle+t.rest)
	defer cancel()
	w, err := stand.NewWorld(len(shares))
	if err != nil {
		return res, err
	}
	defer w.Close()
	err = with(s, w, nil, func(d *stand.Daemon) (err error) {
		time.Sleep(t.settle)
		res.bare, err = stand.RSS(d.PID())
		return err
	})
	if err != nil {
		return res, err
	}
	return res, with(s, w, shares, func(d *stand.Daemon) error { return res.measure(ctx, w, d, shares, t) })
}

// with runs the daemon for the time of fn.
func with(s stand.Subject, w *stand.World, shares []stand.Share, fn func(*stand.Daemon) error) error {
	dir, err := os.MkdirTemp("", "caracal-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	d, err := s.Start(w, dir, shares)
	if err != nil {
		return err
	}
	defer d.Stop()
	if err := fn(d); err != nil {
		return err
	}
	return d.Alive()
}

func (res *result) measure(ctx context.Context, w *stand.World, d *stand.Daemon, shares []stand.Share, t times) error {
	start := time.Now()
	want := 0
	for _, s := range shares {
		want += len(s.Routes)
	}
	peers, err := stand.Connect(ctx, w, d, shares)
	if err != nil {
		return err
	}
	defer stand.Abort(peers)
	res.up = time.Since(start)
	before, err := stand.KernelRoutes(d.PID())
	if err != nil {
		return err
	}
	var g errgroup.Group
	for _, p := range peers {
		g.Go(p.Announce)
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := await(ctx, d, peers, before+want); err != nil {
		return err
	}
	res.converged = time.Since(start)
	if res.cpu, err = stand.CPUTime(d.PID()); err != nil {
		return err
	}
	if err := res.rest(ctx, d, t); err != nil {
		return err
	}
	return stand.Lost(peers)
}

// await returns when the daemon's kernel holds that many prefixes.
func await(ctx context.Context, d *stand.Daemon, peers []*stand.Peer, want int) error {
	for {
		n, err := stand.KernelRoutes(d.PID())
		if err != nil {
			return err
		}
		if n >= want {
			return nil
		}
		if err := stand.Lost(peers); err != nil {
			return fmt.Errorf("%w; log of the daemon:\n%s", err, d.LastWords())
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the kernel holds %d routes, not %d; log of the daemon:\n%s", n, want, d.LastWords())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// rest watches the daemon while nothing changes.
func (res *result) rest(ctx context.Context, d *stand.Daemon, t times) error {
	time.Sleep(t.settle)
	from, err := stand.CPUTime(d.PID())
	if err != nil {
		return err
	}
	start := time.Now()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(t.rest):
	}
	to, err := stand.CPUTime(d.PID())
	if err != nil {
		return err
	}
	res.atRest = float64(to-from) / float64(time.Since(start))
	if res.resident, err = stand.RSS(d.PID()); err != nil {
		return err
	}
	res.peak, err = stand.PeakRSS(d.PID())
	return err
}
