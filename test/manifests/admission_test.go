package manifests

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"caracal.dev/caracal/store/kube/apiserver"
)

// daemon returns the client that the caracald of a node has.
func daemon(t *testing.T, node string) *apiserver.Client {
	t.Helper()
	c, err := apiserver.Connect(apiserver.Options{Kubeconfig: shared.ServiceAccount(t, "caracal-system", "caracal", node), UserAgent: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// makeNode makes a Node as a kubelet registers it, and removes it with the test.
func makeNode(t *testing.T, name string) {
	t.Helper()
	nodes := shared.Core().CoreV1().Nodes()
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"rack": "1"}, Annotations: map[string]string{"example.com/a": "b"}},
		Status: corev1.NodeStatus{
			Addresses:  []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.0.2.1"}},
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
		},
	}
	if _, err := nodes.Create(t.Context(), node, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := nodes.Delete(context.Background(), name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
}

// inForce waits until the API enforces the admission policies, which it does a moment
// after it has them.
func inForce(t *testing.T, c *apiserver.Client, foreign string) {
	t.Helper()
	eventually(t, 30*time.Second, func() string {
		_, err := c.Core.CoreV1().Nodes().PatchStatus(t.Context(), foreign, []byte(`{"metadata":{"annotations":{"caracal.dev/probe":"1"}}}`))
		if err == nil {
			return "the policy caracal-node is not in force"
		}
		return ""
	})
}

// TestOwnNodeOnly: of Nodes a daemon writes the status of its own, and in that only
// what is Caracal's.
func TestOwnNodeOnly(t *testing.T) {
	install(t, shared)
	own, other := "admission-a", "admission-b"
	makeNode(t, own)
	makeNode(t, other)
	c := daemon(t, own)
	inForce(t, c, other)
	unbound := daemon(t, "")
	condition := `{"status":{"conditions":[{"type":"NetworkUnavailable","status":"False","reason":"CaracalIsUp"}]}}`
	for _, row := range []struct {
		name   string
		client *apiserver.Client
		node   string
		patch  string
		refuse string // part of the reason; empty: allowed
	}{
		{"own annotation", c, own, `{"metadata":{"annotations":{"caracal.dev/ipv4-address":"192.0.2.1/24"}}}`, ""},
		{"annotation changed", c, own, `{"metadata":{"annotations":{"caracal.dev/ipv4-address":"192.0.2.2/24"}}}`, ""},
		{"annotation taken away", c, own, `{"metadata":{"annotations":{"caracal.dev/ipv4-address":null}}}`, ""},
		{"condition", c, own, condition, ""},
		{"condition again", c, own, strings.Replace(condition, "False", "True", 1), ""},
		{"another node's condition", c, other, condition, "caracald of node admission-a may change the status of its own Node only, not that of admission-b"},
		{"another node's annotation", c, other, `{"metadata":{"annotations":{"caracal.dev/ipv4-address":"192.0.2.1/24"}}}`, "its own Node only"},
		{"foreign annotation", c, own, `{"metadata":{"annotations":{"example.com/x":"y"}}}`, "only those of caracal.dev"},
		{"foreign annotation changed", c, own, `{"metadata":{"annotations":{"example.com/a":"y"}}}`, "only those of caracal.dev"},
		{"foreign annotation taken away", c, own, `{"metadata":{"annotations":{"example.com/a":null}}}`, "only those of caracal.dev"},
		{"name like ours", c, own, `{"metadata":{"annotations":{"caracal.dev.example.com/a":"b"}}}`, "only those of caracal.dev"},
		{"label", c, own, `{"metadata":{"labels":{"rack":"2"}}}`, "may not change labels"},
		{"new label", c, own, `{"metadata":{"labels":{"node-role.kubernetes.io/control-plane":""}}}`, "may not change labels"},
		{"finalizer", c, own, `{"metadata":{"finalizers":["example.com/x"]}}`, "may not change labels, finalizers"},
		{"another condition", c, own, `{"status":{"conditions":[{"type":"Ready","status":"False"}]}}`, "only NetworkUnavailable"},
		{"new condition", c, own, `{"status":{"conditions":[{"type":"Mine","status":"True"}]}}`, "only NetworkUnavailable"},
		{"addresses", c, own, `{"status":{"addresses":[{"type":"InternalIP","address":"192.0.2.66"}]}}`, "only the condition NetworkUnavailable"},
		{"capacity", c, own, `{"status":{"capacity":{"pods":"1000"}}}`, "only the condition NetworkUnavailable"},
		{"ports", c, own, `{"status":{"daemonEndpoints":{"kubeletEndpoint":{"Port":6666}}}}`, "only the condition NetworkUnavailable"},
		{"images", c, own, `{"status":{"images":[{"names":["a"],"sizeBytes":1}]}}`, "only the condition NetworkUnavailable"},
		{"volumes", c, own, `{"status":{"volumesInUse":["a"]}}`, "only the condition NetworkUnavailable"},
		{"a token of no node", unbound, own, condition, "names no node"},
	} {
		_, err := row.client.Core.CoreV1().Nodes().PatchStatus(t.Context(), row.node, []byte(row.patch))
		refused(t, row.name, err, row.refuse)
	}
	// RBAC's own part: not the Node itself.
	_, err := c.Core.CoreV1().Nodes().Patch(t.Context(), own, types.MergePatchType, []byte(`{"spec":{"unschedulable":true}}`), metav1.PatchOptions{})
	refused(t, "cordon", err, "cannot patch resource")
}

// refused compares the API's answer with what is wanted.
func refused(t *testing.T, name string, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("%s: %v", name, err)
	case want != "" && (!apierrors.IsForbidden(err) || !strings.Contains(err.Error(), want)):
		t.Errorf("%s: got %v, want it forbidden: %s", name, err, want)
	}
}

func resource(name string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "caracal.dev", Version: "v1", Resource: name}
}

