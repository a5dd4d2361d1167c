package fib

import "time"

// The pause after an audit before another may be due: at least a second, and
// twice what the audit took. That doubles with each audit that had to follow the
// one before as soon as it might, to sixteen times its cost.
const (
	leastAuditPause = time.Second
	mostAuditPause  = time.Minute
	mostAuditStreak = 3
)

// audits says when the next audit is due.
type audits struct {
	// doubts counts what made one due, settled those that one has seen to.
	doubts, settled uint64
	ended           time.Time
	pause           time.Duration
	streak          int // audits in a row that followed each other so closely
}

// doubt notes that what is believed of the kernel may be wrong.
func (f *FIB) doubt() { f.audits.doubts++ }

// AuditDue reports whether the kernel must be read again now, because
// notifications were lost or an outcome is not known: start an audit. While
// another program churns the table, or floods us with notifications, audits
// come at growing intervals, the longer the more they cost.
func (f *FIB) AuditDue() bool {
	a := &f.audits
	return a.doubts > a.settled && !f.now().Before(a.ended.Add(a.pause))
}

// finished takes note of an audit's end. What came into doubt after its begin
// is still in doubt, for its reading may have been before that.
func (s *audits) finished(a *Audit, now time.Time) {
	if a.whole {
		s.settled = max(s.settled, a.doubts)
	} else {
		s.doubts++
	}
	if a.due && a.began.Sub(s.ended) < 2*s.pause {
		s.streak = min(s.streak+1, mostAuditStreak)
	} else {
		s.streak = 0
	}
	cost := now.Sub(a.began)
	s.ended, s.pause = now, min(max(leastAuditPause, 2*cost<<s.streak), mostAuditPause)
}
