package file

import (
	"fmt"
	"strings"
	"testing"

	"caracal.dev/caracal"
)

func policy(namespace, name, spec string) string {
	return fmt.Sprintf("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {namespace: %s, name: %s}\nspec: {%s}\n", namespace, name, spec)
}

// policies prints those of the Snapshot: who, and whether it stands in.
func (h *host) policies() string {
	var all []string
	for key, p := range h.store.Snapshot().Policies.All() {
		if p.Invalid != "" {
			key += "!"
		}
		for _, r := range p.Pods.Requirements {
			key += " " + r.Key
		}
		if p.Source == "" || p.Key() != strings.TrimSuffix(strings.Fields(key)[0], "!") {
			key += " (wrong)"
		}
		all = append(all, key)
	}
	return strings.Join(all, ", ")
}

func (h *host) namespaces() string {
	var all []string
	for key, n := range h.store.Snapshot().Namespaces.All() {
		if n.Labels[caracal.NamespaceNameLabel] != key || n.Name != key {
			key += "?"
		}
		all = append(all, fmt.Sprintf("%s%d", key, len(n.Labels)))
	}
	return strings.Join(all, " ")
}

// TestPolicies follows policies through being good, refused, and gone: at no moment
// does a refused one open what it was to close.
func TestPolicies(t *testing.T) {
	h := newHost(t)
	h.cluster()
	h.start()
	const isolated = "; until it is corrected or removed, the pods that its podSelector selects in the namespace shop are isolated, and nothing may connect to them nor they to anything"
	bad := policy("shop", "web", "podSelector: {matchLabels: {app: web}}, policyTypes: [in]")
	reason := `rejected: p.yaml: NetworkPolicy shop/web: spec.policyTypes[0]: "in" must be Ingress or Egress`
	for _, step := range []struct {
		name, text, want, spaces string
		problems                 []string
	}{
		{"refused at first", bad, "shop/web! app", "shop1", []string{reason + isolated}},
		{"no YAML any more", "kind: [\n", "shop/web! app", "shop1", []string{"rejected: p.yaml: line 1: did not find expected node content"}},
		{"good", policy("shop", "web", "podSelector: {matchLabels: {web: x}}"), "shop/web web", "shop1", nil},
		{"refused with a version in force", bad, "shop/web web", "shop1", []string{reason + "; the version accepted at 2026-11-01T12:00:00Z stays in force"}},
		{"no YAML with a version in force", "kind: [\n", "shop/web web", "shop1",
			[]string{"rejected: p.yaml: line 1: did not find expected node content; NetworkPolicy shop/web as accepted at 2026-11-01T12:00:00Z stays in force"}},
		{"good again, and a bad one beside it", policy("shop", "web", "") + "---\n" + policy("lab", "x", "ingress: {}"), "lab/x!, shop/web", "lab1 shop1", []string{
			"rejected: p.yaml: NetworkPolicy lab/x: spec.ingress: must be a list, not a group of fields; until it is corrected or removed, all pods in the namespace lab are isolated, and nothing may connect to them nor they to anything"}},
		{"without a name", strings.Replace(bad, ", name: web", "", 1), "shop/unnamed-21e5146f3b! app, shop/web", "shop1", []string{
			`rejected: p.yaml: NetworkPolicy: document at line 1: metadata.name: is missing; spec.policyTypes[0]: "in" must be Ingress or Egress` + isolated,
			"rejected: p.yaml: NetworkPolicy shop/web: it is not in the file any more, but a document of the file is refused; the version accepted at 2026-11-01T12:00:00Z stays in force"}},
		{"of another API", strings.Replace(bad, "networking.k8s.io/v1", "projectcalico.org/v3", 1), "shop/web", "shop1", []string{
			"rejected: p.yaml: NetworkPolicy shop/web: apiVersion: must be networking.k8s.io/v1, not projectcalico.org/v3; the version accepted at 2026-11-01T12:00:00Z stays in force"}},
	} {
		h.write("p.yaml", step.text)
		for _, again := range []string{"", ", after a restart"} {
			if again != "" {
				if strings.HasPrefix(step.name, "no YAML any more") {
					break // then nobody knows of it
				}
				h.restart()
			}
			h.reload()
			if got := h.policies(); got != step.want {
				t.Errorf("%s%s: policies %s, want %s", step.name, again, got, step.want)
			}
			if got := h.namespaces(); got != step.spaces {
				t.Errorf("%s%s: namespaces %s, want %s", step.name, again, got, step.spaces)
			}
			h.wantProblems(step.problems...)
		}
	}
	h.remove("p.yaml")
	h.reload()
	if h.policies() != "" || h.namespaces() != "" {
		t.Errorf("left: %s, %s", h.policies(), h.namespaces())
	}
}

