//go:build cluster

package cluster

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"caracal.dev/caracal/lab"
)

// pools are what an operator writes besides the manifests.
const pools = `
apiVersion: caracal.dev/v1
kind: IPPool
metadata: {name: pods-v4}
spec: {cidr: ` + PodsV4 + `, natOutgoing: true}
---
apiVersion: caracal.dev/v1
kind: IPPool
metadata: {name: pods-v6}
spec: {cidr: ` + PodsV6 + `, blockSize: 122}
`

// The chapters of one story: each stands on those before it.
func TestCluster(t *testing.T) {
	begin := time.Now()
	c := Start(t, []string{"n1", "n2"}, Caracal(t))
	t.Logf("control plane, two nodes and their images: %v", time.Since(begin).Round(time.Millisecond))
	c.Install(t, pools)
	t.Logf("from the manifests to nodes with a network: %v", c.WaitReady(t, 2*time.Minute).Round(time.Millisecond))
	for _, p := range []struct{ name, node, app string }{
		{"server1", "n1", "server"}, {"server2", "n2", "server"}, {"friend", "n1", "friend"}, {"stranger", "n1", "stranger"},
	} {
		c.CreatePod(t, p.name, p.node, p.app)
	}
	s := &story{c, map[string]Pod{}}
	begin = time.Now()
	for _, name := range []string{"server1", "server2", "friend", "stranger"} {
		s.pods[name] = c.WaitPod(t, name)
	}
	t.Logf("four pods were ready after %v", time.Since(begin).Round(time.Millisecond))
	for _, chapter := range []struct {
		name string
		run  func(*story, *testing.T)
	}{
		{"PodsReachEachOther", (*story).reach},
		{"ClusterIP", (*story).clusterIP},
		{"NodePort", (*story).nodePort},
		{"NetworkPolicy", (*story).policy},
		{"PolicyOfAddresses", (*story).blocks},
		{"SourcesIPTables", (*story).sourcesIPTables},
		{"SourcesNFTables", (*story).sourcesNFTables},
		{"KubectlShowsIt", (*story).shows},
		{"RolloutUnderTraffic", (*story).rollout},
		{"CrashWithoutAPI", (*story).crash},
		{"PodsGo", (*story).leave},
		{"Removed", (*story).remove},
	} {
		begin := time.Now()
		if !t.Run(chapter.name, func(t *testing.T) { chapter.run(s, t) }) {
			return
		}
		t.Logf("%s: %v", chapter.name, time.Since(begin).Round(time.Millisecond))
	}
}

// story is a cluster with Caracal and four pods: server1, friend and stranger on n1,
// server2 on n2.
type story struct {
	*Cluster
	pods map[string]Pod
}

// seen fails the test unless a server saw this address.
func seen(t *testing.T, what string, got netip.Addr, err error, want netip.Addr) {
	t.Helper()
	if err != nil {
		t.Errorf("%s: %v", what, err)
	} else if got != want {
		t.Errorf("%s: the server saw %v, want %v", what, got, want)
	}
}

// Pods see each other by their own addresses, on the same node and across.
func (s *story) reach(t *testing.T) {
	for _, server := range []string{"server1", "server2"} {
		for _, is6 := range []bool{false, true} {
			to, from := s.pods[server].Addr(is6), s.pods["friend"].Addr(is6)
			if !to.IsValid() || !from.IsValid() {
				t.Fatalf("%s has %v, friend has %v", server, s.pods[server].Addrs, s.pods["friend"].Addrs)
			}
			got, err := s.AskFromPod(t, "friend", to, PodPort)
			seen(t, fmt.Sprintf("friend asks %s at %s", server, to), got, err, from)
		}
	}
}

const services = `
apiVersion: v1
kind: Service
metadata: {name: cluster}
spec:
  ipFamilyPolicy: PreferDualStack
  selector: {app: server}
  ports: [{port: 80, targetPort: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: port}
spec:
  type: NodePort
  selector: {app: server}
  ports: [{port: 80, targetPort: 8080, nodePort: 30080}]
---
apiVersion: v1
kind: Service
metadata: {name: local}
spec:
  type: NodePort
  externalTrafficPolicy: Local
  selector: {app: server}
  ports: [{port: 80, targetPort: 8080, nodePort: 30081}]
`

