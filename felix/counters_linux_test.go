package felix

import (
	"net"
	"testing"

	"caracal.dev/caracal/internal/nstest"
)

func TestCounters(t *testing.T) {
	eachBackend(t, func(t *testing.T, ns *nstest.NS, backend string) {
		rs := newPlainRuleset()
		rs.chain(IPv4, FilterTable, "caracal-x", "-p tcp -j RETURN", "-p udp --dport 9 -j RETURN")
		rs.hook(IPv4, FilterTable, "OUTPUT", "-j caracal-x")
		f := openFilter(t, ns, FilterOptions{Backend: backend})
		mustAudit(t, f, rs)
		const packets = 3
		ns.Do(func() {
			conn, err := net.Dial("udp", "127.0.0.1:9")
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			for range packets { // an answer may say that nobody listens, and fail the next
				_, _ = conn.Write([]byte("0123456789"))
				_, _ = conn.Read(make([]byte, 1))
			}
		})
		counters, err := f.Counters(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		want := Counter{ChainKey{IPv4, FilterTable, "caracal-x"}, 1, "caracal-x 1", packets, packets * 38}
		found := false
		for _, c := range counters {
			found = found || c == want
		}
		if !found || len(counters) != 3 {
			t.Errorf("the counters are %+v, want %+v among them", counters, want)
		}
	})
}
