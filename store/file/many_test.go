package file

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"caracal.dev/caracal/internal/cputime"
)

// many writes a cluster of 250 nodes with workloads and policies, a file for each
// hundred workloads, and returns a function that changes one workload's labels.
func many(tb testing.TB, dir string, workloads, policies int) (change func(i int)) {
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			tb.Fatal(err)
		}
	}
	write("pool.yaml", doc("IPPool", "pods", "  cidr: 10.0.0.0/8\n"))
	var b strings.Builder
	for i := range 250 {
		b.WriteString("---\n" + doc("NodeConfig", fmt.Sprintf("n%d", i), fmt.Sprintf("  addresses: [172.16.0.%d/12]\n", 1+i)))
	}
	write("nodes.yaml", b.String())
	workload := func(i int, app string) string {
		return fmt.Sprintf("---\napiVersion: caracal.dev/v1\nkind: Workload\nmetadata:\n  name: web-5d78c9869d-%05d\n  namespace: ns%d\n"+
			"  labels: {app: %s, tier: front, pod-template-hash: 5d78c9869d}\nspec:\n  node: n%d\n  interfaceName: car%011x\n  ipNetworks: [10.%d.%d.%d]\n  ports:\n    - {name: http, port: 8080}\n",
			i, i/100%1000, app, i%250, i, 1+i>>16, i>>8&255, i&255)
	}
	for from := 0; from < workloads; from += 100 {
		b.Reset()
		for i := from; i < min(from+100, workloads); i++ {
			b.WriteString(workload(i, fmt.Sprintf("app%d", i%500)))
		}
		write(fmt.Sprintf("w%04d.yaml", from/100), b.String())
	}
	for from := 0; from < policies; from += 100 {
		b.Reset()
		for i := from; i < min(from+100, policies); i++ {
			fmt.Fprintf(&b, "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p%d, namespace: ns%d}\nspec:\n  podSelector: {matchLabels: {app: app%d}}\n"+
				"  ingress:\n    - from:\n        - podSelector: {matchLabels: {app: app%d}}\n        - namespaceSelector: {matchLabels: {team: t%d}}\n      ports: [{port: 80}, {port: http}]\n", i, i%1000, i%500, (i+7)%500, i%50)
		}
		write(fmt.Sprintf("p%04d.yaml", from/100), b.String())
	}
	write("one.yaml", workload(70000+workloads, "one"))
	return func(i int) { write("one.yaml", workload(70000+workloads, fmt.Sprintf("one%d", i))) }
}

func liveHeap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkMany is a store with 100,000 Workloads and 10,000 NetworkPolicies: what
// it takes of the processors to load and save them first, to load them again after a
// restart, and to take a change of one.
// It reports what each object holds of the heap.
func BenchmarkMany(b *testing.B) {
	for _, size := range []struct{ workloads, policies int }{{100_000, 10_000}, {20_000, 0}, {0, 20_000}} {
		b.Run(fmt.Sprintf("%d+%d", size.workloads, size.policies), func(b *testing.B) {
			dir, state := b.TempDir(), b.TempDir()
			change := many(b, dir, size.workloads, size.policies)
			time.Sleep(100 * time.Millisecond)
			open := func() *Store { return New(Options{Dir: dir, StateDir: state, Node: "n0"}) }
			before := liveHeap()
			s, start := open(), cputime.Used()
			s.loadAccepted()
			s.pass(passOptions{atOnce: true, asked: true})
			first := cputime.Used() - start
			if snap := s.Snapshot(); snap.Workloads.Len() != size.workloads+1 || snap.Policies.Len() != size.policies || len(snap.Problems) > 0 {
				b.Fatalf("%d workloads, %d policies, problems %v", snap.Workloads.Len(), snap.Policies.Len(), snap.Problems)
			}
			b.ReportMetric(float64(liveHeap()-before)/float64(size.workloads+size.policies), "B/object-new")
			start = cputime.Used()
			s = open()
			s.loadAccepted()
			accepted := cputime.Used() - start
			s.pass(passOptions{atOnce: true, asked: true})
			again := cputime.Used() - start
			held := liveHeap() - before
			changes, n := cputime.Used(), 0
			for ; b.Loop(); n++ {
				change(n)
				s.pass(passOptions{atOnce: true, asked: true})
			}
			b.ReportMetric(float64((cputime.Used()-changes).Microseconds())/float64(n)/1000, "cpu-ms/change")
			b.ReportMetric(first.Seconds(), "cpu-s-first")
			b.ReportMetric(accepted.Seconds(), "cpu-s-accepted")
			b.ReportMetric(again.Seconds(), "cpu-s-again")
			b.ReportMetric(float64(held)/float64(size.workloads+size.policies), "B/object")
			runtime.KeepAlive(s)
		})
	}
}
