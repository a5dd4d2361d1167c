package v1

import (
	"bytes"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"caracal.dev/caracal"
)

// policyDoc builds a NetworkPolicy; its spec is in flow style.
func policyDoc(spec string) string {
	return "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p}\nspec: {" + spec + "}\n"
}

// TestPolicyErrors goes through the checks of the API server one by one.
func TestPolicyErrors(t *testing.T) {
	port := func(s string) string { return "ingress: [{ports: [{" + s + "}]}]" }
	peer := func(s string) string { return "egress: [{to: [{" + s + "}]}]" }
	for _, c := range []struct{ spec, want string }{
		{port("protocol: ICMP"), `spec.ingress[0].ports[0].protocol: "ICMP" must be TCP, UDP or SCTP`},
		{port("protocol: tcp"), `spec.ingress[0].ports[0].protocol: "tcp" must be TCP, UDP or SCTP`},
		{port(`protocol: ""`), `spec.ingress[0].ports[0].protocol: "" must be TCP, UDP or SCTP`},
		{port("port: 0"), "spec.ingress[0].ports[0].port: 0 must be from 1 to 65535"},
		{port("port: 65536"), "spec.ingress[0].ports[0].port: 65536 must be from 1 to 65535"},
		{port("port: -1"), "spec.ingress[0].ports[0].port: -1 must be from 1 to 65535"},
		{port("port: 5000000000"), "spec.ingress[0].ports[0].port: must be a port from 1 to 65535, not 5000000000"},
		{port("port: 1.5"), "spec.ingress[0].ports[0].port: must be a port from 1 to 65535, not 1.5"},
		{port("port: true"), "spec.ingress[0].ports[0].port: must be the number of a port, or a port's name, not true"},
		{port(`port: "80"`), `spec.ingress[0].ports[0].port: "80" is not the name of a port: 1 to 15 lower-case letters, digits and -, at least one of them a letter, with no - at either end nor two in a row; write a number without quotes`},
		{port(`port: ""`), `spec.ingress[0].ports[0].port: "" is not the name of a port: 1 to 15 lower-case letters, digits and -, at least one of them a letter, with no - at either end nor two in a row`},
		{port("port: HTTP"), `"HTTP" is not the name of a port`},
		{port("port: a--b"), `"a--b" is not the name of a port`},
		{port("port: -a"), `"-a" is not the name of a port`},
		{port("port: a234567890123456"), `"a234567890123456" is not the name of a port`},
		{port("endPort: 80"), "spec.ingress[0].ports[0].endPort: must not be set without port"},
		{port("port: http, endPort: 80"), "spec.ingress[0].ports[0].endPort: must not be set where port is a name; a range has numbers"},
		{port("port: 80, endPort: 79"), "spec.ingress[0].ports[0].endPort: 79 must not be less than port, 80"},
		{port("port: 80, endPort: 70000"), "spec.ingress[0].ports[0].endPort: 70000 must be from 1 to 65535"},
		{peer(""), "spec.egress[0].to[0]: must have a podSelector, a namespaceSelector or an ipBlock; for everybody leave out the whole list"},
		{peer("podSelector: {}, ipBlock: {cidr: 10.0.0.0/8}"), "spec.egress[0].to[0]: must not have an ipBlock together with a podSelector or namespaceSelector; write two entries"},
		{peer("namespaceSelector: {}, ipBlock: {cidr: 10.0.0.0/8}"), "spec.egress[0].to[0]: must not have an ipBlock together with a podSelector or namespaceSelector; write two entries"},
		{peer("ipBlock: {}"), "spec.egress[0].to[0].ipBlock.cidr: is missing"},
		{peer("ipBlock: {cidr: 10.0.0.1}"), "spec.egress[0].to[0].ipBlock.cidr: 10.0.0.1 has no prefix length; for this address alone write 10.0.0.1/32"},
		{peer("ipBlock: {cidr: 10.0.0.0/33}"), `spec.egress[0].to[0].ipBlock.cidr: "10.0.0.0/33" is not an address with a prefix length, such as 10.0.0.0/24 or 2001:db8::/64`},
		{peer(`ipBlock: {cidr: "fe80::1%eth0/64"}`), `"fe80::1%eth0/64" is not an address with a prefix length`},
		{peer("ipBlock: {cidr: 10.0.0.0/8, except: [11.0.0.0/16]}"), "spec.egress[0].to[0].ipBlock.except[0]: 11.0.0.0/16 must be within cidr, 10.0.0.0/8, and smaller than it"},
		{peer("ipBlock: {cidr: 10.0.0.0/8, except: [10.0.0.0/8]}"), "spec.egress[0].to[0].ipBlock.except[0]: 10.0.0.0/8 must be within cidr, 10.0.0.0/8, and smaller than it"},
		{peer("ipBlock: {cidr: 10.1.0.0/16, except: [10.0.0.0/8]}"), "spec.egress[0].to[0].ipBlock.except[0]: 10.0.0.0/8 must be within cidr, 10.1.0.0/16, and smaller than it"},
		{peer(`ipBlock: {cidr: "::/0", except: [10.0.0.0/8]}`), "spec.egress[0].to[0].ipBlock.except[0]: 10.0.0.0/8 must be within cidr, ::/0, and smaller than it"},
		{peer(`ipBlock: {cidr: 10.0.0.0/8, except: [""]}`), "spec.egress[0].to[0].ipBlock.except[0]: must not be empty"},
		{peer("ipBlock: {cidr: 10.0.0.0/8, except: [x]}"), `spec.egress[0].to[0].ipBlock.except[0]: "x" is not an address`},
		{"podSelector: {matchLabels: {'a b': c}}", `spec.podSelector.matchLabels: "a b" is not a label: name part must consist of`},
		{"podSelector: {matchLabels: {a: 'b c'}}", `spec.podSelector.matchLabels.a: "b c" is not a value of a label: a valid label must be`},
		{"podSelector: {matchLabels: {a: 1}}", "spec.podSelector.matchLabels.a: must be a string (in quotes), not the number 1"},
		{"podSelector: {matchExpressions: [{key: a, operator: In}]}", "spec.podSelector.matchExpressions[0].values: is missing; the operator In compares with values"},
		{"podSelector: {matchExpressions: [{key: a, operator: NotIn, values: []}]}", "spec.podSelector.matchExpressions[0].values: is missing; the operator NotIn compares with values"},
		{"podSelector: {matchExpressions: [{key: a, operator: Exists, values: [b]}]}", "spec.podSelector.matchExpressions[0].values: must not be set with the operator Exists"},
		{"podSelector: {matchExpressions: [{key: a, operator: DoesNotExist, values: [b]}]}", "spec.podSelector.matchExpressions[0].values: must not be set with the operator DoesNotExist"},
		{"podSelector: {matchExpressions: [{key: a, operator: in, values: [b]}]}", `spec.podSelector.matchExpressions[0].operator: "in" must be In, NotIn, Exists or DoesNotExist`},
		{"podSelector: {matchExpressions: [{operator: Exists}]}", `spec.podSelector.matchExpressions[0].key: "" is not a label`},
		{"podSelector: {matchExpressions: [{key: a, operator: In, values: ['-']}]}", `spec.podSelector.matchExpressions[0].values[0]: "-" is not a value of a label`},
		{peer("namespaceSelector: {matchLabels: {'/': b}}"), `spec.egress[0].to[0].namespaceSelector.matchLabels: "/" is not a label`},
		{peer("podSelector: {matchExpressions: [{key: a, operator: Gt, values: ['1']}]}"), `spec.egress[0].to[0].podSelector.matchExpressions[0].operator: "Gt" must be`},
		{"policyTypes: [Ingress, Egress, Ingress]", "spec.policyTypes: must not have more than two entries"},
		{"policyTypes: [ingress]", `spec.policyTypes[0]: "ingress" must be Ingress or Egress`},
		{"ingress: {}", "spec.ingress: must be a list, not a group of fields"},
		{"ingress: [null]", "spec.ingress[0]: must not be empty"},
		{"ingress: [{to: []}]", "spec.ingress[0].to: unknown field"},
		{"podselector: {}", "spec.podselector: unknown field (did you mean podSelector?)"},
	} {
		o, _, err := Decode([]byte(policyDoc(c.spec)))
		if o != nil || err == nil || !strings.HasPrefix(err.Error(), c.want) && !strings.Contains(err.Error(), ": "+c.want) {
			t.Errorf("%s\ngives %v\nwant  %s", c.spec, err, c.want)
		}
	}
}

