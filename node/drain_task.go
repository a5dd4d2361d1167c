package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/bgp"
	"caracal.dev/caracal/node/api"
)

// drainTick is how often a drain under way looks how far it is.
const drainTick = 200 * time.Millisecond

// drain is the task that takes a node out of service and back. It owns the
// drainState; the speaker's task asks [drain.Stage] and listens to the bell.
type drain struct {
	dir   string
	log   *slog.Logger
	store Store

	state atomic.Pointer[drainState]
	// asked carries the commands; each is answered when it is written down.
	asked chan drainAsked
	bell  <-chan struct{}
	ring  func()
	// closed are the neighbors that this drain has disabled, not an operator.
	closed map[string]bool
	// report is what status shows of the last turn.
	report atomic.Pointer[drainReport]
	// turned is closed and replaced after each turn that changed something.
	turned atomic.Pointer[chan struct{}]
}

// drainReport is what the last turn found and did.
type drainReport struct {
	stage           api.DrainStage // that it is about
	applied         bgp.Drain
	workloads, open int
	err             error // what could not be done; it is tried again
}

// drainAsked is a command: the change of the state, and where the answer goes.
type drainAsked struct {
	change func(drainState) drainState
	answer chan error
}

// newDrain goes on where the last process was.
func newDrain(dir string, store Store, log *slog.Logger) *drain {
	d := &drain{dir: dir, log: log, store: store, asked: make(chan drainAsked), closed: map[string]bool{}}
	d.bell, d.ring = bell()
	turned := make(chan struct{})
	d.turned.Store(&turned)
	d.report.Store(&drainReport{})
	s, err := readDrain(dir)
	if err != nil {
		log.Error("whether this node is drained cannot be read, so it serves; caracal drain drains it again", "err", err)
	}
	d.state.Store(&s)
	return d
}

// Stage is what the speaker is to do now.
func (d *drain) Stage() bgp.Drain { return d.state.Load().wants() }

// Bell rings when [drain.Stage] may have changed.
func (d *drain) Bell() <-chan struct{} { return d.bell }

// run carries commands out and goes on with what is under way, until ctx ends.
// applied says which stage the speaker has carried out.
func (d *drain) run(ctx context.Context, speaker Speaker, applied func() bgp.Drain) error {
	changed := d.store.Subscribe()
	tick := time.NewTicker(drainTick)
	defer tick.Stop()
	for {
		d.turn(ctx, speaker, applied())
		serving := d.state.Load().Stage == api.DrainServing && len(d.closed) == 0
		if r := d.report.Load(); r.stage == api.DrainClosed && r.open == 0 {
			tick.Reset(5 * drainTick) // only new neighbors are left to be closed
		} else {
			tick.Reset(drainTick)
		}
		select {
		case <-ctx.Done():
			return nil
		case a := <-d.asked:
			err := d.set(a.change(*d.state.Load()))
			a.answer <- err
		case <-changed:
		case <-when(!serving, tick.C): // of the speaker there is no bell to hear
		}
	}
}

// when is c if it is wanted, and otherwise nothing that ever comes.
func when(wanted bool, c <-chan time.Time) <-chan time.Time {
	if wanted {
		return c
	}
	return nil
}

// set writes a state down and makes it that in force, in this order.
func (d *drain) set(s drainState) error {
	if s == *d.state.Load() {
		return nil
	}
	if err := writeDrain(d.dir, s); err != nil {
		return err
	}
	d.log.Info("drain", "stage", s.Stage, "force", s.Force)
	d.state.Store(&s)
	d.ring()
	d.told()
	return nil
}

func (d *drain) told() {
	turned := make(chan struct{})
	close(*d.turned.Swap(&turned))
}

// turn goes on as far as it can.
func (d *drain) turn(ctx context.Context, speaker Speaker, applied bgp.Drain) {
	s := *d.state.Load()
	if s.Stage == api.DrainServing && len(d.closed) == 0 {
		return
	}
	snap := d.store.Snapshot()
	r := drainReport{applied: applied, workloads: localWorkloads(snap)}
	next := s.next(drainSeen{now: time.Now(), applied: r.applied, workloads: r.workloads, known: snap.Complete()})
	r.stage, r.err = next.Stage, d.set(next)
	switch {
	case r.err != nil:
	case next.Stage == api.DrainClosed:
		r.open, r.err = d.closeAll(ctx, speaker, snap.Self)
	case len(d.closed) > 0:
		r.err = d.openAll(ctx, speaker)
	}
	last := d.report.Swap(&r)
	if r.err != nil && (last.err == nil || last.err.Error() != r.err.Error()) {
		d.log.Error("drain: not everything is as it should be; it is tried again", "err", r.err)
	}
	if last.stage != r.stage || last.workloads != r.workloads || last.open != r.open || last.applied != r.applied {
		d.told()
	}
}

