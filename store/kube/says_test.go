package kube

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "caracal.dev/caracal/api/v1"
	"caracal.dev/caracal/store/kube/apiserver"
)

// TestFirstListsAreNoProblem takes the first lists one by one, in several orders: until
// this node's Node has been judged nothing is said of it, and one that cannot be used or
// is not there is.
func TestFirstListsAreNoProblem(t *testing.T) {
	for _, c := range []struct {
		name string
		node *node // of this node
		want string
	}{
		{"usable", coreNode("a", "192.0.2.1"), ""},
		{"without address", coreNode("a"), "that of this node, is not in force"},
		{"not there", nil, `the API has no Node "a"`},
	} {
		for shift := range kinds() {
			t.Run(fmt.Sprint(c.name, " ", shift), func(t *testing.T) {
				var out bytes.Buffer
				s := New(Options{Node: "a", Log: slog.New(slog.NewTextHandler(&out, nil))})
				s.vault, s.disk = newVault(s.opts, s.ring), openDisk(s.opts)
				order := append(kinds()[shift:], kinds()[:shift]...)
				for i, kind := range order {
					var list []*item
					if kind == kindNode {
						list = []*item{{key: "b", value: coreNode("b", "192.0.2.2")}}
						if c.node != nil {
							list = append(list, &item{key: "a", value: c.node})
						}
					}
					s.pushAll(kind, list)
					s.take()
					s.publish(false)
					if early := strings.Contains(out.String(), "not in force"); early && s.world.judgedAt.IsZero() {
						t.Fatalf("said after %d of %d lists:\n%s", i+1, len(order), out.String())
					}
				}
				s.world.judgeTook = 0
				s.publish(false)
				if got := messages(s.Snapshot()); (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
					t.Errorf("problems %q, want %q", got, c.want)
				}
				if strings.Contains(out.String(), "no longer") {
					t.Error(out.String())
				}
			})
		}
	}
}

// TestForbiddenSecret reads Secrets of the real API that the daemon may not: what is
// said to be done helps.
func TestForbiddenSecret(t *testing.T) {
	t.Parallel()
	api := start(t)
	addNode(t, api, "a", "192.0.2.1")
	for _, name := range []string{ownSecret, "other"} {
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, StringData: map[string]string{"tor": "sesame"}}
		if _, err := api.Core().CoreV1().Secrets("default").Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	c, err := apiserver.Connect(apiserver.Options{Kubeconfig: api.ServiceAccount(t, "default", "nobody", "a")})
	if err != nil {
		t.Fatal(err)
	}
	v := newVault(Options{Client: c, Namespace: "default"}, func() {})
	for name, want := range map[string]string{
		ownSecret: "apply manifests/base/rbac.yaml",
		"other":   "add other to the resourceNames of the Role caracal-secrets in namespace default, or use the Secret caracal-bgp",
	} {
		ref := v1.SecretKeyRef{Name: name, Key: "tor"}
		v.password(ref)
		v.read(t.Context(), name)
		if p := v.password(ref); !strings.Contains(p.Err, want) || !strings.Contains(p.Err, "forbidden") || !p.Secret.IsZero() {
			t.Errorf("%s: %s", name, p.Err)
		}
	}
}
