package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// serveHTTP serves /metrics, /healthz and /readyz on addr until ctx ends. An
// empty addr means no listener. A port in use does not stop the daemon: routes
// matter more than their figures.
func (a *Agent) serveHTTP(ctx context.Context) error {
	if a.o.HTTPAddr == "" {
		return nil
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", a.o.HTTPAddr)
	if err != nil {
		a.o.Log.Error("no metrics or health checks: cannot listen; free the address or give another with --http",
			"addr", a.o.HTTPAddr, "err", err)
		a.httpProblem.Store(problem("HTTP", a.o.HTTPAddr, fmt.Sprintf("/metrics and /healthz are not served: %v; free the address or start with another --http", err)))
		return nil
	}
	srv := &http.Server{Handler: a.mux(), ReadHeaderTimeout: 5 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("node: serve http on %s: %w", a.o.HTTPAddr, err)
	}
	return nil
}

func (a *Agent) mux() http.Handler {
	reg := prometheus.NewRegistry()
	// What the process itself uses: goroutines, descriptors and memory. The live
	// heap tells a leak from a heap that is merely not collected yet.
	live := regexp.MustCompile(`^/gc/heap/live:bytes$`)
	reg.MustRegister(a.latency, &collector{agent: a}, a.policy.latency, policyCollector{a},
		collectors.NewGoCollector(collectors.WithGoCollectorRuntimeMetrics(collectors.GoRuntimeMetricsRule{Matcher: live})),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if a.o.Endpoints != nil {
		reg.MustRegister(a.endpointLatency, endpointCollector{a.o.Endpoints})
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		plain(w, a.pulse.stuck(time.Now()))
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
		defer cancel()
		st, err := a.Status(ctx)
		switch {
		case err != nil:
			plain(w, err.Error())
		case !st.Ready.Holds:
			plain(w, st.Ready.Reason)
		default:
			plain(w, "")
		}
	})
	return mux
}

// plain answers 200 "ok" if nothing is wrong, and 503 with the reason if
// something is.
func plain(w http.ResponseWriter, wrong string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if wrong != "" {
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintln(w, wrong)
		return
	}
	fmt.Fprintln(w, "ok")
}
