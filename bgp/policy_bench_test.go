package bgp_test

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/bench/sender"
	"caracal.dev/caracal/bgp"
	"caracal.dev/caracal/internal/cputime"
)

// BenchmarkExport is what it costs to find out what one neighbor of 50 is
// announced of a path, when some of them have a filter of ten rules of their
// own, each a statement of the one policy that all paths go through. The
// neighbor is the last that the policy comes to.
func BenchmarkExport(b *testing.B) {
	for _, filtered := range []int{0, 1, 10, 50} {
		b.Run(fmt.Sprintf("filtered=%d", filtered), func(b *testing.B) {
			s := bgp.New(bgp.Options{Log: quiet()})
			self := addr("127.0.23.1")
			conf := bgp.Config{
				Global:   bgp.Global{ASN: asn, RouterID: self, Port: testPort, ListenAddrs: self.String()},
				NextHop4: self, Filters: map[string]caracal.Filter{},
			}
			for i := range 50 {
				n := bgp.Neighbor{Name: fmt.Sprintf("peer/%d", i), Addr: netip.AddrFrom4([4]byte{127, 0, 23, byte(10 + i)}), ASN: asn, Local: self, Passive: true, IPv4: true,
					HoldTime: 90 * time.Second, KeepaliveTime: 30 * time.Second}
				if i < filtered {
					n.Filters = fmt.Sprintf("f%d", i)
					f := caracal.Filter{Name: n.Filters}
					for j := range 10 {
						f.Export4 = append(f.Export4, caracal.Rule{CIDR: netip.PrefixFrom(netip.AddrFrom4([4]byte{172, byte(i), byte(j), 0}), 24), Match: caracal.MatchIn})
					}
					conf.Filters[n.Filters] = f
				}
				conf.Neighbors = append(conf.Neighbors, n)
			}
			if _, err := s.Apply(context.Background(), conf); err != nil {
				b.Fatal(err)
			}
			defer s.Leave(context.Background())
			for _, n := range conf.Neighbors {
				ctx, cancel := context.WithTimeout(context.Background(), 4*patient)
				session, err := sender.Dial(ctx, sender.Config{Local: n.Addr, Remote: netip.AddrPortFrom(self, testPort), ASN: asn, RouterID: n.Addr})
				cancel()
				if err != nil {
					b.Fatal(err)
				}
				defer session.Abort()
			}
			time.Sleep(100 * time.Millisecond) // the last of them is up
			const paths = 500
			for i := range paths {
				conf.Originate = append(conf.Originate, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 32))
			}
			if _, err := s.Apply(context.Background(), conf); err != nil {
				b.Fatal(err)
			}
			before := cputime.Used()
			for b.Loop() {
				if err := s.AdjOut(context.Background(), "peer/49", func(netip.Prefix, caracal.Attrs) bool { return true }); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64((cputime.Used()-before).Nanoseconds())/float64(b.N)/paths, "cpu-ns/path")
		})
	}
}
