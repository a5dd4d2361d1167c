package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// demo tells the story of "caracal lab demo". Every figure that it prints was
// measured in this run.
type demo struct {
	*printer
	l      *Lab
	part   int
	failed []string
	facts  []string
}

// demo runs the story and removes what it built, whatever happened.
func (c *command) demo(ctx context.Context) (err error) {
	if c.topology == "subnets" {
		return errors.New("there is no demo of subnets; build them with \"caracal lab up --topology subnets\", then see \"caracal lab ping\"")
	}
	spec, err := c.spec()
	if err != nil {
		return err
	}
	d := &demo{printer: newPrinter(c.out, c.noColor)}
	defer func() {
		if d.l == nil {
			return
		}
		if c.keep && ctx.Err() == nil {
			err = errors.Join(err, d.keep())
		} else {
			err = errors.Join(err, d.cleanUp(context.WithoutCancel(ctx)))
		}
		if err == nil {
			err = d.conclude()
		}
	}()
	steps := []func(context.Context) error{
		func(ctx context.Context) error { return d.build(ctx, spec) }, d.without, d.start,
	}
	if c.topology == "racks" {
		steps = append(steps, d.rackSteps()...)
	} else {
		steps = append(steps, d.sessions, d.routes, d.reach, d.kill, d.remove, d.add)
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("%w\n%s", err, d.lastWords())
		}
	}
	return nil
}

func (d *demo) lastWords() string {
	if d.l == nil {
		return ""
	}
	return d.l.lastWords()
}

func (d *demo) chapter(s string) {
	d.part++
	d.title(d.part, s)
}

// expect notes whether something is as it should be.
func (d *demo) expect(ok bool, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	d.verdict(ok, text)
	if !ok {
		d.failed = append(d.failed, text)
	}
}

// fact is a figure for the summary.
func (d *demo) fact(format string, args ...any) {
	d.facts = append(d.facts, fmt.Sprintf(format, args...))
}

func (d *demo) build(ctx context.Context, spec Spec) error {
	d.chapter("Build a network of " + count(len(spec.Topology.Nodes), "node") + " in network namespaces")
	start := time.Now()
	l, err := Up(ctx, spec)
	if err != nil {
		return err
	}
	d.l = l
	for _, n := range l.Nodes() {
		var pods []string
		for _, p := range n.Pods {
			pods = append(pods, p.Name+" "+p.Addr(IPv4).String())
		}
		d.line("node %-3s %-16s %-14s block %-15s %-22s pods %s", n.Name, n.Addr(IPv4), n.Addr(IPv6),
			n.Block(IPv4), n.Block(IPv6), strings.Join(pods, ", "))
	}
	d.line("built in %v", since(start))
	return nil
}

// without shows that nothing but the daemons makes pods reach each other.
func (d *demo) without(ctx context.Context) error {
	d.chapter("Without a daemon, no pod reaches another")
	podRoutes := 0
	for _, n := range d.l.Nodes() {
		routes, err := d.podRoutes(n)
		if err != nil {
			return err
		}
		podRoutes += len(routes)
	}
	d.expect(podRoutes == 0, "routes to pods on all nodes: %d", podRoutes)
	for _, f := range Families() {
		m, err := d.l.PingMatrix(ctx, f)
		if err != nil {
			return err
		}
		d.matrix(m)
		d.expect(len(m.Failed()) == m.Pairs(), "%s: every ping fails", f)
	}
	return nil
}

// podRoutes are a node's routes to anything in the pools.
func (d *demo) podRoutes(n *Node) ([]Route, error) {
	routes, err := n.Routes()
	pools := d.l.Topology().Pools
	return slices.DeleteFunc(routes, func(r Route) bool {
		return !slices.ContainsFunc(pools, func(p PoolSpec) bool { return p.CIDR.Overlaps(r.Dst) && r.Dst.Bits() > 0 })
	}), err
}

