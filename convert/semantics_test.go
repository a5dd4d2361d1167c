package convert

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func calico(kind, name, spec string) string {
	return fmt.Sprintf("---\napiVersion: projectcalico.org/v3\nkind: %s\nmetadata: {name: %q}\nspec: {%s}\n", kind, name, spec)
}

// TestSemantics: single fields, what becomes of them, and what is said of them. A
// line in lacks must not be in what is written, nor in the report.
func TestSemantics(t *testing.T) {
	const node = "---\napiVersion: v1\nkind: Node\nmetadata: {name: a, labels: {kubernetes.io/hostname: a}, annotations: {projectcalico.org/IPv4Address: 192.0.2.1/24}}\n"
	for _, tc := range []struct {
		name, in         string
		out, said, lacks []string
	}{
		{"nothing of Calico", "apiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n", []string{"kind: Namespace"}, []string{"0 objects written"}, []string{"BGPConfiguration"}},
		{"defaults of Calico are written out", calico("IPPool", "p", "cidr: 10.0.0.0/16"), []string{"blockSize: 26", "ipipMode: Never", "holdTime: 4m0s", "nodeToNodeMeshEnabled: true"}, nil, []string{"not carried"}},
		{"IPv6 pool", calico("IPPool", "p", "cidr: \"fd00::/64\""), []string{"blockSize: 122"}, nil, nil},
		{"VXLAN of IPv6", calico("IPPool", "p", "cidr: \"fd00::/64\", vxlanMode: Always"), []string{"ipipMode: Never"}, []string{"spec.vxlanMode (Always): there is no VXLAN here, nor another tunnel for IPv6"}, nil},
		{"pool by name only", calico("IPPool", "p", "cidr: 10.0.0.0/16, assignmentMode: Manual"), []string{"disabled: true"}, []string{"spec.assignmentMode (Manual)"}, nil},
		{"pool for tunnels", calico("IPPool", "p", "cidr: 10.0.0.0/16, allowedUses: [Tunnel]"), []string{"disabled: true"}, []string{"spec.allowedUses"}, nil},
		{"a selector that cannot be said takes the pool along", calico("IPPool", "p", "cidr: 10.0.0.0/16, nodeSelector: global()"), nil, []string{"spec.nodeSelector (global()): is a selector that cannot be said"}, []string{"kind: IPPool"}},
		{"pools that overlap", calico("IPPool", "a", "cidr: 10.0.0.0/16") + calico("IPPool", "b", "cidr: 10.0.1.0/24"), []string{"name: a"}, []string{"not carried: IPPool b: spec.cidr: "}, []string{"name: b\n"}},
		{"a disabled pool of one address", calico("IPPool", "p", "cidr: 10.0.0.1/32, disabled: true"), []string{"blockSize: 32"}, nil, nil},

		{"mesh and AS number", calico("BGPConfiguration", "default", "nodeToNodeMeshEnabled: false, asNumber: \"1.10\""), []string{"nodeToNodeMeshEnabled: false", "asNumber: 65546"}, nil, []string{"not carried"}},
		{"fields without effect are not listed", calico("BGPConfiguration", "default", "logSeverityScreen: Info, bindMode: None, ignoredInterfaces: [eth9], serviceLoadBalancerAggregation: Enabled, programClusterRoutes: Enabled, ipv4NormalRoutePriority: 1024"), nil, nil, []string{"not carried"}},
		{"fields with one are", calico("BGPConfiguration", "default", "serviceLoadBalancerAggregation: Disabled, localWorkloadPeeringIPV4: 169.254.1.1, ipv6NormalRoutePriority: 99, bogus: 1"), nil,
			[]string{"serviceLoadBalancerAggregation (Disabled)", "localWorkloadPeeringIPV4 (169.254.1.1)", "ipv6NormalRoutePriority (99)", "spec.bogus (1): is no field that Calico is known to have"}, nil},
		{"a BGPConfiguration that Calico does not read", calico("BGPConfiguration", "mine", "asNumber: 7"), nil, []string{"BGPConfiguration mine: metadata.name"}, []string{"asNumber: 7"}},
		{"one of a node that is not there", calico("BGPConfiguration", "node.z", "listenPort: 1790"), nil, []string{"there is no Node z"}, []string{"listenPort: 1790"}},
		{"names of communities that nothing uses", calico("BGPConfiguration", "default", "communities: [{name: x, value: \"65000:9\"}]"), nil, nil, []string{"65000:9", "not carried"}},
		{"the restart time of the mesh is not that of peers", node + calico("BGPConfiguration", "default", "nodeMeshMaxRestartTime: 10m") + calico("BGPPeer", "x", "peerIP: 192.0.2.9, asNumber: 64512"),
			[]string{"restartTime: 10m0s", "restartTime: 2m0s"}, nil, []string{"not carried"}},
		{"service ranges", calico("BGPConfiguration", "default", "serviceClusterIPs: [{cidr: 10.96.0.0/12}, {cidr: 10.96.0.0/12}], serviceExternalIPs: [{cidr: 203.0.113.7/28}]"), []string{"cidr: 203.0.113.0/28", "serviceClusterIPs"}, nil, []string{"not carried"}},

		{"a neighbor on the node's network", node + calico("BGPPeer", "x", "peerIP: 192.0.2.9, asNumber: 65001"), []string{"acceptPools: true", "acceptDefaultRoute: true", "- 0.0.0.0/0"}, []string{"take every route"}, []string{"ebgpMultihop", "calico-passes-on"}},
		{"a neighbor behind a router", node + calico("BGPPeer", "x", "peerIP: 198.51.100.9, asNumber: 65001"), []string{"ebgpMultihop: true"}, nil, nil},
		{"GTSM says how far it is", node + calico("BGPPeer", "x", "peerIP: 198.51.100.9, asNumber: 65001, ttlSecurity: 2"), []string{"ttlSecurity: 2"}, nil, []string{"ebgpMultihop"}},
		{"a neighbor in the same AS", node + calico("BGPPeer", "x", "peerIP: 198.51.100.9, asNumber: 64512"), []string{"acceptDefaultRoute: true"}, nil, []string{"ebgpMultihop", "acceptPools:"}},
		{"a node as a neighbor", node + calico("BGPPeer", "x", "peerIP: 192.0.2.1, asNumber: 64512"), []string{"peerIP: 192.0.2.1"}, nil, []string{"acceptRanges"}},
		{"no AS number", node + calico("BGPPeer", "x", "peerIP: 192.0.2.9"), nil, []string{"not carried: BGPPeer x: spec.asNumber: is missing"}, []string{"kind: BGPPeer"}},
		{"next hop kept by the old word", node + calico("BGPPeer", "x", "peerIP: 192.0.2.9, asNumber: 65001, keepOriginalNextHop: true"), []string{"nextHopMode: Keep"}, nil, nil},
		{"which the new word overrules", node + calico("BGPPeer", "x", "peerIP: 192.0.2.9, asNumber: 65001, keepOriginalNextHop: true, nextHopMode: Auto"), []string{"nextHopMode: Auto"}, nil, []string{"Keep"}},
		{"a local AS number", node + calico("BGPPeer", "x", "peerIP: 192.0.2.9, asNumber: 65001, localASNumber: 65009"), []string{"localASNumber: 65009"}, nil, nil},
		{"keepalives that are too rare", node + calico("BGPPeer", "x", "peerIP: 192.0.2.9, asNumber: 65001, keepaliveTime: 100s"), []string{"keepaliveTime: 1m20s"}, []string{"spec.keepaliveTime (100s)"}, nil},
		{"times in parts of seconds", node + calico("BGPPeer", "x", "peerIP: 192.0.2.9, asNumber: 65001, maxRestartTime: 90500ms"), []string{"restartTime: 1m31s"}, nil, nil},
		{"a peerSelector has no AS number", node + calico("BGPPeer", "x", "peerSelector: has(rr), asNumber: 0"), []string{"peerSelector: has(rr)"}, nil, []string{"asNumber: 0"}},
		{"of an edge node the others' prefixes are passed on", node + strings.Replace(node, "name: a,", "name: b,", 1) + calico("IPPool", "p", "cidr: 10.0.0.0/16") + calico("BGPPeer", "x", "node: a, peerIP: 192.0.2.9, asNumber: 65001"),
			[]string{"- calico-passes-on", "source: RemotePeers"}, nil, nil},
		{"not without others to hear of", node + strings.Replace(node, "name: a,", "name: b,", 1) + calico("BGPConfiguration", "default", "nodeToNodeMeshEnabled: false") + calico("IPPool", "p", "cidr: 10.0.0.0/16") + calico("BGPPeer", "x", "node: a, peerIP: 192.0.2.9, asNumber: 65001"),
			nil, []string{"note: BGPPeer x: a node announces its own prefixes"}, []string{"calico-passes-on"}},
		{"two peers for one neighbor", node + calico("BGPPeer", "x", "peerIP: 192.0.2.9, asNumber: 65001") + calico("BGPPeer", "y", "peerIP: 192.0.2.9, asNumber: 65002"), []string{"name: x"}, []string{"not carried: BGPPeer y"}, []string{"name: y\n"}},

		{"a length without a range is ignored", calico("BGPFilter", "f", "importV4: [{action: Accept, prefixLength: {max: 24}}]"), []string{"action: Accept"}, nil, []string{"max: 24", "not carried"}},
		{"a length that no prefix has", calico("BGPFilter", "f", "importV4: [{action: Accept, cidr: 10.0.0.0/16, matchOperator: In, prefixLength: {max: 8}}]"), nil, []string{"importV4[0].prefixLength"}, []string{"action: Accept"}},
		{"export of routes of the host", calico("BGPFilter", "f", "exportV4: [{action: Accept}]"), []string{"action: Accept"}, []string{"exportV4[0]", "anycastPrefixes"}, nil},
		{"export of what others announced", calico("BGPFilter", "f", "exportV4: [{action: Accept, source: RemotePeers}]"), nil, nil, []string{"not carried"}},

		{"a reservation of nothing", calico("IPReservation", "r", "reservedCIDRs: []"), nil, nil, []string{"IPReservation"}},
		{"no blocks by themselves", calico("IPAMConfiguration", "default", "autoAllocateBlocks: false"), nil, []string{"spec.autoAllocateBlocks (false)"}, nil},
		{"Felix's own", calico("FelixConfiguration", "default", "debugPort: 7, goMaxProcs: 2, usageReportingEnabled: true, bpfMapSizeRoute: 9, wireguardMTU: 1, defaultEndpointToHostAction: Accept"), nil, nil, []string{"not carried", "UNPROTECTED", "DataplaneConfiguration"}},
		{"eBPF", calico("FelixConfiguration", "default", "bpfEnabled: true"), nil, []string{"spec.bpfEnabled (true)", "kube-proxy"}, nil},

		{"policies of Kubernetes as Calico shows them", calico("NetworkPolicy", "knp.default.web", "selector: all()"), nil, nil, []string{"UNPROTECTED"}},
		{"a baseline", "apiVersion: policy.networking.k8s.io/v1alpha1\nkind: BaselineAdminNetworkPolicy\nmetadata: {name: default}\nspec: {subject: {namespaces: {}}, ingress: [{action: Deny}]}\n", nil, []string{"UNPROTECTED AFTER MIGRATION: BaselineAdminNetworkPolicy default: ", "ingress: 1 Deny"}, nil},
		{"a profile with rules", calico("Profile", "own", "ingress: [{action: Deny}]"), nil, []string{"UNPROTECTED AFTER MIGRATION: Profile own"}, nil},
		{"an object that is given differently twice", calico("IPPool", "p", "cidr: 10.0.0.0/16") + strings.Replace(calico("IPPool", "p", "cidr: 10.1.0.0/16"), "projectcalico.org/v3", "crd.projectcalico.org/v1", 1), []string{"cidr: 10.0.0.0/16"}, []string{"is given twice and differently"}, nil},
		{"and the same twice", calico("IPPool", "p", "cidr: 10.0.0.0/16") + strings.Replace(calico("IPPool", "p", "cidr: 10.0.0.0/16"), "projectcalico.org/v3", "crd.projectcalico.org/v1", 1), []string{"cidr: 10.0.0.0/16"}, nil, []string{"not carried"}},
		{"values of the wrong type", calico("IPPool", "p", "cidr: 10.0.0.0/16, natOutgoing: maybe, blockSize: x, allowedUses: 7"), nil, []string{"spec.natOutgoing (maybe): is neither true nor false", "spec.blockSize (x)", "spec.allowedUses (7)"}, nil},
		{"pod CIDRs are not Calico's", node + "spec: {podCIDR: 10.9.0.0/24}\n", nil, nil, []string{"10.9.0.0"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := converted(t, Options{}, tc.in)
			out, said := text(t, r), r.Report()
			for _, s := range tc.out {
				if !strings.Contains(out, s) {
					t.Errorf("not written: %s", s)
				}
			}
			for _, s := range tc.said {
				if !strings.Contains(said, s) {
					t.Errorf("not said: %s", s)
				}
			}
			for _, s := range tc.lacks {
				if strings.Contains(out, s) || strings.Contains(said[:strings.LastIndex(strings.TrimSpace(said), "\n")+1], s) {
					t.Errorf("written or said: %s", s)
				}
			}
			if t.Failed() {
				t.Logf("\n%s\n%s", out, said)
			}
		})
	}
}

