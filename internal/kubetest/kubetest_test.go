package kubetest

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"caracal.dev/caracal/internal/nstest"
)

// shared is the API of the tests that do not stop it; TestMain sets it.
var shared *API

func TestMain(m *testing.M) {
	if os.Getenv(orphanEnv) != "" {
		os.Exit(m.Run())
	}
	begin := time.Now()
	api, err := New(Options{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Fprintf(os.Stderr, "the API was ready after %v\n", time.Since(begin).Round(time.Millisecond))
	shared = api
	code := m.Run()
	fmt.Fprintf(os.Stderr, "at the end etcd and the API server used %s\n", memory(api))
	api.Close()
	os.Exit(code)
}

// as returns a client of a kubeconfig.
func as(t *testing.T, kubeconfig string) kubernetes.Interface {
	t.Helper()
	c, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(c)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

const widgets = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.kubetest.test}
spec:
  group: kubetest.test
  scope: Cluster
  names: {kind: Widget, plural: widgets, singular: widget, listKind: WidgetList}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec: {type: object, properties: {size: {type: integer, maximum: 9}}}
---
apiVersion: kubetest.test/v1
kind: Widget
metadata: {name: small}
spec: {size: 1}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: beside}
`

func TestApply(t *testing.T) {
	file := t.TempDir() + "/widgets.yaml"
	if err := os.WriteFile(file, []byte(widgets), 0o644); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	shared.Apply(t, file)
	t.Logf("a new CRD and an object of it took %v", time.Since(begin))
	shared.Apply(t, file)
	if got := shared.Kubectl(t, "get", "widgets", "-o", "name"); got != "widget.kubetest.test/small" {
		t.Errorf("kubectl get widgets: %q", got)
	}
	err := shared.TryApply(t.Context(), strings.NewReplacer("size: 1", "size: 10").Replace(widgets))
	if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "spec.size") {
		t.Errorf("a widget of size 10: %v", err)
	}
	if _, err := shared.TryKubectl(t, "get", "widget", "large"); err == nil || !strings.Contains(err.Error(), "NotFound") {
		t.Errorf("kubectl get of a widget that is not there: %v", err)
	}
}

func TestUsersMayDoWhatRBACSays(t *testing.T) {
	nobody := as(t, shared.Kubeconfig(t, "nobody"))
	_, err := nobody.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{})
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), `User "nobody" cannot list`) {
		t.Errorf("nobody lists pods: %v", err)
	}
	kubelet := as(t, shared.Kubeconfig(t, "system:node:n1", "system:nodes"))
	who, err := kubelet.AuthenticationV1().SelfSubjectReviews().Create(t.Context(), selfReview(), metav1.CreateOptions{})
	if err != nil || who.Status.UserInfo.Username != "system:node:n1" {
		t.Errorf("the kubelet is %v, %v", who, err)
	}
}

func TestServiceAccount(t *testing.T) {
	plain := as(t, shared.ServiceAccount(t, "caracal", "plain", ""))
	bound := as(t, shared.ServiceAccount(t, "caracal", "caracal", "n1"))
	again := as(t, shared.ServiceAccount(t, "caracal", "caracal", "n1"))
	const node = "authentication.kubernetes.io/node-name"
	for _, c := range []struct {
		name   string
		client kubernetes.Interface
		user   string
		node   string
	}{
		{"plain", plain, "system:serviceaccount:caracal:plain", "[]"},
		{"bound", bound, "system:serviceaccount:caracal:caracal", "[n1]"},
		{"again", again, "system:serviceaccount:caracal:caracal", "[n1]"},
	} {
		who, err := c.client.AuthenticationV1().SelfSubjectReviews().Create(t.Context(), selfReview(), metav1.CreateOptions{})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		info := who.Status.UserInfo
		if got := fmt.Sprint(info.Extra[node]); info.Username != c.user || got != c.node {
			t.Errorf("%s: user %s of node %s, want %s of %s", c.name, info.Username, got, c.user, c.node)
		}
	}
	pod := shared.Kubectl(t, "-n", "caracal", "get", "pods", "-o", "name")
	if pod != "pod/caracal-n1" {
		t.Errorf("pods %q", pod)
	}
}

// What was written is there after a crash, and the clients need not be made anew.
func TestOutages(t *testing.T) {
	api := Start(t, Options{})
	api.ApplyYAML(t, widgets)
	list := func(within time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), within)
		defer cancel()
		_, err := api.Core().CoreV1().ConfigMaps("default").Get(ctx, "beside", metav1.GetOptions{})
		return err
	}
	api.Kill()
	if err := list(time.Minute); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("with the API killed: %v", err)
	}
	begin := time.Now()
	api.Restart(t)
	t.Logf("restarted in %v", time.Since(begin))
	if err := list(time.Minute); err != nil {
		t.Errorf("after the restart: %v", err)
	}
	api.Freeze()
	if err := list(2 * time.Second); err == nil || !strings.Contains(err.Error(), "deadline") {
		t.Errorf("with the API frozen: %v", err)
	}
	api.Thaw()
	if err := list(time.Minute); err != nil {
		t.Errorf("after the thaw: %v", err)
	}
}

func TestInANamespace(t *testing.T) {
	ns, far := nstest.New(t), nstest.New(t)
	nstest.Veth(t, ns, "eth0", far, "eth0")
	ns.Addr("eth0", "192.0.2.10/24")
	far.Addr("eth0", "192.0.2.11/24")
	api := Start(t, Options{NetNS: ns.Path(), Addr: netip.MustParseAddr("192.0.2.10"), Port: 6443})
	if got := api.URL(); got != "https://192.0.2.10:6443" {
		t.Errorf("URL %s", got)
	}
	if _, err := api.Core().CoreV1().Namespaces().Get(t.Context(), "default", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
	if got := advertised(t, api); got != "192.0.2.10" {
		t.Errorf("the EndpointSlice kubernetes has: %q", got)
	}
	kubectl, err := Program("kubectl")
	if err != nil {
		t.Fatal(err)
	}
	config := api.Kubeconfig(t, "admin", "system:masters")
	if got := far.Run(kubectl, "--kubeconfig="+config, "get", "namespace", "default", "-o", "name"); got != "namespace/default" {
		t.Errorf("kubectl in another namespace: %q", got)
	}
}

// advertised is the address that the API server gives for itself in the Endpoints of the Service kubernetes. It
// writes them some moments after it has said that it is ready.
func advertised(t *testing.T, api *API) string {
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		got, err := api.Core().DiscoveryV1().EndpointSlices("default").Get(t.Context(), "kubernetes", metav1.GetOptions{})
		if err == nil && len(got.Endpoints) > 0 && len(got.Endpoints[0].Addresses) > 0 {
			return got.Endpoints[0].Addresses[0]
		}
		if time.Now().After(end) {
			t.Fatalf("the API server does not advertise its address: %v, error %v", got, err)
		}
	}
}

func TestMissingProgramSaysWhatToRun(t *testing.T) {
	t.Setenv(ProgramsEnv, t.TempDir())
	if _, err := New(Options{}); err == nil || !strings.Contains(err.Error(), "make kube-programs") {
		t.Errorf("without programs: %v", err)
	}
}

func selfReview() *authenticationv1.SelfSubjectReview { return &authenticationv1.SelfSubjectReview{} }

// memory says how much memory the two programs have, in words.
func memory(a *API) string {
	var out []string
	for _, p := range []*process{a.etcd, a.server} {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
		for line := range strings.Lines(string(text)) {
			if rss, ok := strings.CutPrefix(line, "VmRSS:"); ok {
				out = append(out, strings.TrimSpace(rss))
			}
		}
	}
	return strings.Join(out, " and ")
}