// start starts the daemons and times the first ping from one node to another.
func (d *demo) start(ctx context.Context) error {
	nodes := d.l.Nodes()
	if routers := d.l.Routers(); len(routers) > 0 {
		d.chapter("Start FRR on every switch and on the spine")
		if err := d.l.StartRouters(); err != nil {
			return err
		}
		for _, r := range routers {
			d.line("%s: AS %d", r.Name, r.ASN)
		}
	}
	d.chapter("Start caracald on every node")
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	start := time.Now()
	if err := d.l.StartAll(); err != nil {
		return err
	}
	for _, n := range nodes {
		d.line("node %s: process %d, log %s", n.Name, n.Process("caracald").PID(), n.Process("caracald").LogPath())
	}
	if len(nodes) < 2 {
		return d.l.WaitSessions(ctx)
	}
	from, to := d.l.Pod(nodes[0].Pods[0].Name), d.l.Pod(nodes[1].Pods[0].Name)
	if err := from.WaitReach(ctx, to.Addr(IPv4)); err != nil {
		return err
	}
	first := time.Since(start)
	d.expect(first < 30*time.Second, "first ping from %s to %s, on another node, after %v", from.Name, to.Name, roundTime(first))
	if err := d.l.WaitSessions(ctx); err != nil {
		return err
	}
	all := since(start)
	d.line("all sessions are up after %v", all)
	d.fact("start of the daemons to the first ping between nodes: %v; all sessions: %v", roundTime(first), all)
	return nil
}

func (d *demo) sessions(ctx context.Context) error {
	d.chapter("The sessions, as each node sees them")
	for _, n := range d.l.Nodes() {
		out, err := n.CLI(ctx, "show", "protocols")
		if err != nil {
			return err
		}
		d.output(n.Name+": caracal show protocols", out)
	}
	return nil
}

func (d *demo) routes(ctx context.Context) error {
	d.chapter(fmt.Sprintf("The routes in the kernel: protocol %d is Caracal's", Proto))
	strangers := 0
	for _, n := range d.l.Nodes() {
		for _, f := range []string{"-4", "-6"} {
			out, err := n.Exec(ctx, "ip", f, "-d", "route", "show", "proto", fmt.Sprint(Proto))
			if err != nil {
				return err
			}
			d.output(fmt.Sprintf("%s: ip %s -d route show proto %d", n.Name, f, Proto), out)
		}
		routes, err := d.podRoutes(n)
		if err != nil {
			return err
		}
		for _, r := range routes {
			if r.Protocol != Proto {
				strangers++
				d.line("%s: %s", n.Name, r)
			}
		}
	}
	d.expect(strangers == 0, "every route to a pod carries protocol %d; others: %d", Proto, strangers)
	return nil
}

func (d *demo) reach(ctx context.Context) error {
	d.chapter("Every pod reaches every other")
	for _, f := range Families() {
		wait, cancel := context.WithTimeout(ctx, 30*time.Second)
		_, err := d.l.WaitPing(wait, f)
		cancel()
		if err != nil {
			return err
		}
		m, err := d.l.PingMatrix(ctx, f)
		if err != nil {
			return err
		}
		d.matrix(m)
		d.expect(len(m.Failed()) == 0, "%s: every ping is answered", f)
	}
	return nil
}

func (d *demo) keep() error {
	if err := d.l.Keep(); err != nil {
		return err
	}
	d.line("the lab stays: caracal lab exec --id %s NODE COMMAND; caracal lab down --id %[1]s", d.l.ID())
	return nil
}

// cleanUp removes the lab and looks whether it is gone.
func (d *demo) cleanUp(ctx context.Context) error {
	d.chapter("Clean up")
	start := time.Now()
	if err := d.l.Down(ctx); err != nil {
		return err
	}
	left, err := filepath.Glob(netnsPath(d.l.names.node("*")))
	if err != nil {
		return err
	}
	if _, err := os.Stat(d.l.Dir()); !errors.Is(err, os.ErrNotExist) {
		left = append(left, d.l.Dir())
	}
	for _, id := range marked(d.l.st) {
		left = append(left, fmt.Sprintf("process %d", id.PID))
	}
	d.expect(len(left) == 0, "nothing is left behind (removed in %v) %s", since(start), strings.Join(left, " "))
	return nil
}

// conclude prints the figures; its error is the exit code.
func (d *demo) conclude() error {
	d.chapter("Measured in this run")
	for _, f := range d.facts {
		d.line("%s", f)
	}
	if len(d.failed) > 0 {
		d.line("")
		for _, f := range d.failed {
			d.verdict(false, f)
		}
		return exitCode(1)
	}
	d.line("")
	d.verdict(true, "everything was as expected")
	return nil
}
