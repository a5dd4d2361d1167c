package manifests

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"caracal.dev/caracal/test/runtimes"
)

// right is one that the daemon has.
type right struct {
	group, resource string
	verbs           []string
	// use makes the daemon want it, and returns what was said of it; nil: it does by
	// itself, and says so itself.
	use func(*cluster, *runtimes.Host) string
}

// TestMissingRights takes each right away, one at a time, and starts the daemon: it
// runs, and says which right it misses and what to do.
func TestMissingRights(t *testing.T) {
	c := newCluster(t)
	h := c.host("a")
	if err := h.Configure("caracal", runtimes.CNI10, h.Caracal()); err != nil {
		t.Fatal(err)
	}
	read := []string{"get", "list", "watch"}
	rights := []right{
		{"", "nodes", read, nil}, {"", "pods", read, nil}, {"", "namespaces", read, nil}, {"", "services", read, nil},
		{"", "pods", []string{"watch"}, nil},
		{"networking.k8s.io", "networkpolicies", read, nil},
		{"discovery.k8s.io", "endpointslices", read, nil},
		{"caracal.dev", "blockaffinities", read, nil},
		{"", "secrets", []string{"get"}, nil},
		{"", "nodes/status", []string{"patch"}, nil},
		{"caracal.dev", "caracalnodestatuses", []string{"create"}, nil},
		{"caracal.dev", "caracalnodestatuses/status", []string{"patch"}, nil},
		{"", "events", []string{"create"}, nil},
		{"caracal.dev", "ipamblocks", []string{"create"}, tryPod},
		{"caracal.dev", "ipamblocks", []string{"get"}, tryPod},
		{"caracal.dev", "blockaffinities", []string{"create"}, tryPod},
	}
	for _, kind := range []string{"bgpconfigurations", "bgpfilters", "bgppeers", "dataplaneconfigurations", "ipamconfigurations", "ippools", "ipreservations", "nodeconfigs"} {
		rights = append(rights, right{"caracal.dev", kind, read, nil})
	}
	c.api.ApplyYAML(t, troubled)
	for _, r := range rights {
		t.Run(r.resource+"/"+strings.Join(r.verbs, "+"), func(t *testing.T) {
			c := &cluster{t, c.l, c.api}
			c.without(r, func() { c.complains(r, h) })
		})
	}
}

// troubled has the daemon read a Secret, and write an Event since an object is wrong.
const troubled = `apiVersion: v1
kind: Secret
metadata: {name: caracal-bgp, namespace: caracal-system}
stringData: {tor: secret}
---
apiVersion: caracal.dev/v1
kind: BGPPeer
metadata: {name: tor}
spec:
  peerIP: 192.0.2.200
  asNumber: 64999
  filters: [no-such]
  password: {secretKeyRef: {name: caracal-bgp, key: tor}}
---
apiVersion: caracal.dev/v1
kind: IPPool
metadata: {name: zz-overlaps}
spec: {cidr: 10.77.1.0/24}
`

// tryAgain is CNI's error code for what may be better soon.
const tryAgain = 11

// tryPod has a container connected, which fails, and returns what the runtime is told.
func tryPod(c *cluster, h *runtimes.Host) string {
	name := fmt.Sprint("p", time.Now().UnixNano()%1e9)
	ctr, err := h.New("caracal", name, "id-"+name)
	if err != nil {
		c.t.Fatal(err)
	}
	eventually(c.t, 2*time.Minute, func() string { // an ADD may itself take most of one
		// The daemon starts: until it serves, the plugin says so.
		if err = h.Add(c.t.Context(), ctr); err != nil && runtimes.Code(err) == tryAgain && !strings.Contains(err.Error(), "rbac.yaml") {
			return err.Error()
		}
		return ""
	})
	if err == nil {
		c.t.Fatal("a container was connected")
	}
	if err := h.Kill(ctr); err != nil {
		c.t.Error(err)
	}
	return err.Error() + "\n"
}

