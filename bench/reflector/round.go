package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"caracal.dev/caracal/bench/sender"
	"caracal.dev/caracal/bench/stand"
)

// result is one round of one daemon.
type result struct {
	// up is the time from the start of the process to the last session.
	up time.Duration
	// reflected is the time from the first byte announced until every client has
	// the routes of all others, withdrawn until none has any; cpu is what the
	// daemon used for each.
	reflected, withdrawn       time.Duration
	reflectedCPU, withdrawnCPU time.Duration
	// one is the median time of a single route from one client to all others.
	one  time.Duration
	rss  int // bytes, with all routes
	peak int
}

// singles is how many single routes are timed.
const singles = 20

// run measures s once, in namespaces of its own. With keep nothing is withdrawn.
func run(ctx context.Context, s stand.Subject, shares []stand.Share, keep bool) (res result, err error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Minute)
	defer cancel()
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
	start := time.Now()
	clients, all := newHeld(shares)
	peers, err := stand.ConnectFunc(ctx, w, d, shares, func(i int) func(byte, []byte) { return clients[i].message })
	if err != nil {
		return res, err
	}
	defer stand.Abort(peers)
	res.up = time.Since(start)
	time.Sleep(2 * time.Second) // lets the daemon settle
	m := &meter{d, peers, shares, all, w.Addrs, keep}
	return res, m.measure(ctx, &res)
}

// meter times what the clients do to one daemon.
type meter struct {
	daemon *stand.Daemon
	peers  []*stand.Peer
	shares []stand.Share
	all    *tally
	addrs  []netip.Addr
	keep   bool
}

func (m *meter) measure(ctx context.Context, res *result) (err error) {
	each := len(m.shares[0].Routes)
	want := int64(len(m.peers)) * int64(len(m.peers)-1) * int64(each)
	if res.reflected, res.reflectedCPU, err = m.timed(ctx, (*stand.Peer).Announce, want); err != nil {
		return fmt.Errorf("announce: %w", err)
	}
	time.Sleep(time.Second)
	if res.rss, err = stand.RSS(m.daemon.PID()); err != nil {
		return err
	}
	if res.one, err = m.single(ctx, want); err != nil {
		return fmt.Errorf("one route: %w", err)
	}
	if res.peak, err = stand.PeakRSS(m.daemon.PID()); m.keep || err != nil {
		return err
	}
	if res.withdrawn, res.withdrawnCPU, err = m.timed(ctx, (*stand.Peer).Withdraw, 0); err != nil {
		return fmt.Errorf("withdraw: %w", err)
	}
	res.peak, err = stand.PeakRSS(m.daemon.PID())
	return err
}

// timed has every client send at once and waits until they hold that many
// routes in all.
func (m *meter) timed(ctx context.Context, send func(*stand.Peer) error, want int64) (wall, cpu time.Duration, err error) {
	from, err := stand.CPUTime(m.daemon.PID())
	if err != nil {
		return 0, 0, err
	}
	start := time.Now()
	var g errgroup.Group
	for _, p := range m.peers {
		g.Go(func() error { return send(p) })
	}
	if err := m.until(ctx, want); err != nil {
		return 0, 0, err
	}
	wall = time.Since(start)
	if err := g.Wait(); err != nil {
		return 0, 0, err
	}
	time.Sleep(time.Second)
	to, err := stand.CPUTime(m.daemon.PID())
	return wall, to - from, err
}

// single takes one route back and announces it again, over and over, and
// returns the median time until all other clients have it.
func (m *meter) single(ctx context.Context, full int64) (time.Duration, error) {
	var took []time.Duration
	others := int64(len(m.peers) - 1)
	for i := range singles {
		c := i * len(m.peers) / singles
		route := m.shares[c].Routes[:1]
		if err := m.peers[c].Send(sender.EncodeWithdraw(route)...); err != nil {
			return 0, err
		}
		if err := m.until(ctx, full-others); err != nil {
			return 0, err
		}
		time.Sleep(5 * time.Millisecond)
		messages := sender.Encode(route, sender.Path{NextHop: m.addrs[c], LocalPref: 100})
		start := time.Now()
		if err := m.peers[c].Send(messages...); err != nil {
			return 0, err
		}
		if err := m.until(ctx, full); err != nil {
			return 0, err
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	return took[len(took)/2], nil
}

// until returns when the clients hold want routes in all.
func (m *meter) until(ctx context.Context, want int64) error {
	for m.all.total.Load() != want {
		if err := stand.Lost(m.peers); err != nil {
			return fmt.Errorf("%w; log of the daemon:\n%s", err, m.daemon.LastWords())
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the clients hold %d routes in all, not %d; log of the daemon:\n%s", m.all.total.Load(), want, m.daemon.LastWords())
		case <-m.daemon.Exited():
			return m.daemon.Alive()
		case <-time.After(time.Millisecond):
		}
	}
	return nil
}
