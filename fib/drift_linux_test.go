package fib

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// slack is how long a repair may take here, on a machine that may pause; what it takes
// is logged. The goal is 100 ms. That no audit had a hand in it is counted.
const slack = 10 * time.Second

// drift is a machine with one route of each sort, and a way to wait for them.
func drift(t *testing.T) *world {
	w := newWorld(t)
	w.Device("eth0", "10.0.0.1/24", "fd00::1/64")
	w.Device("eth1", "10.0.1.1/24", "fd01::1/64")
	w.Device("cali1")
	w.f.Set(learned("100.64.0.0/26", "10.0.0.2"))
	w.f.Set(learned("100.64.1.0/26", "10.0.0.2", "10.0.1.2"))
	w.f.Set(learned("fdaa::/64", "fd00::2"))
	w.f.Set(learned("fdab::/64", "fd00::2", "fd01::2"))
	w.f.Set(Want{Dst: pfx("100.64.9.0/26"), Kind: Discard})
	w.f.Set(Want{Dst: pfx("100.64.9.5/32"), Kind: Local, Link: "cali1"})
	w.f.Set(Want{Dst: pfx("fdac::5/128"), Kind: Local, Link: "cali1"})
	w.f.Sweep(nil)
	w.apply()
	w.calm()
	return w
}

// calm takes in what the set-up caused.
func (w *world) calm() {
	for {
		select {
		case ev := <-w.events:
			w.f.Notify(ev)
			w.apply()
		case <-time.After(30 * time.Millisecond):
			return
		}
	}
}

func TestDriftIsRepaired(t *testing.T) {
	w := drift(t)
	good := w.ours()
	for _, cmd := range []string{
		"ip route del 100.64.0.0/26",
		"ip route del unreachable 100.64.9.0/26 metric 427",
		"ip route del 100.64.9.5/32",
		"ip -6 route del fdaa::/64",
		"ip -6 route del fdac::5/128",
		"ip route replace 100.64.0.0/26 via 10.0.0.66 proto 67 metric 427",
		"ip route replace blackhole 100.64.1.0/26 proto 67 metric 427",
		"ip route replace 100.64.0.0/26 via 10.0.0.2 proto 67 metric 427 mtu 1300",
		"ip route replace 100.64.0.0/26 via 10.0.0.2 proto 67 metric 427 src 10.0.1.1",
		"ip route append 100.64.0.0/26 via 10.0.0.66 proto 67 metric 427",
		"ip route prepend 100.64.0.0/26 via 10.0.0.66 proto 67 metric 427",
		"ip -6 route replace fdaa::/64 via fd00::66 proto 67 metric 427",
		"ip -6 route append fdaa::/64 via fd00::66 proto 67 metric 427",
		"ip -6 route del fdab::/64 via fd01::2 dev eth1",
		"ip route add 100.64.77.0/26 via 10.0.0.2 proto 67 metric 427",
		"ip -6 route add fdad::/64 via fd00::2 proto 67 metric 427",
		"ip route flush proto 67",
		"ip -6 route flush proto 67",
	} {
		t.Run(cmd, func(t *testing.T) {
			before := w.f.Stats()
			w.Run("sh", "-c", cmd)
			if w.ours() == good {
				t.Fatal("the command changed nothing")
			}
			took := w.settle("the repair", func() bool { return w.ours() == good })
			t.Log("repaired within", took)
			if took > slack {
				t.Errorf("the repair took %v", took)
			}
			after := w.f.Stats()
			if total(after.Drift) == total(before.Drift) {
				t.Error("the repair was not counted")
			}
			if after.DriftAudit != before.DriftAudit {
				t.Error("it took an audit to find it")
			}
		})
	}
}

func total(d [numCauses]uint64) (n uint64) {
	for _, c := range d {
		n += c
	}
	return n
}

