package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sync/errgroup"
)

// subject is a routing daemon that can be measured.
type subject interface {
	name() string
	program() string
	// start runs the daemon in w's router namespace with its files in dir, ready
	// for an iBGP session from each of w.addrs announcing shares.
	start(w *world, dir string, shares []share) (*daemon, error)
}

// share is what one peer announces: /32 routes counted up from the first
// address of its block.
type share struct {
	block  netip.Prefix
	routes []netip.Prefix
}

// split deals out total /32 routes to n peers, each in the smallest block of
// 10.0.0.0/8 that holds its own.
func split(total, n int) ([]share, error) {
	each := total / n
	if each*n != total {
		return nil, fmt.Errorf("--routes %d cannot be divided by --peers %d", total, n)
	}
	bits := 32
	for 1<<(32-bits) < each {
		bits--
	}
	if bits < 8 || n > 1<<(bits-8) {
		return nil, fmt.Errorf("--routes %d from --peers %d do not fit into 10.0.0.0/8", total, n)
	}
	shares := make([]share, n)
	base := uint32(10) << 24
	for i := range shares {
		shares[i].block = netip.PrefixFrom(addr4(base), bits)
		shares[i].routes = make([]netip.Prefix, each)
		for k := range each {
			shares[i].routes[k] = netip.PrefixFrom(addr4(base+uint32(k)), 32)
		}
		base += 1 << (32 - bits)
	}
	return shares, nil
}

func addr4(v uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
}

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
func run(ctx context.Context, s subject, shares []share, single int) (res result, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	defer func() {
		if err != nil {
			err = fmt.Errorf("%s: %w", s.name(), err)
		}
	}()
	w, err := newWorld(len(shares))
	if err != nil {
		return res, err
	}
	defer w.close()
	dir, err := os.MkdirTemp("", "caracal-bench-")
	if err != nil {
		return res, err
	}
	defer os.RemoveAll(dir)
	d, err := s.start(w, dir, shares)
	if err != nil {
		return res, err
	}
	defer d.stop()

	peers, err := connect(ctx, w, d, shares)
	if err != nil {
		return res, err
	}
	defer func() {
		for _, p := range peers {
			p.close()
		}
	}()
	if res, err = measure(ctx, d, peers, shares); err != nil {
		return res, err
	}
	first := shares[0].routes
	res.single, err = measureSingle(ctx, w, peers[0], w.addrs[0], first[:min(single, len(first))])
	return res, err
}

// connect brings up every session and lets the daemon settle.
func connect(ctx context.Context, w *world, d *daemon, shares []share) ([]*peer, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	peers := make([]*peer, len(shares))
	g, gctx := errgroup.WithContext(ctx)
	for i, s := range shares {
		g.Go(func() (err error) {
			peers[i], err = newPeer(gctx, w, i, s.routes)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		for _, p := range peers {
			if p != nil {
				p.close()
			}
		}
		if gone := d.alive(); gone != nil {
			return nil, gone
		}
		return nil, fmt.Errorf("sessions: %w; log of the daemon:\n%s", err, d.lastWords())
	}
	time.Sleep(time.Second)
	return peers, nil
}

func measure(ctx context.Context, d *daemon, peers []*peer, shares []share) (res result, err error) {
	pid := d.cmd.Process.Pid
	before, err := kernelRoutes(pid)
	if err != nil {
		return res, err
	}
	want := before
	for _, s := range shares {
		want += len(s.routes)
	}
	res.announce, err = timed(ctx, d, (*peer).announce, peers, func(n int) bool { return n >= want })
	if err != nil {
		return res, fmt.Errorf("announce: %w", err)
	}
	// Not more than announced, either: then the figure would be of something else.
	if n, err := kernelRoutes(pid); err != nil || n != want {
		return res, fmt.Errorf("the kernel holds %d routes, not %d: %w", n, want, err)
	}
	res.withdraw, err = timed(ctx, d, (*peer).withdraw, peers, func(n int) bool { return n <= before })
	if err != nil {
		return res, fmt.Errorf("withdraw: %w", err)
	}
	res.peakRSS, err = peakRSS(pid)
	return res, err
}

// timed has every peer send at once and waits until the kernel's count is done.
func timed(ctx context.Context, d *daemon, send func(*peer) error, peers []*peer, done func(int) bool) (p phase, err error) {
	pid := d.cmd.Process.Pid
	cpu, err := cpuTime(pid)
	if err != nil {
		return p, err
	}
	start := time.Now()
	var g errgroup.Group
	for _, peer := range peers {
		g.Go(func() error { return send(peer) })
	}
	for {
		n, err := kernelRoutes(pid)
		if err != nil {
			return p, err
		}
		if done(n) {
			break
		}
		if err := lost(peers); err != nil {
			return p, fmt.Errorf("%w; log of the daemon:\n%s", err, d.lastWords())
		}
		select {
		case <-ctx.Done():
			return p, fmt.Errorf("the kernel holds %d routes after %v; log of the daemon:\n%s", n, time.Since(start).Round(time.Second), d.lastWords())
		case <-d.exited:
			return p, d.alive()
		case <-time.After(5 * time.Millisecond):
		}
	}
	p.wall = time.Since(start)
	if err := g.Wait(); err != nil {
		return p, err
	}
	time.Sleep(time.Second)
	after, err := cpuTime(pid)
	p.cpu = after - cpu
	return p, err
}

// lost returns why the first session that ended did.
func lost(peers []*peer) error {
	for _, p := range peers {
		if err := p.session.Err(); err != nil {
			return err
		}
	}
	return nil
}
