package kube

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"caracal.dev/caracal"
)

func TestFollowsAPI(t *testing.T) {
	api := start(t)
	ctx := t.Context()
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "a", Labels: map[string]string{"rack": "1"}}}
	n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.0.2.1"}}
	if _, err := api.Core().CoreV1().Nodes().Create(ctx, n, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	s, _ := run(t, Options{Client: connect(t, api), Node: "a"})
	snap := until(t, s, "synced and complete", func(s *caracal.Snapshot) bool { return s.Complete() && s.Nodes.Len() == 1 })
	t.Log(show(snap))
}
