package node

import (
	"context"
	"time"

	"caracal.dev/caracal/fib"
)

// audited is a reading of the kernel that is done.
type audited struct {
	audit *fib.Audit
	err   error
}

// auditRetry is the least time between the begin of two audits.
const auditRetry = time.Second

// startAudit has the kernel read on another goroutine, while changes go on, when
// the interval is over or notifications were lost.
func (t *routesTask) startAudit(ctx context.Context, done chan<- audited) {
	interval := time.Minute
	if t.snap != nil && t.snap.Dataplane.AuditInterval > 0 {
		interval = t.snap.Dataplane.AuditInterval
	}
	now := time.Now()
	if t.auditing || now.Sub(t.auditBegan) < auditRetry || !t.fib.AuditDue() && now.Sub(t.auditBegan) < interval {
		return
	}
	t.auditing, t.auditBegan = true, now
	a := t.fib.NewAudit()
	go func() {
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		done <- audited{a, a.Read(ctx)}
	}()
}

func (t *routesTask) endAudit(a audited) {
	t.auditing = false
	if a.err != nil {
		if !t.auditFailed {
			t.log.Error("audit failed; tried again", "err", a.err)
		}
		t.auditFailed = true
		return
	}
	t.auditFailed = false
	r := t.fib.Finish(a.audit)
	t.lastAudit = time.Now()
	if r.Adopted > 0 {
		t.log.Info("audit: routes that the start did not see are adopted", "count", r.Adopted)
	}
	if n := r.Missing + r.Changed + r.Stray; n > 0 {
		t.log.Warn("audit: kernel routes were not as they should be; repaired", "missing", r.Missing, "changed", r.Changed, "stray", r.Stray)
	} else {
		t.log.Debug("audit", "routes", r.Routes, "again", r.Again)
	}
}