// without calls fn while nobody has a right.
func (c *cluster) without(r right, fn func()) {
	t := c.t
	t.Helper()
	rbac := c.api.Core().RbacV1()
	if r.resource == "secrets" {
		role, err := rbac.Roles("caracal-system").Get(t.Context(), "caracal-secrets", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer func(rules []rbacv1.PolicyRule) { c.setRole(rules) }(role.Rules)
		c.setRole(take(role.Rules, r))
	} else {
		role, err := rbac.ClusterRoles().Get(t.Context(), "caracal", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer func(rules []rbacv1.PolicyRule) { c.setClusterRole(rules) }(role.Rules)
		c.setClusterRole(take(role.Rules, r))
	}
	c.untilDenied(r)
	fn()
}

func (c *cluster) setClusterRole(rules []rbacv1.PolicyRule) {
	roles := c.api.Core().RbacV1().ClusterRoles()
	role, err := roles.Get(context.Background(), "caracal", metav1.GetOptions{})
	if err == nil {
		role.Rules = rules
		_, err = roles.Update(context.Background(), role, metav1.UpdateOptions{})
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) setRole(rules []rbacv1.PolicyRule) {
	roles := c.api.Core().RbacV1().Roles("caracal-system")
	role, err := roles.Get(context.Background(), "caracal-secrets", metav1.GetOptions{})
	if err == nil {
		role.Rules = rules
		_, err = roles.Update(context.Background(), role, metav1.UpdateOptions{})
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

// take returns rules without a right.
func take(rules []rbacv1.PolicyRule, r right) (out []rbacv1.PolicyRule) {
	for _, rule := range rules {
		if !slices.Contains(rule.APIGroups, r.group) || !slices.Contains(rule.Resources, r.resource) {
			out = append(out, rule)
			continue
		}
		others, less := *rule.DeepCopy(), *rule.DeepCopy()
		others.Resources = slices.DeleteFunc(others.Resources, func(s string) bool { return s == r.resource })
		less.Resources = []string{r.resource}
		less.Verbs = slices.DeleteFunc(less.Verbs, func(v string) bool { return slices.Contains(r.verbs, v) })
		for _, rule := range []rbacv1.PolicyRule{others, less} {
			if len(rule.Resources) > 0 && len(rule.Verbs) > 0 {
				out = append(out, rule)
			}
		}
	}
	return out
}

// untilDenied waits until the API goes by the new rules.
func (c *cluster) untilDenied(r right) {
	c.t.Helper()
	name, sub, _ := strings.Cut(r.resource, "/")
	eventually(c.t, 30*time.Second, func() string {
		allowed, err := reviewed(c.api, c.t.Context(), authorizationv1.ResourceAttributes{
			Verb: r.verbs[0], Group: r.group, Version: "*", Resource: name, Subresource: sub, Namespace: "caracal-system", Name: "caracal-bgp",
		})
		if err != nil || allowed {
			return fmt.Sprint("it still has the right; ", err)
		}
		return ""
	})
}

// forget takes away what a daemon has written of a node, so that the next one does so
// anew. A request that the last one made as it was killed may be carried out after that:
// so what was taken away must still be away a moment later.
func (c *cluster) forget(node string) {
	c.t.Helper()
	statuses := c.api.Dynamic().Resource(resource("caracalnodestatuses"))
	absent := 0
	eventually(c.t, 30*time.Second, func() string {
		switch err := statuses.Delete(c.t.Context(), node, metav1.DeleteOptions{}); {
		case apierrors.IsNotFound(err):
			absent++
		case err != nil:
			return err.Error()
		default:
			absent = 0
		}
		if absent < 10 { // eventually looks 50 times a second
			return "CaracalNodeStatus " + node + " is there, or was a moment ago"
		}
		return ""
	})
	c.api.Kubectl(c.t, "annotate", "node", node, "caracal.dev/ipv4-address-", "caracal.dev/ipv6-address-")
	c.api.Kubectl(c.t, "delete", "events", "--all", "-n", "default")
}

// complains starts the daemon anew on node a, and waits for a line of its status, of
// its log, or of what the runtime is told, that names the resource and says what to apply.
func (c *cluster) complains(r right, h *runtimes.Host) {
	t := c.t
	t.Helper()
	n := h.Node
	if err := os.RemoveAll(n.StateDir()); err != nil {
		t.Fatal(err)
	}
	c.forget(n.Name)
	logFile := filepath.Join(n.Dir(), "caracald.log")
	begin, _ := os.ReadFile(logFile)
	c.startPlain(n.Name)
	defer func() {
		if err := n.Process("caracald").Kill(os.Kill); err != nil {
			t.Error(err)
		}
	}()
	told, said := "", ""
	if r.use != nil {
		told = r.use(c, h)
	}
	resource, _, _ := strings.Cut(r.resource, "/")
	eventually(t, time.Minute, func() string {
		status, _ := n.Exec(t.Context(), filepath.Join(programs(t), "caracal"), "--socket", n.Socket(), "show", "status")
		log, _ := os.ReadFile(logFile)
		said = told + status + string(log[min(len(begin), len(log)):])
		for line := range strings.Lines(said) {
			if strings.Contains(line, resource) && strings.Contains(line, "rbac.yaml") && slices.ContainsFunc(r.verbs, func(v string) bool {
				return strings.Contains(line, "cannot "+v) || v == "watch" && strings.Contains(line, "cannot list and watch")
			}) {
				t.Log(strings.TrimSpace(line))
				return ""
			}
		}
		there, _ := c.api.TryKubectl(t, "get", "caracalnodestatus", n.Name, "--ignore-not-found", "-o", "yaml", "--show-managed-fields")
		return "it does not say that " + r.resource + " is missing:\n" + said + "\n--- its CaracalNodeStatus\n" + there
	})
}
