package node

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/felix"
)

// policyOp is what is done to the kernel at a time.
type policyOp uint8

const (
	policyApply policyOp = iota
	policyAudit
	policyRemove
)

// policyDone is an operation that has ended.
type policyDone struct {
	op     policyOp
	result felix.Result
	err    error
	begun  time.Time
	snap   *caracal.Snapshot
	// kernel is what was opened for it.
	kernel   Rules
	problems []caracal.Problem
	updated  bool // want is of snap
}

// begin starts what is due, if anything is.
func (t *policyTask) begin(ctx context.Context) {
	snap := t.store.Snapshot()
	if t.open == nil {
		t.idle("")
		return
	}
	if snap.Dataplane.Policy.Disabled && snap.Synced {
		t.disabled(ctx)
		return
	}
	if t.gone {
		t.gone, t.bare = false, true
	}
	if t.state.Load().off {
		t.publish(func(s *policyState) { s.waiting, s.lastRun, s.off = "it was disabled until now", false, false })
	}
	if why, lastRun := t.mustWait(snap); why != "" {
		if t.state.Load().waiting != why {
			t.publish(func(s *policyState) { s.waiting, s.lastRun, s.off = why, lastRun, false })
		}
		return
	}
	now := time.Now()
	if !t.retry.IsZero() && now.Before(t.retry) {
		return
	}
	if t.kernel != nil && wantsOther(snap.Dataplane.Policy.Backend, t.kernel.Backend()) {
		t.use(nil)
	}
	interval := time.Minute
	if i := snap.Dataplane.AuditInterval; i > 0 {
		interval = i
	}
	if !t.rung.IsZero() && now.Sub(t.audited) >= policyRest || now.Sub(t.audited) >= interval || t.tidy && now.Sub(t.audited) >= policyTidyRest {
		t.whole = true
	}
	if !t.whole && snap == t.taken && t.plan.Load() == t.fed {
		return
	}
	t.pass(ctx, snap, now)
}

// wantsOther reports whether a backend is asked for that is not the one in use.
func wantsOther(asked, have string) bool { return asked != "" && asked != have }

// mustWait says why nothing may be written yet; empty if it may. lastRun says that
// meanwhile the rules of the last run protect this node's workloads.
func (t *policyTask) mustWait(snap *caracal.Snapshot) (why string, lastRun bool) {
	st := t.state.Load()
	switch {
	case !snap.Synced:
		return "the configuration has not been read yet", false
	case st.passed():
		return "", false
	case t.plan.Load() == nil && time.Since(t.began) < policyPlanWait:
		return "BGP has not said yet who its neighbors are", false
	case !t.adopted || t.bare: // whatever is written only closes
		return "", false
	}
	var missing []string
	for _, kind := range []string{"NetworkPolicy", "Namespace", "Workload"} {
		if why, ok := snap.Incomplete[kind]; ok {
			missing = append(missing, kind+": "+why)
		}
	}
	if len(missing) == 0 {
		return "", false
	}
	return "the rules of the last run stay as they are, since objects may be missing: " + strings.Join(missing, "; "), true
}

// pass brings want up to date and has the kernel written, on a goroutine of its
// own. What changes nothing in the kernel is in force at once.
func (t *policyTask) pass(ctx context.Context, snap *caracal.Snapshot, now time.Time) {
	plan := t.plan.Load()
	in := felix.Input{}
	if plan != nil {
		in = plan.input
	} else {
		in = withPeers(in, snap)
	}
	in.Snapshot = snap
	delta, problems := t.want.Update(in)
	t.taken, t.fed = snap, plan
	if t.flusher != nil {
		t.flusher.judgeBy(snap)
	}
	t.sizes.take(delta)
	t.tightened = t.tightened || delta.Tightened
	d := policyDone{op: policyApply, begun: now, snap: snap, kernel: t.kernel, problems: problems, updated: true}
	if t.whole {
		d.op = policyAudit
	} else if delta.Empty() {
		t.settle(d)
		return
	}
	t.running, t.rung = true, time.Time{}
	open, want, backend := t.open, t.want, snap.Dataplane.Policy.Backend
	go func() { t.done <- carryOut(ctx, d, open, backend, want, delta) }()
}

