package fib

import (
	"runtime"
	"testing"
	"time"

	"caracal.dev/caracal/internal/cputime"
)

// TestHundredThousandRoutes holds the writer, the audit and the memory against
// ten times what they should cost; BenchmarkWriter and its friends have the
// figures.
func TestHundredThousandRoutes(t *testing.T) {
	w := newWorld(t)
	w.Device("eth0", "10.0.0.1/24")
	ws := hosts(many)
	heap := func() float64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc) / 1e6
	}
	// The limit is of processor time, which a pause of the machine does not lengthen.
	within := func(what string, limit time.Duration, do func()) {
		start, cpu := time.Now(), cputime.Used()
		do()
		took, used := time.Since(start), cputime.Used()-cpu
		t.Logf("%s: %v, and %v of the processors", what, took, used)
		if used > limit || took > 10*limit {
			t.Errorf("%s took %v, and %v of the processors; must not take %v", what, took, used, limit)
		}
	}
	before := heap()
	within("writing", 5*time.Second, func() {
		for i := range ws {
			w.f.Set(ws[i])
		}
		if r := w.apply(); r.Written != many || len(r.Installed) != many {
			t.Errorf("written %d, installed %d", r.Written, len(r.Installed))
		}
	})
	if kept := heap() - before; kept > 20 {
		t.Errorf("the table keeps %.1f MB, should be 8", kept)
	}
	a := w.f.NewAudit()
	within("reading back", 5*time.Second, func() {
		if err := a.Read(t.Context()); err != nil {
			t.Error(err)
		}
	})
	// The only part that holds up changes.
	within("comparing", 2*time.Second, func() {
		if rep := w.f.Finish(a); rep != (AuditReport{Routes: many}) {
			t.Errorf("audit %+v", rep)
		}
	})
	within("1,000 single changes", 2*time.Second, func() {
		for i := range 1000 {
			want := ws[i]
			want.NextHops = ws[i+1].NextHops
			w.f.Set(want)
			if r := w.f.Apply(t.Context()); r.Written != 1 || r.Err != nil {
				t.Fatalf("%+v", r)
			}
		}
	})
	within("deleting", 5*time.Second, func() {
		for i := range ws {
			w.f.Unset(ws[i].Dst)
		}
		if r := w.apply(); r.Deleted != many {
			t.Errorf("deleted %d", r.Deleted)
		}
	})
}
