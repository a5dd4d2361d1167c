package policy

import (
	"reflect"
	"testing"

	"sigs.k8s.io/yaml"

	"caracal.dev/caracal"
	v1 "caracal.dev/caracal/api/v1"
)

// document is the policy as an operator writes it.
func (p *netpol) document(t testing.TB) []byte {
	t.Helper()
	doc, err := yaml.Marshal(map[string]any{
		"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
		"metadata": map[string]string{"name": p.Name, "namespace": p.Namespace}, "spec": p.Spec,
	})
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// TestDocuments: the documents of all policies, as the file store reads them, mean
// what the other tests tell felix.
func TestDocuments(t *testing.T) {
	var list []*netpol
	for _, c := range allCases() {
		turns, _ := c.turns()
		for _, k := range turns {
			for _, p := range k.policies {
				if !p.rejected {
					list = append(list, p)
				}
			}
		}
	}
	for seed := range uint64(300) {
		if p := newGenerator(seed).policy(); !p.rejected {
			list = append(list, p)
		}
	}
	for _, p := range list {
		doc := p.document(t)
		o, _, err := v1.Decode(doc)
		if err != nil {
			t.Errorf("%v:\n%s", err, doc)
			continue
		}
		if got, want := o.(*v1.NetworkPolicy).Policy(""), p.policy(); !reflect.DeepEqual(got, want) {
			t.Errorf("%s\nis read as\n%+v\nnot as\n%+v", doc, got, want)
		}
	}
	t.Logf("%d documents", len(list))
}

// TestRejectedDocuments: what the API server would refuse isolates the pods that it
// may select, both ways, and the kernel's rules are made of that.
func TestRejectedDocuments(t *testing.T) {
	for _, spec := range []string{
		"{podSelector: {matchLabels: {pod: a}}, ingress: [{ports: [{endPort: 90}]}]}",
		"{podSelector: {matchLabels: {pod: a}}, ingress: [{ports: [{port: web, endPort: 90}]}]}",
		"{podSelector: {matchLabels: {pod: a}}, ingress: [{ports: [{port: 90, endPort: 80}]}]}",
		"{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{}]}]}",
		"{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8}, podSelector: {}}]}]}",
		"{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [11.0.0.0/8]}}]}]}",
		"{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0}}]}]}",
		"{podSelector: {matchLabels: {pod: a}}, ingress: [{ports: [{port: 0}]}]}",
		"{podSelector: {matchLabels: {pod: a}}, ingress: [{ports: [{port: 65536}]}]}",
		"{podSelector: {matchLabels: {pod: a}}, ingress: [{ports: [{port: 80, protocol: ICMP}]}]}",
		"{podSelector: {matchLabels: {pod: a}}, policyTypes: [Both]}",
		"{podSelector: {matchLabels: {pod: a}}, ingress: [{frm: []}]}",
	} {
		doc := []byte("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: x}\nspec: " + spec + "\n")
		_, _, err := v1.Decode(doc)
		if err == nil {
			t.Errorf("accepted: %s", spec)
			continue
		}
		p := v1.RejectedPolicy(doc, err.Error())
		want := selector{MatchLabels: map[string]string{"pod": "a"}}.parsed()
		if p.Key() != "x/p" || p.Invalid == "" || !p.Ingress || !p.Egress || !reflect.DeepEqual(p.Pods, want) || len(p.IngressRules)+len(p.EgressRules) > 0 {
			t.Errorf("%s stands for %+v", spec, p)
		}
	}
	if p := v1.RejectedPolicy([]byte("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: x}\nspec: {podSelector: {matchExpressions: [{key: a, operator: Near}]}}\n"), "no"); !reflect.DeepEqual(p.Pods, caracal.LabelSelector{}) {
		t.Errorf("a selector that cannot be read selects %+v, not all", p.Pods)
	}
}
