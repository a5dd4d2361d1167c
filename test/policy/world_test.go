package policy

import (
	"testing"
	"time"
)

// TestWorld: without rules every probe arrives and is answered.
func TestWorld(t *testing.T) {
	w := build(t, base())
	ports := parsePorts(usualPorts)
	if err := w.serve(ports); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if wrong := w.check(t, w.probes(ports), func(*probe) bool { return true }); len(wrong) > 0 {
		t.Errorf("%d probes are not as without rules: %v", len(wrong), wrong[:min(len(wrong), 10)])
	}
	t.Logf("%d probes in %v", len(w.probes(ports)), time.Since(begin))
}

// check makes the probes and returns what is not as wanted. What does not arrive
// though it should is tried again, for a neighbor may have to be found first;
// what arrives though it should not is wrong at once.
func (w *world) check(t testing.TB, list []*probe, want func(*probe) bool) (wrong []string) {
	t.Helper()
	const tries = 5 // the last one 4 s after the first: a neighbor is asked again each second
	for try := range tries {
		if err := w.forgetConnections(); err != nil {
			t.Fatal(err)
		}
		if err := w.try(list); err != nil {
			t.Fatal(err)
		}
		var again []*probe
		var missing []string
		for _, p := range list {
			switch allowed := want(p); {
			case !allowed && p.arrived:
				wrong = append(wrong, p.String()+": arrives")
			case allowed && !p.answered:
				again = append(again, p)
				missing = append(missing, p.String()+map[bool]string{true: ": is not answered", false: ": does not arrive"}[p.arrived])
			}
		}
		if list = again; len(list) == 0 {
			return wrong
		}
		if try == tries-1 {
			return append(wrong, missing...)
		}
		time.Sleep(50 * time.Millisecond << (2 * try))
	}
	return wrong
}
