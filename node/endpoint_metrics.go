package node

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"caracal.dev/caracal/endpoint"
)

func newEndpointLatency() *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "caracal_endpoint_seconds",
		Help:    "Time that the daemon's part of adding a container (add, then ready) and of removing one took, where it succeeded.",
		Buckets: prometheus.ExponentialBuckets(0.0005, 2, 16),
	}, []string{"step"})
}

// scrapeWait is how long a scrape waits for the address records.
const scrapeWait = 5 * time.Second

var (
	descEndpoints = prometheus.NewDesc("caracal_endpoints", "Containers of this node by state.", []string{"state"}, nil)
	descPoolSize  = prometheus.NewDesc("caracal_ipam_addresses", "Addresses of this node's blocks, by pool.", []string{"pool"}, nil)
	descPoolUse   = prometheus.NewDesc("caracal_ipam_addresses_used", "Addresses of this node's blocks that cannot be given, by pool and reason.", []string{"pool", "reason"}, nil)
)

// endpointCollector reads the registry when it is scraped.
type endpointCollector struct{ endpoints *endpoint.Registry }

// Describe implements prometheus.Collector.
func (c endpointCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descEndpoints, descPoolSize, descPoolUse} {
		ch <- d
	}
}

// Collect implements prometheus.Collector. While the addresses are not known there
// is nothing to say of them.
func (c endpointCollector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	states := map[endpoint.State]int{endpoint.Pending: 0, endpoint.Ready: 0, endpoint.Deleting: 0}
	for _, e := range c.endpoints.List() {
		states[e.State]++
	}
	for state, n := range states {
		gauge(descEndpoints, float64(n), string(state))
	}
	ctx, cancel := context.WithTimeout(context.Background(), scrapeWait)
	defer cancel()
	use, err := c.endpoints.Use(ctx)
	if err != nil {
		return
	}
	for _, p := range use.Pools {
		gauge(descPoolSize, p.Size, p.Name)
		gauge(descPoolUse, float64(p.Allocated), p.Name, "allocated")
		gauge(descPoolUse, float64(p.Reserved), p.Name, "reserved")
		gauge(descPoolUse, float64(p.Cooling), p.Name, "cooling")
	}
}