// TestPodCIDRs: with host-local IPAM nodes own their podCIDRs.
func TestPodCIDRs(t *testing.T) {
	const in = "apiVersion: v1\nkind: Node\nmetadata: {name: a}\nspec: {podCIDRs: [10.9.0.0/24]}\nstatus: {addresses: [{type: InternalIP, address: 192.0.2.1}]}\n"
	out := text(t, converted(t, Options{PodCIDRs: true}, in))
	for _, want := range []string{"podCIDRs:\n  - 10.9.0.0/24", "mode: podCIDR", "cidr: 10.9.0.0/24"} {
		if !strings.Contains(out, want) {
			t.Errorf("%s is not in\n%s", want, out)
		}
	}
}

// TestOrder: neither the order of the documents nor the files they are in matter, nor
// whether they come in Lists.
func TestOrder(t *testing.T) {
	docs := []string{
		calico("IPPool", "a", "cidr: 10.0.0.0/16"), calico("IPPool", "b", "cidr: 10.0.1.0/24"), calico("IPPool", "c", "cidr: 10.2.0.0/16"),
		calico("BGPPeer", "x", "peerIP: 192.0.2.9, asNumber: 65001"), calico("BGPPeer", "y", "peerIP: 192.0.2.9, asNumber: 65002"),
		calico("GlobalNetworkPolicy", "g", "selector: all()"), calico("NetworkPolicy", "h", "selector: all()"),
		"---\napiVersion: v1\nkind: Node\nmetadata: {name: a, annotations: {projectcalico.org/IPv4Address: 192.0.2.1/24}}\n",
	}
	first := converted(t, Options{}, strings.Join(docs, ""))
	list := "apiVersion: v1\nkind: List\nitems:\n"
	for _, d := range docs {
		list += "- " + strings.ReplaceAll(strings.TrimSpace(strings.TrimPrefix(d, "---\n")), "\n", "\n  ") + "\n"
	}
	back := slices.Clone(docs)
	slices.Reverse(back)
	for name, texts := range map[string][]string{"again": {strings.Join(docs, "")}, "backwards": back, "a list": {list}} {
		r := converted(t, Options{}, texts...)
		if text(t, r) != text(t, first) || r.Report() != first.Report() {
			t.Errorf("%s:\n%s%s\nat first\n%s%s", name, text(t, r), r.Report(), text(t, first), first.Report())
		}
	}
}

