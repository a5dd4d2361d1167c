package felix_test

import (
	"runtime"
	"testing"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/bench/felix/cluster"
	"caracal.dev/caracal/felix"
	"caracal.dev/caracal/internal/cputime"
)

// BenchmarkCompile measures the Compiler alone: the first Update, what it keeps of
// the Snapshot, and single changes, at the sizes of bench/felix/cluster.
func BenchmarkCompile(b *testing.B) {
	for _, size := range cluster.Sizes() {
		if size.Name == "a" {
			continue
		}
		b.Run(size.Name, func(b *testing.B) {
			cl := cluster.New(size)
			b.Run("first", func(b *testing.B) { benchFirst(b, cl) })
			c := felix.NewCompiler()
			c.Update(felix.Input{Snapshot: cl.Snapshot})
			for _, change := range cl.Changes(0) {
				undo := change.UndoName
				if undo == "" {
					undo = change.Name + " undone"
				}
				done := cluster.Apply(cl.Snapshot, change.Do)
				undone := cluster.Apply(done, change.Undo)
				for name, to := range map[string][2]*caracal.Snapshot{change.Name: {undone, done}, undo: {done, undone}} {
					b.Run(name, func(b *testing.B) { benchChange(b, c, to[0], to[1]) })
				}
			}
		})
	}
}

// benchFirst measures the first Update and what is kept of it.
func benchFirst(b *testing.B, cl *cluster.Cluster) {
	var kept *felix.Compiler
	var sets, members, chains, rules int
	before := heap()
	spent := cputime.Used()
	for b.Loop() {
		kept = felix.NewCompiler()
		d, _ := kept.Update(felix.Input{Snapshot: cl.Snapshot})
		sets, members, chains, rules = len(d.Sets), 0, len(d.Chains), 0
		for _, s := range d.Sets {
			members += len(s.Add)
		}
		for _, c := range d.Chains {
			rules += len(c.Rules)
		}
	}
	b.ReportMetric(float64((cputime.Used()-spent).Milliseconds())/float64(b.N), "cpu-ms/op")
	b.ReportMetric(float64(heap()-before)/(1<<20), "MB-kept")
	b.ReportMetric(float64(sets), "sets")
	b.ReportMetric(float64(members), "members")
	b.ReportMetric(float64(chains), "chains")
	b.ReportMetric(float64(rules), "rules")
	runtime.KeepAlive(kept)
}

// benchChange measures the Update from one Snapshot to another.
func benchChange(b *testing.B, c *felix.Compiler, from, to *caracal.Snapshot) {
	var spent time.Duration
	b.ReportAllocs()
	for b.Loop() {
		c.Update(felix.Input{Snapshot: from})
		start := time.Now()
		c.Update(felix.Input{Snapshot: to})
		spent += time.Since(start)
	}
	b.ReportMetric(float64(spent.Microseconds())/float64(b.N), "µs-of-the-change")
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