// words prints what a policy means.
func words(p caracal.Policy) string {
	sel := func(s *caracal.LabelSelector) string {
		if s == nil {
			return "-"
		}
		var parts []string
		for _, r := range s.Requirements {
			parts = append(parts, fmt.Sprintf("%s %s %s", r.Key, r.Op, strings.Join(r.Values, "|")))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %v %v", p.Key(), sel(&p.Pods), p.Ingress, p.Egress)
	for name, rules := range map[string][]caracal.PolicyRule{"in": p.IngressRules, "out": p.EgressRules} {
		for _, r := range rules {
			fmt.Fprintf(&b, " %s[", name)
			for _, e := range r.Peers {
				if e.Net.IsValid() {
					fmt.Fprintf(&b, " %v-%v", e.Net, e.Except)
				} else {
					fmt.Fprintf(&b, " %s/%s", sel(e.Pods), sel(e.Namespaces))
				}
			}
			for _, e := range r.Ports {
				fmt.Fprintf(&b, " %s:%s%d-%d", e.Protocol, e.Name, e.Port, e.EndPort)
			}
			b.WriteString(" ]")
		}
	}
	return b.String()
}

func TestPolicyConversion(t *testing.T) {
	for _, c := range []struct{ spec, want string }{
		{"", "default/p {} true false"},
		{"podSelector: {}, ingress: []", "default/p {} true false"},
		{"egress: []", "default/p {} true false"},
		{"egress: [{}]", "default/p {} true true out[ ]"},
		{"policyTypes: [Egress]", "default/p {} false true"},
		{"policyTypes: [Egress, Egress]", "default/p {} false true"},
		{"policyTypes: [Ingress], egress: [{}]", "default/p {} true false out[ ]"},
		{"ingress: [{from: [], ports: []}]", "default/p {} true false in[ ]"},
		{"ingress: [{ports: [{}, {port: 80}, {port: 80, endPort: 80}, {port: 80, endPort: 90, protocol: UDP}, {port: http, protocol: SCTP}]}]",
			"default/p {} true false in[ TCP:0-0 TCP:80-80 TCP:80-80 UDP:80-90 SCTP:http0-0 ]"},
		{"ingress: [{from: [{podSelector: {}}, {namespaceSelector: {}}, {podSelector: {matchLabels: {a: b}}, namespaceSelector: {matchLabels: {c: d}}}]}]",
			"default/p {} true false in[ {}/- -/{} {a In b}/{c In d} ]"},
		{"ingress: [{from: [{podSelector: null, namespaceSelector: {}}]}]", "default/p {} true false in[ -/{} ]"},
		{"podSelector: {matchLabels: {b: x, a: w}, matchExpressions: [{key: b, operator: In, values: [x, x]}, {key: a, operator: NotIn, values: [z, q, z]}, {key: c, operator: Exists}, {key: c, operator: DoesNotExist, values: []}, {key: c, operator: Exists}]}",
			"default/p {a In w, a NotIn q|z, b In x, c DoesNotExist , c Exists } true false"},
		{"egress: [{to: [{ipBlock: {cidr: 10.1.2.3/8, except: [10.9.9.9/16]}}]}]", "default/p {} true true out[ 10.0.0.0/8-[10.9.0.0/16] ]"},
		{"egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0}}, {ipBlock: {cidr: '::/0'}}, {ipBlock: {cidr: '::ffff:10.0.0.0/104', except: ['::ffff:10.1.0.0/112']}}, {ipBlock: {cidr: 010.0.0.0/8}}]}]",
			"default/p {} true true out[ 0.0.0.0/0-[] ::/0-[] 10.0.0.0/8-[10.1.0.0/16] 10.0.0.0/8-[] ]"},
	} {
		o, _, err := Decode([]byte(policyDoc(c.spec)))
		if err != nil {
			t.Errorf("%s: %v", c.spec, err)
			continue
		}
		if got := words(o.(*NetworkPolicy).Policy("")); got != c.want {
			t.Errorf("%s\ngives %s\nwant  %s", c.spec, got, c.want)
		}
	}
}

func TestPolicyWarnings(t *testing.T) {
	for spec, want := range map[string]string{
		"egress: [{to: [{ipBlock: {cidr: 10.1.2.3/8, except: [010.9.0.0/16]}}]}]":                                   "spec.egress[0].to[0].ipBlock.cidr: 10.1.2.3/8 is taken as 10.0.0.0/8; write it so; spec.egress[0].to[0].ipBlock.except[0]: 010.9.0.0/16 is taken as 10.9.0.0/16; write it so",
		"ingress: [{from: [{ipBlock: {cidr: '::ffff:10.0.0.0/104'}}]}]":                                             "spec.ingress[0].from[0].ipBlock.cidr: ::ffff:10.0.0.0/104 is taken as 10.0.0.0/8; write it so",
		"ingress: [{from: [{ipBlock: {cidr: '2001:DB8:0::/48'}}, {ipBlock: {cidr: 10.0.0.0/8}}]}]":                  "",
		"policyTypes: [Ingress], egress: [{}]":                                                                      "spec.egress: has no effect, for policyTypes does not list Egress",
		"policyTypes: [Egress], ingress: [{}], podSelector: {matchExpressions: [{key: a, operator: DoesNotExist}]}": "spec.ingress: has no effect, for policyTypes does not list Ingress",
	} {
		o, _, err := Decode([]byte(policyDoc(spec)))
		if err != nil {
			t.Fatal(err)
		}
		if got := o.Warnings().Error(); got != want {
			t.Errorf("%s\ngives %s\nwant  %s", spec, got, want)
		}
	}
}

// TestFromCluster reads what kubectl get -o yaml prints.
func TestFromCluster(t *testing.T) {
	meta := `metadata:
  annotations:
    kubectl.kubernetes.io/last-applied-configuration: |
      {"apiVersion":"networking.k8s.io/v1"}
  creationTimestamp: "2026-01-02T03:04:05Z"
  generation: 1
  labels: {kubernetes.io/metadata.name: wrong, team: a}
  managedFields:
  - apiVersion: networking.k8s.io/v1
    fieldsType: FieldsV1
    fieldsV1:
      f:spec:
        f:podSelector: {}
    manager: kubectl
    operation: Update
    time: "2026-01-02T03:04:05Z"
  name: x
  ownerReferences: [{apiVersion: apps/v1, kind: Deployment, name: d, uid: u, controller: true}]
  resourceVersion: "1234"
  selfLink: /x
  uid: 8a4f0d9e-0000-4000-8000-000000000000
  finalizers: [a/b]
`
	for _, c := range []struct{ head, tail, want string }{
		{"apiVersion: v1\nkind: Namespace\n", "spec:\n  finalizers: [kubernetes]\nstatus:\n  phase: Active\n  conditions: []\n",
			`{"kind":"Namespace","apiVersion":"v1","metadata":{"name":"x","labels":{"kubernetes.io/metadata.name":"wrong","team":"a"}}}`},
		{"apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n", "  namespace: shop\nspec:\n  podSelector: {}\n  policyTypes: [Ingress]\nstatus: {}\n",
			`{"kind":"NetworkPolicy","apiVersion":"networking.k8s.io/v1","metadata":{"name":"x","namespace":"shop","labels":{"kubernetes.io/metadata.name":"wrong","team":"a"}},"spec":{"podSelector":{},"policyTypes":["Ingress"]}}`},
	} {
		o, _, err := Decode([]byte(c.head + meta + c.tail))
		if err != nil {
			t.Errorf("%s: %v", c.head, err)
			continue
		}
		if text, err := Encode(o); err != nil || string(text) != c.want {
			t.Errorf("%v %s\nwant %s", err, text, c.want)
		}
	}
	o, _, err := Decode([]byte("apiVersion: v1\nkind: Namespace\n" + meta))
	if err != nil {
		t.Fatal(err)
	}
	if got := o.(*Namespace).Namespace(); !reflect.DeepEqual(got.Labels, map[string]string{"kubernetes.io/metadata.name": "x", "team": "a"}) {
		t.Errorf("labels %v", got.Labels)
	}
	if got := o.Warnings().Error(); !strings.Contains(got, "the label always has the namespace's name") {
		t.Error(got)
	}
	for text, want := range map[string]string{
		"apiVersion: v1\nkind: Namespace\nmetadata: {name: a.b}\n":                 "metadata.name",
		"apiVersion: v1\nkind: Namespace\nmetadata: {name: a, namespace: b}\n":     "metadata.namespace",
		"apiVersion: caracal.dev/v1\nkind: Namespace\nmetadata: {name: a}\n":       "apiVersion: must be v1, not caracal.dev/v1",
		"apiVersion: v1\nkind: Namespace\nmetadata: {name: a, labels: {a: b c}}\n": "metadata.labels.a",
	} {
		if _, _, err := Decode([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestRejectedPolicy(t *testing.T) {
	head := "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n"
	for doc, want := range map[string]string{
		head + "metadata: {name: p, namespace: shop}\nspec: {podSelector: {matchLabels: {a: b}}, policyTypes: [x]}": "shop/p {a In b} true true",
		head + "metadata: {name: p, namespace: Shop}\nspec: {podSelector: {matchLabels: {a: 1}}}":                   "default/p {} true true",
		head + "metadata: {name: p}\nspec: {podSelector: {matchLabels: {a: 'b c'}}}":                                "default/p {} true true",
		head + "metadata: {name: p, namespace: 7}\nspec: {podSelector: x}":                                          "default/p {} true true",
		head + "metadata: {name: p, namespace: a}\nspec: x":                                                         "a/p {} true true",
		head + "metadata: {namespace: a}\nspec: {podSelector: {matchExpressions: [{key: a, operator: Exists}]}}":    "a/ {a Exists } true true",
		head + "metadata: {name: p}\nspec: {podSelector: {matchlabels: {a: b}}}":                                    "default/p {} true true",
	} {
		p := RejectedPolicy([]byte(doc), "why")
		if got := words(p); got != want || p.Invalid != "why" {
			t.Errorf("%s\ngives %s\nwant  %s", doc, got, want)
		}
	}
}

func TestWorkloadWithoutNetwork(t *testing.T) {
	for spec, want := range map[string]string{
		"node: a, hostNetwork: true":                                         "",
		"node: a, completed: true, interfaceName: x, ipNetworks: [10.0.0.1]": "",
		"node: a, completed: true, ipNetworks: [10.0.0.0/8]":                 "spec.ipNetworks[0]",
		"node: a": "spec.interfaceName: is missing",
		"node: a, hostNetwork: false, interfaceName: x":                                              "spec.ipNetworks: is missing",
		"node: a, hostNetwork: true, ports: [{name: a, port: 1}, {name: a, port: 2}]":                `"a" is used twice for TCP`,
		"node: a, hostNetwork: true, ports: [{name: a, port: 1}, {name: a, port: 1, protocol: UDP}]": "",
	} {
		o, _, err := Decode([]byte("apiVersion: caracal.dev/v1\nkind: Workload\nmetadata: {name: w}\nspec: {" + spec + "}\n"))
		if want != "" {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v", spec, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", spec, err)
			continue
		}
		if w := o.(*Workload).Workload(""); len(w.Addrs) > 0 || w.Interface != "" || !w.HostNetwork && !w.Completed {
			t.Errorf("%s: %+v", spec, w)
		}
	}
}

func TestPolicySettings(t *testing.T) {
	for spec, want := range map[string]caracal.PolicySettings{
		"":           {FlushConntrack: true},
		"policy: {}": {FlushConntrack: true},
		"policy: {enabled: false, iptablesBackend: NFT, flushConntrack: false}": {Disabled: true, Backend: "nft"},
		"policy: {iptablesBackend: Legacy}":                                     {Backend: "legacy", FlushConntrack: true},
	} {
		o, _, err := Decode([]byte(doc("DataplaneConfiguration", "default", "  {"+spec+"}\n")))
		if err != nil {
			t.Fatal(err)
		}
		if got := o.(*DataplaneConfiguration).Dataplane().Policy; got != want {
			t.Errorf("%s: %+v", spec, got)
		}
	}
	if _, _, err := Decode([]byte(doc("DataplaneConfiguration", "default", "  policy: {iptablesBackend: nft}\n"))); err == nil {
		t.Error("nft is accepted in small letters")
	}
}

// FuzzNetworkPolicy holds that what is accepted converts to canonical nouns, and to
// the same ones after it was encoded; and that what is refused isolates.
func FuzzNetworkPolicy(f *testing.F) {
	for _, spec := range []string{
		"", "podSelector: {matchLabels: {a: b}}, policyTypes: [Egress]",
		"ingress: [{from: [{podSelector: {matchExpressions: [{key: a, operator: NotIn, values: [c, b]}]}, namespaceSelector: {}}], ports: [{port: 80, endPort: 90, protocol: SCTP}, {port: http}]}]",
		"egress: [{to: [{ipBlock: {cidr: 10.1.0.0/8, except: ['::ffff:10.3.0.0/112', 010.2.0.0/16]}}, {ipBlock: {cidr: '::/0', except: [fd00::/8]}}]}]",
	} {
		f.Add(policyDoc(spec))
	}
	f.Fuzz(func(t *testing.T, in string) {
		o, _, err := Decode([]byte(in))
		p, ok := o.(*NetworkPolicy)
		if err != nil {
			if r := RejectedPolicy([]byte(in), "why"); !r.Ingress || !r.Egress || r.Namespace == "" {
				t.Fatalf("%+v does not isolate", r)
			}
		}
		if !ok {
			return
		}
		noun := p.Policy("")
		checkCanonical(t, noun)
		text, err := Encode(p)
		if err != nil {
			t.Fatal(err)
		}
		again, _, err := DecodeCanonical(text)
		if err != nil {
			t.Fatalf("cannot be decoded again: %v\n%s", err, text)
		}
		if second, _ := Encode(again); !bytes.Equal(text, second) {
			t.Fatalf("not stable:\n%s\n%s", text, second)
		}
		if next := again.(*NetworkPolicy).Policy(""); !reflect.DeepEqual(noun, next) {
			t.Fatalf("another noun:\n%+v\n%+v", noun, next)
		}
	})
}

func checkCanonical(t *testing.T, p caracal.Policy) {
	selector := func(s *caracal.LabelSelector) {
		if s == nil {
			return
		}
		if !slices.IsSortedFunc(s.Requirements, compareRequirements) {
			t.Fatalf("%v is not sorted", s)
		}
		for _, r := range s.Requirements {
			if withValues := r.Op == caracal.LabelIn || r.Op == caracal.LabelNotIn; !slices.IsSorted(r.Values) || withValues != (len(r.Values) > 0) {
				t.Fatalf("%v", r)
			}
		}
	}
	inner := func(outer, p netip.Prefix) bool { return caracal.Covers(outer, p) && p != outer && p == p.Masked() }
	selector(&p.Pods)
	for _, r := range slices.Concat(p.IngressRules, p.EgressRules) {
		for _, e := range r.Peers {
			selector(e.Pods)
			selector(e.Namespaces)
			if e.Net.IsValid() == (e.Pods != nil || e.Namespaces != nil) || e.Net != e.Net.Masked() || e.Net.Addr().Is4In6() && e.Net.Bits() >= 96 {
				t.Fatalf("%v", e)
			}
			for _, x := range e.Except {
				if !inner(e.Net, x) {
					t.Fatalf("%v is not within %v", x, e.Net)
				}
			}
		}
		for _, e := range r.Ports {
			if !slices.Contains([]string{"TCP", "UDP", "SCTP"}, e.Protocol) || e.EndPort < e.Port || e.Name != "" && e.Port != 0 || e.Port == 0 && e.EndPort != 0 {
				t.Fatalf("%v", e)
			}
		}
	}
}
