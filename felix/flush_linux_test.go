package felix_test

import (
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/felix"
	"caracal.dev/caracal/internal/nstest"
)

// flushPod is a pod in a namespace of its own, behind a node that routes to it.
func flushPod(t *testing.T, node *nstest.NS, name, addr, label string) (*nstest.NS, caracal.Workload) {
	t.Helper()
	pod := nstest.New(t)
	dev := "car" + name
	nstest.Veth(t, node, dev, pod, "eth0")
	pod.Addr("eth0", addr+"/32")
	pod.Run("ip", "route", "add", "169.254.1.1", "dev", "eth0", "scope", "link")
	pod.Run("ip", "route", "add", "default", "via", "169.254.1.1", "dev", "eth0")
	node.Run("ip", "route", "add", addr+"/32", "dev", dev)
	// What CNI makes: neither end needs to ask for the other.
	mac := func(ns *nstest.NS, dev string) string {
		return strings.Fields(ns.Run("ip", "-br", "link", "show", "dev", dev))[2]
	}
	pod.Run("ip", "neigh", "replace", "169.254.1.1", "lladdr", mac(node, dev), "dev", "eth0", "nud", "permanent")
	node.Run("ip", "neigh", "replace", addr, "lladdr", mac(pod, "eth0"), "dev", dev, "nud", "permanent")
	return pod, caracal.Workload{
		Namespace: "default", Name: name, Node: "a", Interface: dev, Addrs: []netip.Addr{netip.MustParseAddr(addr)}, Labels: map[string]string{"app": label},
	}
}

// talk is one TCP connection that says something both ways as often as it is asked.
type talk struct{ client, server net.Conn }

func dialPods(t *testing.T, from, to *nstest.NS, addr string, port int) *talk {
	t.Helper()
	var l net.Listener
	var c net.Conn
	var err error
	to.Do(func() { l, err = net.Listen("tcp4", fmt.Sprintf("%s:%d", addr, port)) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	from.Do(func() { c, err = net.DialTimeout("tcp4", fmt.Sprintf("%s:%d", addr, port), 5*time.Second) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return &talk{c, s}
}

// heard reports whether what one end says is heard at the other within d.
func heard(say, hear net.Conn, d time.Duration) bool {
	_ = hear.SetReadDeadline(time.Now().Add(d))
	if _, err := say.Write([]byte("x")); err != nil {
		return false
	}
	_, err := hear.Read(make([]byte, 1))
	return err == nil
}

// TestFlush: of two established connections the one that is forbidden from now on
// ends, in both directions and whoever speaks first; the other goes on.
func TestFlush(t *testing.T) {
	if _, err := exec.LookPath("iptables"); err != nil {
		t.Fatal("install iptables and ipset")
	}
	node := nstest.New(t)
	node.Sysctl("net/ipv4/ip_forward", "1")
	bad, badW := flushPod(t, node, "bad", "10.9.0.1", "bad")
	good, goodW := flushPod(t, node, "good", "10.9.0.2", "good")
	web, webW := flushPod(t, node, "web", "10.9.0.3", "web")

	snap := caracal.NewSnapshot("a")
	snap.Generation, snap.Synced = 1, true
	snap.Dataplane.Policy.FlushConntrack = true
	snap.Nodes = snap.Nodes.Put("a", caracal.Node{Name: "a", IPv4: netip.MustParsePrefix("192.0.2.1/24"), Port: 179})
	for _, w := range []caracal.Workload{badW, goodW, webW} {
		snap.Workloads = snap.Workloads.Put(w.Key(), w)
	}
	snap.Namespaces = snap.Namespaces.Put("default", caracal.Namespace{Name: "default"})

	var filter *felix.Filter
	var flusher *felix.Flusher
	var err, err2 error
	node.Do(func() {
		filter, err = felix.Open(felix.FilterOptions{})
		flusher, err2 = felix.OpenFlusher()
	})
	if err != nil || err2 != nil {
		t.Fatal(err, err2)
	}
	defer filter.Close()
	defer flusher.Close()
	rules := felix.NewCompiler()
	rules.Update(felix.Input{Snapshot: snap})
	if _, err := filter.Audit(t.Context(), rules); err != nil {
		t.Fatal(err)
	}

	badTalk, pushTalk := dialPods(t, bad, web, "10.9.0.3", 80), dialPods(t, bad, web, "10.9.0.3", 81)
	goodTalk := dialPods(t, good, web, "10.9.0.3", 82)
	for _, c := range []*talk{badTalk, pushTalk, goodTalk} {
		if !heard(c.client, c.server, 5*time.Second) || !heard(c.server, c.client, 5*time.Second) {
			t.Fatal("no connection to begin with")
		}
	}
	if n, err := flusher.End(func() *caracal.Snapshot { return snap }); n != 0 || err != nil {
		t.Fatalf("ended %d of the allowed: %v", n, err)
	}

	next := *snap
	next.Generation++
	next.Policies = next.Policies.Put("default/web", caracal.Policy{
		Namespace: "default", Name: "web", Ingress: true, Pods: selectApp("web"),
		IngressRules: []caracal.PolicyRule{{Peers: []caracal.PolicyPeer{{Pods: selectorOf("good")}}}},
	})
	delta, _ := rules.Update(felix.Input{Snapshot: &next})
	if !delta.Tightened {
		t.Error("a policy that isolates does not count as tighter")
	}
	if _, err := filter.Apply(t.Context(), rules, delta); err != nil {
		t.Fatal(err)
	}
	if !heard(badTalk.client, badTalk.server, 5*time.Second) {
		t.Fatal("an established connection ended without being flushed")
	}
	if n, err := flusher.End(func() *caracal.Snapshot { return &next }); n < 2 || err != nil {
		t.Fatalf("ended %d, want 2: %v", n, err)
	}
	if heard(pushTalk.server, pushTalk.client, time.Second) {
		t.Error("what the server says of itself still arrives")
	}
	if heard(badTalk.client, badTalk.server, time.Second) {
		t.Error("what the client says still arrives")
	}
	if heard(badTalk.server, badTalk.client, time.Second) || heard(badTalk.client, badTalk.server, time.Second) {
		t.Error("the connection lives on, the other way round")
	}
	if !heard(goodTalk.client, goodTalk.server, 5*time.Second) || !heard(goodTalk.server, goodTalk.client, 5*time.Second) {
		t.Error("the allowed connection ended too")
	}
}

func selectApp(name string) caracal.LabelSelector {
	return caracal.LabelSelector{Requirements: []caracal.LabelRequirement{{Key: "app", Op: caracal.LabelIn, Values: []string{name}}}}
}

func selectorOf(name string) *caracal.LabelSelector {
	s := selectApp(name)
	return &s
}
