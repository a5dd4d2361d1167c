package crd

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	v1 "caracal.dev/caracal/api/v1"
)

func unstructuredOf(t *testing.T, o any) *unstructured.Unstructured {
	t.Helper()
	b, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON(b); err != nil {
		t.Fatal(err)
	}
	return u
}

// written is a file with the text.
func written(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "object.yaml")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// kubectl is strict about unknown fields if nobody asks it not to be; an API server
// that is asked to take anything drops them, and the daemon then sees an object
// without them.
func TestKubectlIsStrict(t *testing.T) {
	file := written(t, peer+"asNumbr: 1}\n")
	for _, verb := range []string{"create", "apply"} {
		if out, err := shared.TryKubectl(t, verb, "-f", file); err == nil || !strings.Contains(err.Error(), `unknown field "spec.asNumbr"`) {
			t.Errorf("kubectl %s: %s, %v", verb, out, err)
		}
	}
	shared.Kubectl(t, "create", "--validate=false", "-f", file)
	if out := shared.Kubectl(t, "get", "bgppeer", "p", "-o", "yaml"); strings.Contains(out, "asNumbr:") {
		t.Errorf("an unknown field was kept:\n%s", out)
	}
	shared.Kubectl(t, "delete", "bgppeer", "p")
}

const shown = `
apiVersion: caracal.dev/v1
kind: BGPPeer
metadata: {name: tor}
spec: {peerIP: 192.0.2.1, asNumber: 65001, nodeSelector: "rack == 'a'", filters: [tor-in, tor-out]}
---
apiVersion: caracal.dev/v1
kind: BGPPeer
metadata: {name: reflectors}
spec: {peerSelector: has(reflector)}
---
apiVersion: caracal.dev/v1
kind: BGPConfiguration
metadata: {name: default}
spec: {asNumber: 64512, nodeToNodeMeshEnabled: false}
---
apiVersion: caracal.dev/v1
kind: IPPool
metadata: {name: pods}
spec: {cidr: 10.244.0.0/16, natOutgoing: true}
---
apiVersion: caracal.dev/v1
kind: CaracalNodeStatus
metadata: {name: node-1}
`

func TestKubectlGet(t *testing.T) {
	shared.ApplyYAML(t, shown)
	file := written(t, shown)
	defer shared.Kubectl(t, "delete", "-f", file)
	status, err := resource(v1.KindCaracalNodeStatus).Get(t.Context(), "node-1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	n := v1.NodeStatus{Version: "v1", Updated: metav1.NewTime(time.Now()), Ready: true, Sessions: 3, Established: 3, SessionsSummary: "3/3", Announced: 2, Routes: 7, Policies: 5, IPAM: v1.IPAMStatus{Allocated: 11}}
	status.Object["status"] = unstructuredOf(t, map[string]any{"apiVersion": "v1", "kind": "x", "status": n}).Object["status"]
	if _, err := resource(v1.KindCaracalNodeStatus).UpdateStatus(t.Context(), status, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	for what, want := range map[string]string{
		"bgppeers": `NAME PEER-IP PEER-SELECTOR INTERFACE AS NODE NODE-SELECTOR AGE
reflectors has(reflector) N
tor 192.0.2.1 65001 rack == 'a' N`,
		"ccpool": `NAME CIDR BLOCK-SIZE IPIP NAT DISABLED AGE
pods 10.244.0.0/16 Never true N`,
		"ccstatus/node-1": `NAME READY SESSIONS ANNOUNCED ROUTES POLICIES IPS PROBLEMS UPDATED
node-1 true 3/3 2 7 5 11 0 N`,
	} {
		got := shared.Kubectl(t, "get", what)
		got = regexp.MustCompile(` +`).ReplaceAllString(got, " ")
		got = regexp.MustCompile(`(?m) \d+m?\d*s$`).ReplaceAllString(got, " N")
		if got != want {
			t.Errorf("kubectl get %s:\n%s\nwant\n%s", what, got, want)
		}
	}
	all := shared.Kubectl(t, "get", "caracal")
	for _, name := range []string{"bgppeer.caracal.dev/tor", "bgpconfiguration.caracal.dev/default", "ippool.caracal.dev/pods", "caracalnodestatus.caracal.dev/node-1"} {
		if !strings.Contains(all, name) {
			t.Errorf("kubectl get caracal does not show %s:\n%s", name, all)
		}
	}
}

// Each field of each kind says what it is, in words of its own and not of Go.
func TestDescriptions(t *testing.T) {
	text, err := os.ReadFile(crds)
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, part := range strings.Split(string(text), "\n---\n")[1:] { // after the comment
		var crd map[string]any
		if err := yaml.Unmarshal([]byte(part), &crd); err != nil {
			t.Fatal(err)
		}
		count++
		name, _, _ := unstructured.NestedString(crd, "metadata", "name")
		if b, _ := json.Marshal(crd); len(b) > 64<<10 {
			t.Errorf("%s has %d bytes", name, len(b))
		}
		versions, _, _ := unstructured.NestedSlice(crd, "spec", "versions")
		schema, _, _ := unstructured.NestedMap(versions[0].(map[string]any), "schema", "openAPIV3Schema", "properties")
		for _, top := range []string{"spec", "status"} {
			if of, ok := schema[top].(map[string]any); ok {
				described(t, name+": "+top, of)
			}
		}
	}
	if count != len(plurals()) {
		t.Errorf("there are %d definitions, want %d", count, len(plurals()))
	}
	if out := shared.Kubectl(t, "explain", "bgppeer.spec.password.secretKeyRef"); !strings.Contains(out, "namespace of the daemon") {
		t.Error(out)
	}
}

func described(t *testing.T, path string, schema map[string]any) {
	if text, _ := schema["description"].(string); text == "" || strings.ContainsAny(text, "[]") && strings.Contains(text, "[Default") {
		t.Errorf("%s: description %q", path, text)
	}
	fields, _ := schema["properties"].(map[string]any)
	if items, ok := schema["items"].(map[string]any); ok && fields == nil {
		fields, _ = items["properties"].(map[string]any)
	}
	for name, of := range fields {
		described(t, path+"."+name, of.(map[string]any))
	}
}
