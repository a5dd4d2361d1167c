package bgp_test

import (
	"context"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"caracal.dev/caracal/bench/sender"
	"caracal.dev/caracal/bgp"
)

// BenchmarkReceive is the time from the first octet of 100,000 announced /32 to
// the last of them out of Take, on an established session. It runs once for each
// b.N with a new session.
func BenchmarkReceive(b *testing.B) {
	const routes = 100000
	s := bgp.New(bgp.Options{Log: quiet()})
	self, from := addr("127.0.11.1"), addr("127.0.11.9")
	conf := bgp.Config{
		Global: bgp.Global{ASN: asn, RouterID: self, Port: testPort, ListenAddrs: self.String()},
		Neighbors: []bgp.Neighbor{{Name: "peer/bench", Addr: from, ASN: asn, Local: self, Passive: true, IPv4: true,
			HoldTime: 90 * time.Second, KeepaliveTime: 30 * time.Second, MaxPrefixes: 10 * routes}},
	}
	if _, err := s.Apply(context.Background(), conf); err != nil {
		b.Fatal(err)
	}
	defer s.Leave(context.Background())
	hosts := make([]netip.Prefix, routes)
	for i := range hosts {
		hosts[i] = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
	}
	announce := sender.Encode(hosts, sender.Path{NextHop: from, LocalPref: 100})
	for b.Loop() {
		b.StopTimer()
		ctx, cancel := context.WithTimeout(context.Background(), 4*patient)
		session, err := sender.Dial(ctx, sender.Config{Local: from, Remote: netip.AddrPortFrom(self, testPort), ASN: asn, RouterID: from})
		cancel()
		if err != nil {
			b.Fatal(err)
		}
		s.Take()
		runtime.GC()
		b.StartTimer()
		if err := session.Send(announce...); err != nil {
			b.Fatal(err)
		}
		for got := 0; got < routes; {
			<-s.Bell()
			for _, e := range s.Take() {
				if e.Update != nil {
					got += len(e.Update.Announced)
				}
			}
		}
		b.StopTimer()
		var mem runtime.MemStats
		runtime.ReadMemStats(&mem)
		b.ReportMetric(float64(mem.HeapAlloc)/1e6, "MB")
		start := time.Now()
		if _, err := s.Neighbors(context.Background()); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(time.Since(start).Microseconds())/1e3, "ms/Neighbors")
		session.Abort()
		b.StartTimer()
	}
}
