package ipip

import (
	"errors"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"caracal.dev/caracal/internal/nstest"
	"caracal.dev/caracal/internal/uml"
)

func addrs(list ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

func TestGuardFake(t *testing.T) {
	f := &FakeFirewall{}
	g := NewGuard(f)
	for _, step := range []struct {
		allowed []netip.Addr
		changed bool
		log     []string
	}{
		{addrs("192.0.2.1", "192.0.2.2", "2001:db8::1"), true, []string{"set +2 -0", "rule true"}},
		{addrs("192.0.2.2", "192.0.2.1"), false, nil},
		{addrs("192.0.2.2", "192.0.2.3"), true, []string{"set +1 -1"}},
		{nil, true, []string{"set +0 -2"}},
	} {
		f.Log = nil
		changed, err := g.Apply(t.Context(), step.allowed, true)
		if err != nil || changed != step.changed || !slices.Equal(f.Log, step.log) {
			t.Errorf("%v: changed %v, log %q, %v", step.allowed, changed, f.Log, err)
		}
	}
	f.Log = nil
	if changed, err := g.Apply(t.Context(), addrs("192.0.2.4"), true); err != nil || !changed {
		t.Errorf("changed %v, %v", changed, err)
	}
	if _, err := g.Apply(t.Context(), addrs("192.0.2.5"), false); err != nil || !f.Set[addrs("192.0.2.4")[0]] {
		t.Errorf("a list that is not whole shut somebody out: %v, %v", f.Set, err)
	}
	f.Log = nil
	if err := g.Remove(t.Context()); err != nil || !slices.Equal(f.Log, []string{"rule false", "drop"}) {
		t.Errorf("remove: %q, %v", f.Log, err)
	}
	f.Fail = errors.New("no")
	if _, err := g.Apply(t.Context(), addrs("192.0.2.1"), true); err == nil || !strings.Contains(err.Error(), SetName) {
		t.Errorf("%v", err)
	}
}

// The real firewall, with packets: what a node sends comes through, what others
// send does not.
func TestGuardKernel(t *testing.T) {
	ns := nstest.New(t)
	ns.Do(func() {
		n, err := NewNetfilter()
		if err != nil {
			t.Fatal(err)
		}
		defer n.Close()
		g := NewGuard(n)
		for _, allowed := range [][]netip.Addr{addrs("192.0.2.1", "192.0.2.2"), addrs("192.0.2.2", "192.0.2.3"), nil} {
			if changed, err := g.Apply(t.Context(), allowed, true); err != nil || !changed {
				t.Errorf("%v: changed %v, %v", allowed, changed, err)
			}
			if changed, err := g.Apply(t.Context(), allowed, true); err != nil || changed {
				t.Errorf("%v, the second time: changed %v, %v", allowed, changed, err)
			}
			have, there, err := n.Members(t.Context())
			slices.SortFunc(have, netip.Addr.Compare)
			if err != nil || !there || !slices.Equal(have, allowed) {
				t.Errorf("the set holds %v, not %v; %v", have, allowed, err)
			}
		}
	})
	if out := ns.Run("iptables", "-S", "INPUT"); strings.Count(out, RuleComment) != 1 {
		t.Errorf("rules:\n%s", out)
	}
	ns.Run("iptables", "-F", "INPUT") // by somebody else
	ns.Do(func() {
		n, err := NewNetfilter()
		if err != nil {
			t.Fatal(err)
		}
		defer n.Close()
		g := NewGuard(n)
		if changed, err := g.Apply(t.Context(), nil, true); err != nil || !changed {
			t.Errorf("after a flush: changed %v, %v", changed, err)
		}
		if err := g.Remove(t.Context()); err != nil {
			t.Error(err)
		}
		if err := g.Remove(t.Context()); err != nil {
			t.Errorf("the second time: %v", err)
		}
	})
	if out := ns.Run("iptables", "-S", "INPUT"); strings.Contains(out, RuleComment) {
		t.Errorf("rules:\n%s", out)
	}
}

// TestGuardLegacy has a kernel that takes rules of iptables-legacy alone.
func TestGuardLegacy(t *testing.T) {
	if !uml.Test(t, uml.Options{Modules: []string{"ip_tables", "iptable_filter", "xt_set", "xt_comment", "ip_set_hash_ip"}}) {
		return
	}
	for range 2 { // also after a restart
		n, err := NewNetfilter()
		if err != nil {
			t.Fatal(err)
		}
		defer n.Close()
		g := NewGuard(n)
		if _, err := g.Apply(t.Context(), addrs("192.0.2.1"), true); err != nil {
			t.Fatal(err)
		}
		if changed, err := g.Apply(t.Context(), addrs("192.0.2.1"), true); err != nil || changed {
			t.Errorf("the second time: changed %v, %v", changed, err)
		}
	}
	if out, err := exec.Command("iptables-legacy", "-S", "INPUT").CombinedOutput(); err != nil || strings.Count(string(out), RuleComment) != 1 {
		t.Errorf("%v, rules:\n%s", err, out)
	}
	n, err := NewNetfilter()
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	if err := NewGuard(n).Remove(t.Context()); err != nil {
		t.Error(err)
	}
	if there, err := NewGuard(n).Present(t.Context()); err != nil || there {
		t.Errorf("still there: %v, %v", there, err)
	}
}
