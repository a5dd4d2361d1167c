package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"caracal.dev/caracal/lab"
	"caracal.dev/caracal/test/runtimes"
)

// row is a line of the table.
type row struct {
	name  string
	round int
	pods  int
	// alone and together are how long each ADD took, one after another and all at
	// once; done is when the last of the latter was done.
	alone, together []time.Duration
	done            time.Duration
}

// adoption is how long a daemon that was killed took.
type adoption struct {
	pods int
	// ready is the time from the start of the process until an ADD would work, and
	// whole until the routes to all containers are known to be in the kernel.
	ready, whole time.Duration
}

// quantile returns the smallest value that q of 100 are not above.
func quantile(list []time.Duration, q int) time.Duration {
	if len(list) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(list))
	return sorted[max(0, (len(sorted)*q+99)/100-1)]
}

// world is a node with containers.
type world struct {
	host *runtimes.Host
	next int
}

// run measures a subject once, in a lab of its own.
func run(ctx context.Context, s subject, o options) (rows []row, taken []adoption, err error) {
	l, err := lab.Up(ctx, lab.Spec{Topology: node(o), Caracald: o.caracald})
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if d := l.Nodes()[0].Process("caracald"); err != nil && d != nil {
			log := d.Log()
			err = fmt.Errorf("%w; the daemon's last words:\n%s", err, log[max(0, len(log)-4000):])
		}
		err = errors.Join(err, l.Down(context.WithoutCancel(ctx)))
	}()
	h, err := runtimes.NewHost(l, l.Nodes()[0].Name, dirOf(o))
	if err != nil {
		return nil, nil, err
	}
	if err := s.start(ctx, h, o); err != nil {
		return nil, nil, err
	}
	w := &world{host: h}
	have := 0
	for _, pods := range o.pods {
		if err := w.fill(ctx, pods-have); err != nil {
			return nil, nil, err
		}
		have = pods
		r, err := w.measure(ctx, pods, o)
		if err != nil {
			return nil, nil, err
		}
		rows = append(rows, r)
	}
	taken, err = s.adopt(ctx, h, have)
	return rows, taken, err
}

// make returns n containers that are not wired up.
func (w *world) make(n int) ([]*runtimes.Container, error) {
	var list []*runtimes.Container
	for range n {
		w.next++
		id := strconv.Itoa(w.next)
		c, err := w.host.New(network, id, "bench-"+strconv.Itoa(os.Getpid())+"-"+id)
		if err != nil {
			return nil, err
		}
		if err := withoutDAD(w.host, c); err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	return list, nil
}

// withoutDAD lets IPv6 addresses in a container's namespace be used at once.
func withoutDAD(h *runtimes.Host, c *runtimes.Container) error {
	_, err := h.Node.Exec(context.Background(), "nsenter", "--net="+c.NetNS, "sysctl", "-qw",
		"net.ipv6.conf.all.accept_dad=0", "net.ipv6.conf.default.accept_dad=0")
	return err
}

// atOnce does the same with all containers, so many at a time.
func atOnce(list []*runtimes.Container, limit int, do func(*runtimes.Container) error) error {
	var g errgroup.Group
	g.SetLimit(limit)
	for _, c := range list {
		g.Go(func() error { return do(c) })
	}
	return g.Wait()
}

// fill adds n containers that stay.
func (w *world) fill(ctx context.Context, n int) error {
	list, err := w.make(n)
	if err != nil {
		return err
	}
	return atOnce(list, 4, func(c *runtimes.Container) error { return w.host.Add(ctx, c) })
}

func (w *world) measure(ctx context.Context, pods int, o options) (row, error) {
	r := row{pods: pods}
	list, err := w.make(o.adds + 1)
	if err != nil {
		return r, err
	}
	for i, c := range list {
		begin := time.Now()
		if err := w.host.Add(ctx, c); err != nil {
			return r, fmt.Errorf("with %d containers: %w", pods, err)
		}
		if i > 0 { // the first after a pause finds cold caches
			r.alone = append(r.alone, time.Since(begin))
		}
		if err := w.host.Remove(ctx, c); err != nil {
			return r, err
		}
	}
	if list, err = w.make(o.parallel); err != nil {
		return r, err
	}
	took := make(chan time.Duration, len(list))
	begin := time.Now()
	err = atOnce(list, len(list), func(c *runtimes.Container) error {
		begin := time.Now()
		err := w.host.Add(ctx, c)
		took <- time.Since(begin)
		return err
	})
	if err != nil {
		return r, fmt.Errorf("%d at once with %d containers: %w", o.parallel, pods, err)
	}
	r.done = time.Since(begin)
	close(took)
	for d := range took {
		r.together = append(r.together, d)
	}
	return r, atOnce(list, 4, func(c *runtimes.Container) error { return w.host.Remove(ctx, c) })
}
