package test

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"caracal.dev/caracal/lab"
	"caracal.dev/caracal/store/kube/address"
)

// TestKubernetes is the life of a cluster: its nodes come, pods come and go, policies
// and peers change, a node joins and leaves.
func TestKubernetes(t *testing.T) {
	t.Parallel()
	top := kubeTopology(3)
	c := newCluster(t, top, apiAddr)
	for _, name := range []string{"a", "b"} {
		c.join(name)
	}
	c.sessions("a", "b")
	c.ready("a", "b")
	ctrA, podA := c.run("a", "pa", map[string]string{"app": "server"})
	ctrB, podB := c.run("b", "pb", map[string]string{"app": "client"})
	c.ping(podA, podB)
	c.ping(podB, podA)
	part := func(name string, fn func(t *testing.T)) {
		if !t.Failed() {
			t.Run(name, func(t *testing.T) {
				was := c.t
				c.t = t
				defer func() { c.t = was }()
				fn(t)
			})
		}
	}
	part("report", func(t *testing.T) { c.reports(t) })
	part("address", func(t *testing.T) { c.addresses(t) })
	part("policy", func(t *testing.T) { c.policies(t, podB, podA) })
	part("peer", func(t *testing.T) { c.peers(t) })
	part("refused", func(t *testing.T) { c.refuses(t) })
	part("join", func(t *testing.T) {
		c.during("pa", "pb", func() {
			c.join("c")
			c.sessions("a", "b", "c")
		})
		ctr, pod := c.run("c", "pc", nil)
		c.ping(pod, podA)
		c.ping(podB, pod)
		c.end("c", ctr)
	})
	part("leave", func(t *testing.T) {
		c.during("pa", "pb", func() {
			if err := c.l.Node("c").Kill(os.Kill); err != nil {
				t.Fatal(err)
			}
			if err := c.api.Core().CoreV1().Nodes().Delete(t.Context(), "c", metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			eventually(t, 20*time.Second, func() string {
				for _, n := range must(c.l.Node("a").Neighbors(t.Context()))(t) {
					if n.Node == "c" {
						return "a still wants a session with c"
					}
				}
				return ""
			})
		})
	})
	part("end", func(t *testing.T) {
		c.end("a", ctrA)
		c.end("b", ctrB)
		for _, name := range []string{"a", "b"} {
			eventually(t, 20*time.Second, func() string {
				if check, err := c.leases(name); err != nil || check.GetEndpoints() > 0 || check.GetAllocated() > 0 {
					return fmt.Sprintf("%s has still %v, %v", name, check, err)
				}
				return ""
			})
		}
		c.consistent("a", "b")
	})
}

// reports looks at what the daemons tell the cluster of themselves.
func (c *cluster) reports(t *testing.T) {
	for _, name := range []string{"a", "b"} {
		eventually(t, 60*time.Second, func() string {
			st, err := c.report(name)
			if err != nil {
				return err.Error()
			}
			if !st.Ready || st.SessionsSummary != "1/1" || len(st.Neighbors) != 1 || st.Neighbors[0].State != "Established" {
				return fmt.Sprintf("%s reports %+v", name, st)
			}
			return ""
		})
		eventually(t, 20*time.Second, func() string {
			if got := network(c.node(name)); got != "False CaracalIsUp" {
				return name + ": NetworkUnavailable is " + got
			}
			return ""
		})
	}
	if out := c.api.Kubectl(t, "get", "caracalnodestatuses"); !strings.Contains(out, "1/1") {
		t.Errorf("kubectl get shows\n%s", out)
	}
}

// addresses takes the annotations away, and puts a wrong one there.
func (c *cluster) addresses(t *testing.T) {
	want := netip.PrefixFrom(c.l.Node("a").Addr(lab.IPv4), 24).String()
	has := func() string {
		if got := c.node("a").Annotations[address.AnnotationIPv4]; got != want {
			return fmt.Sprintf("the annotation is %q, not %s", got, want)
		}
		return ""
	}
	eventually(t, 20*time.Second, has)
	c.annotate("a", address.AnnotationIPv4, "")
	eventually(t, 20*time.Second, has)
	c.during("pa", "pb", func() {
		c.annotate("a", address.AnnotationIPv4, "192.168.77.1/32")
		eventually(t, 20*time.Second, has)
	})
}

// closed is a policy that lets nobody in.
const closedPolicy = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: closed, namespace: default}
spec: {podSelector: {matchLabels: {app: server}}}
`

// policies close a pod, open it to some, and open it again.
func (c *cluster) policies(t *testing.T, from, to *lab.Pod) {
	reaches := func(want bool) {
		t.Helper()
		eventually(t, 20*time.Second, func() string {
			for _, a := range to.Addrs {
				cell, err := from.Ping(t.Context(), a)
				if err != nil {
					return err.Error()
				}
				if cell.OK != want {
					return fmt.Sprintf("ping %s: answered %v, not %v", a, cell.OK, want)
				}
			}
			return ""
		})
	}
	reaches(true)
	c.api.ApplyYAML(t, closedPolicy)
	reaches(false)
	c.api.ApplyYAML(t, closedPolicy+"\n---\n"+strings.NewReplacer("name: closed", "name: open", "{podSelector: {matchLabels: {app: server}}}",
		"{podSelector: {matchLabels: {app: server}}, ingress: [{from: [{podSelector: {matchLabels: {role: friend}}}]}]}").Replace(closedPolicy))
	reaches(false)
	c.api.Kubectl(t, "label", "pod", "pb", "role=friend")
	reaches(true)
	c.api.Kubectl(t, "label", "pod", "pb", "role-")
	reaches(false)
	c.api.Kubectl(t, "delete", "networkpolicy", "open", "closed")
	reaches(true)
}

// peers gives the nodes a neighbor with a password, by a Secret, and takes it away.
func (c *cluster) peers(t *testing.T) {
	const secret = "rhubarb-pie-7"
	tor := c.l.Node(apiHost)
	conf := fmt.Sprintf("log stderr all;\nrouter id %s;\nprotocol device {}\nprotocol static { ipv4; route 203.0.113.0/24 blackhole; }\n", apiAddr)
	for _, name := range []string{"a", "b"} {
		conf += fmt.Sprintf("protocol bgp %s { local %s as 65010; neighbor %s as 64512; password %q; ipv4 { import all; export all; }; }\n",
			name, apiAddr, c.l.Node(name).Addr(lab.IPv4), secret)
	}
	must(tor.StartBIRD(conf))(t)
	c.api.Kubectl(t, "-n", "caracal-system", "create", "secret", "generic", "caracal-bgp", "--from-literal=tor="+secret)
	c.api.ApplyYAML(t, fmt.Sprintf(`
