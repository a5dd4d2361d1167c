package ipip

import (
	"errors"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"caracal.dev/caracal/internal/uml"
)

func pfx(s string) netip.Prefix { return netip.MustParsePrefix(s) }

var addr = netip.MustParseAddr("10.244.0.1")

func TestPlan(t *testing.T) {
	good := State{Exists: true, Up: true, MTU: 1480, Addrs: []Addr{{pfx("10.244.0.1/32"), true}}}
	with := func(change func(*State)) State {
		s := good
		s.Addrs = slices.Clone(good.Addrs)
		change(&s)
		return s
	}
	for _, c := range []struct {
		what string
		have State
		want Want
		out  []string
	}{
		{"as it must be", good, Want{addr, 1480}, nil},
		{"as the kernel makes it", State{Exists: true, MTU: 1480}, Want{addr, 1430},
			[]string{"set the MTU of tunl0 to 1430", "add 10.244.0.1/32 to tunl0", "set tunl0 up"}},
		{"another address: the new one first", good, Want{netip.MustParseAddr("10.244.0.9"), 1480},
			[]string{"add 10.244.0.9/32 to tunl0", "remove 10.244.0.1/32 from tunl0"}},
		{"no address any more", good, Want{MTU: 1480}, []string{"remove 10.244.0.1/32 from tunl0"}},
		{"a foreign address stays", with(func(s *State) { s.Addrs = append(s.Addrs, Addr{pfx("192.0.2.1/24"), false}) }), Want{addr, 1480}, nil},
		{"ours by value, set by somebody else", with(func(s *State) { s.Addrs[0].Ours = false }), Want{addr, 1480}, nil},
		{"ours with another length", with(func(s *State) { s.Addrs[0].Prefix = pfx("10.244.0.1/24") }), Want{addr, 1480},
			[]string{"add 10.244.0.1/32 to tunl0", "remove 10.244.0.1/24 from tunl0"}},
		{"strict reverse path", with(func(s *State) { s.ReversePath = 1 }), Want{addr, 1480}, []string{"set rp_filter of tunl0 to 2"}},
		{"no reverse path check stays", with(func(s *State) { s.ReversePath = 0 }), Want{addr, 1480}, nil},
		{"set down by hand", with(func(s *State) { s.Up = false }), Want{addr, 1480}, []string{"set tunl0 up"}},
		{"an MTU that no device can have", good, Want{addr, -20}, []string{"set the MTU of tunl0 to 68"}},
		{"a jumbo one that none can", good, Want{addr, 70000}, []string{"set the MTU of tunl0 to 65515"}},
		{"an IPv6 address is none", good, Want{netip.MustParseAddr("2001:db8::1"), 1480}, []string{"remove 10.244.0.1/32 from tunl0"}},
	} {
		var out []string
		for _, s := range Plan(c.want, c.have) {
			out = append(out, s.String())
		}
		if !slices.Equal(out, c.out) {
			t.Errorf("%s: %q, want %q", c.what, out, c.out)
		}
	}
}

func TestPlanRelease(t *testing.T) {
	ours, foreign := Addr{pfx("10.244.0.1/32"), true}, Addr{pfx("192.0.2.1/32"), false}
	for _, c := range []struct {
		what string
		have State
		out  []string
	}{
		{"ours alone", State{Up: true, Addrs: []Addr{ours}}, []string{"set tunl0 down", "remove 10.244.0.1/32 from tunl0"}},
		{"without an address", State{Up: true}, []string{"set tunl0 down"}},
		{"somebody else's too", State{Up: true, Addrs: []Addr{foreign, ours}}, []string{"remove 10.244.0.1/32 from tunl0"}},
		{"down", State{}, nil},
	} {
		var out []string
		for _, s := range PlanRelease(c.have) {
			out = append(out, s.String())
		}
		if !slices.Equal(out, c.out) {
			t.Errorf("%s: %q, want %q", c.what, out, c.out)
		}
	}
}

func TestApplyFake(t *testing.T) {
	f := &Fake{Module: true}
	tun := New(f)
	did, have, err := tun.Apply(t.Context(), Want{addr, 1400})
	if err != nil || len(did) != 3 || !have.Up || have.MTU != 1400 || f.Loads != 1 {
		t.Fatalf("did %v, have %+v, %v", did, have, err)
	}
	if did, _, err := tun.Apply(t.Context(), Want{addr, 1400}); err != nil || len(did) != 0 {
		t.Errorf("the second time: %v, %v", did, err)
	}
}

