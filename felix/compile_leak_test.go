package felix

import (
	"fmt"
	"net/netip"
	"testing"

	"caracal.dev/caracal"
)

// TestCompilerForgets: a peer that no set shows, since its rule says everybody or
// nothing besides, is gone as soon as its policy changes.
func TestCompilerForgets(t *testing.T) {
	c := NewCompiler()
	s := caracal.NewSnapshot("a")
	w := caracal.Workload{Namespace: "x", Name: "w", Node: "a", Interface: "carw", Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.1")}}
	s.Workloads = s.Workloads.Put(w.Key(), w)
	c.Update(Input{Snapshot: s})
	peers, scopes := len(c.peerOf), len(c.scopeOf)
	for i := range 20 {
		next := *s
		s = &next
		app := func() *caracal.LabelSelector {
			return &caracal.LabelSelector{Requirements: []caracal.LabelRequirement{{Key: "app", Op: caracal.LabelIn, Values: []string{fmt.Sprint(i)}}}}
		}
		p := caracal.Policy{Namespace: "x", Name: "p", Ingress: true, IngressRules: []caracal.PolicyRule{
			{Peers: []caracal.PolicyPeer{{Pods: app()}, {Net: netip.MustParsePrefix("0.0.0.0/0")}}},
			{Peers: []caracal.PolicyPeer{{Namespaces: app()}}, Ports: []caracal.PolicyPort{{Protocol: "TCP", Port: 2, EndPort: 1}}},
		}}
		s.Policies = s.Policies.Put(p.Key(), p)
		c.Update(Input{Snapshot: s})
	}
	next := *s
	next.Policies = next.Policies.Delete("x/p")
	c.Update(Input{Snapshot: &next})
	if len(c.peerOf) != peers || len(c.scopeOf) != scopes || len(c.pods[0].peers) != 0 {
		t.Errorf("%d peers and %d scopes are left of %d and %d; the workload is in %d", len(c.peerOf), len(c.scopeOf), peers, scopes, len(c.pods[0].peers))
	}
}

// TestTightenedByWorkload: what is known of an interface of another name for the
// first time may have connections that its policies forbid.
func TestTightenedByWorkload(t *testing.T) {
	for iface, want := range map[string]bool{"tap0": true, "car00000000000": false} {
		c := NewCompiler()
		s := caracal.NewSnapshot("a")
		p := caracal.Policy{Namespace: "x", Name: "p", Ingress: true}
		s.Policies = s.Policies.Put(p.Key(), p)
		c.Update(Input{Snapshot: s})
		next := *s
		w := caracal.Workload{Namespace: "x", Name: "w", Node: "a", Interface: iface, Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.1")}}
		next.Workloads = next.Workloads.Put(w.Key(), w)
		if d, _ := c.Update(Input{Snapshot: &next}); d.Tightened != want {
			t.Errorf("%s: tightened %v, want %v", iface, d.Tightened, want)
		}
	}
}
