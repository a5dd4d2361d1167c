package node

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"caracal.dev/caracal"
	"caracal.dev/caracal/node/api"
)

// policyState is what the task publishes. It is immutable.
type policyState struct {
	// off says that there are no rules and that nobody need wait for any.
	off bool
	// waiting is why nothing has been written yet; empty once something has.
	waiting string
	// lastRun says that until then the rules of the last run are in force.
	lastRun bool
	backend string
	// since is when rules of this process were in force for the first time, done the
	// end of the last operation that succeeded, which was for the Snapshot of
	// generation.
	since, done time.Time
	generation  uint64
	counts      policyCounts
	// err is why the kernel is not up to date, since errSince.
	err      error
	errSince time.Time
	failures int
	audited  time.Time
	// repaired counts what audits found amiss; repairs names what the last one did.
	repaired   int
	repairedAt time.Time
	repairs    []string
	problems   []caracal.Problem // of the policies
	unfiltered []string          // what no rule looks at
}

// policyCounts are the sizes of what is in force.
type policyCounts struct {
	Chains, Rules, Sets, Members int
	// Endpoints are local; Ingress and Egress those isolated in a direction.
	Endpoints, Ingress, Egress int
}

// passed reports whether rules of this process have been in force.
func (s *policyState) passed() bool { return s.off || !s.since.IsZero() }

// publish changes a copy of the state.
func (t *policyTask) publish(change func(*policyState)) {
	next := *t.state.Load()
	change(&next)
	t.state.Store(&next)
}

// policyGrace is how long the rules may lag behind before the node counts as not
// ready: a lock that somebody else holds is no reason.
const policyGrace = 10 * time.Second

// unready says why the node is not ready as far as rules go; empty if it is.
func (s *policyState) unready(now time.Time) string {
	switch {
	case s.passed() && (s.err == nil || now.Sub(s.errSince) < policyGrace):
		return ""
	case s.err != nil && !s.passed():
		return fmt.Sprintf("policy is not in force, so nothing is announced: %v", s.err)
	case s.err != nil:
		return fmt.Sprintf("policy is not up to date: %v", s.err)
	case s.lastRun:
		return "" // nothing is open that was closed; that containers must wait is said to them
	}
	return "policy is not in force yet: " + s.waiting
}

// issues are the problems that status shows.
func (s *policyState) issues() []caracal.Problem {
	out := append([]caracal.Problem(nil), s.problems...)
	for _, what := range s.unfiltered {
		out = append(out, *problem("Policy", "", what))
	}
	if s.off && s.waiting != "" {
		out = append(out, *problem("Policy", "", s.waiting))
	}
	if s.err != nil {
		text := "the rules in the kernel stay as they are, and are tried again: "
		if !s.passed() {
			text = "no rules of this process are in the kernel yet; what was there stays, and it is tried again: "
		}
		p := problem("Policy", "", text+s.err.Error())
		p.Since = s.errSince
		out = append(out, *p)
	}
	return out
}

// status is what the API shows of the state.
func (s *policyState) status() api.PolicyStatus {
	out := api.PolicyStatus{
		Off: s.off, Waiting: s.waiting, Backend: s.backend, Since: s.since, Updated: s.done, Generation: s.generation,
		Chains: s.counts.Chains, Rules: s.counts.Rules, Sets: s.counts.Sets, Members: s.counts.Members,
		Endpoints: s.counts.Endpoints, Ingress: s.counts.Ingress, Egress: s.counts.Egress,
		FailingSince: s.errSince, Audited: s.audited, Repaired: s.repaired, RepairedAt: s.repairedAt, Repairs: s.repairs,
	}
	if s.err != nil {
		out.Problem = s.err.Error()
	}
	return out
}

func newPolicyLatency() prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "caracal_policy_pass_seconds",
		Help:    "Time from taking a change of policies or workloads to the kernel having its rules and sets.",
		Buckets: prometheus.ExponentialBuckets(0.0005, 2, 16),
	})
}

var (
	descPolicyIn       = prometheus.NewDesc("caracal_policy_in_force", "1 if the kernel's rules are as the policies ask for.", nil, nil)
	descPolicySizes    = prometheus.NewDesc("caracal_policy_size", "How many chains, rules, sets and members of sets are in force.", []string{"what"}, nil)
	descPolicyPods     = prometheus.NewDesc("caracal_policy_workloads", "Local workloads by isolation: all, and those isolated in a direction.", []string{"isolated"}, nil)
	descPolicyErrors   = prometheus.NewDesc("caracal_policy_errors_total", "Passes that failed; each was tried again.", nil, nil)
	descPolicyRepaired = prometheus.NewDesc("caracal_policy_drift_repaired_total", "Chains and sets that were not as they should be; each was repaired.", nil, nil)
	descPolicyFlushed  = prometheus.NewDesc("caracal_policy_connections_ended_total", "Established connections that a policy forbade and that were ended.", nil, nil)
)

// policyCollector reads the task's state when it is scraped.
type policyCollector struct{ agent *Agent }

// Describe implements prometheus.Collector.
func (c policyCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descPolicyIn, descPolicySizes, descPolicyPods, descPolicyErrors, descPolicyRepaired, descPolicyFlushed} {
		ch <- d
	}
}

// Collect implements prometheus.Collector. Without rules there is nothing to say.
func (c policyCollector) Collect(ch chan<- prometheus.Metric) {
	t := c.agent.policy
	s := t.state.Load()
	if s.off {
		return
	}
	value := func(kind prometheus.ValueType, d *prometheus.Desc, v int, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, kind, float64(v), labels...)
	}
	value(prometheus.GaugeValue, descPolicyIn, int(truth(s.passed() && s.err == nil)))
	for what, n := range map[string]int{"chains": s.counts.Chains, "rules": s.counts.Rules, "sets": s.counts.Sets, "members": s.counts.Members} {
		value(prometheus.GaugeValue, descPolicySizes, n, what)
	}
	for what, n := range map[string]int{"any": s.counts.Endpoints, "ingress": s.counts.Ingress, "egress": s.counts.Egress} {
		value(prometheus.GaugeValue, descPolicyPods, n, what)
	}
	value(prometheus.CounterValue, descPolicyErrors, s.failures)
	value(prometheus.CounterValue, descPolicyRepaired, s.repaired)
	if t.flusher != nil {
		value(prometheus.CounterValue, descPolicyFlushed, int(t.flusher.ended.Load()))
	}
}