func TestLinksComeAndGo(t *testing.T) {
	w := drift(t)
	good := w.ours()
	back := func() bool { return w.ours() == good }
	t.Run("down and up at once", func(t *testing.T) {
		w.Run("sh", "-c", "ip link set eth0 down; ip link set eth0 up; ip addr replace fd00::1/64 dev eth0 nodad")
		t.Log("back within", w.settle("the return", back))
	})
	t.Run("down, then up", func(t *testing.T) {
		w.Run("ip", "link", "set", "eth0", "down")
		w.settle("noticing", func() bool {
			st, _ := w.f.State(pfx("100.64.0.0/26"))
			two, _ := w.f.State(pfx("100.64.1.0/26"))
			return !st.Installed && st.Reason != "" && two.Installed && len(two.Route.Hops) == 1
		})
		w.Run("sh", "-c", "ip link set eth0 up; ip addr replace fd00::1/64 dev eth0 nodad")
		if took := w.settle("the return", back); took > 2*slack {
			t.Errorf("the return took %v", took)
		}
	})
	t.Run("address removed and added at once", func(t *testing.T) {
		w.Run("sh", "-c", "ip addr del 10.0.0.1/24 dev eth0; ip addr add 10.0.0.1/24 dev eth0")
		w.settle("the return", back)
	})
	t.Run("address removed, then added", func(t *testing.T) {
		w.Run("ip", "addr", "del", "10.0.0.1/24", "dev", "eth0")
		w.settle("noticing", func() bool { st, _ := w.f.State(pfx("100.64.0.0/26")); return !st.Installed })
		w.Run("ip", "addr", "add", "10.0.0.1/24", "dev", "eth0")
		w.settle("the return", back)
	})
	t.Run("device deleted and made again", func(t *testing.T) {
		w.Run("ip", "link", "del", "cali1")
		w.settle("noticing", func() bool {
			st, _ := w.f.State(pfx("100.64.9.5/32"))
			return !st.Installed && st.Reason == "device cali1 does not exist"
		})
		w.Device("cali1")
		w.settle("the return", back)
	})
	t.Run("device renamed", func(t *testing.T) {
		w.Run("sh", "-c", "ip link set cali1 down; ip link set cali1 name cali2; ip link set cali2 up")
		w.settle("noticing", func() bool { st, _ := w.f.State(pfx("100.64.9.5/32")); return !st.Installed })
		w.Run("sh", "-c", "ip link set cali2 down; ip link set cali2 name cali1; ip link set cali1 up")
		w.settle("the return", back)
	})
	t.Run("carrier lost", func(t *testing.T) {
		w.Run("ip", "link", "set", "eth1~", "down")
		w.settle("the hop going", func() bool {
			return strings.Contains(w.ours(), "100.64.1.0/26 via 10.0.0.2 dev eth0 metric 427")
		})
		w.Run("ip", "link", "set", "eth1~", "up")
		w.settle("the return", back)
	})
	if rep, err := w.f.Audit(t.Context()); err != nil || rep.Missing+rep.Changed+rep.Stray != 0 {
		t.Errorf("audit %+v, %v", rep, err)
	}
}

