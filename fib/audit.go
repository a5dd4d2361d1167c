package fib

import (
	"context"
	"fmt"
	"net/netip"
	"time"
)

// Audit is one comparison with the kernel, in three steps, so that changes go
// on meanwhile: [FIB.NewAudit] on the FIB's goroutine, [Audit.Read] on any, and
// [FIB.Finish] on the FIB's again. Read takes what the kernel takes to list the
// routes; the others take milliseconds.
type Audit struct {
	kernel Kernel
	epoch  uint32
	doubts uint64 // that it settles
	due    bool   // it was begun because of them
	began  time.Time
	rows   []row
	groups interned[Route]
	whole  bool
}

// row is a route that was read: 56 bytes until the audit's end.
type row struct {
	dst   netip.Prefix
	group uint32 // of Audit.groups
}

// AuditReport is what an audit found. What was not as it should be is repaired
// by the next Apply.
type AuditReport struct {
	// Routes of ours in the kernel, those that were missing, were different,
	// and were there for no reason.
	Routes, Missing, Changed, Stray int
	// Adopted counts those that the sweep will judge, and [FIB.Adopt] missed.
	Adopted int
	// Again says that the kernel's table changed too fast to be read as a
	// whole, so that missing routes were not judged: another audit is due.
	Again bool
}

// NewAudit begins an audit. What is changed from here on is not compared. Only
// the last one begun is to be finished.
func (f *FIB) NewAudit() *Audit {
	f.epoch++
	f.forgotten = map[netip.Prefix]struct{}{}
	return &Audit{
		kernel: f.kernel, epoch: f.epoch, began: f.now(), groups: newInterned[Route](),
		doubts: f.audits.doubts, due: f.audits.doubts > f.audits.settled,
	}
}

// Read reads our routes back. It may run beside every use of the FIB.
func (a *Audit) Read(ctx context.Context) error {
	var err error
	a.whole, err = a.kernel.Dump(ctx, Filter{Own: true}, a.add)
	if err != nil {
		return fmt.Errorf("fib: read routes: %w", err)
	}
	return nil
}

func (a *Audit) add(r Read) {
	t := &a.groups
	t.buf = appendGroup(t.buf[:0], &r.Route)
	g, ok := t.byKey[string(t.buf)]
	if !ok {
		way := Route{Kind: r.Kind, Hops: append([]Hop(nil), r.Hops...), Odd: r.Odd}
		g = t.put(string(t.buf), &way)
	}
	a.rows = append(a.rows, row{r.Dst, g})
}

// Finish compares what was read with what the FIB believes is there, and queues
// every difference for the next Apply. It also has every next hop asked again.
func (f *FIB) Finish(a *Audit) AuditReport {
	f.stats.Audits++
	f.askAll()
	rep := AuditReport{Routes: len(a.rows), Again: !a.whole}
	numbers := make([]uint32, len(a.groups.vals))
	for n, way := range a.groups.vals[1:] {
		numbers[n+1] = f.groupOf(*way)
		f.hold(numbers[n+1], 1)
	}
	seen := make([]uint64, f.table.used/64+1)
	for _, row := range a.rows {
		f.compare(a, row, numbers[row.group], seen, &rep)
	}
	f.table.all(func(i id, e *entry) bool {
		if e.epoch-a.epoch < 1<<31 {
			return true // changed since
		}
		if e.have != 0 && a.whole && (int(i/64) >= len(seen) || seen[i/64]&(1<<(i%64)) == 0) {
			rep.Missing++
			f.stats.Drift[CauseDeleted]++
			f.setHave(e, 0)
			f.queue(i, e)
		}
		return true
	})
	for _, n := range numbers[1:] {
		f.hold(n, -1)
	}
	for i := range f.blockers {
		f.queue(i, f.table.at(i)) // what stood in the way may be gone
	}
	f.stats.DriftAudit += uint64(rep.Missing + rep.Changed + rep.Stray)
	f.forgotten = nil
	f.audits.finished(a, f.now())
	return rep
}

// compare holds one route that was read against its entry.
func (f *FIB) compare(a *Audit, row row, g uint32, seen []uint64, rep *AuditReport) {
	i := f.table.find(row.dst)
	if i == 0 {
		if _, was := f.forgotten[row.dst]; !was {
			if f.stray(f.route(row.dst, g)) {
				rep.Stray++
			} else {
				rep.Adopted++
			}
		}
		return
	}
	e := f.table.at(i)
	if e.epoch-a.epoch < 1<<31 {
		return // changed since
	}
	mask := uint64(1) << (i % 64)
	if seen[i/64]&mask != 0 && e.is(flagIPv4) {
		if f.second(e, f.route(row.dst, g)) {
			rep.Stray++
		}
		return
	}
	seen[i/64] |= mask
	if g != e.have {
		rep.Changed++
		f.stats.Drift[CauseChanged]++
		f.setHave(e, g)
		f.queue(i, e)
	}
}

// Audit is the three steps in one, for callers with nothing else to do.
func (f *FIB) Audit(ctx context.Context) (AuditReport, error) {
	a := f.NewAudit()
	if err := a.Read(ctx); err != nil {
		return AuditReport{}, err
	}
	return f.Finish(a), nil
}

// adoptTries bounds how often Adopt reads a table that changes meanwhile.
const adoptTries = 5

// Adopt reads back the routes with our mark that an earlier run left and
// returns their number. They stay until they are wanted, unset or swept. If the
// table changes too fast to be read as a whole, what was missed is taken up by
// an audit, which is due then.
func (f *FIB) Adopt(ctx context.Context) (int, error) {
	if err := f.readLinks(ctx); err != nil {
		return 0, fmt.Errorf("fib: adopt: %w", err)
	}
	var a *Audit
	for range adoptTries {
		a = &Audit{kernel: f.kernel, groups: newInterned[Route]()}
		var err error
		if a.whole, err = f.kernel.Dump(ctx, Filter{Own: true}, a.add); err != nil {
			return 0, fmt.Errorf("fib: adopt: %w", err)
		}
		if a.whole {
			break
		}
	}
	if !a.whole {
		f.doubt()
	}
	var n int
	for _, row := range a.rows {
		r := *a.groups.vals[row.group]
		r.Dst = row.dst
		if f.adopt(r) {
			n++
		}
	}
	return n, nil
}

// adopt takes up one route, and reports whether it is the first of its prefix.
func (f *FIB) adopt(r Route) bool {
	i, _ := f.table.get(r.Dst)
	e := f.table.at(i)
	if e.have != 0 {
		if g := f.groupOf(r); g != e.have { // else listed twice
			f.hold(g, 1)
			f.hold(g, -1)
			f.second(e, r)
		}
		return false
	}
	f.setHave(e, f.groupOf(r))
	if e.want == 0 {
		e.flags |= flagAdopted
		f.join(i, e, f.wants.vals[unwanted])
	} else {
		f.queue(i, e)
	}
	return true
}