// TestSecrets: whatever is wrong with a document, nothing that may be a secret is
// repeated.
func TestSecrets(t *testing.T) {
	const secret = "hunter2"
	for _, in := range []string{
		"apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {a: hunter2}\n",
		calico("BGPPeer", "x", "peerIP: 192.0.2.9, asNumber: 65001, password: hunter2"),
		calico("BGPPeer", "x", "peerIP: 192.0.2.9, asNumber: 65001, password: {value: hunter2}"),
		calico("BGPPeer", "x", "peerIP: 192.0.2.9, asNumber: 65001, password: {secretKeyRef: hunter2}"),
		calico("BGPPeer", "x", "peerIP: 192.0.2.9, asNumber: 65001, secretKeyRef: {name: hunter2}"),
		calico("BGPPeer", "x", "peerIP: 192.0.2.9, asNumber: 65001, extra: {password: hunter2}"),
		calico("BGPConfiguration", "default", "nodeMeshPassword: [hunter2]"),
		"apiVersion: v1\nkind: Node\nmetadata:\n  name: a\n  annotations:\n    kube-router.io/peer.ips: 192.0.2.9\n    kube-router.io/peer.asns: \"65001\"\n    kube-router.io/peer.passwords: hunter2\n",
		"apiVersion: v1\nkind: Node\nmetadata:\n  name: a\n  annotations:\n    kube-router.io/peers: '- {remoteip: 192.0.2.9, password: hunter2, remoteasn: [}'\n",
		"apiVersion: v1\nkind: Node\nmetadata:\n  name: a\n  annotations:\n    kube-router.io/peer.password: hunter2\n",
	} {
		r := converted(t, Options{}, in)
		if all := text(t, r) + r.Report(); strings.Contains(all, secret) {
			t.Errorf("%s\ngave\n%s", in, all)
		}
	}
	for _, in := range []string{"password: *hunter2\n", "a: 1\nhunter2: 1\nhunter2: 2\n", "kind: \"hunter2\n", "password: @hunter2\n", "a: !!int hunter2\n", "- hunter2\n", "hunter2"} {
		_, err := Convert([]Input{{Name: "test", Data: []byte(in)}}, Options{})
		if err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%q: %v", in, err)
		}
	}
}