func TestForeignRoutesAreLeftAlone(t *testing.T) {
	w := drift(t)
	w.Run("sh", "-c", `
ip route add 100.64.0.0/26 via 10.0.0.99 proto static metric 50
ip route add 100.64.0.0/26 via 10.0.0.99 proto 67 metric 428
ip route add 100.64.0.0/26 via 10.0.0.99 proto 67 metric 427 table 99
ip route add 100.64.5.0/26 via 10.0.0.99 proto static metric 427
ip -6 route add fdae::/64 via fd00::99 proto static metric 427
`)
	w.f.Set(learned("100.64.5.0/26", "10.0.0.2"))
	w.f.Set(learned("fdae::/64", "fd00::2"))
	w.settle("the conflict", func() bool {
		a, _ := w.f.State(pfx("100.64.5.0/26"))
		b, _ := w.f.State(pfx("fdae::/64"))
		return strings.Contains(a.Reason, "protocol 4 (static)") && strings.Contains(b.Reason, "protocol 4 (static)")
	})
	foreign := w.Run("ip", "route", "show", "table", "all", "via", "10.0.0.99") + w.Run("ip", "-6", "route", "show", "via", "fd00::99")
	if n := strings.Count(foreign, " metric "); n != 5 {
		t.Errorf("foreign routes:\n%s", foreign)
	}
	w.f.Unset(pfx("100.64.0.0/26"))
	w.f.Unset(pfx("100.64.5.0/26"))
	w.apply()
	if now := w.Run("ip", "route", "show", "table", "all", "via", "10.0.0.99") + w.Run("ip", "-6", "route", "show", "via", "fd00::99"); now != foreign {
		t.Errorf("foreign routes were\n%s\nand are\n%s", foreign, now)
	}
	w.Run("ip", "-6", "route", "del", "fdae::/64", "proto", "static")
	w.settle("the way getting free", func() bool { return strings.Contains(w.ours(), "fdae::/64 via fd00::2") })
}

// TestForeignRouteUnderANextHop follows a next hop through the routes of another
// program as they change, also when one of our own covers it.
func TestForeignRouteUnderANextHop(t *testing.T) {
	w := drift(t)
	w.f.Set(learned("100.64.7.0/26", "172.16.5.1"))
	w.f.Set(learned("172.16.0.0/13", "10.0.0.3")) // ours, and no way to a next hop
	has := func(s string) func() bool {
		return func() bool { return strings.Contains(w.ours()+"\n", s+"\n") }
	}
	none := func() bool { return !strings.Contains(w.ours(), "100.64.7.0/26") }
	w.settle("being unresolved", func() bool {
		st, _ := w.f.State(pfx("100.64.7.0/26"))
		return st.Reason == "next hop 172.16.5.1: no route to it" && w.f.Installed(pfx("172.16.0.0/13"))
	})
	if _, err := w.f.Audit(t.Context()); err != nil { // which asks for every next hop again
		t.Fatal(err)
	}
	w.settle("the reason", func() bool {
		st, _ := w.f.State(pfx("100.64.7.0/26"))
		return st.Reason == "next hop 172.16.5.1: the only route to it is one of our own"
	})
	w.Run("ip", "route", "add", "172.16.0.0/16", "via", "10.0.0.9")
	w.settle("resolving", has("100.64.7.0/26 via 10.0.0.9 dev eth0 metric 427"))
	w.Run("ip", "route", "add", "172.16.5.0/24", "via", "10.0.1.9")
	w.settle("a longer match", has("100.64.7.0/26 via 10.0.1.9 dev eth1 metric 427"))
	w.Run("ip", "route", "del", "172.16.5.0/24")
	w.settle("the shorter match", has("100.64.7.0/26 via 10.0.0.9 dev eth0 metric 427"))
	w.Run("ip", "route", "replace", "172.16.0.0/16", "nexthop", "via", "10.0.0.9", "nexthop", "via", "10.0.1.9")
	w.settle("two ways", has("100.64.7.0/26 metric 427 nexthop via 10.0.0.9 dev eth0 weight 1 nexthop via 10.0.1.9 dev eth1 weight 1"))
	w.Run("ip", "route", "del", "172.16.0.0/16")
	w.settle("being unresolved", none)
}

