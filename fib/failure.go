package fib

import (
	"context"
	"fmt"
	"slices"
	"syscall"
	"time"
)

// Backoff of a route that the kernel refuses, and the least time between two
// tries of all of them because the network changed.
const (
	firstRetry   = 100 * time.Millisecond
	lastRetry    = 30 * time.Second
	kickInterval = time.Second
	readInterval = time.Second
)

// RouteError is the kernel's refusal of a route, in words for an operator. It
// unwraps to the errno.
type RouteError struct {
	Verb  Verb
	Route Route
	Errno syscall.Errno
	// Text is the kernel's own explanation, if it gave one.
	Text string
	// Blocker is the protocol of the foreign route in the way (EEXIST); 0 while
	// it is not known.
	Blocker uint8
}

// Error implements error.
func (e *RouteError) Error() string {
	verb := "take"
	if e.Verb == Delete {
		verb = "delete"
	}
	s := fmt.Sprintf("the kernel does not %s %s: %v", verb, e.Route, e.Errno)
	if e.Text != "" {
		s += " (" + e.Text + ")"
	}
	return s + ": " + e.advice()
}

// Unwrap returns the errno.
func (e *RouteError) Unwrap() error { return e.Errno }

func (e *RouteError) advice() string {
	switch e.Errno {
	case syscall.EEXIST:
		if e.Blocker == 0 {
			return "another program has a route with the same prefix and our metric; remove it, or configure another metric"
		}
		return fmt.Sprintf("a route of protocol %s has the same prefix and our metric; remove it, or configure another metric", protocolName(e.Blocker))
	case syscall.ENETUNREACH, syscall.EHOSTUNREACH:
		return "the gateway is not on a network that the device is connected to"
	case syscall.ENODEV, syscall.ENXIO:
		return "the device is gone; it is tried again when it returns"
	case syscall.ENETDOWN:
		return "the device is down; set it up"
	case syscall.EPERM:
		return "the daemon needs CAP_NET_ADMIN"
	case syscall.ENOBUFS, syscall.ENOMEM, syscall.ENFILE:
		return "the kernel is short of memory for routes; for IPv6 look at net.ipv6.route.max_size"
	case syscall.EACCES, syscall.EAFNOSUPPORT, syscall.EOPNOTSUPP:
		return "the address family is switched off; look at net.ipv6.conf.DEVICE.disable_ipv6"
	case syscall.EMSGSIZE:
		return "it has more next hops than fit a message to the kernel; limit the number of paths"
	case syscall.EINVAL:
		return "the kernel finds the gateway or the device unfit for this route; compare `ip route get GATEWAY`"
	}
	return "it is tried again"
}

// protocolName names what `ip route` would, for the protocols that people meet.
func protocolName(p uint8) string {
	names := map[uint8]string{2: "kernel", 3: "boot", 4: "static", 9: "ra", 11: "zebra", 12: "bird",
		16: "dhcp", 17: "kube-router", 80: "felix", 186: "bgp", 188: "ospf", 187: "isis", 189: "rip", 192: "eigrp"}
	if n, ok := names[p]; ok {
		return fmt.Sprintf("%d (%s)", p, n)
	}
	return fmt.Sprint(p)
}

// failure is a route that the kernel refused.
type failure struct {
	err      *RouteError
	attempts int
	at       time.Time // of the next try
	since    int64
	conflict bool
}

func (f *FIB) fail(i id, e *entry, err *RouteError) {
	fail := f.failures[i]
	now := f.now()
	if fail == nil {
		fail = &failure{since: now.UnixNano()}
		f.failures[i] = fail
	}
	err.Route.Hops = f.named(err.Route.Hops)
	fail.err, fail.conflict = err, err.Errno == syscall.EEXIST
	fail.at = now.Add(min(firstRetry<<min(fail.attempts, 16), lastRetry))
	fail.attempts++
	if f.retryAt.IsZero() || fail.at.Before(f.retryAt) {
		f.retryAt = fail.at
	}
}

func (f *FIB) succeeded(i id) {
	if len(f.failures) > 0 {
		delete(f.failures, i)
	}
}

// retry queues the failed routes whose time has come, and all of them if the
// network changed and that was not just tried.
func (f *FIB) retry() {
	now := f.now()
	all := f.kick && !now.Before(f.kicked.Add(kickInterval))
	if all || len(f.failures) == 0 {
		f.kick = false
	}
	if len(f.failures) == 0 || !all && now.Before(f.retryAt) {
		return
	}
	if all {
		f.kicked = now
	}
	f.retryAt = now.Add(lastRetry)
	for i, fail := range f.failures {
		if all || !now.Before(fail.at) {
			f.queue(i, f.table.at(i))
		} else if fail.at.Before(f.retryAt) {
			f.retryAt = fail.at
		}
	}
}

// readBlockers finds out why routes could not be created because something was
// there (EEXIST): a route of ours that was not known, or a foreign one. Only the
// kernel's list tells, so it is read for all of them together, and not often.
func (f *FIB) readBlockers(ctx context.Context) error {
	if len(f.unread) == 0 || f.now().Before(f.unreadAt) {
		return nil
	}
	start := f.now()
	asked := map[id]bool{} // found yet?
	for _, i := range f.unread {
		if fail := f.failures[i]; fail != nil && fail.conflict {
			asked[i] = false
		}
	}
	f.unread = nil
	err := f.readOwn(ctx, asked)
	if err == nil {
		err = f.readForeign(ctx, asked)
	}
	f.unreadAt = f.now().Add(max(readInterval, 10*f.now().Sub(start)))
	for i, found := range asked {
		if !found {
			f.queue(i, f.table.at(i)) // gone meanwhile
		}
	}
	return err
}

func (f *FIB) readOwn(ctx context.Context, asked map[id]bool) error {
	if len(asked) == 0 {
		return nil
	}
	_, err := f.kernel.Dump(ctx, Filter{Own: true}, func(r Read) {
		i := f.table.find(r.Dst)
		if found, ok := asked[i]; !ok || found {
			return
		}
		asked[i] = true
		e := f.table.at(i)
		f.setHave(e, f.groupOf(r.Route))
		f.succeeded(i)
		f.queue(i, e)
	})
	return err
}

func (f *FIB) readForeign(ctx context.Context, asked map[id]bool) error {
	if !slices.Contains(mapValues(asked), false) {
		return nil
	}
	m := f.kernel.Mark()
	_, err := f.kernel.Dump(ctx, Filter{Table: m.Table}, func(r Read) {
		i := f.table.find(r.Dst)
		if found, ok := asked[i]; !ok || found || r.Metric != m.Metric {
			return
		}
		asked[i] = true
		e := f.table.at(i)
		e.flags |= flagForeign
		f.blockers[i] = r.Protocol
		f.failures[i].err.Blocker = r.Protocol
	})
	return err
}

func mapValues(m map[id]bool) []bool {
	vs := make([]bool, 0, len(m))
	for _, v := range m {
		vs = append(vs, v)
	}
	return vs
}
