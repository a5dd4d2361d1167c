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
	// alone and together are how long each ADD took, one after another and in bursts
	// of many at once; done is when the last of each burst was done.
	alone, together, done []time.Duration
	// cpu is what each ADD of alone used of the processors.
	cpu []time.Duration
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

// world is a node with containers of a subject.
type world struct {
	subject subject
	lab     *lab.Lab
	host    *runtimes.Host
	next    int
}

// up builds a world of its own for a subject.
func up(ctx context.Context, s subject, o options) (*world, error) {
	l, err := lab.Up(ctx, lab.Spec{Topology: node(o), Caracald: o.caracald})
	if err != nil {
		return nil, err
	}
	w := &world{subject: s, lab: l}
	if w.host, err = runtimes.NewHost(l, l.Nodes()[0].Name, dirOf(o)); err == nil {
		err = s.start(ctx, w.host, o)
	}
	if err != nil {
		return nil, w.down(ctx, err)
	}
	return w, nil
}

// down removes the world. An error gets the daemon's last words.
func (w *world) down(ctx context.Context, err error) error {
	if d := w.lab.Nodes()[0].Process("caracald"); err != nil && d != nil {
		log := d.Log()
		err = fmt.Errorf("%w; the daemon's last words:\n%s", err, log[max(0, len(log)-4000):])
	}
	return errors.Join(err, w.lab.Down(context.WithoutCancel(ctx)))
}

// run measures the subjects side by side, each in a lab of its own.
func run(ctx context.Context, subjects []subject, o options) (rows []row, taken []adoption, err error) {
	var worlds []*world
	defer func() {
		for _, w := range worlds {
			err = w.down(ctx, err)
		}
	}()
	for _, s := range subjects {
		w, err := up(ctx, s, o)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", s.name(), err)
		}
		worlds = append(worlds, w)
	}
	have := 0
	for _, pods := range o.pods {
		for _, w := range worlds {
			if err := w.fill(ctx, pods-have); err != nil {
				return nil, nil, fmt.Errorf("%s, up to %d containers: %w", w.subject.name(), pods, err)
			}
		}
		have = pods
		r, err := measure(ctx, worlds, o)
		if err != nil {
			return nil, nil, fmt.Errorf("with %d containers: %w", pods, err)
		}
		for i := range r {
			r[i].pods = pods
		}
		rows = append(rows, r...)
	}
	for _, w := range worlds {
		a, err := w.subject.adopt(ctx, w.host, have)
		if err != nil {
			return rows, taken, err
		}
		taken = append(taken, a...)
	}
	return rows, taken, nil
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

// measure times ADDs in worlds that have their containers. The worlds take turns
// with every single ADD, and with every burst, so that what else the machine does
// falls on all of them.
func measure(ctx context.Context, worlds []*world, o options) ([]row, error) {
	rows := make([]row, len(worlds))
	for i, w := range worlds {
		rows[i].name = w.subject.name()
	}
	for i := range o.adds + 1 {
		for k, w := range worlds {
			took, cpu, err := w.one(ctx)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", rows[k].name, err)
			}
			if i > 0 { // the first after a pause finds cold caches
				rows[k].alone, rows[k].cpu = append(rows[k].alone, took), append(rows[k].cpu, cpu)
			}
		}
	}
	for range o.bursts {
		for k, w := range worlds {
			took, done, err := w.burst(ctx, o.parallel)
			if err != nil {
				return nil, fmt.Errorf("%s: %d at once: %w", rows[k].name, o.parallel, err)
			}
			rows[k].together, rows[k].done = append(rows[k].together, took...), append(rows[k].done, done)
		}
	}
	return rows, nil
}

// one times an ADD, and removes the container.
func (w *world) one(ctx context.Context) (took, cpu time.Duration, err error) {
	list, err := w.make(1)
	if err != nil {
		return 0, 0, err
	}
	before, err := w.cpu()
	if err != nil {
		return 0, 0, err
	}
	begin := time.Now()
	if err := w.host.Add(ctx, list[0]); err != nil {
		return 0, 0, err
	}
	took = time.Since(begin)
	after, err := w.cpu()
	if err != nil {
		return 0, 0, err
	}
	return took, after - before, w.host.Remove(ctx, list[0])
}

// burst times n ADDs at once, each and all of them, and removes the containers.
func (w *world) burst(ctx context.Context, n int) (each []time.Duration, all time.Duration, err error) {
	list, err := w.make(n)
	if err != nil {
		return nil, 0, err
	}
	took := make(chan time.Duration, n)
	begin := time.Now()
	err = atOnce(list, n, func(c *runtimes.Container) error {
		begin := time.Now()
		err := w.host.Add(ctx, c)
		took <- time.Since(begin)
		return err
	})
	all = time.Since(begin)
	if err != nil {
		return nil, 0, err
	}
	close(took)
	for d := range took {
		each = append(each, d)
	}
	return each, all, atOnce(list, 4, func(c *runtimes.Container) error { return w.host.Remove(ctx, c) })
}
