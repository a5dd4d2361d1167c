package node

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"caracal.dev/caracal/fib"
	"caracal.dev/caracal/node/api"
)

// maxNeighborSeries bounds the number of neighbors that have series of their
// own, so that a large mesh does not flood the monitoring.
const maxNeighborSeries = 500

func newLatency() prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "caracal_path_to_kernel_seconds",
		Help:    "Time from reading an UPDATE off the socket to its route being in the kernel.",
		Buckets: prometheus.ExponentialBuckets(0.0005, 2, 16),
	})
}

// Descriptions of the metrics. Every label has a bounded set of values.
var (
	descInfo       = prometheus.NewDesc("caracal_info", "The node and the build.", []string{"node", "version"}, nil)
	descReady      = prometheus.NewDesc("caracal_ready", "1 if /readyz says so.", nil, nil)
	descConverged  = prometheus.NewDesc("caracal_rib_converged", "1 once every neighbor was heard or the deferral time is over.", nil, nil)
	descSessions   = prometheus.NewDesc("caracal_bgp_sessions", "BGP neighbors by state.", []string{"state"}, nil)
	descUp         = prometheus.NewDesc("caracal_bgp_session_up", "1 if the session with this neighbor is Established; at most 500 neighbors.", []string{"neighbor"}, nil)
	descPrefixes   = prometheus.NewDesc("caracal_bgp_neighbor_prefixes", "Prefixes of a neighbor by fate; at most 500 neighbors.", []string{"neighbor", "fate"}, nil)
	descPaths      = prometheus.NewDesc("caracal_rib_paths", "Paths by fate.", []string{"fate"}, nil)
	descPrefixSum  = prometheus.NewDesc("caracal_rib_prefixes", "Prefixes with at least one path.", nil, nil)
	descOriginated = prometheus.NewDesc("caracal_bgp_originated_prefixes", "Prefixes that this node announces.", nil, nil)
	descRoutes     = prometheus.NewDesc("caracal_fib_routes", "Kernel routes of ours by state.", []string{"state"}, nil)
	descDrift      = prometheus.NewDesc("caracal_fib_drift_repaired_total", "Routes that were not as they should be, by what had happened to them; each was repaired.", []string{"cause"}, nil)
	descAudit      = prometheus.NewDesc("caracal_fib_last_audit_timestamp_seconds", "When the kernel was last compared as a whole.", nil, nil)
	descProblems   = prometheus.NewDesc("caracal_config_problems", "Things that are wrong with the configuration or its application.", []string{"severity"}, nil)
	descGeneration = prometheus.NewDesc("caracal_config_generation", "Number of the configuration in force.", nil, nil)
)

// collector reads the status when it is scraped.
type collector struct{ agent *Agent }

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descInfo, descReady, descConverged, descSessions, descUp, descPrefixes, descPaths, descPrefixSum,
		descOriginated, descRoutes, descDrift, descAudit, descProblems, descGeneration} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	st, err := c.agent.Status(ctx)
	if err != nil {
		ch <- prometheus.NewInvalidMetric(descInfo, err)
		return
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(descInfo, 1, st.Node, st.Version)
	gauge(descReady, truth(st.Ready.Holds))
	gauge(descConverged, truth(st.Converged.Holds))
	gauge(descGeneration, float64(st.Generation))
	gauge(descPaths, float64(st.Counts.Paths-st.Counts.Refused), "accepted")
	gauge(descPaths, float64(st.Counts.Refused), "refused")
	gauge(descPrefixSum, float64(st.Counts.Prefixes))
	gauge(descOriginated, float64(st.Counts.Originated))
	gauge(descRoutes, float64(st.Counts.FIBInstalled), "installed")
	gauge(descRoutes, float64(st.Counts.FIBWanted-st.Counts.FIBInstalled-st.Counts.FIBFailed), "pending")
	gauge(descRoutes, float64(st.Counts.FIBFailed), "failed")
	gauge(descRoutes, float64(st.Counts.FIBStale), "stale")
	c.collectDrift(ctx, ch)
	if !st.Counts.LastAudit.IsZero() {
		gauge(descAudit, float64(st.Counts.LastAudit.Unix()))
	}
	problems := map[string]int{"warning": 0, "rejected": 0, "held": 0}
	for _, p := range st.Problems {
		problems[p.Severity.String()]++
	}
	for severity, n := range problems {
		gauge(descProblems, float64(n), severity)
	}
	neighbors, err := c.agent.Neighbors(ctx)
	if err != nil {
		ch <- prometheus.NewInvalidMetric(descSessions, err)
		return
	}
	collectNeighbors(neighbors, gauge)
}

func (c *collector) collectDrift(ctx context.Context, ch chan<- prometheus.Metric) {
	up := c.agent.up.Load()
	if up == nil {
		return
	}
	var stats fib.Stats
	if up.routes.query(ctx, func() { stats = up.routes.fib.Stats() }) != nil {
		return
	}
	for cause, n := range stats.Drift {
		ch <- prometheus.MustNewConstMetric(descDrift, prometheus.CounterValue, float64(n), fib.Cause(cause).String())
	}
}

func collectNeighbors(neighbors []api.Neighbor, gauge func(*prometheus.Desc, float64, ...string)) {
	states := map[string]int{}
	for i, n := range neighbors {
		states[n.State.String()]++
		if i >= maxNeighborSeries {
			continue
		}
		gauge(descUp, truth(n.State.String() == "Established"), n.Name)
		for fate, v := range map[string]uint64{
			"received": n.Prefixes.Received, "accepted": n.Prefixes.Accepted, "refused": n.Prefixes.Refused,
			"installed": n.Prefixes.Installed, "advertised": n.Prefixes.Advertised,
		} {
			gauge(descPrefixes, float64(v), n.Name, fate)
		}
	}
	for state, n := range states {
		gauge(descSessions, float64(n), state)
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
