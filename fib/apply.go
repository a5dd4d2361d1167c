package fib

import (
	"context"
	"fmt"
	"net/netip"
	"syscall"
	"time"
)

// batch is the number of routes in one system call: more gains nothing.
const batch = 256

// Report is what one Apply did.
type Report struct {
	// Installed are the prefixes that the kernel did not have and has now,
	// Uninstalled those that it had. Both are good until the next Apply.
	Installed, Uninstalled []netip.Prefix
	// Written and Deleted count the routes that were, Failed those that the
	// kernel refused, a conflict with a foreign route included.
	Written, Deleted, Failed int
	// More says that there is more to do at once: call Apply again.
	More bool
	// Err is set if the kernel could not be asked at all; what was to be done
	// is still to be done. See [FIB.Due] for when to try again.
	Err error
}

// Apply looks up what next hops need it, and writes the routes that are not as
// they shall be: first those to be added or changed, then those to be deleted.
// A route that the kernel refuses does not stop the others; it is tried again
// later ([FIB.Due]), and [FIB.State] has the reason. When ctx ends, the rest is
// left for the next Apply.
func (f *FIB) Apply(ctx context.Context) Report {
	r := Report{Installed: f.installed[:0], Uninstalled: f.uninstalled[:0]}
	err := f.prepare(ctx)
	if err == nil {
		f.pushStrays()
		err = f.flush(ctx, &r)
	}
	left := f.maxPerApply
	if err == nil {
		err = f.drain(ctx, &f.dirty, &left, &r)
	}
	if err == nil && len(f.dirty) == 0 {
		err = f.drain(ctx, &f.doomed, &left, &r)
	}
	if err == nil {
		err = f.readBlockers(ctx)
	}
	f.broken(err)
	if err != nil {
		r.Err = fmt.Errorf("fib: apply: %w", err)
	}
	r.More = err == nil && len(f.dirty)+len(f.doomed) > 0
	f.installed, f.uninstalled = r.Installed, r.Uninstalled
	return r
}

// broken keeps a kernel that cannot be asked from being asked all the time.
func (f *FIB) broken(err error) {
	if err == nil {
		f.errors, f.notBefore = 0, zeroTime
		return
	}
	f.notBefore = f.now().Add(min(firstRetry<<min(f.errors, 16), lastRetry))
	f.errors++
}

// prepare brings links, next hops and retries up to date.
func (f *FIB) prepare(ctx context.Context) error {
	if err := f.readLinks(ctx); err != nil {
		return err
	}
	if err := f.lookUp(ctx); err != nil {
		return err
	}
	f.resolveFresh()
	f.retry()
	return nil
}

// drain works off a queue in batches, up to left routes. What is queued
// meanwhile comes after what is left.
func (f *FIB) drain(ctx context.Context, queue *[]id, left *int, r *Report) (err error) {
	work := *queue
	*queue = nil
	done := 0
	for done < len(work) && *left > 0 && err == nil && ctx.Err() == nil {
		n := min(batch, len(work)-done, *left)
		for _, i := range work[done : done+n] {
			f.consider(i, queue == &f.doomed)
		}
		done, *left = done+n, *left-n
		err = f.flush(ctx, r)
	}
	if done < len(work) {
		*queue = append(work[done:], *queue...)
	} else if *queue == nil {
		*queue = work[:0]
	}
	return err
}

// consider turns one entry into an op, if it needs one. A deletion waits in
// doomed until nothing is left to add, unless it comes from there.
func (f *FIB) consider(i id, last bool) {
	e := f.table.at(i)
	e.flags &^= flagDirty
	w := f.wants.vals[e.want]
	how := decide(standing{
		wanted: e.want != unwanted, adopted: e.is(flagAdopted),
		have: e.have, shall: w.group,
		verify: e.is(flagVerify), foreign: e.is(flagForeign),
	})
	switch how {
	case leave:
		f.settle(i, e)
	case remove:
		if !last {
			e.flags |= flagDirty
			f.doomed = append(f.doomed, i)
			return
		}
		f.push(i, how, Op{Verb: Delete, Route: Route{Dst: e.dst()}})
	case create, confirm:
		f.push(i, how, Op{Verb: Create, Route: f.route(e.dst(), w.group)})
	case replace:
		f.push(i, how, Op{Verb: Replace, Route: f.route(e.dst(), w.group)})
	}
}

