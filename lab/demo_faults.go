package lab

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"
)

// watch is a stretch of the story during which packets flow and the route
// changes of every node are written down.
type watch struct {
	d        *demo
	meters   []*LossMeter
	monitors map[string]*RouteMonitor
}

// watch starts a loss meter for each family between the pods of the first two
// nodes, and a route monitor on each of the nodes named.
func (d *demo) watch(ctx context.Context, nodes ...string) (*watch, error) {
	w := &watch{d: d, monitors: map[string]*RouteMonitor{}}
	all := d.l.Nodes()
	for i, f := range Families() {
		pods := min(i, len(all[0].Pods)-1)
		m, err := d.l.StartLossMeter(ctx, MeterSpec{A: all[0].Pods[pods].Name, B: all[1].Pods[pods].Name, Family: f})
		if err != nil {
			w.stop()
			return nil, err
		}
		w.meters = append(w.meters, m)
	}
	for _, n := range nodes {
		m, err := d.l.MonitorRoutes(ctx, n)
		if err != nil {
			w.stop()
			return nil, err
		}
		w.monitors[n] = m
	}
	return w, nil
}

// stop ends everything and returns the packets sent and lost, and what the
// monitors printed.
func (w *watch) stop() (sent, lost int, changes []string) {
	for _, m := range w.meters {
		r := m.Stop()
		sent, lost = sent+r.Sent(), lost+r.Lost()
		w.d.line("%s: %s", m.spec.Family, r)
	}
	for node, m := range w.monitors {
		for _, line := range m.Stop() {
			changes = append(changes, node+": "+line)
		}
	}
	slices.Sort(changes)
	return sent, lost, changes
}

// kill kills the daemon of the second node under load and starts it again.
func (d *demo) kill(ctx context.Context) error {
	nodes := d.l.Nodes()
	if len(nodes) < 2 {
		return nil
	}
	victim := nodes[1]
	d.chapter(fmt.Sprintf("kill -9 the daemon of node %s while 4,000 packets a second flow", victim.Name))
	w, err := d.watch(ctx, d.nodeNames()...)
	if err != nil {
		return err
	}
	down, up, err := d.bounce(ctx, victim)
	sent, lost, changes := w.stop()
	if err != nil {
		return err
	}
	d.expect(lost == 0, "%d of %d packets lost while the daemon was away for %v and came back", lost, sent, roundTime(down))
	d.expect(len(changes) == 0, "route changes in the kernels of all nodes: %d %s", len(changes), strings.Join(changes, "; "))
	d.fact("daemon killed for %v: %d of %d packets lost; sessions up again %v after its start", roundTime(down), lost, sent, roundTime(up))
	return nil
}

// bounce kills a daemon for two seconds. It returns how long it was away and
// how long after its start all sessions were up.
func (d *demo) bounce(ctx context.Context, victim *Node) (down, up time.Duration, err error) {
	if err := pause(ctx, 500*time.Millisecond); err != nil {
		return 0, 0, err
	}
	killed := time.Now()
	if err := victim.Kill(syscall.SIGKILL); err != nil {
		return 0, 0, err
	}
	d.line("killed; node %s still has %s of its own", victim.Name, d.countOwn(victim))
	if err := pause(ctx, 2*time.Second); err != nil {
		return 0, 0, err
	}
	started := time.Now()
	if _, err := victim.Restart(syscall.SIGKILL); err != nil {
		return 0, 0, err
	}
	wait, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := d.l.WaitSessions(wait); err != nil {
		return 0, 0, err
	}
	up = time.Since(started)
	d.line("started again; all sessions are up after %v", roundTime(up))
	// Long enough for what the daemon puts off until it has converged.
	return started.Sub(killed), up, pause(ctx, 3*time.Second)
}

func (d *demo) countOwn(n *Node) string {
	own, err := n.OwnRoutes()
	if err != nil {
		return err.Error()
	}
	return count(len(own), "route")
}