// A pod that asks a ClusterIP keeps its address; servers on both nodes answer.
func (s *story) clusterIP(t *testing.T) {
	s.API.ApplyYAML(t, services)
	svc, err := s.API.Core().CoreV1().Services("default").Get(t.Context(), "cluster", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(svc.Spec.ClusterIPs) != 2 {
		t.Fatalf("ClusterIPs %v", svc.Spec.ClusterIPs)
	}
	for _, text := range svc.Spec.ClusterIPs {
		addr := netip.MustParseAddr(text)
		s.Wait(t, 30*time.Second, func() string {
			_, err := s.AskFromPod(t, "friend", addr, 80)
			return words(err)
		})
		for range 4 { // kube-proxy chooses by chance
			got, err := s.AskFromPod(t, "friend", addr, 80)
			seen(t, "friend asks "+text, got, err, s.pods["friend"].Addr(addr.Is6()))
		}
	}
}

// Who asks a port of a node from outside is seen as that node, since the way back
// must lead through it, or as itself where the service says Local.
func (s *story) nodePort(t *testing.T) {
	outside := s.Lab.Node(Outside).Addr(lab.IPv4)
	for _, m := range s.Machines {
		addr := m.Node.Addr(lab.IPv4)
		s.Wait(t, 30*time.Second, func() string {
			_, err := s.AskFromNode(t, Outside, addr, 30081)
			return words(err)
		})
		got, err := s.AskFromNode(t, Outside, addr, 30081)
		seen(t, "outside asks "+m.Name+" (Local)", got, err, outside)
		for range 6 {
			got, err := s.AskFromNode(t, Outside, addr, 30080)
			seen(t, "outside asks "+m.Name, got, err, addr)
		}
	}
}

const policy = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: friends}
spec:
  podSelector: {matchLabels: {app: server}}
  policyTypes: [Ingress]
  ingress:
  - from: [{podSelector: {matchLabels: {app: friend}}}]
`

// A policy lets in whom it names, and kubelet's probes; without it everybody is in
// again.
func (s *story) policy(t *testing.T) {
	s.API.ApplyYAML(t, policy)
	for _, server := range []string{"server1", "server2"} {
		for _, is6 := range []bool{false, true} {
			addr := s.pods[server].Addr(is6)
			s.Wait(t, 30*time.Second, func() string {
				if got, err := s.AskFromPod(t, "stranger", addr, PodPort); err == nil {
					return fmt.Sprintf("stranger reaches %s at %s, as %s", server, addr, got)
				}
				return ""
			})
			got, err := s.AskFromPod(t, "friend", addr, PodPort)
			seen(t, "friend asks "+server, got, err, s.pods["friend"].Addr(is6))
		}
		if _, err := s.AskFromNode(t, Outside, s.pods[server].Addr(false), PodPort); err == nil {
			t.Errorf("outside reaches %s", server)
		}
	}
	time.Sleep(4 * time.Second) // three of kubelet's probes: they would fail now
	for _, server := range []string{"server1", "server2"} {
		s.WaitPod(t, server)
	}
	s.API.Kubectl(t, "delete", "networkpolicy", "friends")
	s.Wait(t, 30*time.Second, func() string {
		_, err := s.AskFromPod(t, "stranger", s.pods["server2"].Addr(false), PodPort)
		return words(err)
	})
}

const onlyOutside = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: outside}
spec:
  podSelector: {matchLabels: {app: server}}
  policyTypes: [Ingress]
  ingress:
  - from: [{ipBlock: {cidr: %s/32}}]
`

// A policy about addresses sees those that kube-proxy leaves: whoever asks a NodePort
// with externalTrafficPolicy Local is judged by the own address.
func (s *story) blocks(t *testing.T) {
	s.API.ApplyYAML(t, fmt.Sprintf(onlyOutside, s.Lab.Node(Outside).Addr(lab.IPv4)))
	n2 := s.Machines[1].Node.Addr(lab.IPv4)
	s.Wait(t, 30*time.Second, func() string {
		if _, err := s.AskFromPod(t, "friend", s.pods["server2"].Addr(false), PodPort); err == nil {
			return "friend still reaches server2"
		}
		return ""
	})
	got, err := s.AskFromNode(t, Outside, n2, 30081)
	seen(t, "outside asks n2 (Local)", got, err, s.Lab.Node(Outside).Addr(lab.IPv4))
	// A machine that the policy does not name.
	if _, err := s.AskFromNode(t, ControlPlane, n2, 30081); err == nil {
		t.Error("the control plane's machine reaches server2 through n2")
	}
	s.API.Kubectl(t, "delete", "networkpolicy", "outside")
	s.Wait(t, 30*time.Second, func() string {
		_, err := s.AskFromNode(t, ControlPlane, n2, 30081)
		return words(err)
	})
}

// What an operator sees.
func (s *story) shows(t *testing.T) {
	s.Wait(t, time.Minute, func() string {
		out := s.API.Kubectl(t, "get", "caracalnodestatuses")
		for _, m := range s.Machines {
			if !strings.Contains(out, m.Name) {
				return out
			}
		}
		return ""
	})
	out := s.API.Kubectl(t, "get", "caracal")
	t.Logf("kubectl get caracal\n%s", out)
	for _, want := range []string{"n1", "n2", "pods-v4", "pods-v6", PodsV4} {
		if !strings.Contains(out, want) {
			t.Errorf("kubectl get caracal does not show %s", want)
		}
	}
	if got := s.API.Kubectl(t, "-n", "caracal-system", "get", "pods", "-o", "jsonpath={.items[*].status.containerStatuses[*].restartCount}"); got != "0 0" {
		t.Errorf("the daemons were restarted: %s", got)
	}
}

