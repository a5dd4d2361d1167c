package ipip

import (
	"context"
	"errors"
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
	case SetUp:
		f.State.Up = true
	case SetReversePath:
		f.State.ReversePath = s.Value
	case AddAddr:
		f.State.Addrs = append(f.State.Addrs, Addr{s.Prefix, true})
	case DeleteAddr:
		f.State.Addrs = slices.DeleteFunc(f.State.Addrs, func(a Addr) bool { return a.Prefix == s.Prefix && a.Ours })
	}
	return nil
}
