package node

import (
	"errors"
	"strings"
	"testing"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/endpoint"
)

// TestPolicyEnabledAgain: from the moment that policy is asked for nobody goes
// through a gate without rules, be it that the kernel takes none.
func TestPolicyEnabledAgain(t *testing.T) {
	w := newPolicyWorld(t, true, func(s *caracal.Snapshot) { s.Dataplane.Policy.Disabled = true })
	w.until(t, "off", func(s *policyState) bool { return s.off })
	w.rules.set(func(r *fakeRules) { r.fail = errors.New("iptables-restore is missing") })
	web := pod("web", "10.0.0.1")
	w.store.put(func(s *caracal.Snapshot) {
		s.Dataplane.Policy.Disabled = false
		s.Workloads = s.Workloads.Put(web.Key(), web)
		// What is gone cannot be waited for: nothing is in the kernel to keep.
		s.Incomplete = map[string]string{"Workload": "a file cannot be read"}
	})
	w.until(t, "failure", func(s *policyState) bool { return s.err != nil })
	if s := w.task.state.Load(); s.off || s.passed() || s.unready(time.Now()) == "" {
		t.Errorf("counts as off: %+v", s)
	}
	if err := w.await(t, web, true, 100*time.Millisecond); !errors.Is(err, endpoint.ErrNotReady) || !strings.Contains(err.Error(), "is missing") {
		t.Errorf("open without rules: %v", err)
	}
	w.rules.set(func(r *fakeRules) { r.fail = nil })
	w.until(t, "on", passed)
	if err := w.await(t, web, true, 10*time.Second); err != nil {
		t.Error(err)
	}
}