// FuzzConvert: no input breaks it, and what it writes is what it reads.
func FuzzConvert(f *testing.F) {
	f.Add(calico("IPPool", "p", "cidr: 10.0.0.0/16"))
	f.Add(calico("BGPFilter", "f", "importV4: [{action: Accept, cidr: 10.0.0.0/16, matchOperator: NotIn, prefixLength: {min: 20}}]"))
	f.Add(calico("BGPPeer", "x", "peerIP: 192.0.2.9, asNumber: 65001, maxRestartTime: 1s, filters: [a, b]"))
	f.Add(calico("FelixConfiguration", "default", "ipipMTU: 1480, natPortRange: 7"))
	f.Add("apiVersion: v1\nkind: Node\nmetadata: {name: a, annotations: {kube-router.io/peers: '- {remoteip: 192.0.2.9}', kube-router.io/rr.server: '1'}}\nspec: {podCIDRs: [10.0.0.0/24]}\n")
	f.Add(calico("IPAMBlock", "b", "cidr: 10.0.0.0/26, affinity: 'host:a', attributes: [{secondary: {node: b, pod: c}}]"))
	f.Add(calico("BGPConfiguration", "default", "prefixAdvertisements: [{cidr: 10.0.0.0/8, communities: ['1:2']}], nodeMeshPassword: {secretKeyRef: {name: a, key: b}}"))
	f.Fuzz(func(t *testing.T, in string) {
		r, err := Convert([]Input{{Name: "fuzz", Data: []byte(in)}}, Options{})
		if err != nil {
			return
		}
		for _, o := range r.Objects {
			if _, err := decode(o); err != nil {
				t.Errorf("%s %s: %v", o.ResourceKind(), o.Meta().Name, err)
			}
		}
		out, err := r.YAML()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := read([]Input{{Name: "again", Data: out}}); err != nil {
			t.Errorf("%v in\n%s", err, out)
		}
		again, err := Convert([]Input{{Name: "fuzz", Data: []byte(in)}}, Options{})
		if err != nil || again.Report() != r.Report() {
			t.Errorf("%v, another time:\n%s\n%s", err, again.Report(), r.Report())
		}
	})
}
