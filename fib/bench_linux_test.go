package fib

import (
	"net/netip"
	"runtime"
	"strconv"
	"testing"
	"time"
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
