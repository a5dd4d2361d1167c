package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"
)

// rackSteps are the story of a lab of racks after its daemons have started:
// a switch is lost in three ways.
func (d *demo) rackSteps() []func(context.Context) error {
	return []func(context.Context) error{
		d.sessions, d.multipath, d.reach,
		func(ctx context.Context) error {
			return d.lose(ctx, "freezes, with BFD of 3 × 100 ms", freeze, time.Second)
		},
		func(ctx context.Context) error { return d.lose(ctx, "loses all its links", cut, time.Second) },
		d.withoutBFD,
		func(ctx context.Context) error {
			return d.lose(ctx, "freezes, and the nodes have no BFD", freeze, rackHold+rackSlack)
		},
	}
}

const (
	// rackHold is the hold time of the sessions, and rackSlack what a busy machine
	// may need on top of any figure.
	rackHold  = 9 * time.Second
	rackSlack = 3 * time.Second
	// rackRate is how many packets a second each flow sends.
	rackRate = 250
)

// multipath shows the routes of a node to the other rack.
func (d *demo) multipath(ctx context.Context) error {
	n := d.l.Nodes()[0]
	d.chapter("Every route to another node goes by both switches of the rack")
	for _, f := range []string{"-4", "-6"} {
		out, err := n.Exec(ctx, "ip", f, "route", "show", "proto", fmt.Sprint(Proto))
		if err != nil {
			return err
		}
		d.output(fmt.Sprintf("%s: ip %s route show proto %d", n.Name, f, Proto), out)
	}
	want := len(Families()) * (len(d.l.Nodes()) - 1)
	d.poll(ctx, 10*time.Second, func() bool { return d.spread(n) == want })
	d.expect(d.spread(n) == want, "%d of %d routes to other nodes have two next hops", d.spread(n), want)
	return nil
}

// spread counts the routes to pods that have a next hop for each switch.
func (d *demo) spread(n *Node) (count int) {
	routes, err := d.podRoutes(n)
	if err != nil {
		return -1
	}
	for _, r := range routes {
		if len(r.Hops) == torCount {
			count++
		}
	}
	return count
}

// withoutBFD takes BFD out of the nodes' configuration.
func (d *demo) withoutBFD(ctx context.Context) error {
	d.chapter("Take BFD out of the two BGPPeers")
	t := d.l.Topology()
	t.Objects = rackPeers(true)
	if err := d.l.WriteConfig(clusterFile, clusterDocument(t)); err != nil {
		return err
	}
	gone := d.poll(ctx, 20*time.Second, func() bool {
		for _, n := range d.l.Nodes() {
			out, err := n.CLI(ctx, "show", "bfd")
			if err != nil || strings.TrimSpace(out) != "no BFD sessions" {
				return false
			}
		}
		return true
	})
	d.expect(gone, "no node has a BFD session")
	return d.whole(ctx)
}

// whole waits until all sessions are up, and all routes have two next hops.
func (d *demo) whole(ctx context.Context) error {
	wait, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := d.l.WaitSessions(wait); err != nil {
		return err
	}
	want := len(Families()) * (len(d.l.Nodes()) - 1)
	for _, n := range d.l.Nodes() {
		if !d.poll(wait, time.Minute, func() bool { return d.spread(n) == want }) {
			return fmt.Errorf("lab: node %s has %d routes by both switches, not %d", n.Name, d.spread(n), want)
		}
	}
	return nil
}

// outage takes a switch away, and gives the function that brings it back.
type outage func(ctx context.Context, n *Node) (back func(context.Context) error, err error)

