package main

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"caracal.dev/caracal/bench/sender"
	"caracal.dev/caracal/bench/stand"
)

// changeEvery is the pause between two single changes: as far apart as changes
// in a busy cluster, so that no daemon may take several together.
const changeEvery = 2 * time.Millisecond

// singles is how many routes are timed one by one: enough for some seconds, in
// which an audit falls if they are that often.
const singles = 400

// cost is what n single changes cost a daemon in a table of some size.
type cost struct {
	table int
	cpu   time.Duration // for each change
	delay latency       // from the peer's write to the kernel
}

// tableSizes reads a list such as "100,100000".
func tableSizes(list string) ([]int, error) {
	var sizes []int
	for s := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("--tables %s: %q is not a number of routes", list, s)
		}
		sizes = append(sizes, n)
	}
	return sizes, nil
}

// compareChanges measures n changes in tables of every size, for every subject
// in turns, and prints a table.
func compareChanges(ctx context.Context, out io.Writer, subjects []stand.Subject, sizes []int, n, rounds int) error {
	got := make(map[string][]cost)
	for i := range rounds {
		for _, s := range subjects {
			for _, size := range sizes {
				c, err := runChanges(ctx, s, size, n)
				if err != nil {
					return fmt.Errorf("round %d: %s: %w", i+1, s.Name(), err)
				}
				got[s.Name()] = append(got[s.Name()], c)
				fmt.Fprintf(os.Stderr, "round %d of %d: %s, %d routes: %v\n", i+1, rounds, s.Name(), size, c.cpu)
			}
		}
	}
	fmt.Fprintf(out, "| daemon | routes in the table | CPU for one change | median | to the kernel, median | 95 %% | longest | CPU against %d routes |\n|---|---|---|---|---|---|---|---|\n", sizes[0])
	for _, s := range subjects {
		reportChanges(out, s.Name(), got[s.Name()], sizes)
	}
	return nil
}

// reportChanges prints a line for each size of the table.
func reportChanges(out io.Writer, name string, costs []cost, sizes []int) {
	var first time.Duration
	for _, size := range sizes {
		of := slices.DeleteFunc(slices.Clone(costs), func(c cost) bool { return c.table != size })
		var each []string
		for _, c := range of {
			each = append(each, strconv.FormatInt(c.cpu.Microseconds(), 10))
		}
		cpu := middle(of, func(c cost) time.Duration { return c.cpu })
		if first == 0 {
			first = cpu
		}
		fmt.Fprintf(out, "| %s | %d | %s µs | %d µs | %s | %s | %s | %.2f |\n", name, size, strings.Join(each, ", "), cpu.Microseconds(),
			milliseconds(middle(of, func(c cost) time.Duration { return c.delay.median })),
			milliseconds(middle(of, func(c cost) time.Duration { return c.delay.p95 })),
			milliseconds(middle(of, func(c cost) time.Duration { return c.delay.longest })), ratio(cpu, first))
	}
}

// runChanges has one peer announce a table, and then withdraw and announce
// routes of it one by one.
func runChanges(ctx context.Context, s stand.Subject, size, n int) (c cost, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute+time.Duration(n)*4*changeEvery)
	defer cancel()
	c.table = size
	shares, err := stand.Split(size, 1)
	if err != nil {
		return c, err
	}
	w, err := stand.NewWorld(1)
	if err != nil {
		return c, err
	}
	defer w.Close()
	dir, err := os.MkdirTemp("", "caracal-bench-")
	if err != nil {
		return c, err
	}
	defer os.RemoveAll(dir)
	d, err := s.Start(w, dir, shares)
	if err != nil {
		return c, err
	}
	defer d.Stop()
	peers, err := stand.Connect(ctx, w, d, shares)
	if err != nil {
		return c, err
	}
	defer stand.Abort(peers)
	before, err := stand.KernelRoutes(d.PID())
	if err != nil {
		return c, err
	}
	probe, err := w.NewProbe()
	if err != nil {
		return c, err
	}
	defer probe.Close()
	m := &meter{d, probe, peers, shares}
	if _, err := m.timed(ctx, (*stand.Peer).Announce, true, func(n int) bool { return n >= before+size }); err != nil {
		return c, err
	}
	routes, p, path := shares[0].Routes, peers[0], sender.Path{NextHop: w.Addrs[0], LocalPref: 100}
	single := routes[:min(len(routes), singles)]
	// Their notifications must not come among those of what is measured.
	if err := p.Session.Withdraw(single); err != nil {
		return c, err
	}
	err = m.until(ctx, time.Now(), func() (bool, error) {
		n, err := stand.KernelRoutes(d.PID())
		return n <= before+size-len(single), err
	})
	if err != nil {
		return c, err
	}
	if c.delay, err = delay(ctx, w, p, single, path); err != nil {
		return c, err
	}
	c.cpu, err = change(ctx, d, p, routes, path, n)
	return c, err
}

// delay measures the way of each of some routes back into the table.
func delay(ctx context.Context, w *stand.World, p *stand.Peer, routes []netip.Prefix, path sender.Path) (latency, error) {
	time.Sleep(time.Second)
	l, err := measureSingle(ctx, w, p, path.NextHop, routes)
	if err != nil {
		return l, err
	}
	err = p.Session.Announce(routes, path) // measureSingle has withdrawn them
	time.Sleep(time.Second)
	return l, err
}

// change withdraws and announces single routes n times in all and returns the
// CPU time for each.
func change(ctx context.Context, d *stand.Daemon, p *stand.Peer, routes []netip.Prefix, path sender.Path, n int) (time.Duration, error) {
	from, err := stand.CPUTime(d.PID())
	if err != nil {
		return 0, err
	}
	tick := time.NewTicker(changeEvery)
	defer tick.Stop()
	for i := range n {
		// Far apart, so that neighbors in the table are not neighbors in time.
		r := []netip.Prefix{routes[i/2*7919%len(routes)]}
		messages := sender.EncodeWithdraw(r)
		if i%2 == 1 {
			messages = sender.Encode(r, path)
		}
		if err := p.Send(messages...); err != nil {
			return 0, err
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-d.Exited():
			return 0, d.Alive()
		case <-tick.C:
		}
	}
	time.Sleep(time.Second)
	to, err := stand.CPUTime(d.PID())
	return (to - from) / time.Duration(n), err
}
