package fib

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
)

// Audit is one comparison with the kernel, in three steps, so that changes go
// on meanwhile: [FIB.NewAudit] on the FIB's goroutine, [Audit.Read] on any, and
// [FIB.Finish] on the FIB's again. Read takes what the kernel takes to list the
// routes; the others take milliseconds.
type Audit struct {
	kernel Kernel
	epoch  uint32
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
	// Again says that the kernel's table changed too fast to be read as a
	// whole, so that missing routes were not judged: another audit is due.
	Again bool
}

// NewAudit begins an audit. What is changed from here on is not compared. Only
// the last one begun is to be finished.
func (f *FIB) NewAudit() *Audit {
	f.epoch++
	f.forgotten = map[netip.Prefix]struct{}{}
	return &Audit{kernel: f.kernel, epoch: f.epoch, groups: newInterned[Route]()}
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
	f.auditDue = !a.whole
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
	return rep
}

// compare holds one route that was read against its entry.
func (f *FIB) compare(a *Audit, row row, g uint32, seen []uint64, rep *AuditReport) {
	i := f.table.find(row.dst)
	if i == 0 {
		if _, was := f.forgotten[row.dst]; !was {
			rep.Stray++
			way := f.groups.vals[g].Route
			way.Dst = row.dst
			f.stray(way)
		}
		return
	}
	e := f.table.at(i)
	if e.epoch-a.epoch < 1<<31 {
		return // changed since
	}
	mask := uint64(1) << (i % 64)
	if seen[i/64]&mask != 0 && e.is(flagIPv4) {
		rep.Stray++
		f.stats.Drift[CauseStray]++
		f.strays = append(f.strays, f.route(row.dst, g))
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

// Adopt reads back the routes with our mark that an earlier run left and
// returns their number. They stay until they are wanted, unset or swept.
func (f *FIB) Adopt(ctx context.Context) (int, error) {
	if err := f.readLinks(ctx); err != nil {
		return 0, fmt.Errorf("fib: adopt: %w", err)
	}
	var n int
	_, err := f.kernel.Dump(ctx, Filter{Own: true}, func(r Read) {
		i, _ := f.table.get(r.Dst)
		e := f.table.at(i)
		if e.have != 0 {
			r.Hops = slices.Clone(r.Hops)
			f.strays = append(f.strays, r.Route)
			return
		}
		f.setHave(e, f.groupOf(r.Route))
		n++
		if e.want == 0 {
			e.flags |= flagAdopted
			f.join(i, e, f.wants.vals[unwanted])
		} else {
			f.queue(i, e)
		}
	})
	if err != nil {
		return n, fmt.Errorf("fib: adopt: %w", err)
	}
	return n, nil
}