func object(kind, name string, fields map[string]any) *unstructured.Unstructured {
	o := &unstructured.Unstructured{Object: map[string]any{}}
	for k, v := range fields {
		o.Object[k] = v
	}
	o.SetAPIVersion("caracal.dev/v1")
	o.SetKind(kind)
	o.SetName(name)
	return o
}

// TestOwnStatusOnly: a daemon writes the CaracalNodeStatus of its own node.
func TestOwnStatusOnly(t *testing.T) {
	install(t, shared)
	makeNode(t, "status-a")
	makeNode(t, "status-b")
	a, b := daemon(t, "status-a"), daemon(t, "status-b")
	inForce(t, a, "status-b")
	statuses := func(c *apiserver.Client) func(name string) error {
		return func(name string) error {
			_, err := c.Own.Resource(resource("caracalnodestatuses")).Create(t.Context(), object("CaracalNodeStatus", name, nil), metav1.CreateOptions{})
			return err
		}
	}
	eventually(t, 30*time.Second, func() string {
		if err := statuses(a)("status-b"); !apierrors.IsForbidden(err) {
			if err == nil {
				shared.Kubectl(t, "delete", "caracalnodestatus", "status-b")
			}
			return fmt.Sprint("another's object: ", err)
		}
		return ""
	})
	refused(t, "create another's", statuses(a)("status-b"), "its own CaracalNodeStatus only, not status-b")
	refused(t, "create its own", statuses(a)("status-a"), "")
	refused(t, "create its own", statuses(b)("status-b"), "")
	patch := []byte(`{"status":{"ready":true,"sessions":0,"established":0,"announced":0,"routes":0,"policies":0,"problemCount":0}}`)
	write := func(c *apiserver.Client, name string) error {
		_, err := c.Own.Resource(resource("caracalnodestatuses")).Patch(t.Context(), name, types.MergePatchType, patch, metav1.PatchOptions{}, "status")
		return err
	}
	refused(t, "its own status", write(a, "status-a"), "")
	refused(t, "another's status", write(a, "status-b"), "its own CaracalNodeStatus only")
	refused(t, "delete", a.Own.Resource(resource("caracalnodestatuses")).Delete(t.Context(), "status-a", metav1.DeleteOptions{}), "cannot delete")
	shared.Kubectl(t, "delete", "caracalnodestatuses", "status-a", "status-b")
}

// TestClaimsForItself: a daemon claims blocks for its own node, and cannot make those
// of another its own; cleaning up after another it may.
func TestClaimsForItself(t *testing.T) {
	install(t, shared)
	makeNode(t, "claims-a")
	makeNode(t, "claims-b")
	c := daemon(t, "claims-a")
	inForce(t, c, "claims-b")
	claims := c.Own.Resource(resource("blockaffinities"))
	claim := func(name, node string) *unstructured.Unstructured {
		return object("BlockAffinity", name, map[string]any{"spec": map[string]any{
			"node": node, "cidr": "10.244.0.0/26", "state": "pending", "record": "x",
		}})
	}
	create := func(o *unstructured.Unstructured) error {
		_, err := claims.Create(t.Context(), o, metav1.CreateOptions{})
		return err
	}
	eventually(t, 30*time.Second, func() string {
		if err := create(claim("claims-early", "claims-b")); !apierrors.IsForbidden(err) {
			shared.Kubectl(t, "delete", "blockaffinity", "claims-early", "--ignore-not-found")
			return fmt.Sprint("a claim for another: ", err)
		}
		return ""
	})
	refused(t, "for another", create(claim("claims-b1", "claims-b")), "may claim blocks for its own node only: BlockAffinity claims-b1 is of node claims-b")
	refused(t, "for itself", create(claim("claims-a1", "claims-a")), "")
	theirs, err := shared.Dynamic().Resource(resource("blockaffinities")).Create(t.Context(), claim("claims-b1", "claims-b"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	set := func(field, value string) error {
		o := theirs.DeepCopy()
		if err := unstructured.SetNestedField(o.Object, value, "spec", field); err != nil {
			t.Fatal(err)
		}
		next, err := claims.Update(t.Context(), o, metav1.UpdateOptions{})
		if err == nil {
			theirs = next
		}
		return err
	}
	if err := set("node", "claims-a"); err == nil {
		t.Error("it made another's claim its own")
	}
	for field, value := range map[string]string{"cidr": "10.0.0.0/8", "state": "confirmed", "borrowedFrom": "10.244.1.0/26"} {
		refused(t, "another's "+field, set(field, value), "but its state to releasing")
	}
	refused(t, "release another's", set("state", "releasing"), "")
	refused(t, "delete another's", claims.Delete(t.Context(), "claims-b1", metav1.DeleteOptions{}), "")
	// One of its own that somebody gave away it takes back, by its name.
	for name, may := range map[string]bool{"claims-a.10.244.0.0-26": true, "claims-a.b.10.244.0.0-26": false, "claims-b.10.244.0.0-26": false} {
		theirs, err = shared.Dynamic().Resource(resource("blockaffinities")).Create(t.Context(), claim(name, "claims-b"), metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := set("node", "claims-a"); (err == nil) != may {
			t.Errorf("%s taken back: %v, want %t", name, err, may)
		}
		refused(t, "delete "+name, claims.Delete(t.Context(), name, metav1.DeleteOptions{}), "")
	}
	refused(t, "delete its own", claims.Delete(t.Context(), "claims-a1", metav1.DeleteOptions{}), "")
}