// closeAll ends the sessions that are not down, with the reason for the
// neighbor's operator (RFC 9003), and returns how many there were. Neighbors
// that come later are closed too.
func (d *drain) closeAll(ctx context.Context, speaker Speaker, self string) (open int, err error) {
	neighbors, err := speaker.Neighbors(ctx)
	if err != nil {
		return 1, err // at least
	}
	var errs []error
	for _, n := range neighbors {
		if n.State == bgp.Disabled {
			continue // by an operator, by its prefix limit, or by us
		}
		open++
		err := speaker.Disable(ctx, n.Name, fmt.Sprintf("node %s is drained by its operator", self))
		errs = append(errs, err)
		if err == nil {
			d.closed[n.Name] = true
		}
	}
	return open, errors.Join(errs...)
}

// openAll lets the sessions come up again that this drain has closed.
func (d *drain) openAll(ctx context.Context, speaker Speaker) error {
	var errs []error
	for name := range d.closed {
		err := speaker.Enable(ctx, name)
		if errors.Is(err, bgp.ErrUnknown) {
			err = nil
		}
		errs = append(errs, err)
		if err == nil {
			delete(d.closed, name)
		}
	}
	return errors.Join(errs...)
}

// localWorkloads counts the workloads on this node that traffic of their own goes to:
// not those in the host's network, which every node of Kubernetes has, nor those that
// have ended.
func localWorkloads(snap *caracal.Snapshot) (n int) {
	for _, w := range snap.Workloads.All() {
		if w.Node == snap.Self && !w.HostNetwork && !w.Completed {
			n++
		}
	}
	return n
}

// ask has a command carried out by the task.
func (d *drain) ask(ctx context.Context, change func(drainState) drainState) error {
	a := drainAsked{change, make(chan error, 1)}
	select {
	case d.asked <- a:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-a.answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// status is how far the drain is.
func (d *drain) status(snap *caracal.Snapshot) api.Drain {
	s, r := d.state.Load(), d.report.Load()
	if s.Stage == api.DrainServing {
		return api.Drain{}
	}
	out := api.Drain{Stage: s.Stage, Since: s.Since, Force: s.Force, Sessions: r.open}
	if r.stage != s.Stage {
		out.Sessions = 1 // at least: of the new stage nothing is reported yet
	}
	out.Workloads = localWorkloads(snap)
	if !s.MovingSince.IsZero() {
		out.Until = s.MovingSince.Add(s.Wait)
	}
	if r.err != nil {
		out.Problem = r.err.Error()
	}
	return out
}

// done reports whether d has got as far as it gets, so that the command ends:
// its stage is carried out, too.
func (d *drain) done(s api.Drain) bool {
	r := d.report.Load()
	return s.Done() && (s.Stage == api.DrainServing || r.stage == s.Stage) && (s.Stage != api.DrainAway || r.applied == bgp.DrainOut)
}

// Drain implements api.Commander.
func (a *Agent) Drain(ctx context.Context, wait time.Duration, force bool, fn func(api.Drain) error) error {
	if a.up.Load() == nil {
		return a.errStarting()
	}
	if wait == 0 {
		wait = api.DefaultDrainWait
	}
	now := time.Now()
	if err := a.drain.ask(ctx, func(s drainState) drainState { return s.begin(now, wait, force) }); err != nil {
		return fmt.Errorf("node: drain: %w", err)
	}
	for {
		turned := *a.drain.turned.Load()
		s := a.drain.status(a.o.Store.Snapshot())
		if err := fn(s); err != nil {
			return err
		}
		if a.drain.done(s) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-turned:
		}
	}
}

// Undrain implements api.Commander.
func (a *Agent) Undrain(ctx context.Context) (api.Drain, error) {
	if a.up.Load() == nil {
		return api.Drain{}, a.errStarting()
	}
	was := a.drain.status(a.o.Store.Snapshot())
	if err := a.drain.ask(ctx, func(drainState) drainState { return drainState{} }); err != nil {
		return was, fmt.Errorf("node: undrain: %w", err)
	}
	return was, nil
}
