package manifests

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/discovery"

	"caracal.dev/caracal/internal/kubetest"
)

// account is the daemons' ServiceAccount as RBAC knows it.
const account = "system:serviceaccount:caracal-system:caracal"

func reviewed(api *kubetest.API, ctx context.Context, a authorizationv1.ResourceAttributes) (bool, error) {
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User:               account,
		Groups:             []string{"system:serviceaccounts", "system:serviceaccounts:caracal-system", "system:authenticated"},
		ResourceAttributes: &a,
	}}
	got, err := api.Core().AuthorizationV1().SubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
	if err != nil {
		return false, err
	}
	return got.Status.Allowed, nil
}

// everything that the daemon may do, of all that the API serves, without naming an
// object. What any user may do (to ask about its own rights) is not in it.
var allowed = map[string]string{
	"": `
bgpconfigurations.caracal.dev: get list watch
bgpfilters.caracal.dev: get list watch
bgppeers.caracal.dev: get list watch
blockaffinities.caracal.dev: create delete get list update watch
caracalnodestatuses.caracal.dev/status: patch
caracalnodestatuses.caracal.dev: create
dataplaneconfigurations.caracal.dev: get list watch
endpointslices.discovery.k8s.io: get list watch
events: create patch
ipamblocks.caracal.dev: create delete get list update
ipamconfigurations.caracal.dev: get list watch
ippools.caracal.dev: get list watch
ipreservations.caracal.dev: get list watch
namespaces: get list watch
networkpolicies.networking.k8s.io: get list watch
nodeconfigs.caracal.dev: get list watch
nodes/status: patch
nodes: get list watch
pods: get list watch
services: get list watch`,
	// Beyond that, in its own namespace.
	"caracal-system": `
leases.coordination.k8s.io: create`,
	"kube-system": "",
}

// TestRights asks the API about every verb on everything that it serves.
func TestRights(t *testing.T) {
	t.Parallel()
	install(t, shared)
	for namespace, want := range allowed {
		got := may(t, shared, namespace)
		if namespace != "" {
			got = without(got, strings.Split(allowed[""], "\n"))
		}
		if text := strings.Join(got, "\n"); text != strings.TrimSpace(want) {
			t.Errorf("in namespace %q the daemon may\n%s\nwant\n%s", namespace, text, want)
		}
	}
}

func without(list, drop []string) []string {
	return slices.DeleteFunc(list, func(s string) bool { return slices.Contains(drop, s) })
}

// may lists what the daemon may do, a line for each resource.
func may(t *testing.T, api *kubetest.API, namespace string) []string {
	t.Helper()
	client, err := discovery.NewDiscoveryClientForConfig(api.Admin())
	if err != nil {
		t.Fatal(err)
	}
	_, lists, err := client.ServerGroupsAndResources()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	var out []string
	for _, list := range lists {
		group, _, _ := strings.Cut(list.GroupVersion, "/")
		if group == "v1" {
			group = ""
		}
		for _, r := range list.APIResources {
			name, sub, _ := strings.Cut(r.Name, "/")
			text := name
			if group != "" {
				text += "." + group
			}
			if sub != "" {
				text += "/" + sub
			}
			// What every ServiceAccount may do is not ours to give.
			if seen[text] || strings.HasPrefix(name, "selfsubject") || name == "clustertrustbundles" {
				continue
			}
			seen[text] = true
			a := authorizationv1.ResourceAttributes{Group: group, Version: "*", Resource: name, Subresource: sub, Namespace: namespace}
			if verbs := verbsOf(t, api, a); len(verbs) > 0 {
				out = append(out, text+": "+strings.Join(verbs, " "))
			}
		}
	}
	slices.Sort(out)
	return out
}

// verbsOf asks about each verb, side by side.
func verbsOf(t *testing.T, api *kubetest.API, a authorizationv1.ResourceAttributes) []string {
	t.Helper()
	all := []string{"bind", "create", "delete", "deletecollection", "escalate", "get", "impersonate", "list", "patch", "update", "watch"}
	answers := make([]bool, len(all))
	errs := make([]error, len(all))
	var g sync.WaitGroup
	for i, verb := range all {
		a := a
		a.Verb = verb
		g.Go(func() { answers[i], errs[i] = reviewed(api, t.Context(), a) })
	}
	g.Wait()
	var out []string
	for i, verb := range all {
		if errs[i] != nil {
			t.Fatal(errs[i])
		}
		if answers[i] {
			out = append(out, verb)
		}
	}
	return out
}

// TestNamedRights: one Secret and one Lease by name, in one namespace.
func TestNamedRights(t *testing.T) {
	t.Parallel()
	install(t, shared)
	for _, c := range []struct {
		verb, group, resource, namespace, name string
		want                                   bool
	}{
		{"get", "", "secrets", "caracal-system", "caracal-bgp", true},
		{"list", "", "secrets", "caracal-system", "caracal-bgp", false},
		{"watch", "", "secrets", "caracal-system", "caracal-bgp", false},
		{"update", "", "secrets", "caracal-system", "caracal-bgp", false},
		{"get", "", "secrets", "caracal-system", "other", false},
		{"list", "", "secrets", "caracal-system", "", false},
		{"get", "", "secrets", "default", "caracal-bgp", false},
		{"get", "coordination.k8s.io", "leases", "caracal-system", "caracal-collector", true},
		{"update", "coordination.k8s.io", "leases", "caracal-system", "caracal-collector", true},
		{"delete", "coordination.k8s.io", "leases", "caracal-system", "caracal-collector", false},
		{"update", "coordination.k8s.io", "leases", "caracal-system", "other", false},
		{"get", "coordination.k8s.io", "leases", "kube-node-lease", "caracal-collector", false},
	} {
		got, err := reviewed(shared, t.Context(), authorizationv1.ResourceAttributes{
			Verb: c.verb, Group: c.group, Version: "*", Resource: c.resource, Namespace: c.namespace, Name: c.name,
		})
		if err != nil {
			t.Fatal(err)
		}
		if got != c.want {
			t.Errorf("%s", fmt.Sprintf("%s %s/%s %s: %t, want %t", c.verb, c.namespace, c.resource, c.name, got, c.want))
		}
	}
}