// One step that fails leaves the others to be done, and the next Apply does it.
func TestApplyFailure(t *testing.T) {
	f := &Fake{Module: true, Fail: map[Verb]error{AddAddr: errors.New("busy")}}
	tun := New(f)
	did, have, err := tun.Apply(t.Context(), Want{addr, 1400})
	if err == nil || !strings.Contains(err.Error(), "add 10.244.0.1/32 to tunl0: busy") || len(did) != 2 || !have.Up {
		t.Errorf("did %v, have %+v, %v", did, have, err)
	}
	f.Fail = nil
	if did, _, err := tun.Apply(t.Context(), Want{addr, 1400}); err != nil || len(did) != 1 {
		t.Errorf("then: %v, %v", did, err)
	}
}

// Without the module the reason names it and what to do, and it is asked for
// once.
func TestNoModule(t *testing.T) {
	f := &Fake{}
	tun := New(f)
	for range 2 {
		_, _, err := tun.Apply(t.Context(), Want{addr, 1400})
		if !errors.Is(err, ErrNoModule) || !strings.Contains(err.Error(), "modprobe ipip") || !strings.Contains(err.Error(), "ipipMode: Never") {
			t.Errorf("%v", err)
		}
	}
	if f.Loads != 1 {
		t.Errorf("the module was asked for %d times", f.Loads)
	}
	if f.State.Exists, f.State.MTU = true, 1480; f.State.Exists { // it comes later
		if _, have, err := tun.Apply(t.Context(), Want{addr, 1400}); err != nil || !have.Up {
			t.Errorf("%+v, %v", have, err)
		}
	}
}

// The real device, in a kernel that has it.
func TestKernel(t *testing.T) {
	if !uml.Test(t, uml.Options{Modules: []string{"ipip"}}) {
		return
	}
	k, err := NewNetlink()
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	tun := New(k)
	foreign := Step{Verb: AddAddr, Prefix: pfx("192.0.2.1/32")}
	link, err := k.handle.LinkByName(Device)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.handle.AddrAdd(link, address(foreign.Prefix, "")); err != nil {
		t.Fatal(err)
	}
	for _, want := range []Want{{addr, 1400}, {netip.MustParseAddr("10.244.0.2"), 1480}, {netip.Addr{}, 1480}} {
		did, have, err := tun.Apply(t.Context(), want)
		if err != nil || len(did) == 0 || len(Plan(want, have)) != 0 {
			t.Errorf("%v: did %v, have %+v, %v", want, did, have, err)
		}
		if did, _, err := tun.Apply(t.Context(), want); err != nil || len(did) != 0 {
			t.Errorf("%v, the second time: did %v, %v", want, did, err)
		}
		if !slices.ContainsFunc(have.Addrs, func(a Addr) bool { return a.Prefix == foreign.Prefix && !a.Ours }) {
			t.Errorf("%v: the foreign address is gone: %+v", want, have)
		}
	}
	if err := k.handle.LinkSetDown(link); err != nil {
		t.Fatal(err)
	}
	if did, have, err := tun.Apply(t.Context(), Want{addr, 1480}); err != nil || !have.Up || len(did) != 2 {
		t.Errorf("set down by hand: did %v, have %+v, %v", did, have, err)
	}
	if err := os.WriteFile("/proc/sys/"+reversePathKey("all"), []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	if did, have, err := tun.Apply(t.Context(), Want{addr, 1480}); err != nil || have.ReversePath != looseReversePath || len(did) != 1 {
		t.Errorf("strict reverse path everywhere: did %v, have %+v, %v", did, have, err)
	}
	if did, have, err := tun.Release(t.Context()); err != nil || len(did) != 1 || !have.Up || len(have.Addrs) != 1 {
		t.Errorf("released beside a foreign address: did %v, have %+v, %v", did, have, err)
	}
	if err := k.handle.AddrDel(link, address(foreign.Prefix, "")); err != nil {
		t.Fatal(err)
	}
	if did, have, err := tun.Release(t.Context()); err != nil || len(did) != 1 || have.Up {
		t.Errorf("released: did %v, have %+v, %v", did, have, err)
	}
}

// A kernel without the module: the error says so.
func TestKernelWithout(t *testing.T) {
	if !uml.Test(t, uml.Options{}) {
		return
	}
	k, err := NewNetlink()
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	if _, _, err := New(k).Apply(t.Context(), Want{addr, 1480}); !errors.Is(err, ErrNoModule) {
		t.Errorf("%v", err)
	}
}
