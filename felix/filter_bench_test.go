package felix

import (
	"fmt"
	"testing"

	"caracal.dev/caracal/internal/nstest"
)

// benchRuleset has 500 chains of 10 rules and 300 sets of 1,000 members.
func benchRuleset() *plainRuleset {
	rs := sampleRuleset()
	members := hosts(300_000)
	for i := range 300 {
		name := fmt.Sprintf("caracal-s%d", i)
		rs.set(name, HashIP, IPv4)
		for _, m := range members[i*1000 : (i+1)*1000] {
			rs.members[name][m] = true
		}
	}
	for i := range 500 {
		var specs []string
		for j := range 9 {
			specs = append(specs, fmt.Sprintf("-p tcp -m multiport --dports %d,%d -m set --match-set caracal-s%d src -j ACCEPT", i+1, j+1000, (i+j)%300))
		}
		rs.chain(IPv4, FilterTable, fmt.Sprintf("caracal-c%d", i), append(specs, "-j DROP")...)
	}
	return rs
}

func eachBackendBench(b *testing.B, fn func(b *testing.B, ns *nstest.NS, backend string)) {
	for _, backend := range []string{BackendNFT, BackendLegacy} {
		b.Run(backend, func(b *testing.B) { fn(b, nstest.New(b), backend) })
	}
}

func BenchmarkFirstApply(b *testing.B) {
	rs := benchRuleset()
	eachBackendBench(b, func(b *testing.B, ns *nstest.NS, backend string) {
		for b.Loop() {
			b.StopTimer()
			f := openFilter(b, nstest.New(b), FilterOptions{Backend: backend})
			b.StartTimer()
			mustAudit(b, f, rs)
		}
	})
}

func BenchmarkApplyMember(b *testing.B) {
	rs := benchRuleset()
	m := parseMember("192.0.2.1")
	set := rs.sets["caracal-s7"]
	eachBackendBench(b, func(b *testing.B, ns *nstest.NS, backend string) {
		f := openFilter(b, ns, FilterOptions{Backend: backend})
		mustAudit(b, f, rs)
		for i := 0; b.Loop(); i++ {
			c := SetChange{Set: set, Add: []Member{m}}
			if i%2 == 1 {
				c = SetChange{Set: set, Remove: []Member{m}}
			}
			if _, err := f.Apply(b.Context(), rs, Delta{Sets: []SetChange{c}}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkApplyChain(b *testing.B) {
	rs := benchRuleset()
	key := ChainKey{IPv4, FilterTable, "caracal-c7"}
	eachBackendBench(b, func(b *testing.B, ns *nstest.NS, backend string) {
		f := openFilter(b, ns, FilterOptions{Backend: backend})
		mustAudit(b, f, rs)
		for i := 0; b.Loop(); i++ {
			c := ChainChange{ChainKey: key, Rules: rs.chains[key][i%2:]}
			if _, err := f.Apply(b.Context(), rs, Delta{Chains: []ChainChange{c}}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkAudit(b *testing.B) {
	rs := benchRuleset()
	eachBackendBench(b, func(b *testing.B, ns *nstest.NS, backend string) {
		f := openFilter(b, ns, FilterOptions{Backend: backend})
		mustAudit(b, f, rs)
		for b.Loop() {
			mustBeRight(b, f, rs)
		}
	})
}
