package kube

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"caracal.dev/caracal"
	v1 "caracal.dev/caracal/api/v1"
	"caracal.dev/caracal/internal/cputime"
)

// TestManyPorts converts a Pod that somebody with no more than a namespace may make,
// and change as often as the API lets it. Every node reads it.
func TestManyPorts(t *testing.T) {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "x"}, Spec: corev1.PodSpec{NodeName: "b"}}
	p.Status.PodIPs = []corev1.PodIP{{IP: "10.0.0.1"}}
	const many = 50_000
	ports := make([]corev1.ContainerPort, many)
	for i := range ports {
		ports[i] = corev1.ContainerPort{Name: fmt.Sprintf("p%d", i), ContainerPort: int32(i + 1), Protocol: "TCP"}
	}
	p.Spec.Containers = []corev1.Container{{Ports: ports}}
	began := cputime.Used()
	got := podOf("a", nil)(p).(*pod)
	if took := cputime.Used() - began; took > 5*time.Second || len(got.Ports) != many {
		t.Errorf("%d ports took %s", len(got.Ports), took)
	}
}

// TestManyProblems publishes while there is a Problem for each of many objects.
func TestManyProblems(t *testing.T) {
	s := New(Options{Node: "a"})
	s.vault, s.disk = newVault(s.opts, s.ring), openDisk(s.opts)
	const many = 40_000
	for i := range many {
		bad := caracal.Policy{Namespace: "x", Name: fmt.Sprint("p", i), Ingress: true, Invalid: "spec.podSelector: cannot be read"}
		s.world.set(v1.KindNetworkPolicy, fmt.Sprint("x/p", i), &policy{Policy: bad})
	}
	s.publish(false)
	s.world.set(v1.KindNetworkPolicy, "x/p0", nil)
	s.world.set(v1.KindWorkload, "x/p", &pod{Workload: caracal.Workload{Namespace: "x", Node: "b"}})
	began := cputime.Used()
	s.publish(false)
	took, n := cputime.Used()-began, len(s.Snapshot().Problems)
	t.Logf("publishing with %d problems took %v", n, took)
	if took > 10*time.Second || n != many-1 {
		t.Errorf("with %d problems it took %s", n, took)
	}
}
