package convert

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"caracal.dev/caracal"
	v1 "caracal.dev/caracal/api/v1"
	"caracal.dev/caracal/internal/kubetest"
	"caracal.dev/caracal/store/kube"
	"caracal.dev/caracal/store/kube/apiserver"
)

// calicoKinds are Calico's definitions, as far as a cluster needs them to keep what
// it is given.
var calicoKinds = map[string]string{
	"IPPool": "ippools", "BGPConfiguration": "bgpconfigurations", "BGPPeer": "bgppeers", "BGPFilter": "bgpfilters",
	"FelixConfiguration": "felixconfigurations", "IPAMConfig": "ipamconfigs", "BlockAffinity": "blockaffinities", "IPAMBlock": "ipamblocks",
}

func calicoCRDs() string {
	var b strings.Builder
	for kind, plural := range calicoKinds {
		fmt.Fprintf(&b, `---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: %[1]s.crd.projectcalico.org}
spec:
  group: crd.projectcalico.org
  names: {kind: %[2]s, plural: %[1]s, singular: %[3]s, listKind: %[2]sList}
  scope: Cluster
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
`, plural, kind, strings.ToLower(kind))
	}
	return b.String()
}

// TestAPI: a cluster of Calico in a real API, as kubectl prints it, converted; the
// API takes what comes of it, and the Kubernetes store makes of it what the file
// store does.
func TestAPI(t *testing.T) {
	api := kubetest.Start(t, kubetest.Options{})
	production, err := os.ReadFile("testdata/production.yaml")
	if err != nil {
		t.Fatal(err)
	}
	api.ApplyYAML(t, calicoCRDs())
	api.ApplyYAML(t, string(production))
	var kinds []string
	for _, plural := range calicoKinds {
		kinds = append(kinds, plural+".crd.projectcalico.org")
	}
	dump := api.Kubectl(t, "get", "nodes,networkpolicies.networking.k8s.io,"+strings.Join(kinds, ","), "-A", "-o", "yaml")
	r := converted(t, Options{Mixed: true}, dump)
	if len(r.Losses) > 0 || len(r.Exposed) > 0 {
		t.Errorf("what the API prints of %s:\n%s", "production.yaml", r.Report())
	}
	for i, o := range converted(t, Options{}, string(production)).Objects {
		want, _ := treeOf(o)
		got, _ := treeOf(r.Objects[i])
		if v, isPool := o.(*v1.IPPool); isPool && !v.Spec.Disabled {
			want["spec"].(map[string]any)["disabled"] = true // Mixed
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("by the API it is\n%v\nand without\n%v", got, want)
		}
	}
	api.Apply(t, "../manifests/base/crds.yaml")
	api.ApplyYAML(t, text(t, r))
	api.ApplyYAML(t, "apiVersion: v1\nkind: Secret\nmetadata: {name: bgp-secrets, namespace: kube-system}\nstringData: {rack1: a, rack2: b}\n")
	compareStores(t, api, r)

	for _, name := range []string{"calico", "kube-router", "small-mixed"} {
		out, err := os.ReadFile(filepath.Join("testdata", name+".golden"))
		if err != nil {
			t.Fatal(err)
		}
		api.ApplyYAML(t, string(out))
	}
}

// compareStores waits until the Kubernetes store says of each node what the file
// store says.
func compareStores(t *testing.T, api *kubetest.API, r *Result) {
	t.Helper()
	client, err := apiserver.Connect(apiserver.Options{Kubeconfig: api.Kubeconfig(t, "admin", "system:masters")})
	if err != nil {
		t.Fatal(err)
	}
	for _, node := range []string{"node1-1", "node2-3"} {
		want := summary(load(t, r, node))
		ctx, cancel := context.WithCancel(t.Context())
		s := kube.New(kube.Options{Client: client, Node: node, StateDir: t.TempDir(), Log: slog.New(slog.DiscardHandler)})
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		got := "nothing"
		for deadline := time.Now().Add(90 * time.Second); got != want && time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
			if snap := s.Snapshot(); snap != nil && snap.Nodes.Len() > 0 {
				got = summary(snap)
			}
		}
		cancel()
		<-done
		if got != want {
			t.Errorf("%s: the Kubernetes store has\n%s\nthe file store\n%s", node, got, want)
		}
	}
}

// summary is what a node has of the nodes, pools and peers.
func summary(s *caracal.Snapshot) string {
	var lines []string
	for _, n := range s.Nodes.All() {
		lines = append(lines, fmt.Sprintf("node %s %s %s AS %d", n.Name, n.IPv4, n.IPv6, n.ASN))
	}
	for _, p := range s.Pools.All() {
		lines = append(lines, fmt.Sprintf("pool %+v", p))
	}
	for _, b := range s.Blocks.All() {
		lines = append(lines, fmt.Sprintf("block %s of %s", b.CIDR, b.Node))
	}
	for _, p := range s.Peers.All() {
		p.Password.From = ""
		lines = append(lines, fmt.Sprintf("peer %s %s AS %d multihop %v pools %v filters %v error %q", p.Name, p.Addr, p.ASN, p.Multihop, p.AcceptPools, p.Filters, p.Password.Err))
	}
	for _, p := range s.Policies.All() {
		lines = append(lines, "policy "+p.Key())
	}
	for _, p := range s.Problems {
		if p.Severity != caracal.Warning {
			lines = append(lines, "problem "+p.Message)
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
