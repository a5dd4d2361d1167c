package fib

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// fans are next hops of a route, spread over two devices: by family and kind.
var fans = []struct {
	name, dst string
	hop       func(i int) string
}{
	{"IPv4", "100.64.0.0/26", func(i int) string { return fmt.Sprintf("10.0.%d.%d", i%2, 10+i) }},
	{"IPv6", "fdaa::/64", func(i int) string { return fmt.Sprintf("fd0%d::%x", i%2, 10+i) }},
	{"IPv6 link-local", "fdab::/64", func(i int) string { return fmt.Sprintf("fe80::%x%%eth%d", 10+i, i%2) }},
	{"IPv4 by IPv6", "100.64.1.0/26", func(i int) string { return fmt.Sprintf("fd0%d::%x", i%2, 10+i) }},
	{"IPv4 by link-local", "100.64.2.0/26", func(i int) string { return fmt.Sprintf("fe80::%x%%eth%d", 10+i, i%2) }},
}

func fan(dst string, n int, hop func(int) string) Want {
	var nhs []string
	for i := range n {
		nhs = append(nhs, hop(i))
	}
	return learned(dst, nhs...)
}

// newFork is a machine with two uplinks, each with a network of each family.
func newFork(t *testing.T) *world {
	w := newWorld(t)
	w.Device("eth0", "10.0.0.1/24", "fd00::1/64")
	w.Device("eth1", "10.0.1.1/24", "fd01::1/64")
	return w
}

// TestMultipathGrowsAndShrinks writes routes of every kind of next hop with
// changing numbers of them. What the kernel has then is just those, and looking
// again finds nothing to do.
func TestMultipathGrowsAndShrinks(t *testing.T) {
	w := newFork(t)
	for _, n := range []int{1, 2, 4, 16, 15, 4, 2, 1, 16, 1, 2} {
		for _, f := range fans {
			w.f.Set(fan(f.dst, n, f.hop))
		}
		if r := w.apply(); r.Written != len(fans) || r.Deleted+r.Failed != 0 {
			t.Fatalf("%d hops: %+v", n, r)
		}
		got := w.ours()
		for _, f := range fans {
			lines := slices.DeleteFunc(strings.Split(got, "\n"), func(l string) bool { return !strings.HasPrefix(l, f.dst) })
			if len(lines) != 1 || strings.Count(lines[0], " via ") != n {
				t.Errorf("%s, %d hops: the kernel has\n%s", f.name, n, strings.Join(lines, "\n"))
			}
			for i := range n {
				gw, _, _ := strings.Cut(f.hop(i), "%")
				if hop := fmt.Sprintf("%s dev eth%d", gw, i%2); len(lines) == 1 && !strings.Contains(lines[0]+" ", hop+" ") {
					t.Errorf("%s, %d hops: no hop %s in %s", f.name, n, hop, lines[0])
				}
			}
		}
		if rep, err := w.f.Audit(t.Context()); err != nil || rep != (AuditReport{Routes: len(fans)}) {
			t.Errorf("%d hops: audit %+v, %v", n, rep, err)
		}
		if r := w.apply(); r.Written+r.Deleted != 0 {
			t.Errorf("%d hops: the second Apply wrote: %+v", n, r)
		}
	}
}

// TestRestartKeepsMultipath adopts what a FIB before it wrote.
func TestRestartKeepsMultipath(t *testing.T) {
	w := newFork(t)
	for range 2 {
		for _, f := range fans {
			w.f.Set(fan(f.dst, 4, f.hop))
		}
		w.apply()
		before := w.ours()
		w.start(DefaultMark)
		if n, err := w.f.Adopt(t.Context()); err != nil || n != len(fans) {
			t.Fatalf("adopted %d, %v", n, err)
		}
		for _, f := range fans {
			w.f.Set(fan(f.dst, 4, f.hop))
		}
		if r := w.apply(); r.Written+r.Deleted != 0 || w.ours() != before {
			t.Errorf("the next FIB wrote %+v:\n%s\nwas\n%s", r, w.ours(), before)
		}
	}
}