// freeze stops the switch's daemons and its forwarding, and leaves its links up:
// nobody is told.
func freeze(ctx context.Context, n *Node) (func(context.Context) error, error) {
	forward := func(ctx context.Context, on string) error {
		_, err := n.Exec(ctx, "sysctl", "-q", "-w", "net.ipv4.ip_forward="+on, "net.ipv6.conf.all.forwarding="+on)
		return err
	}
	signal := func(sig os.Signal) error {
		var errs []error
		for _, name := range []string{"bfdd", "bgpd", "zebra", "staticd"} {
			if p := n.Process(name); p != nil {
				errs = append(errs, p.Signal(sig))
			}
		}
		return errors.Join(errs...)
	}
	err := errors.Join(forward(ctx, "0"), signal(syscall.SIGSTOP))
	return func(ctx context.Context) error { return errors.Join(forward(ctx, "1"), signal(syscall.SIGCONT)) }, err
}

// cut takes all links of the switch down at once, as when it loses its power.
func cut(ctx context.Context, n *Node) (func(context.Context) error, error) {
	ports := n.lab.Topology().ports(n.Name)
	set := func(ctx context.Context, state string) error {
		var errs []error
		for _, p := range ports {
			_, err := n.Exec(ctx, "ip", "link", "set", p, state)
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	}
	return func(ctx context.Context) error { return set(ctx, "up") }, set(ctx, "down")
}

// lose takes the first switch of the first rack away while packets flow between
// the racks, and brings it back. No flow may stand still for longer than limit.
func (d *demo) lose(ctx context.Context, how string, take outage, limit time.Duration) error {
	victim := d.l.Node(torName(0, 0))
	d.chapter(fmt.Sprintf("Switch %s %s, while packets flow between the racks", victim.Name, how))
	meters, err := d.acrossRacks(ctx)
	if err != nil {
		return err
	}
	defer func() {
		for _, m := range meters {
			m.Stop()
		}
	}()
	if err := pause(ctx, 500*time.Millisecond); err != nil {
		return err
	}
	back, err := take(ctx, victim)
	if err != nil {
		return errors.Join(err, back(context.WithoutCancel(ctx)))
	}
	err = pause(ctx, limit+time.Second)
	gap, sent, lost, flows := longest(meters)
	if err := errors.Join(err, back(context.WithoutCancel(ctx))); err != nil {
		return err
	}
	returned := time.Now()
	if err := d.whole(ctx); err != nil {
		return err
	}
	d.line("%d packets of %d flows sent, %d lost", sent, flows, lost)
	d.expect(gap < limit, "no flow stood still for longer than %v", roundTime(gap))
	d.line("after its return all sessions are up and all routes shared again in %v", since(returned))
	d.fact("switch %s: the flows that it carried stood still for %v; all is shared again %v after its return", how, roundTime(gap), since(returned))
	return nil
}

// acrossRacks starts meters between the pods of the first node of each rack,
// each pair with each: so many flows that both switches carry some.
func (d *demo) acrossRacks(ctx context.Context) ([]*LossMeter, error) {
	nodes := d.l.Nodes()
	var meters []*LossMeter
	for _, a := range nodes[0].Pods {
		for _, b := range nodes[len(nodes)/rackCount].Pods {
			for _, f := range Families() {
				m, err := d.l.StartLossMeter(ctx, MeterSpec{A: a.Name, B: b.Name, Family: f, Rate: rackRate})
				if err != nil {
					for _, m := range meters {
						m.Stop()
					}
					return nil, err
				}
				meters = append(meters, m)
			}
		}
	}
	return meters, nil
}

// longest stops the meters and sums up what they saw, with the longest time that
// a flow stood still.
func longest(meters []*LossMeter) (gap time.Duration, sent, lost, flows int) {
	for _, m := range meters {
		r := m.Stop()
		sent, lost, flows = sent+r.Sent(), lost+r.Lost(), flows+2
		for _, f := range []FlowReport{r.AB, r.BA} {
			// What is lost at the end of a flow is in no gap between two arrivals.
			gap = max(gap, f.LongestGap, time.Duration(f.LongestRun)*time.Second/rackRate)
		}
	}
	return gap, sent, lost, flows
}
