package ipip

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
)

// Fake is a [Kernel] in memory.
type Fake struct {
	State State
	// Module is what Load finds: without it there is no device to be had.
	Module bool
	// Fail makes the steps of a verb fail.
	Fail map[Verb]error
	// Did are the steps that were carried out, Loads how often Load was called.
	Did   []Step
	Loads int
}

// Read implements [Kernel].
func (f *Fake) Read(context.Context) (State, error) {
	s := f.State
	s.Addrs = slices.Clone(s.Addrs)
	return s, nil
}

// Load implements [Kernel]. The device appears down, as the kernel makes it.
func (f *Fake) Load(context.Context) error {
	f.Loads++
	if !f.Module {
		return errors.New("modprobe ipip: not found")
	}
	f.State.Exists, f.State.Index, f.State.MTU = true, 2, 1480
	return nil
}

// Do implements [Kernel].
func (f *Fake) Do(_ context.Context, s Step) error {
	if err := f.Fail[s.Verb]; err != nil {
		return err
	}
	f.Did = append(f.Did, s)
	switch s.Verb {
	case SetMTU:
		f.State.MTU = s.Value
	case SetUp, SetDown:
		f.State.Up = s.Verb == SetUp
	case SetReversePath:
		f.State.ReversePath = s.Value
	case AddAddr:
		f.State.Addrs = append(f.State.Addrs, Addr{s.Prefix, true})
	case DeleteAddr:
		f.State.Addrs = slices.DeleteFunc(f.State.Addrs, func(a Addr) bool { return a.Prefix == s.Prefix && a.Ours })
	}
	return nil
}

// FakeFirewall is a [Firewall] in memory.
type FakeFirewall struct {
	Set    map[netip.Addr]bool // nil: there is none
	InRule bool
	// Fail makes every change fail.
	Fail error
	// Log has what was done, in order.
	Log []string
}

// Members implements [Firewall].
func (f *FakeFirewall) Members(context.Context) ([]netip.Addr, bool, error) {
	return slices.Collect(maps.Keys(f.Set)), f.Set != nil, nil
}

// Change implements [Firewall].
func (f *FakeFirewall) Change(_ context.Context, add, remove []netip.Addr) error {
	if f.Fail != nil {
		return f.Fail
	}
	if f.Set == nil {
		f.Set = map[netip.Addr]bool{}
	}
	for _, a := range add {
		f.Set[a] = true
	}
	for _, a := range remove {
		delete(f.Set, a)
	}
	f.Log = append(f.Log, fmt.Sprintf("set +%d -%d", len(add), len(remove)))
	return nil
}

// Ruled implements [Firewall].
func (f *FakeFirewall) Ruled(context.Context) (bool, error) { return f.InRule, nil }

// Rule implements [Firewall]. A rule without its set is refused, as the kernel
// does.
func (f *FakeFirewall) Rule(_ context.Context, there bool) error {
	switch {
	case f.Fail != nil:
		return f.Fail
	case there && f.Set == nil:
		return fmt.Errorf("set %s does not exist", SetName)
	}
	f.InRule = there
	f.Log = append(f.Log, fmt.Sprintf("rule %v", there))
	return nil
}

// Drop implements [Firewall]. A set that a rule asks is refused.
func (f *FakeFirewall) Drop(context.Context) error {
	switch {
	case f.Fail != nil:
		return f.Fail
	case f.InRule:
		return fmt.Errorf("set %s is in use", SetName)
	}
	f.Set = nil
	f.Log = append(f.Log, "drop")
	return nil
}
