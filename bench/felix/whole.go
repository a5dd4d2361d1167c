package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	named "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"caracal.dev/caracal"
	"caracal.dev/caracal/bench/felix/cluster"
	"caracal.dev/caracal/felix"
)

// whole is what was measured of a caracald with a file store.
type whole struct {
	size         cluster.Size
	backend      string
	rules        int
	first, again cost // from the start of the process until all is in the kernel
	rss, peak    int
	edits        []cost // from a changed file to the kernel
}

// daemons measures caracald as it is run, with the cluster in a directory of files.
func daemons(ctx context.Context, out io.Writer, o ruleOptions) error {
	var list []whole
	for _, name := range o.sizes {
		size, err := sizeOf(name)
		if err != nil {
			return err
		}
		size.IPv6 = o.ipv6
		c := cluster.New(size)
		for _, backend := range o.backends {
			w, err := measureDaemon(ctx, c, o, backend)
			if err != nil {
				return fmt.Errorf("caracald, size %s, %s: %w", name, backend, err)
			}
			list = append(list, w)
		}
	}
	reportDaemons(out, list)
	return nil
}

func measureDaemon(ctx context.Context, c *cluster.Cluster, o ruleOptions, backend string) (w whole, err error) {
	w = whole{size: c.Size, backend: backend}
	compiler := felix.NewCompiler()
	if _, problems := compiler.Update(felix.Input{Snapshot: c.Snapshot}); len(problems) > 0 {
		return w, fmt.Errorf("%d problems: %s", len(problems), problems[0].Message)
	}
	h, err := newHost(c, o.caracald, backend)
	if h != nil {
		defer h.close()
	}
	if err != nil {
		return w, err
	}
	if w.first, w.rules, err = h.untilInForce(ctx); err != nil {
		return w, err
	}
	if w.edits, err = h.edits(ctx, c, compiler, min(o.changes, 20)); err != nil {
		return w, fmt.Errorf("label of a pod: %w", err)
	}
	if w.rss, w.peak, err = h.memory(); err != nil {
		return w, err
	}
	h.kill()
	again := 0
	if w.again, again, err = h.untilInForce(ctx); err == nil && again != w.rules {
		err = fmt.Errorf("%d rules where the first had %d", again, w.rules)
	}
	if err != nil {
		return w, fmt.Errorf("second start: %w", err)
	}
	return w, nil
}

// untilInForce starts the daemon and returns what it took until the policies are in
// force.
func (h *host) untilInForce(ctx context.Context) (c cost, rules int, err error) {
	begin := time.Now()
	if err := h.start(); err != nil {
		return c, 0, err
	}
	if rules, err = h.inForce(ctx); err != nil {
		return c, 0, err
	}
	c.Wall = time.Since(begin)
	c.CPU, err = h.used()
	return c, rules, err
}

// edits changes the labels of pods elsewhere, one file at a time, and asks the
// kernel until a set has the pod or has it no longer.
func (h *host) edits(ctx context.Context, c *cluster.Cluster, compiler *felix.Compiler, n int) (list []cost, err error) {
	ns, err := named.GetFromName(string(h.netns))
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	handle, err := netlink.NewHandleAt(ns, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, err
	}
	defer handle.Close()
	snap := c.Snapshot
	for i := range n {
		for _, change := range c.Changes(i) {
			if change.Name != cluster.RemoteLabel {
				continue
			}
			for _, step := range []func(*caracal.Snapshot){change.Do, change.Undo} {
				next := cluster.Apply(snap, step)
				delta, _ := compiler.Update(felix.Input{Snapshot: next})
				took, err := h.edit(ctx, handle, snap, next, delta)
				if err != nil {
					return list, err
				}
				if took.Wall > 0 {
					list = append(list, took)
				}
				snap = next
			}
		}
	}
	return list, nil
}

// edit writes the file with the pods of the namespace that differs, and returns what
// it took until the kernel had the first change of a set. Without one it is nothing.
func (h *host) edit(ctx context.Context, handle *netlink.Handle, was, is *caracal.Snapshot, delta felix.Delta) (c cost, err error) {
	namespace := ""
	is.Workloads.Diff(was.Workloads, func(a, b caracal.Workload) bool { return maps.Equal(a.Labels, b.Labels) },
		func(_ string, _, is *caracal.Workload) { namespace = is.Namespace })
	before, err := h.used()
	if err != nil {
		return c, err
	}
	if err := cluster.WritePods(h.config(), is, namespace); err != nil || len(delta.Sets) == 0 {
		return c, err
	}
	begin := time.Now()
	set, member, want := delta.Sets[0], felix.Member{}, true
	if added := slices.Concat(set.Add, set.AddLate); len(added) > 0 {
		member = added[0]
	} else {
		member, want = set.Remove[0], false
	}
	ip := net.IP(member.Net.Addr().AsSlice())
	entry := &netlink.IPSetEntry{IP: ip}
	if member.Port != 0 {
		entry.Port, entry.Protocol = &member.Port, &member.Protocol
	}
	for deadline := begin.Add(20 * time.Second); ; {
		has, err := handle.IpsetTest(set.Name, entry)
		if err != nil {
			return c, fmt.Errorf("look for %s in %s: %w", ip, set.Name, err)
		}
		if has == want {
			break
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return c, fmt.Errorf("%s in %s is %t for 20 seconds, want %t; the daemon's last words:\n%s", ip, set.Name, has, want, h.lastWords())
		}
		time.Sleep(200 * time.Microsecond)
	}
	c.Wall = time.Since(begin)
	time.Sleep(100 * time.Millisecond) // for what the daemon does after it
	after, err := h.used()
	c.CPU = after - before
	return c, err
}

func reportDaemons(out io.Writer, list []whole) {
	fmt.Fprint(out, "caracald with a directory of files. Start: of the process, until all is in the kernel; in brackets CPU with that of the programs called.\n\n")
	fmt.Fprintln(out, "| size | backend | rules | first start | start after a kill | RSS | peak | label of a pod, from file to kernel, median | longest | CPU, mean |")
	fmt.Fprintln(out, "|---|---|---|---|---|---|---|---|---|---|")
	for _, w := range list {
		var wall []float64
		cpu := time.Duration(0)
		for _, c := range w.edits {
			wall = append(wall, milli(c.Wall))
			cpu += c.CPU
		}
		fmt.Fprintf(out, "| %s | %s | %d | **%s** | %s | %d MB | %d MB |", w.size.Name, w.backend, w.rules, w.first, w.again, w.rss>>20, w.peak>>20)
		if n := len(w.edits); n > 0 {
			fmt.Fprintf(out, " %.1f ms | %.1f ms | %.1f ms |\n", quantile(wall, 50), quantile(wall, 100), milli(cpu/time.Duration(n)))
		} else { // no pod is elsewhere
			fmt.Fprintln(out, " – | – | – |")
		}
	}
	fmt.Fprintln(out)
}