// The daemons are replaced, one node after the other, and no packet is lost.
func (s *story) rollout(t *testing.T) {
	const pings = `ping -q -i 0.05 %s >/tmp/pings &
while [ ! -e /tmp/stop ]; do sleep 0.1; done
kill -INT $!; wait $!; cat /tmp/pings`
	done := make(chan string)
	go func() {
		out, err := s.API.TryKubectl(t, "exec", "friend", "--", "sh", "-c", fmt.Sprintf(pings, s.pods["server2"].Addr(false)))
		done <- out + words(err)
	}()
	s.API.Kubectl(t, "-n", "caracal-system", "rollout", "restart", "daemonset/caracal")
	s.API.Kubectl(t, "-n", "caracal-system", "rollout", "status", "daemonset/caracal", "--timeout=120s")
	s.API.Kubectl(t, "exec", "friend", "--", "sh", "-c", "echo >/tmp/stop")
	out := <-done
	t.Log(out)
	if !strings.Contains(out, " 0% packet loss") {
		t.Error("packets were lost while the daemons were replaced")
	}
}

// While the API is away a daemon dies: kubelet starts it again, it goes on with what
// it had taken last, and no packet is lost.
func (s *story) crash(t *testing.T) {
	n1 := s.Machines[0]
	before, err := n1.Exec(t.Context(), "pidof", "caracald")
	if err != nil {
		t.Fatal(err)
	}
	pings, err := n1.Start("ping", "ping", "-q", "-i", "0.05", s.pods["server2"].Addr(false).String())
	if err != nil {
		t.Fatal(err)
	}
	s.API.Kill()
	if _, err := n1.Exec(t.Context(), append([]string{"kill", "-9"}, strings.Fields(before)...)...); err != nil {
		t.Error(err)
	}
	begin := time.Now()
	s.Wait(t, time.Minute, func() string {
		now, err := n1.Exec(t.Context(), "pidof", "caracald")
		if err != nil || now == before {
			return "caracald was not started again"
		}
		out, err := n1.Exec(t.Context(), "busybox", "sh", "-c", `printf 'GET /readyz HTTP/1.0\r\n\r\n' | busybox nc -w 2 127.0.0.1 9179`)
		if err != nil || !strings.Contains(out, " 200 ") {
			return "caracald is not ready: " + out + words(err)
		}
		return ""
	})
	t.Logf("ready again, without the API, %v after the crash", time.Since(begin).Round(time.Millisecond))
	s.API.Restart(t)
	s.WaitReady(t, time.Minute)
	if _, err := n1.Exec(t.Context(), "pkill", "-INT", "-x", "ping"); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := pings.Wait(ctx); err != nil {
		t.Error(err)
	}
	if out := pings.Log(); !strings.Contains(out, " 0% packet loss") {
		t.Errorf("packets were lost:\n%s", out)
	} else {
		t.Log(out)
	}
}

// Pods that are deleted give their addresses back.
func (s *story) leave(t *testing.T) {
	s.API.Kubectl(t, "delete", "pod", "friend", "stranger", "server1", "server2", "--wait=true", "--timeout=60s")
	s.Wait(t, 30*time.Second, func() string {
		out := s.API.Kubectl(t, "get", "ipamblocks", "--no-headers")
		for line := range strings.Lines(out) {
			if f := strings.Fields(line); len(f) != 5 || f[3] != "0" {
				return out
			}
		}
		return ""
	})
}

// Caracal is removed as docs/KUBERNETES.md says, and nodes and API have nothing of it
// any more.
func (s *story) remove(t *testing.T) {
	kubectl := func(args ...string) { t.Helper(); s.API.Kubectl(t, args...) }
	kubectl("-n", "caracal-system", "delete", "daemonset", "caracal", "--wait")
	kubectl("apply", "-f", "../../manifests/cleanup.yaml")
	kubectl("-n", "caracal-system", "rollout", "status", "daemonset/caracal-cleanup", "--timeout=60s")
	for _, m := range s.Machines {
		for what, argv := range map[string][]string{
			"rules":              {"iptables-save"},
			"rules of IPv6":      {"ip6tables-save"},
			"sets":               {"ipset", "list", "-n"},
			"routes":             {"ip", "route", "show", "proto", "67"},
			"routes of IPv6":     {"ip", "-6", "route", "show", "proto", "67"},
			"the network's file": {"ls", "/etc/cni/net.d"},
		} {
			out, err := m.Exec(t.Context(), argv...)
			if err != nil {
				t.Error(err)
			} else if strings.Contains(out, "caracal") || strings.HasPrefix(what, "routes") && out != "" {
				t.Errorf("%s still has %s of Caracal:\n%s", m.Name, what, out)
			}
		}
	}
	kubectl("-n", "caracal-system", "delete", "daemonset", "caracal-cleanup", "--wait")
	kubectl("delete", "--ignore-not-found", "-f", "../../manifests/caracal.yaml", "--timeout=60s")
	if out := s.API.Kubectl(t, "get", "crd,clusterrole,clusterrolebinding,validatingadmissionpolicy,namespace", "-o", "name"); strings.Contains(out, "caracal") {
		t.Errorf("the API still has\n%s", out)
	}
}

// words is an error as text; nothing if there is none.
func words(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