func (f *FIB) push(i id, how decision, op Op) {
	f.ops = append(f.ops, op)
	f.opIDs = append(f.opIDs, i)
	f.opHow = append(f.opHow, how)
}

// settle ends the work on an entry that is as it shall be.
func (f *FIB) settle(i id, e *entry) {
	if e.want == unwanted && e.have == 0 {
		f.forget(i, e)
		return
	}
	if e.have != 0 {
		e.received = 0
	}
	f.succeeded(i)
}

// flush writes the ops that were pushed and takes in the answers.
func (f *FIB) flush(ctx context.Context, r *Report) error {
	if len(f.ops) == 0 {
		return nil
	}
	failed, err := f.kernel.Write(ctx, f.ops)
	if err != nil {
		// Each op may have been carried out or not. All are tried again, and
		// what that leaves in doubt the audit sees.
		f.doubt()
		for n, i := range f.opIDs {
			if i != 0 {
				f.queue(i, f.table.at(i))
			} else {
				f.strays = append(f.strays, f.ops[n].Route)
			}
		}
		f.clearOps()
		return fmt.Errorf("write routes: %w", err)
	}
	f.wrote = f.now()
	for n, i := range f.opIDs {
		var fail *Failure
		if len(failed) > 0 && failed[0].Index == n {
			fail, failed = &failed[0], failed[1:]
		}
		if i != 0 {
			f.finish(i, n, fail, r)
		}
	}
	f.clearOps()
	return nil
}

func (f *FIB) clearOps() {
	clear(f.ops)
	f.ops, f.opIDs, f.opHow = f.ops[:0], f.opIDs[:0], f.opHow[:0]
}

// finish takes in the kernel's answer to the nth op, which was for entry i.
func (f *FIB) finish(i id, n int, fail *Failure, r *Report) {
	e, op, how := f.table.at(i), &f.ops[n], f.opHow[n]
	if how == remove && fail != nil && fail.Errno == syscall.ESRCH {
		fail = nil // gone already, which is what was asked for
	}
	switch {
	case fail == nil && how == remove:
		f.deleted(i, e, r)
	case fail == nil:
		f.written(i, e, how, r)
	case how == confirm && fail.Errno == syscall.EEXIST && !e.is(flagForeign):
		e.flags &^= flagVerify | flagLink // ours is still there
		f.queue(i, e)
	case how == confirm && fail.Errno == syscall.EEXIST:
		// Which of the two it is that exists, only the kernel's list tells.
		f.setHaveAt(e, 0, f.wrote)
		f.unread = append(f.unread, i)
		fallthrough
	default:
		f.refused(i, e, op, fail, r)
	}
}

func (f *FIB) deleted(i id, e *entry, r *Report) {
	f.setHaveAt(e, 0, f.wrote)
	f.succeeded(i)
	f.wroteTo(e.dst())
	r.Deleted++
	f.stats.Deleted++
	r.Uninstalled = append(r.Uninstalled, e.dst())
	switch {
	case e.want == unwanted:
		f.forget(i, e)
	case f.wants.vals[e.want].group != 0:
		f.queue(i, e) // it was only to make room
	}
}

func (f *FIB) written(i id, e *entry, how decision, r *Report) {
	if how == confirm {
		f.stats.Drift[e.cause()]++
	}
	if e.have == 0 {
		r.Installed = append(r.Installed, e.dst())
	}
	f.setHaveAt(e, f.wants.vals[e.want].group, f.wrote)
	e.flags &^= flagVerify | flagLink | flagForeign
	delete(f.blockers, i)
	f.succeeded(i)
	f.wroteTo(e.dst())
	r.Written++
	f.stats.Written++
	if e.received != 0 {
		f.observe(f.wrote.Sub(time.Unix(0, e.received)))
		e.received = 0
	}
}

func (f *FIB) refused(i id, e *entry, op *Op, fail *Failure, r *Report) {
	r.Failed++
	f.stats.Refused++
	if fail.Errno == syscall.EEXIST && !e.is(flagForeign) {
		f.unread = append(f.unread, i)
	}
	f.fail(i, e, &RouteError{Verb: op.Verb, Route: op.Route, Errno: fail.Errno, Text: fail.Text, Blocker: f.blockers[i]})
}
