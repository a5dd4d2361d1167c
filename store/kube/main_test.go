package kube

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/internal/kubetest"
	"caracal.dev/caracal/store/kube/apiserver"
)

// anything is a CRD that accepts whatever it is given, so that what the store makes
// of a bad object can be seen: that of manifests/base would refuse it.
const anything = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: %[1]s.caracal.dev}
spec:
  group: caracal.dev
  names: {kind: %[2]s, plural: %[1]s, singular: %[3]s}
  scope: Cluster
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
---`

// start starts an API of its own with our kinds.
func start(t testing.TB) *kubetest.API {
	t.Helper()
	api := kubetest.Start(t, kubetest.Options{})
	text := ""
	for kind, plural := range resources {
		text += fmt.Sprintf(anything, plural, kind, strings.ToLower(kind))
	}
	api.ApplyYAML(t, strings.TrimSuffix(text, "---"))
	return api
}

func connect(t testing.TB, api *kubetest.API) *apiserver.Client {
	t.Helper()
	c, err := apiserver.Connect(apiserver.Options{Kubeconfig: api.Kubeconfig(t, "admin", "system:masters"), UserAgent: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// run runs a store until the test ends, or the returned function is called.
func run(t testing.TB, o Options) (*Store, func()) {
	t.Helper()
	s := New(o)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop := func() {
		cancel()
		select {
		case <-s.done:
		case <-time.After(limit):
			t.Error("the store does not stop")
		}
	}
	t.Cleanup(stop)
	return s, stop
}

// limit is how long a test waits for what takes a second or so, and ten where an API
// server is started anew.
const limit = 2 * time.Minute

// until waits for a Snapshot of which ok holds.
func until(t testing.TB, s *Store, what string, ok func(*caracal.Snapshot) bool) *caracal.Snapshot {
	t.Helper()
	bell := s.Subscribe()
	defer s.unsubscribe(bell)
	deadline := time.After(limit)
	for {
		if snap := s.Snapshot(); ok(snap) {
			return snap
		}
		select {
		case <-bell:
		case <-deadline:
			t.Fatalf("not in time: %s\n%s", what, show(s.Snapshot()))
		}
	}
}

func show(s *caracal.Snapshot) string {
	text := fmt.Sprintf("synced %v, incomplete %v\n", s.Synced, s.Incomplete)
	for _, p := range s.Problems {
		text += fmt.Sprintf("%s: %s %s: %s\n", p.Severity, p.Kind, p.Name, p.Message)
	}
	for _, n := range s.Nodes.All() {
		text += fmt.Sprintf("%+v\n", n)
	}
	for _, n := range s.Workloads.All() {
		text += fmt.Sprintf("%+v\n", n)
	}
	return text
}
