package node

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/endpoint"
)

// policyWait is somebody who waits for the policies of a workload to be in force.
type policyWait struct {
	w    caracal.Workload
	open bool // to be in force, and not to be gone
	// since is the generation of the Snapshot when it was asked: what is in force
	// must be of that one or of a later.
	since uint64
	done  chan struct{}
}

// await returns when the rules of a workload are in force as it is, with the
// policies of this moment; or, without open, when nothing of it is left. When ctx
// ends before, the error says why they are not.
func (t *policyTask) await(ctx context.Context, w caracal.Workload, open bool) error {
	if t.unasked() {
		return nil
	}
	wait := &policyWait{w: w, open: open, since: t.store.Snapshot().Generation, done: make(chan struct{})}
	err := t.query(ctx, func() {
		if t.missing(wait) == nil {
			close(wait.done)
			return
		}
		t.waits[wait] = struct{}{}
	})
	if err != nil {
		return fmt.Errorf("%w: policy of workload %s: the policy task does not answer: %w", endpoint.ErrNotReady, w.Key(), err)
	}
	if st := t.state.Load(); !open && st.err != nil {
		ctx = ended(ctx) // it is not waited for what cannot come: the interface goes with its rules closed
	}
	select {
	case <-wait.done:
		return nil
	case <-ctx.Done():
	}
	var why error
	ask, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	err = t.query(ask, func() {
		delete(t.waits, wait)
		why = t.missing(wait)
	})
	if err == nil && why == nil {
		return nil // in the last moment
	}
	return errors.Join(err, why)
}

// ended returns a context that is over.
func ended(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	return ctx
}

// answerWaits lets those go who have what they wait for.
func (t *policyTask) answerWaits() {
	for wait := range t.waits {
		if t.missing(wait) == nil {
			close(wait.done)
			delete(t.waits, wait)
		}
	}
}

// unasked reports whether nobody need wait for rules: there are none, and none are
// asked for at this moment.
func (t *policyTask) unasked() bool {
	return t.state.Load().off && (t.open == nil || t.store.Snapshot().Dataplane.Policy.Disabled)
}

// missing says why a workload's rules are not in force as it is waited for.
func (t *policyTask) missing(wait *policyWait) error {
	if t.unasked() {
		return nil
	}
	st := t.state.Load()
	why := ""
	switch {
	case st.off:
		why = "it was disabled until now"
	case st.err != nil:
		why = fmt.Sprintf("the kernel's rules cannot be written: %v", st.err)
	case st.waiting != "":
		why = st.waiting
	case t.running:
		why = "the kernel's rules are being written"
	case t.taken == nil || t.taken.Generation < wait.since, t.known(wait) != wait.open:
		why = "the policy task has not taken it up yet"
	}
	switch {
	case why == "":
		return nil
	case !wait.open:
		return fmt.Errorf("rules of workload %s (interface %s) may still be in the kernel: %s", wait.w.Key(), wait.w.Interface, why)
	}
	return fmt.Errorf("%w: policy of workload %s (interface %s) is not in force: %s", endpoint.ErrNotReady, wait.w.Key(), wait.w.Interface, why)
}

// known reports whether the rules that are wanted have the workload: as it is, to
// open; in any way, to close.
func (t *policyTask) known(wait *policyWait) bool {
	if e, ok := t.want.Endpoint(wait.w.Key()); ok && wait.open && e.Interface == wait.w.Interface && sameAddresses(e.Addrs, wait.w.Addrs) {
		return true
	}
	for e := range t.want.Endpoints() {
		if e.Interface == wait.w.Interface && (!wait.open || sameAddresses(e.Addrs, wait.w.Addrs)) {
			return true
		}
	}
	return false
}

func sameAddresses(a, b []netip.Addr) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(x netip.Addr) bool { return !slices.Contains(b, x) })
}