// TestLinkLocalNextHops follows routes by link-local next hops through what
// happens to their device.
func TestLinkLocalNextHops(t *testing.T) {
	w := newFork(t)
	w.Run("ip", "addr", "flush", "dev", "eth0") // an unnumbered link has no other address
	w.f.Set(learned("100.64.0.0/26", "fe80::a%eth0"))
	w.f.Set(learned("fdaa::/64", "fe80::a%eth0"))
	w.f.Set(learned("100.64.1.0/26", "fe80::a%eth0", "fe80::b%eth1"))
	w.f.Set(learned("fdab::/64", "fe80::a%eth0", "fe80::b%eth1"))
	w.f.Set(learned("100.64.2.0/26", "fe80::a%eth0", "10.0.1.9"))
	w.apply()
	w.calm()
	const good = `
100.64.0.0/26 via inet6 fe80::a dev eth0 metric 427
100.64.1.0/26 metric 427 nexthop via inet6 fe80::a dev eth0 weight 1 nexthop via inet6 fe80::b dev eth1 weight 1
100.64.2.0/26 metric 427 nexthop via 10.0.1.9 dev eth1 weight 1 nexthop via inet6 fe80::a dev eth0 weight 1
fdaa::/64 via fe80::a dev eth0 metric 427 pref medium
fdab::/64 metric 427 pref medium nexthop via fe80::a dev eth0 weight 1 nexthop via fe80::b dev eth1 weight 1`
	const half = `
100.64.1.0/26 via inet6 fe80::b dev eth1 metric 427
100.64.2.0/26 via 10.0.1.9 dev eth1 metric 427
fdab::/64 via fe80::b dev eth1 metric 427 pref medium`
	w.expect("at first", good)
	for _, step := range []struct {
		name   string
		args   []string
		want   string
		reason string
	}{
		{"down", []string{"link", "set", "eth0", "down"}, half, "device eth0 is down"},
		{"up", []string{"link", "set", "eth0", "up"}, good, ""},
		{"gone", []string{"link", "del", "eth0"}, half, "device eth0 does not exist"},
	} {
		w.Run("ip", step.args...)
		took := w.expect(step.name, step.want)
		t.Logf("%s: repaired after %v", step.name, took)
		for _, dst := range []string{"100.64.0.0/26", "fdaa::/64"} { // a device goes in two steps: down, and away
			w.settle(fmt.Sprintf("%s: the reason %q of %s", step.name, step.reason, dst), func() bool {
				s, _ := w.f.State(pfx(dst))
				return strings.Contains(s.Reason, step.reason) && (s.Reason == "") == (step.reason == "")
			})
		}
	}
	w.Device("eth0")
	w.expect("back under another number", good)
}

// expect waits until the kernel has just these routes of ours.
func (w *world) expect(what, want string) string {
	w.t.Helper()
	return w.settle(what, func() bool { return w.ours() == strings.TrimSpace(want) }).String()
}

// TestCarrierLossShrinks takes the cable out of one of two uplinks: the kernel
// keeps the hop, which leads nowhere, so it is taken out of the route.
func TestCarrierLossShrinks(t *testing.T) {
	w := newFork(t)
	for _, f := range fans {
		w.f.Set(fan(f.dst, 2, f.hop))
	}
	w.apply()
	w.calm()
	both := w.ours()
	for range 2 {
		w.Run("ip", "link", "set", "eth1~", "down")
		took := w.settle("the shrinking", func() bool {
			return !strings.Contains(w.ours(), "eth1") && strings.Count(w.ours(), "eth0") == len(fans)
		})
		t.Logf("the cable is out: %v", took)
		w.Run("ip", "link", "set", "eth1~", "up")
		took = w.settle("the growing", func() bool { return w.ours() == both })
		t.Logf("the cable is in: %v", took)
	}
	if d := w.f.Stats().Drift; d[CauseDeleted]+d[CauseStray]+d[CauseChanged] != 0 {
		t.Errorf("blamed on somebody else: %v", d)
	}
}

// TestForeignHandsOnMultipath has another program change hops of ours.
func TestForeignHandsOnMultipath(t *testing.T) {
	w := newFork(t)
	for _, f := range fans {
		w.f.Set(fan(f.dst, 2, f.hop))
	}
	w.f.Sweep(nil)
	w.apply()
	w.calm()
	good := w.ours()
	for _, cmd := range []string{
		"ip route replace 100.64.2.0/26 via inet6 fe80::bad dev eth0 proto 67 metric 427",
		"ip route replace 100.64.2.0/26 proto 67 metric 427 nexthop via inet6 fe80::a dev eth0 nexthop via inet6 fe80::bad dev eth1",
		"ip route replace 100.64.2.0/26 proto 67 metric 427 nexthop via inet6 fe80::a dev eth0 weight 5 nexthop via inet6 fe80::b dev eth1",
		"ip route replace 100.64.1.0/26 via 10.0.0.9 proto 67 metric 427",
		"ip -6 route append fdab::/64 via fe80::bad dev eth0 proto 67 metric 427",
		"ip -6 route del fdab::/64 via fe80::a dev eth0 proto 67 metric 427",
		"ip -6 route del fdaa::/64",
		"ip route del 100.64.2.0/26",
	} {
		w.Run(strings.Fields(cmd)[0], strings.Fields(cmd)[1:]...)
		w.settle("repair after "+cmd, func() bool { return w.ours() == good })
		// The other order of the same hops is no change.
	}
	writes := w.f.Stats().Written
	w.Run("ip", strings.Fields("route replace 100.64.2.0/26 proto 67 metric 427 nexthop via inet6 fe80::b dev eth1 nexthop via inet6 fe80::a dev eth0")...)
	w.calm()
	if rep, err := w.f.Audit(t.Context()); err != nil || rep != (AuditReport{Routes: len(fans)}) {
		t.Errorf("the other order: audit %+v, %v", rep, err)
	}
	if n := w.f.Stats().Written - writes; n != 0 {
		t.Errorf("the other order of the same hops caused %d writes", n)
	}
}

