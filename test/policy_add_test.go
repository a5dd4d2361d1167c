package test

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"caracal.dev/caracal/lab"
)

// TestPolicyFirstPacket: strangers on both nodes flood every address that a
// container may get, from before it exists. Of a hundred containers that a policy
// isolates none sees a datagram of theirs, by whatever name its interface comes,
// while those that it is open to reach it as soon as ADD has answered.
func TestPolicyFirstPacket(t *testing.T) {
	t.Parallel()
	c := withContainers(t, 2, largeBlocks, func(top *lab.Topology) {
		top.Objects = append(top.Objects, `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: closed, namespace: closed}
spec:
  podSelector: {}
  ingress: [{from: [{namespaceSelector: {matchExpressions: [{key: kubernetes.io/metadata.name, operator: In, values: [friends, default]}]}}]}]
`)
		// A container's namespace and labels are known on its own node only, unless
		// a store says them to all: so the friend on the other node is a Workload.
		top.Nodes[1].Pods = lab.MeshNode(1, lab.MeshOptions{}).Pods[:1]
	})
	friendNear, friendFar := c.inNamespace("a", "fnear", "friends"), c.l.Pod("b1")
	strangers := []*lab.Pod{c.inNamespace("a", "snear", "strangers"), c.inNamespace("b", "sfar", "strangers")}
	c.ping(friendNear, friendFar) // each node has the other's routes

	to := everyAddress(c.l.Node("a"))
	var floods []*lab.Flood
	for _, s := range strangers {
		floods = append(floods, must(s.StartFlood(t.Context(), to, 2*time.Millisecond))(t))
	}
	reached := 0
	for i := range 100 {
		name := fmt.Sprint("new", i)
		ctr := c.make("a", name)
		ctr.Args = kubernetesArgs("closed", name)
		s := must(lab.Sniff(ctr.NetNS, floodPort))(t)
		if err := c.hosts["a"].Add(t.Context(), ctr); err != nil {
			t.Fatal(err)
		}
		if i%10 == 0 {
			pod := c.adopt("a", name, ctr.NetNS, ctr.Addrs)
			srv := listen(t, pod, ctr.Addr(false), 0)
			for _, f := range []*lab.Pod{friendNear, friendFar} {
				conn := dialOnce(t, f, srv)
				conn.Close()
				reached++
			}
			srv.Close()
			c.l.Forget(name)
		}
		if n := s.Stop(); n > 0 {
			from, _ := s.From()
			t.Errorf("container %d (%v) got %d datagrams of strangers, from %v", i, ctr.Addrs, n, from)
		}
		if err := c.hosts["a"].Remove(t.Context(), ctr); err != nil {
			t.Fatal(err)
		}
	}
	sent := 0
	for _, f := range floods {
		sent += f.Stop()
	}
	t.Logf("%d datagrams were sent to %d addresses; friends connected %d times", sent, len(to), reached)
	if sent < 100*len(to) {
		t.Errorf("only %d datagrams were sent: less than one to each address for each container", sent)
	}

	c.alarmWorks(strangers[1])
}

// alarmWorks holds that to a container that nothing isolates a stranger's flood
// comes, and is seen.
func (c *containers) alarmWorks(stranger *lab.Pod) {
	t := c.t
	t.Helper()
	open := c.make("a", "open")
	open.Args = kubernetesArgs("strangers", "open")
	s := must(lab.Sniff(open.NetNS, floodPort))(t)
	defer s.Stop()
	if err := c.hosts["a"].Add(t.Context(), open); err != nil {
		t.Fatal(err)
	}
	f := must(stranger.StartFlood(t.Context(), []netip.AddrPort{netip.AddrPortFrom(open.Addr(false), floodPort)}, time.Millisecond))(t)
	defer f.Stop()
	eventually(t, 20*time.Second, func() string {
		if s.Count() == 0 {
			return "the sniffer sees nothing where nothing is forbidden"
		}
		return ""
	})
}

// everyAddress returns all that a container of a node may get, with the port of the
// floods.
func everyAddress(n *lab.Node) (out []netip.AddrPort) {
	for _, f := range lab.Families() {
		block := n.Block(f)
		for a := block.Addr(); block.Contains(a); a = a.Next() {
			out = append(out, netip.AddrPortFrom(a, floodPort))
		}
	}
	return out
}

// kubernetesArgs are the CNI_ARGS by which runtimes tell which pod it is.
func kubernetesArgs(namespace, name string) [][2]string {
	return [][2]string{{"IgnoreUnknown", "1"}, {"K8S_POD_NAMESPACE", namespace}, {"K8S_POD_NAME", name}}
}

// inNamespace makes a container of a namespace and wires it up.
func (c *containers) inNamespace(node, name, namespace string) *lab.Pod {
	c.t.Helper()
	ctr := c.make(node, name)
	ctr.Args = kubernetesArgs(namespace, name)
	if err := c.hosts[node].Add(c.t.Context(), ctr); err != nil {
		c.t.Fatal(err)
	}
	return c.adopt(node, name, ctr.NetNS, ctr.Addrs)
}

// dialOnce connects, at the first try: a route or a rule that comes late shows.
func dialOnce(t *testing.T, from place, l listener) net.Conn {
	t.Helper()
	var conn net.Conn
	err := from.Do(func() (err error) {
		conn, err = net.DialTimeout("tcp", l.Addr().String(), 5*time.Second)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return conn
}
