package kubetest

import (
	"context"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// proxied returns a proxy and a client that reaches the API through it.
func proxied(t *testing.T) (*Proxy, kubernetes.Interface) {
	t.Helper()
	p := shared.Proxy(t)
	c, err := clientcmd.BuildConfigFromFlags("", p.Kubeconfig(t, shared.ServiceAccount(t, "proxied", "watcher", "")))
	if err != nil {
		t.Fatal(err)
	}
	c.UserAgent, c.QPS = "tester", -1
	shared.ApplyYAML(t, `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: proxied}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{kind: ServiceAccount, namespace: proxied, name: watcher}]
`)
	client := kubernetes.NewForConfigOrDie(rest.CopyConfig(c))
	// The API server follows the bindings by a watch, and so knows of this one a moment later.
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		_, err := client.CoreV1().ConfigMaps("proxied").List(t.Context(), metav1.ListOptions{})
		if err == nil {
			return p, client
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

func TestProxyPasses(t *testing.T) {
	p, c := proxied(t)
	ctx := t.Context()
	maps := c.CoreV1().ConfigMaps("proxied")
	w, err := maps.Watch(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	p.Break(func(r Request) Fault { return Fault{Late: 300 * time.Millisecond} })
	begin := time.Now()
	if _, err := maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "late"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took < 300*time.Millisecond {
		t.Errorf("late by 300 ms, and answered after %v", took)
	}
	for event := range w.ResultChan() {
		if m, ok := event.Object.(*corev1.ConfigMap); ok && m.Name == "late" {
			break
		}
	}
	// Who gives up has written all the same, if the whole question got through.
	p.Break(func(r Request) Fault { return Fault{Late: 30 * time.Second} })
	short, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	if _, err := maps.Create(short, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "unanswered"}}, metav1.CreateOptions{}); err == nil {
		t.Error("answered in time")
	}
	p.Break(nil)
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, err := maps.Get(ctx, "unanswered", metav1.GetOptions{}); err == nil {
			break
		} else if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	var watches int
	for _, r := range p.Requests(begin.Add(-time.Minute)) {
		if r.Watch() && r.Agent == "tester" && r.Path == "/api/v1/namespaces/proxied/configmaps" {
			watches++
		}
	}
	if watches != 1 {
		t.Errorf("%d watches were counted: %+v", watches, p.Requests(begin.Add(-time.Minute)))
	}
}

func TestProxyBreaks(t *testing.T) {
	p, c := proxied(t)
	ctx := t.Context()
	spaces := c.CoreV1().Namespaces()
	p.Break(func(r Request) Fault {
		if r.Watch() {
			return Fault{Expired: true}
		}
		return Fault{Status: 503}
	})
	if _, err := spaces.List(ctx, metav1.ListOptions{}); !apierrors.IsServiceUnavailable(err) {
		t.Errorf("503: %v", err)
	}
	w, err := spaces.Watch(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if e := <-w.ResultChan(); !apierrors.IsResourceExpired(apierrors.FromObject(e.Object)) {
		t.Errorf("a watch that expires: %+v", e)
	}
	p.Break(func(r Request) Fault { return Fault{Ends: true} })
	if w, err = spaces.Watch(ctx, metav1.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	if e, open := <-w.ResultChan(); open {
		t.Errorf("a watch that ends: %+v", e)
	}
	p.Break(nil)
	p.Down()
	short, cancel := context.WithTimeout(ctx, time.Second) // or the client tries ten times
	defer cancel()
	if _, err := spaces.List(short, metav1.ListOptions{}); err == nil {
		t.Error("an API that is down answers")
	}
	p.Up(t)
	p.Throttle(5_000)
	begin := time.Now()
	_, err = c.CoreV1().ConfigMaps("proxied").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "long"},
		Data: map[string]string{"text": strings.Repeat("x", 10_000)}}, metav1.CreateOptions{})
	if took := time.Since(begin); err != nil || took < 2*time.Second {
		t.Errorf("10 kB at 5 kB/s took %v: %v", took, err)
	}
}

// TestCompact wants 410 from a resourceVersion before it, of Events, which the API
// server does not keep in memory.
func TestCompact(t *testing.T) {
	p, c := proxied(t)
	for _, name := range []string{"one", "two"} {
		_, err := c.CoreV1().ConfigMaps("proxied").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
	}
	if now := shared.Compact(t); now < "1" {
		t.Errorf("now is %q", now)
	}
	w, err := c.CoreV1().Events("").Watch(t.Context(), metav1.ListOptions{ResourceVersion: "1"})
	if err != nil {
		t.Fatal(err)
	}
	if e := <-w.ResultChan(); !apierrors.IsResourceExpired(apierrors.FromObject(e.Object)) {
		t.Errorf("from 1: %+v", e)
	}
	if n := p.Expired(); n != 1 {
		t.Errorf("%d expired watches were counted", n)
	}
}