// TestPoliciesAreHeld: half of the policies at once do not go without a word, and a
// damaged directory does not take them either.
func TestPoliciesAreHeld(t *testing.T) {
	h := newHost(t)
	h.cluster()
	for i := range 8 {
		h.write(fmt.Sprintf("p%d.yaml", i), policy("shop", fmt.Sprintf("p%d", i), ""))
	}
	h.write("shop.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {team: a}}\n")
	h.start()
	want := "shop/p0, shop/p1, shop/p2, shop/p3, shop/p4, shop/p5, shop/p6, shop/p7"
	for i := range 5 {
		h.remove(fmt.Sprintf("p%d.yaml", i))
	}
	h.reload()
	held := "held: 5 of 8 objects of kind NetworkPolicy are gone from ETC at once (shop/p0, shop/p1, shop/p2, shop/p3, shop/p4); they stay in force until the removal is confirmed (caracal configure confirm) or the files are back"
	h.wantProblems(held)
	h.restart()
	h.wantProblems(held)
	if got := h.policies(); got != want {
		t.Errorf("policies %s", got)
	}
	h.confirm()
	if got := h.policies(); got != "shop/p5, shop/p6, shop/p7" || h.namespaces() != "shop2" {
		t.Errorf("policies %s, namespaces %s", got, h.namespaces())
	}
}

// TestList reads what kubectl prints for several objects.
func TestList(t *testing.T) {
	h := newHost(t)
	h.cluster()
	list := "apiVersion: v1\nkind: List\nmetadata: {resourceVersion: \"\"}\nitems:\n" +
		"- apiVersion: v1\n  kind: Namespace\n  metadata: {name: shop, labels: {team: a}, uid: x}\n  status: {phase: Active}\n" +
		"- apiVersion: networking.k8s.io/v1\n  kind: NetworkPolicy\n  metadata: {name: web, namespace: shop}\n  spec: {podSelector: {}}\n"
	h.write("list.yaml", list+"- apiVersion: networking.k8s.io/v1\n  kind: NetworkPolicy\n  metadata: {name: bad, namespace: lab}\n  spec: {ports: []}\n")
	h.start()
	if got := h.policies() + "; " + h.namespaces(); got != "lab/bad!, shop/web; lab1 shop2" {
		t.Error(got)
	}
	h.wantProblems("rejected: list.yaml: NetworkPolicy lab/bad: spec.ports: unknown field; until it is corrected or removed, all pods in the namespace lab are isolated, and nothing may connect to them nor they to anything")
	h.write("list.yaml", list)
	h.restart()
	if got := h.policies() + "; " + h.namespaces(); got != "shop/web; shop2" {
		t.Error(got)
	}
	h.wantProblems()
	h.write("list.yaml", "apiVersion: v1\nkind: List\nitems: [x]\n")
	h.reload()
	h.wantProblems("rejected: list.yaml: List: document at line 1: items[0]: must be an object",
		"rejected: list.yaml: Namespace shop: it is not in the file any more, but a document of the file is refused; the version accepted at 2026-11-01T12:00:00Z stays in force",
		"rejected: list.yaml: NetworkPolicy shop/web: it is not in the file any more, but a document of the file is refused; the version accepted at 2026-11-01T12:00:00Z stays in force")
}

// TestCompletedWorkload: one that has ended leaves its address to another.
func TestCompletedWorkload(t *testing.T) {
	h := newHost(t)
	h.cluster()
	workload := func(name, more string) string {
		return doc("Workload", name, "  node: a\n  interfaceName: x\n  ipNetworks: [10.0.0.9]\n"+more)
	}
	h.write("one.yaml", workload("one", "  completed: true\n"))
	h.write("two.yaml", workload("two", ""))
	h.write("three.yaml", doc("Workload", "three", "  node: a\n  hostNetwork: true\n  ipNetworks: [192.0.2.1]\n"))
	h.start()
	h.wantProblems()
	for key, want := range map[string]string{"default/one": "[] false true", "default/two": "[10.0.0.9] false false", "default/three": "[] true false"} {
		w, _ := h.store.Snapshot().Workloads.Get(key)
		if got := fmt.Sprint(w.Addrs, w.HostNetwork, w.Completed); got != want {
			t.Errorf("%s: %s, want %s", key, got, want)
		}
	}
}