func (d *demo) nodeNames() []string {
	var out []string
	for _, n := range d.l.Nodes() {
		out = append(out, n.Name)
	}
	return out
}

// pause sleeps, or returns the error of ctx.
func pause(ctx context.Context, t time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(t):
		return nil
	}
}

// remove takes the last node out and times how long the others keep its routes.
func (d *demo) remove(ctx context.Context) error {
	nodes := d.l.Nodes()
	if len(nodes) < 3 {
		return nil
	}
	gone := nodes[len(nodes)-1]
	d.chapter(fmt.Sprintf("Remove node %s", gone.Name))
	w, err := d.watch(ctx)
	if err != nil {
		return err
	}
	start := time.Now()
	if err := d.l.RemoveConfig(nodeFile(gone.Name)); err != nil {
		w.stop()
		return err
	}
	clean := d.poll(ctx, time.Minute, func() bool { return d.routesVia(gone.NodeSpec) == 0 })
	took := time.Since(start)
	if err := d.l.RemoveNode(ctx, gone.Name); err != nil {
		w.stop()
		return err
	}
	sent, lost, _ := w.stop()
	d.expect(clean, "no other node has a route to the blocks of %s, %v after its file was deleted", gone.Name, roundTime(took))
	d.expect(lost == 0, "%d of %d packets between the others lost meanwhile", lost, sent)
	d.fact("node removed: its routes gone from the others after %v", roundTime(took))
	return nil
}

// add brings a new node in and times the first ping to it.
func (d *demo) add(ctx context.Context) error {
	nodes := d.l.Nodes()
	if len(nodes) < 2 {
		return nil
	}
	before, err := nodes[0].Neighbors(ctx)
	if err != nil {
		return err
	}
	spec := MeshNode(len(nodes)+1, MeshOptions{PodsPerNode: len(nodes[0].Pods)})
	if nodes[0].Cluster.IsValid() {
		spec.Sessions = reflectorCount
	}
	d.chapter("Add node " + spec.Name)
	n, err := d.l.AddNode(ctx, spec)
	if err != nil {
		return err
	}
	start := time.Now()
	if _, err := n.StartCaracald(); err != nil {
		return err
	}
	from, to := d.l.Pod(nodes[0].Pods[0].Name), d.l.Pod(spec.Pods[0].Name)
	wait, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := from.WaitReach(wait, to.Addr(IPv6)); err != nil {
		return err
	}
	took := time.Since(start)
	d.expect(took < 30*time.Second, "first ping from %s to %s %v after the start of its daemon", from.Name, to.Name, roundTime(took))
	after, err := nodes[0].Neighbors(ctx)
	if err != nil {
		return err
	}
	reset := 0
	for _, b := range before {
		if !slices.ContainsFunc(after, func(a Neighbor) bool { return a.Name == b.Name && a.Since.Equal(b.Since) && a.Flaps == b.Flaps }) {
			reset++
		}
	}
	d.expect(reset == 0, "sessions between the others reset by it: %d of %d on node %s", reset, len(before), nodes[0].Name)
	d.fact("node added: first ping to it %v after the start of its daemon", roundTime(took))
	return nil
}

// routesVia counts the routes to a node's blocks on all other nodes.
func (d *demo) routesVia(gone NodeSpec) int {
	n := 0
	for _, node := range d.l.Nodes() {
		if node.Name == gone.Name {
			continue
		}
		routes, err := node.Routes()
		if err != nil {
			return -1
		}
		for _, r := range routes {
			if slices.ContainsFunc(gone.Blocks, r.Dst.Overlaps) && r.Dst.Bits() > 0 {
				n++
			}
		}
	}
	return n
}

// poll waits for cond.
func (d *demo) poll(ctx context.Context, limit time.Duration, cond func() bool) bool {
	return until(limit, func() bool { return ctx.Err() != nil || cond() }) && ctx.Err() == nil
}
