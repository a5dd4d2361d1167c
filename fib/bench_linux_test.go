package fib

import (
	"net"
	"net/netip"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

// hosts returns n wants of one /32 each, through two next hops in turn.
func hosts(n int) []Want {
	ws := make([]Want, n)
	for i := range ws {
		a := netip.AddrFrom4([4]byte{100, byte(i >> 16), byte(i >> 8), byte(i)})
		nh := netip.AddrFrom4([4]byte{10, 0, 0, byte(2 + i%2)})
		ws[i] = Want{Dst: netip.PrefixFrom(a, 32), Kind: Learned, NextHops: []netip.Addr{nh}, Source: "mesh/b"}
	}
	return ws
}

const many = 100_000

// BenchmarkWriter installs 100,000 routes: through the FIB, by its writer alone,
// with one message to a system call, and with the usual library's RouteReplace.
func BenchmarkWriter(b *testing.B) {
	w := newWorld(b)
	w.Device("eth0", "10.0.0.1/24")
	if _, err := w.f.Adopt(b.Context()); err != nil {
		b.Fatal(err)
	}
	link, _ := w.f.LinkByName("eth0")
	ws := hosts(many)
	ops := make([]Op, many)
	for i, want := range ws {
		hop := Hop{Gateway: want.NextHops[0], Link: link.Index}
		ops[i] = Op{Verb: Replace, Route: Route{Dst: want.Dst, Kind: Unicast, Hops: []Hop{hop}}}
	}
	run := func(name string, write func(b *testing.B)) {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				write(b)
				b.StopTimer()
				w.clean(b, ws)
				b.StartTimer()
			}
		})
	}
	run("fib", func(b *testing.B) {
		for i := range ws {
			w.f.Set(ws[i])
		}
		applyAll(b, w.f)
	})
	for name, n := range map[string]int{"batched": batch, "one": 1} {
		run(name, func(b *testing.B) {
			for at := 0; at < many; at += n {
				if failed, err := w.k.Write(b.Context(), ops[at:min(at+n, many)]); err != nil || len(failed) > 0 {
					b.Fatal(failed, err)
				}
			}
		})
	}
	run("library", func(b *testing.B) {
		var h *netlink.Handle
		var err error
		w.Do(func() { h, err = netlink.NewHandle() })
		if err != nil {
			b.Fatal(err)
		}
		defer h.Close()
		for i := range ops {
			r := &ops[i].Route
			err := h.RouteReplace(&netlink.Route{
				Dst: &net.IPNet{IP: r.Dst.Addr().AsSlice(), Mask: net.CIDRMask(32, 32)}, Gw: r.Hops[0].Gateway.AsSlice(),
				LinkIndex: link.Index, Protocol: 67, Priority: 427,
			})
			if err != nil {
				b.Fatal(err)
			}
		}
	})
}

// clean takes every route of ours out again.
func (w *world) clean(b *testing.B, ws []Want) {
	for i := range ws {
		w.f.Unset(ws[i].Dst)
	}
	if _, err := w.f.Audit(b.Context()); err != nil {
		b.Fatal(err)
	}
	applyAll(b, w.f)
}

// BenchmarkAudit reads back 100,000 routes and compares them.
func BenchmarkAudit(b *testing.B) {
	w := newWorld(b)
	w.Device("eth0", "10.0.0.1/24")
	for _, want := range hosts(many) {
		w.f.Set(want)
	}
	applyAll(b, w.f)
	runtime.GC()
	var read, finish time.Duration
	for b.Loop() {
		start := time.Now()
		a := w.f.NewAudit()
		if err := a.Read(b.Context()); err != nil {
			b.Fatal(err)
		}
		mid := time.Now()
		if rep := w.f.Finish(a); rep != (AuditReport{Routes: many}) {
			b.Fatalf("%+v", rep)
		}
		read, finish = read+mid.Sub(start), finish+time.Since(mid)
	}
	b.ReportMetric(float64(read.Milliseconds())/float64(b.N), "read-ms/op")
	b.ReportMetric(float64(finish.Microseconds())/float64(b.N)/1000, "finish-ms/op")
}

// BenchmarkChange changes one route in tables of two sizes.
func BenchmarkChange(b *testing.B) {
	for _, size := range []int{100, many} {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			w := newWorld(b)
			w.Device("eth0", "10.0.0.1/24")
			ws := hosts(size)
			for i := range ws {
				w.f.Set(ws[i])
			}
			applyAll(b, w.f)
			for i := 0; b.Loop(); i++ {
				want := ws[i%size]
				want.NextHops = ws[(i+1+i/size)%size].NextHops
				w.f.Set(want)
				applyAll(b, w.f)
			}
		})
	}
}

// BenchmarkMemory reports what a table of 100,000 routes keeps.
func BenchmarkMemory(b *testing.B) {
	for b.Loop() {
		w := newWorld(b)
		w.Device("eth0", "10.0.0.1/24")
		ws := hosts(many)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		for i := range ws {
			w.f.Set(ws[i])
		}
		applyAll(b, w.f)
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/1e6, "MB")
		runtime.KeepAlive(ws)
	}
}