// carryOut writes the kernel.
func carryOut(ctx context.Context, d policyDone, open func(string) (Rules, error), backend string, want felix.Ruleset, delta felix.Delta) policyDone {
	wait := policyApplyWait
	if d.op == policyAudit {
		wait = policyAuditWait
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	if d.kernel == nil {
		if d.kernel, d.err = open(backend); d.err != nil {
			d.kernel = nil
			return d
		}
	}
	if d.op == policyAudit {
		d.result, d.err = d.kernel.Audit(ctx, want)
		d.result.Unfiltered = append(d.result.Unfiltered, bypassed(hasDevice)...)
	} else {
		d.result, d.err = d.kernel.Apply(ctx, want, delta)
	}
	return d
}

// end takes the result of an operation.
func (t *policyTask) end(d policyDone) {
	t.running = false
	if d.op == policyRemove {
		t.endRemove(d)
		return
	}
	if d.kernel != t.kernel {
		t.use(d.kernel)
	}
	if d.op == policyAudit && d.err == nil {
		t.audited = time.Now()
	}
	t.settle(d)
}

// use takes another view of the kernel, which nothing is known of yet.
func (t *policyTask) use(k Rules) {
	if t.unwatch != nil {
		t.unwatch()
		t.kernel.Close()
	}
	t.kernel, t.watch, t.unwatch, t.whole = k, nil, nil, true
	if k != nil {
		ctx, cancel := context.WithCancel(t.life)
		t.watch, t.unwatch = k.Watch(ctx), cancel
	}
}

// settle publishes what is in force now, and lets those go who wait for it.
func (t *policyTask) settle(d policyDone) {
	if d.err != nil {
		t.fail(d.err)
		return
	}
	now := time.Now()
	if t.said != "" {
		t.log.Info("policy: the kernel's rules are as they must be again")
	}
	t.said, t.failures, t.retry, t.whole = "", 0, time.Time{}, false
	if d.op == policyAudit {
		// A few sets at a time: each takes the kernel a while, and none hurts.
		t.tidy = d.result.Unused > 0
	}
	for _, note := range d.result.Notes {
		t.log.Debug("policy: left out", "what", note)
	}
	for _, what := range d.result.Unfiltered {
		if !slices.Contains(t.state.Load().unfiltered, what) {
			t.log.Warn("policy: " + what)
		}
	}
	first := !t.state.Load().passed()
	t.latency.Observe(now.Sub(d.begun).Seconds())
	counts := t.sizes.counts(t.want)
	t.publish(func(s *policyState) {
		s.waiting, s.lastRun, s.err, s.errSince = "", false, nil, time.Time{}
		s.off, s.problems, s.counts, s.generation, s.done = false, d.problems, counts, d.snap.Generation, now
		if s.since.IsZero() {
			s.since = now
		}
		if t.kernel != nil {
			s.backend = t.kernel.Backend()
		}
		if d.op == policyAudit {
			s.audited, s.unfiltered = now, d.result.Unfiltered
			if n := len(d.result.Repairs); n > 0 {
				s.repaired += n
				s.repairedAt, s.repairs = now, d.result.Repairs
			}
		}
	})
	switch {
	case first:
		t.log.Info("policy: rules are in force", "backend", t.kernel.Backend(), "chains", counts.Chains, "rules", counts.Rules, "sets", counts.Sets)
		t.opened()
	case len(d.result.Repairs) > 0:
		t.log.Warn("policy: rules or sets were not as they should be; repaired", "what", strings.Join(d.result.Repairs, "; "))
	case t.log.Enabled(context.Background(), slog.LevelDebug):
		t.log.Debug("policy: pass", "generation", d.snap.Generation, "took", now.Sub(d.begun))
	}
	if t.flusher != nil && (t.tightened || first) {
		t.flusher.ask()
	}
	t.tightened = false
	t.answerWaits()
}

// fail remembers why an operation failed; the next one reads everything back.
func (t *policyTask) fail(err error) {
	t.failures++
	t.whole = true
	t.retry = time.Now().Add(backoff(t.failures))
	if text := err.Error(); text != t.said {
		t.said = text
		t.log.Error("policy: the kernel's rules are not up to date; tried again", "err", err)
	}
	t.publish(func(s *policyState) {
		s.waiting, s.lastRun, s.err, s.failures = "", false, err, s.failures+1
		if s.errSince.IsZero() {
			s.errSince = time.Now()
		}
	})
}

// idle lets everybody through: there is nothing to wait for.
func (t *policyTask) idle(why string) {
	t.answerWaits()
	if st := t.state.Load(); st.off && st.waiting == why {
		return
	}
	t.publish(func(s *policyState) { *s = policyState{off: true, waiting: why} })
	t.opened()
}

// disabled removes what is there, once, and is idle from then on.
func (t *policyTask) disabled(ctx context.Context) {
	if t.gone {
		t.idle("")
		return
	}
	now := time.Now()
	if !t.retry.IsZero() && now.Before(t.retry) || t.remove == nil {
		t.idle("")
		return
	}
	t.running = true
	t.use(nil)
	if t.flusher != nil {
		t.flusher.judgeBy(nil)
	}
	remove := t.remove
	go func() {
		ctx, cancel := context.WithTimeout(ctx, policyAuditWait)
		defer cancel()
		t.done <- policyDone{op: policyRemove, err: remove(ctx)}
	}()
}

func (t *policyTask) endRemove(d policyDone) {
	if d.err != nil {
		t.failures++
		t.retry = time.Now().Add(backoff(t.failures))
		if text := d.err.Error(); text != t.said {
			t.said = text
			t.log.Warn("policy is disabled, but its rules cannot be removed; tried again", "err", d.err)
		}
	} else {
		t.gone, t.failures, t.retry, t.said = true, 0, time.Time{}, ""
		t.log.Info("policy is disabled: no rules or sets of ours are left")
	}
	why := ""
	if d.err != nil {
		why = fmt.Sprintf("disabled, but rules of ours cannot be removed: %v", d.err)
	}
	t.idle(why)
}

func compareAddrs(a, b netip.Addr) int { return a.Compare(b) }

// policySizes counts what the Deltas have left.
type policySizes struct {
	chains map[felix.ChainKey]int // rules
	sets   map[string]int         // members
}

func newPolicySizes() policySizes {
	return policySizes{chains: map[felix.ChainKey]int{}, sets: map[string]int{}}
}

func (z policySizes) take(d felix.Delta) {
	for _, c := range d.Chains {
		if c.Gone {
			delete(z.chains, c.ChainKey)
		} else {
			z.chains[c.ChainKey] = len(c.Rules)
		}
	}
	for _, s := range d.Sets {
		if s.Gone {
			delete(z.sets, s.Name)
		} else {
			z.sets[s.Name] += len(s.Add) + len(s.AddLate) - len(s.Remove) - len(s.RemoveLate)
		}
	}
}

func (z policySizes) counts(want wanted) policyCounts {
	c := policyCounts{Chains: len(z.chains), Sets: len(z.sets)}
	for _, n := range z.chains {
		c.Rules += n
	}
	for _, n := range z.sets {
		c.Members += n
	}
	for e := range want.Endpoints() {
		c.Endpoints++
		if len(e.Ingress) > 0 {
			c.Ingress++
		}
		if len(e.Egress) > 0 {
			c.Egress++
		}
	}
	return c
}
