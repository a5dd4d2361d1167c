package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"caracal.dev/caracal"
	v1 "caracal.dev/caracal/api/v1"
	"caracal.dev/caracal/endpoint"
	"caracal.dev/caracal/internal/version"
	"caracal.dev/caracal/ipam"
	"caracal.dev/caracal/node"
	"caracal.dev/caracal/store/kube"
	"caracal.dev/caracal/store/kube/address"
	"caracal.dev/caracal/store/kube/apiserver"
	"caracal.dev/caracal/store/kube/collect"
	"caracal.dev/caracal/store/kube/records"
	"caracal.dev/caracal/store/kube/report"
)

// kubeSource is the API of Kubernetes. It need not be there.
func kubeSource(f flags, name string, log *slog.Logger) (source, error) {
	apiserver.LogTo(log)
	client, err := apiserver.Connect(apiserver.Options{Kubeconfig: f.kubeconfig, UserAgent: "caracald/" + version.String() + " (" + name + ")"})
	if err != nil {
		return source{}, err
	}
	method, err := address.ParseMethod(f.addressFrom)
	if err != nil {
		return source{}, err
	}
	keeper := address.New(address.Options{Core: client.Core, Node: name, Method: method, StateDir: f.state, Log: log})
	store := kube.New(kube.Options{Client: client, Node: name, Namespace: podNamespace(), StateDir: f.state, Log: log})
	given := &noting{Allocator: ipam.New(records.New(client), ipam.WithShared())}
	var reporter atomic.Pointer[report.Reporter]
	return source{
		store: &addressed{store, keeper},
		says:  client.Config.Host,
		ipam:  given, shared: true, knows: store.Knows,
		beside: func(endpoints *endpoint.Registry) []func(context.Context, *node.Agent) error {
			return []func(context.Context, *node.Agent) error{
				func(ctx context.Context, _ *node.Agent) error { return keeper.Run(ctx, store) },
				func(ctx context.Context, a *node.Agent) error {
					r := report.New(report.Options{Client: client, Node: name, Source: a, IPAM: ipamUse(endpoints, name),
						Notices: func() []report.Notice { return notices(keeper, given) }, Log: log})
					reporter.Store(r)
					return r.Run(ctx)
				},
				func(ctx context.Context, _ *node.Agent) error {
					return collect.New(collect.Options{Client: client, Node: name, Namespace: podNamespace(), Log: log}).Run(ctx)
				},
			}
		},
		problems: func() []caracal.Problem { return problems(name, keeper, given, reporter.Load()) },
	}, nil
}

// problems are what of these is wrong, for status.
func problems(name string, keeper *address.Keeper, given *noting, reporter *report.Reporter) (out []caracal.Problem) {
	for _, n := range notices(keeper, given) {
		out = append(out, caracal.Problem{Severity: caracal.Warning, Kind: "Node", Name: name, Message: n.Message, Since: time.Now()})
	}
	if reporter == nil {
		return out
	}
	if text := reporter.Problem(); text != "" {
		out = append(out, caracal.Problem{Severity: caracal.Warning, Kind: v1.KindCaracalNodeStatus, Name: name,
			Message: "the cluster is not told how this node is: " + text, Since: time.Now()})
	}
	return out
}

// addressed is the store that first has the node's own address chosen.
type addressed struct {
	*kube.Store
	keeper *address.Keeper
}

// settleTime is how long the start waits for the API to choose an address with.
const settleTime = 5 * time.Second

// Run implements node.Store.
func (s *addressed) Run(ctx context.Context) error {
	s.keeper.Settle(ctx, settleTime)
	return s.Store.Run(ctx)
}

// namespaceFile names the namespace of a Pod (Kubernetes: "Accessing the API from
// within a Pod").
const namespaceFile = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

// podNamespace is the one that the daemon runs in: where its Secrets and its Lease are.
func podNamespace() string {
	b, _ := os.ReadFile(namespaceFile)
	return cmp.Or(os.Getenv("POD_NAMESPACE"), strings.TrimSpace(string(b)), "caracal-system")
}

// noting is an allocator that remembers whether there was an address the last time.
type noting struct {
	endpoint.Allocator
	exhausted atomic.Pointer[string]
}

// Assign implements ipam.API.
func (n *noting) Assign(ctx context.Context, r ipam.Request) ([]ipam.Allocation, error) {
	got, err := n.Allocator.Assign(ctx, r)
	switch {
	case errors.Is(err, ipam.ErrExhausted):
		text := err.Error()
		n.exhausted.Store(&text)
	case err == nil:
		n.exhausted.Store(nil)
	}
	return got, err
}

// notices are what an operator must see of these.
func notices(keeper *address.Keeper, given *noting) (out []report.Notice) {
	if text := keeper.Problem(); text != "" {
		out = append(out, report.Notice{Reason: report.ReasonAddress, Message: text})
	}
	if text := given.exhausted.Load(); text != nil {
		out = append(out, report.Notice{Reason: report.ReasonExhausted, Message: "No address for a container: " + *text})
	}
	return out
}

// ipamUse counts the addresses of this node's blocks.
func ipamUse(endpoints *endpoint.Registry, self string) func(context.Context) (v1.IPAMStatus, error) {
	return func(ctx context.Context) (v1.IPAMStatus, error) {
		use, err := endpoints.Use(ctx)
		if err != nil {
			return v1.IPAMStatus{}, fmt.Errorf("count addresses: %w", err)
		}
		var s v1.IPAMStatus
		for _, b := range use.Blocks {
			if b.Node == self {
				s.Blocks++
			}
			s.Allocated += b.Allocated
			s.Borrowed += b.Borrowed
		}
		return s, nil
	}
}