// flow asks the kernel which hop a flow takes.
type flow struct {
	dst   netip.Addr
	sport uint16
}

func (k *Netlink) hopOf(f flow) (netip.Addr, error) {
	s := k.ask
	s.out = appendHeader(s.out[:0], unix.RTM_GETROUTE, unix.NLM_F_REQUEST, s.nextSeq())
	family := byte(unix.AF_INET6)
	if f.dst.Is4() {
		family = unix.AF_INET
	}
	s.out = append(s.out, family, byte(f.dst.BitLen()), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	s.out = appendAddr(s.out, unix.RTA_DST, f.dst.AsSlice())
	for _, a := range []struct {
		typ uint16
		val []byte
	}{{unix.RTA_IP_PROTO, []byte{unix.IPPROTO_UDP}}, {unix.RTA_SPORT, []byte{byte(f.sport >> 8), byte(f.sport)}}, {unix.RTA_DPORT, []byte{0, 53}}} {
		start := len(s.out)
		s.out = pad(append(append(s.out, 0, 0, 0, 0), a.val...))
		putAttr(s.out[start:], a.typ, unix.SizeofRtAttr+len(a.val))
	}
	native.PutUint32(s.out, uint32(len(s.out)))
	if err := s.send(s.out); err != nil {
		return netip.Addr{}, err
	}
	b, err := s.receive()
	if err != nil {
		return netip.Addr{}, err
	}
	for m := range messages(b) {
		if m.typ == unix.NLMSG_ERROR {
			errno, text := parseError(m)
			return netip.Addr{}, fmt.Errorf("%w %s", errno, text)
		}
		for b := m.body[unix.SizeofRtMsg:]; ; {
			typ, val, rest, more := nextAttr(b)
			if !more {
				break
			}
			if typ == unix.RTA_GATEWAY || typ == unix.RTA_VIA {
				return gateway(typ, val), nil
			}
			b = rest
		}
	}
	return netip.Addr{}, syscall.ENOENT
}

// spread returns the hop of each of many flows.
func (w *world) spread(k *Netlink, dst string) []netip.Addr {
	w.t.Helper()
	hops := make([]netip.Addr, 2000)
	for i := range hops {
		var err error
		if hops[i], err = k.hopOf(flow{pfx(dst).Addr().Next(), uint16(20000 + i)}); err != nil {
			w.t.Fatal(err)
		}
	}
	return hops
}

// TestFlowsOfOtherHopsStay shrinks routes and counts the flows that another hop
// had, and that yet moved: none of two hops, fewer than a third of four (the
// kernel gives each hop a range of hashes, so the ranges shift).
func TestFlowsOfOtherHopsStay(t *testing.T) {
	w := newFork(t)
	w.Sysctl("net/ipv4/fib_multipath_hash_policy", "1")
	w.Sysctl("net/ipv6/fib_multipath_hash_policy", "1")
	asker := w.open(DefaultMark)
	for _, f := range fans {
		for _, n := range []int{2, 4} {
			w.f.Set(fan(f.dst, n, f.hop))
			w.apply()
			before := w.spread(asker, f.dst)
			gone, _, _ := strings.Cut(f.hop(0), "%")
			shrunk := fan(f.dst, n, f.hop)
			shrunk.NextHops = shrunk.NextHops[1:]
			w.f.Set(shrunk)
			if r := w.apply(); r.Written != 1 || r.Deleted != 0 {
				t.Errorf("%s: shrinking is not one write: %+v", f.name, r)
			}
			after := w.spread(asker, f.dst)
			var lost, moved int
			for i := range before {
				switch {
				case before[i].String() == gone:
					lost++
				case before[i] != after[i]:
					moved++
				}
			}
			t.Logf("%s: %d hops less one: %d of %d flows lost their hop, %d others moved", f.name, n, lost, len(before), moved)
			if lost < len(before)/n/2 || lost > len(before)*2/n {
				t.Errorf("%s: flows are not spread: %d of %d on one of %d hops", f.name, lost, len(before), n)
			}
			if n == 2 && moved > 0 || moved > len(before)/2 {
				t.Errorf("%s: %d flows of other hops moved", f.name, moved)
			}
		}
	}
}

// TestNoMomentWithoutARoute asks for the way all the time while the route
// shrinks and grows: there is one. Only of IPv6 the kernel may find none for some
// nanoseconds, when it takes up a route and finds it freed at that very moment
// (ip6_create_rt_rcu in net/ipv6/route.c); that is so with any replacement.
func TestNoMomentWithoutARoute(t *testing.T) {
	w := newFork(t)
	asker := w.open(DefaultMark)
	for _, f := range fans {
		w.f.Set(fan(f.dst, 2, f.hop))
	}
	w.apply()
	var stop atomic.Bool
	var asking sync.WaitGroup
	var asked, freed int
	var failed error
	asking.Go(func() {
		for ; !stop.Load(); asked++ {
			f := fans[asked%len(fans)]
			dst := pfx(f.dst).Addr().Next()
			switch _, err := asker.hopOf(flow{dst, uint16(asked)}); {
			case err == nil:
			case dst.Is6() && errors.Is(err, syscall.ENETUNREACH):
				freed++
			default:
				failed = fmt.Errorf("%s: %w", f.name, err)
			}
		}
	})
	for i := range 400 {
		for _, f := range fans {
			w.f.Set(fan(f.dst, []int{1, 2, 4}[i%3], f.hop))
		}
		w.apply()
	}
	stop.Store(true)
	asking.Wait()
	t.Logf("asked %d times; found %d IPv6 routes just freed", asked, freed)
	if failed != nil || asked == 0 || freed > asked/50 {
		t.Errorf("a moment without a route: %v", failed)
	}
}

// TestPinOnKernel reaches a neighbor's loopback by the gateway that an operator
// named, though the default route leads elsewhere.
func TestPinOnKernel(t *testing.T) {
	w := newFork(t)
	w.Run("ip", "route", "add", "default", "via", "10.0.0.254")
	w.Run("ip", "-6", "route", "add", "default", "via", "fd00::fe")
	pins := []Want{pinned("192.0.2.9/32", "10.0.1.9"), pinned("2001:db8::9/128", "fe80::9%eth1"), pinned("192.0.2.10/32", "fe80::9%eth1")}
	for _, p := range pins {
		w.f.Set(p)
	}
	w.f.Set(learned("100.64.0.0/26", "192.0.2.9", "192.0.2.10"))
	w.f.Set(learned("fdaa::/64", "2001:db8::9"))
	w.apply()
	w.calm()
	const good = `
100.64.0.0/26 metric 427 nexthop via 10.0.1.9 dev eth1 weight 1 nexthop via inet6 fe80::9 dev eth1 weight 1
192.0.2.10 via inet6 fe80::9 dev eth1 metric 427
192.0.2.9 via 10.0.1.9 dev eth1 metric 427
2001:db8::9 via fe80::9 dev eth1 metric 427 pref medium
fdaa::/64 via fe80::9 dev eth1 metric 427 pref medium`
	w.expect("pins", good)
	if rep, err := w.f.Audit(t.Context()); err != nil || rep != (AuditReport{Routes: 5}) {
		t.Errorf("audit %+v, %v", rep, err)
	}
	if r := w.apply(); r.Written+r.Deleted != 0 {
		t.Errorf("the second Apply wrote: %+v", r)
	}
	w.Run("ip", "link", "set", "eth1", "down")
	w.expect("eth1 down", "")
	w.Run("ip", "link", "set", "eth1", "up")
	w.Addr("eth1", "fd01::1/64")
	w.expect("eth1 up", good)
	for _, p := range pins {
		w.f.Unset(p.Dst)
	}
	w.expect("no pins", `
100.64.0.0/26 via 10.0.0.254 dev eth0 metric 427
fdaa::/64 via fd00::fe dev eth0 metric 427 pref medium`)
}

func pinned(dst string, gateway string) Want {
	w := learned(dst, gateway)
	w.Kind, w.Source = Pinned, "reachableBy peer/tor"
	return w
}
