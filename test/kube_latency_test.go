package test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"caracal.dev/caracal/lab"
)

// TestKubernetesPolicyLatency measures how long after the API took a policy it is in
// force on every node of a cluster that has a thousand others.
func TestKubernetesPolicyLatency(t *testing.T) {
	const others, writes, nodes = 1000, 40, 3
	c := newCluster(t, kubeTopology(nodes), apiAddr)
	names := []string{"a", "b", "c"}
	for _, name := range names {
		c.join(name)
	}
	c.sessions(names...)
	_, far := c.run("a", "client", nil)
	var guarded []*lab.Pod
	for _, name := range names {
		_, pod := c.run(name, "p"+name, map[string]string{"app": "server"})
		c.ping(far, pod)
		guarded = append(guarded, pod)
	}
	c.thousand(t, others)
	var took []time.Duration
	for i := range writes {
		api := c.api.Core().NetworkingV1().NetworkPolicies("default")
		begin := time.Now()
		if i%2 == 0 {
			p := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "closed"}}
			p.Spec.PodSelector.MatchLabels = map[string]string{"app": "server"}
			if _, err := api.Create(t.Context(), p, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
		} else if err := api.Delete(t.Context(), "closed", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		for _, pod := range guarded { // a ping that is lost takes 50 ms
			for !c.answers(t, far, pod, i%2 == 1) {
				if time.Since(begin) > 30*time.Second {
					t.Fatalf("after %v write %d is not in force for %s", time.Since(begin), i, pod.Name)
				}
			}
		}
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	t.Logf("%d policies, %d nodes: a write is in force on every node after p50 %v, p90 %v, p99 %v, at most %v",
		others, nodes, took[len(took)/2], took[len(took)*9/10], took[len(took)*99/100], took[len(took)-1])
}

// answers reports whether a ping has the outcome that is wanted.
func (c *cluster) answers(t *testing.T, from, to *lab.Pod, want bool) bool {
	t.Helper()
	ok, err := from.Answers(t.Context(), to.Addr(lab.IPv4), 50*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	return ok == want
}

// thousand writes that many policies, each with a selector and peers of its own, of
// which every tenth selects the pods of the measurement too.
func (c *cluster) thousand(t *testing.T, n int) {
	t.Helper()
	var g errgroup.Group
	g.SetLimit(8)
	api := c.api.Core().NetworkingV1().NetworkPolicies("default")
	for i := range n {
		g.Go(func() error {
			p := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("p%d", i)}}
			p.Spec.PodSelector.MatchLabels = map[string]string{"team": fmt.Sprintf("t%d", i)}
			p.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{
				{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"team": fmt.Sprintf("t%d", (i+1)%n)}}},
			}}}
			if i%10 == 0 { // one that is in force here, and allows all
				p.Spec.PodSelector.MatchLabels = map[string]string{"app": "server"}
				p.Spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeEgress}
				p.Spec.Ingress, p.Spec.Egress = nil, []networkingv1.NetworkPolicyEgressRule{{}}
			}
			_, err := api.Create(t.Context(), p, metav1.CreateOptions{})
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	for _, node := range c.l.Nodes() {
		eventually(t, 60*time.Second, func() string {
			out, err := node.CLI(t.Context(), "show", "policy")
			if err != nil {
				return err.Error()
			}
			if has := strings.Count(out, "\n"); has < n {
				return fmt.Sprintf("%s has %d policies", node.Name, has)
			}
			return ""
		})
	}
}
