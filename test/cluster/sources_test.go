//go:build cluster

package cluster

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"caracal.dev/caracal/lab"
)

// Three Services of each server: its only endpoint. The names end in the node's number.
const servicesOfOne = `
apiVersion: v1
kind: Service
metadata: {name: any%[1]d}
spec:
  type: NodePort
  selector: {pod: server%[1]d}
  ports: [{port: 80, targetPort: 8080, nodePort: 3010%[1]d}]
---
apiVersion: v1
kind: Service
metadata: {name: local%[1]d}
spec:
  type: NodePort
  externalTrafficPolicy: Local
  selector: {pod: server%[1]d}
  ports: [{port: 80, targetPort: 8080, nodePort: 3020%[1]d}]
---
apiVersion: v1
kind: Service
metadata: {name: near%[1]d}
spec:
  internalTrafficPolicy: Local
  selector: {pod: server%[1]d}
  ports: [{port: 80, targetPort: 8080}]
`

// What a server may see of who asks.
const (
	client = "the client"
	viaN1  = "n1"
	nobody = "nothing"
)

// sources is the table of docs/KUBE-PROXY.md: who asks, what (a Service's ClusterIP,
// or a port of n1, 3010x or 3020x), and what is seen by the endpoint on n1 and by the
// one on n2. All who ask come by n1.
var sources = []struct{ from, what, here, there string }{
	{"friend", "any", client, client},
	{"server1", "any", viaN1, client}, // the first is itself
	{"n1", "any", viaN1, viaN1},
	{"friend", "near", client, nobody},
	{"friend", "3010", viaN1, viaN1},
	{"friend", "3020", client, client},
	{"n1", "3010", viaN1, viaN1},
	{"n1", "3020", viaN1, viaN1},
	{Outside, "3010", viaN1, viaN1},
	{Outside, "3020", client, nobody},
	{Outside, "any", viaN1, viaN1},
	{Outside, "near", viaN1, nobody},
}

// onlyFrom lets only one range in.
const onlyFrom = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: only-from}
spec:
  podSelector: {matchLabels: {app: server}}
  policyTypes: [Ingress]
  ingress:
  - from: [{ipBlock: {cidr: %s/32}}]
`

// sourcesOfPolicies is the same with a policy that lets in the machine outside, and
// then n1: it sees the client itself on the node that masquerades. What a node itself
// asks its own pods is always let in.
var sourcesOfPolicies = []struct{ allowed, from, what, here, there string }{
	{Outside, Outside, "3010", viaN1, nobody},
	{Outside, Outside, "3020", client, nobody},
	{Outside, Outside, "any", viaN1, nobody},
	{Outside, "friend", "3010", nobody, nobody},
	{Outside, "n1", "any", viaN1, nobody},
	{"n1", Outside, "3010", nobody, viaN1},
	{"n1", Outside, "any", nobody, viaN1},
	{"n1", "friend", "3010", nobody, viaN1},
	{"n1", "n1", "any", viaN1, viaN1},
}

// The addresses that servers and policies see beside kube-proxy as it was started.
func (s *story) sourcesIPTables(t *testing.T) {
	for i := range s.Machines {
		s.API.ApplyYAML(t, fmt.Sprintf(servicesOfOne, i+1))
	}
	s.sources(t)
}

// The same beside kube-proxy with nftables, which takes away what the one before it
// wrote, and nothing of ours.
func (s *story) sourcesNFTables(t *testing.T) {
	for _, m := range s.Machines {
		s.StartProxy(t, m, ProxyNFTables)
	}
	for _, m := range s.Machines {
		s.Wait(t, 30*time.Second, func() string {
			tables, err := m.Exec(t.Context(), "nft", "list", "tables")
			if err != nil || !strings.Contains(tables, "ip kube-proxy") {
				return "kube-proxy has no table of nftables: " + tables + words(err)
			}
			rules, err := m.Exec(t.Context(), "iptables-save", "-t", "nat")
			if err != nil || strings.Contains(rules, "KUBE-SVC") {
				return "there are rules of the other mode: " + rules + words(err)
			}
			return ""
		})
	}
	s.sources(t)
}

func (s *story) sources(t *testing.T) {
	n1 := s.Machines[0].Node.Addr(lab.IPv4)
	if _, err := s.Lab.Node(Outside).Exec(t.Context(), "ip", "route", "replace", "10.96.0.0/16", "via", n1.String()); err != nil {
		t.Fatal(err)
	}
	var rows []row
	for _, r := range sources {
		rows = append(rows, row{"", r.from, r.what, 1, r.here}, row{"", r.from, r.what, 2, r.there})
	}
	s.askAll(t, rows)
	for _, allowed := range []string{Outside, "n1"} {
		s.API.ApplyYAML(t, fmt.Sprintf(onlyFrom, s.Lab.Node(allowed).Addr(lab.IPv4)))
		rows = rows[:0]
		when := "with a policy for " + allowed + ": "
		for _, r := range sourcesOfPolicies {
			if r.allowed == allowed {
				rows = append(rows, row{when, r.from, r.what, 1, r.here}, row{when, r.from, r.what, 2, r.there})
			}
		}
		s.askAll(t, rows)
	}
	s.API.Kubectl(t, "delete", "networkpolicy", "only-from")
	s.Wait(t, 30*time.Second, func() string {
		_, err := s.AskFromPod(t, "stranger", s.pods["server2"].Addr(false), PodPort)
		return words(err)
	})
}

// row is one who asks for one server, and what that is to see.
type row struct {
	when, from, what string
	server           int
	want             string
}

// askAll asks all at once, for each that stays without an answer takes two seconds; and
// again until what is wanted is seen, since rules take their time to come, and to go.
func (s *story) askAll(t *testing.T, rows []row) {
	t.Helper()
	services, err := s.API.Core().CoreV1().Services("default").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	addrs := map[string]netip.Addr{}
	for _, svc := range services.Items {
		addrs[svc.Name] = netip.MustParseAddr(svc.Spec.ClusterIP)
	}
	var all sync.WaitGroup
	turns := make(chan struct{}, 8)
	for _, r := range rows {
		addr, port := s.Machines[0].Node.Addr(lab.IPv4), 0
		if _, err := fmt.Sscanf(r.what, "%d", &port); err == nil {
			port = 10*port + r.server
		} else {
			addr, port = addrs[fmt.Sprintf("%s%d", r.what, r.server)], 80
		}
		all.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			got := ""
			for begin := time.Now(); got != r.want && time.Since(begin) < 20*time.Second; {
				got = s.seenFrom(t, r.from, addr, port)
			}
			if got != r.want {
				t.Errorf("%s%s asks %s%d at %s:%d: the server saw %s, want %s", r.when, r.from, r.what, r.server, addr, port, got, r.want)
			}
		})
	}
	all.Wait()
}

func (s *story) seenFrom(t *testing.T, from string, addr netip.Addr, port int) string {
	ask, own := s.AskFromPod, s.pods[from].Addr(false)
	if node := s.Lab.Node(from); node != nil {
		ask, own = s.AskFromNode, node.Addr(lab.IPv4)
	}
	got, err := ask(t, from, addr, port)
	switch {
	case err != nil:
		return nobody
	case got == s.Machines[0].Node.Addr(lab.IPv4):
		return viaN1
	case got == own:
		return client
	}
	return got.String()
}