// TestOverrun has another program write so many routes that notifications are
// lost, and deletes one of ours meanwhile.
func TestOverrun(t *testing.T) {
	w := newWorld(t)
	w.Device("eth0", "10.0.0.1/24")
	for _, want := range hosts(500) {
		w.f.Set(want)
	}
	w.apply()
	w.calm()
	// A small buffer, so that it need not be 100,000 routes.
	other := w.open(Mark{Table: 254, Protocol: 99, Metric: 50})
	mine := w.open(DefaultMark)
	small := w.open(DefaultMark)
	if err := unix.SetsockoptInt(small.notice.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 8192); err != nil {
		t.Fatal(err)
	}
	ws := hosts(2000)
	for i := range ws {
		ws[i].Dst = pfx(fmt.Sprintf("101.0.%d.%d/32", i/250, i%250))
		op := Op{Verb: Replace, Route: Route{Dst: ws[i].Dst, Kind: Blackhole}}
		if _, err := other.Write(t.Context(), []Op{op}); err != nil {
			t.Fatal(err)
		}
	}
	gone := hosts(1)[0].Dst
	if failed, err := mine.Write(t.Context(), []Op{{Verb: Delete, Route: Route{Dst: gone}}}); err != nil || len(failed) > 0 {
		t.Fatal(failed, err)
	}
	events, err := small.Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	select {
	case ev := <-events:
		for !ev.Lost {
			ev = <-events
		}
		w.f.Notify(Events{Lost: true})
	case <-time.After(30 * time.Second):
		t.Fatal("nothing was told")
	}
	if !w.f.AuditDue() {
		t.Fatal("no audit is due")
	}
	if rep, err := w.f.Audit(t.Context()); err != nil || rep.Missing != 1 {
		t.Errorf("audit %+v, %v", rep, err)
	}
	w.apply()
	if !strings.Contains(w.ours(), strings.TrimSuffix(gone.String(), "/32")+" via") {
		t.Error("the route is not back")
	}
}

// open opens another socket on the world's kernel.
func (w *world) open(m Mark) *Netlink {
	w.t.Helper()
	var k *Netlink
	var err error
	w.Do(func() { k, err = OpenKernel(m) })
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(k.Close)
	return k
}

// TestOwnWritesAreNotTold makes sure that our writes cause no events: the
// socket's filter drops them.
func TestOwnWritesAreNotTold(t *testing.T) {
	w := drift(t)
	for _, want := range hosts(1000) {
		w.f.Set(want)
	}
	w.apply()
	// Of devices and addresses the kernel itself may tell later than calm waits.
	for end := time.After(100 * time.Millisecond); ; {
		select {
		case ev := <-w.events:
			if ev.Lost || len(ev.Routes) > 0 {
				t.Fatalf("told of %+v", ev)
			}
		case <-end:
			return
		}
	}
}

// TestRestart makes a second FIB over the routes of the first, in a table and
// with a metric of its own, and changes nothing but what is swept.
func TestRestart(t *testing.T) {
	w := newWorld(t)
	w.Device("eth0", "10.0.0.1/24", "fd00::1/64")
	mark := Mark{Table: 1000, Protocol: 66, Metric: 9}
	w.start(mark)
	ws := append(hosts(600), learned("fdaa::/64", "fd00::2", "fd00::3"))
	for _, want := range ws {
		w.f.Set(want)
	}
	w.apply()
	w.start(mark)
	if n, err := w.f.Adopt(t.Context()); err != nil || n != 601 {
		t.Fatalf("adopted %d, %v", n, err)
	}
	for _, want := range ws[300:] {
		w.f.Set(want)
	}
	if r := w.apply(); r.Written+r.Deleted != 0 {
		t.Errorf("the same routes again: %+v", r)
	}
	// One that turns up before the sweep is swept with the others.
	w.Run("sh", "-c", "ip route add 100.99.0.0/16 via 10.0.0.2 proto 66 metric 9 table 1000")
	w.settle("adopting", func() bool { st, _ := w.f.State(pfx("100.99.0.0/16")); return st.Adopted })
	if r := w.apply(); r.Deleted != 0 {
		t.Errorf("deleted before the sweep: %+v", r)
	}
	if n := w.f.Sweep(nil); n != 301 {
		t.Errorf("swept %d, want 301", n)
	}
	if r := w.apply(); r.Deleted != 301 || r.Written != 0 {
		t.Errorf("sweep: %+v", r)
	}
	if n := strings.Count(w.Run("ip", "route", "show", "table", "1000"), "\n") + 1; n != 300 {
		t.Errorf("%d routes left, want 300", n)
	}
}