apiVersion: caracal.dev/v1
kind: BGPFilter
metadata: {name: from-tor}
spec: {importV4: [{cidr: 203.0.113.0/24, matchOperator: Equal, action: Accept}]}
---
apiVersion: caracal.dev/v1
kind: BGPPeer
metadata: {name: tor}
spec:
  peerIP: %s
  asNumber: 65010
  filters: [from-tor]
  password: {secretKeyRef: {name: caracal-bgp, key: tor}}
`, apiAddr))
	for _, name := range []string{"a", "b"} {
		eventually(t, 60*time.Second, func() string {
			if out, err := c.l.Node(name).Exec(t.Context(), "ip", "route", "show", "203.0.113.0/24"); err != nil || !strings.Contains(out, apiAddr.String()) {
				return fmt.Sprintf("%s has no route by the peer: %q %v", name, out, err)
			}
			return ""
		})
	}
	c.noSecrets(secret)
	c.api.Kubectl(t, "delete", "bgppeer", "tor")
	for _, name := range []string{"a", "b"} {
		eventually(t, 30*time.Second, func() string {
			out := run(t, c.l.Node(name), "ip", "route", "show", "203.0.113.0/24")
			return strings.TrimSpace(out)
		})
	}
	if err := tor.Process("bird").Kill(os.Kill); err != nil {
		t.Error(err)
	}
}

// refuses writes an object that no schema can refuse.
func (c *cluster) refuses(t *testing.T) {
	c.api.ApplyYAML(t, `
apiVersion: caracal.dev/v1
kind: IPPool
metadata: {name: twice}
spec: {cidr: 10.244.128.0/17, blockSize: 26}
`)
	eventually(t, 60*time.Second, func() string {
		if text := c.events("Rejected"); !strings.Contains(text, "IPPool twice") {
			return "no Event about the pool: " + text
		}
		return ""
	})
	eventually(t, 90*time.Second, func() string {
		st, err := c.report("a")
		if err != nil {
			return err.Error()
		}
		for _, p := range st.Problems {
			if p.Object == "IPPool twice" && p.Severity == "rejected" {
				return ""
			}
		}
		return fmt.Sprintf("a reports %+v", st.Problems)
	})
	c.api.Kubectl(t, "delete", "ippool", "twice")
}
