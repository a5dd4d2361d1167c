package ipip

import (
	"fmt"
	"net/netip"
	"slices"
)

// Device is the name of the kernel's own tunnel device.
const Device = "tunl0"

// Overhead is the length of the outer IPv4 header (RFC 2003 section 3.1), in
// bytes.
const Overhead = 20

const (
	// label marks our address among those of the device: the kernel keeps it for
	// us (rtnetlink(7), IFA_LABEL), and has it begin with the device's name.
	label = Device + ":caracal"
	// minMTU is what every IPv4 link must carry (RFC 791), maxMTU the largest
	// IPv4 packet less the outer header.
	minMTU = 68
	maxMTU = 65535 - Overhead
	// looseReversePath accepts a packet whose source is reached by any device
	// (RFC 3704 section 2.4): with CrossSubnet the two directions may differ.
	looseReversePath = 2
)

// Want is how the device must be.
type Want struct {
	// Addr is the node's address in the tunnel, the source of what the node itself
	// sends through it; invalid for none.
	Addr netip.Addr
	// MTU in bytes, of the packets inside.
	MTU int
}

// State is what the kernel has.
type State struct {
	// Exists is false while the kernel has no such device: its module is missing.
	Exists bool
	Index  int
	Up     bool
	MTU    int
	Addrs  []Addr
	// ReversePath is the rp_filter that is in force on the device (RFC 3704), the
	// larger of its own and that of all: 0 off, 1 strict, 2 loose.
	ReversePath int
	// RX and TX count what went through, in packets and bytes, since the device
	// was made.
	RX, TX Counters
}

// Counters are a device's (rtnetlink(7), IFLA_STATS64).
type Counters struct{ Packets, Bytes, Errors, Dropped uint64 }

// Addr is an address of the device. Ours says that it carries our label.
type Addr struct {
	Prefix netip.Prefix
	Ours   bool
}

// Verb is what a [Step] does.
type Verb uint8

// The verbs of [Step].
const (
	SetMTU Verb = iota + 1
	AddAddr
	DeleteAddr
	SetReversePath
	SetUp
	SetDown
)

// Step is one change of the device. Value is the MTU or the rp_filter.
type Step struct {
	Verb   Verb
	Prefix netip.Prefix
	Value  int
}

// String returns the step in words.
func (s Step) String() string {
	switch s.Verb {
	case SetMTU:
		return fmt.Sprintf("set the MTU of %s to %d", Device, s.Value)
	case AddAddr:
		return fmt.Sprintf("add %s to %s", s.Prefix, Device)
	case DeleteAddr:
		return fmt.Sprintf("remove %s from %s", s.Prefix, Device)
	case SetReversePath:
		return fmt.Sprintf("set rp_filter of %s to %d", Device, s.Value)
	case SetUp:
		return fmt.Sprintf("set %s up", Device)
	case SetDown:
		return fmt.Sprintf("set %s down", Device)
	}
	return "do nothing"
}

// Plan returns what leads from have to want. An address is added before another
// goes, and the device is up last, so that nothing passes a half-made one. An
// address that somebody else put there is left alone, also if it is ours by value.
func Plan(want Want, have State) []Step {
	var steps []Step
	if mtu := MTU(want.MTU); have.MTU != mtu {
		steps = append(steps, Step{Verb: SetMTU, Value: mtu})
	}
	if want.Addr.Is4() {
		host := netip.PrefixFrom(want.Addr, 32)
		if !slices.ContainsFunc(have.Addrs, func(a Addr) bool { return a.Prefix == host }) {
			steps = append(steps, Step{Verb: AddAddr, Prefix: host})
		}
	}
	for _, a := range have.Addrs {
		if a.Ours && (a.Prefix.Addr() != want.Addr || a.Prefix.Bits() != 32) {
			steps = append(steps, Step{Verb: DeleteAddr, Prefix: a.Prefix})
		}
	}
	if have.ReversePath == 1 {
		steps = append(steps, Step{Verb: SetReversePath, Value: looseReversePath})
	}
	if !have.Up {
		steps = append(steps, Step{Verb: SetUp})
	}
	return steps
}

// PlanRelease returns what leaves the device to others: our addresses go, and it
// is down, so that nobody can send through it what no guard looks at, unless
// somebody else has an address on it and so uses it.
func PlanRelease(have State) []Step {
	var steps []Step
	foreign := false
	for _, a := range have.Addrs {
		if a.Ours {
			steps = append(steps, Step{Verb: DeleteAddr, Prefix: a.Prefix})
		}
		foreign = foreign || !a.Ours
	}
	if have.Up && !foreign {
		steps = append([]Step{{Verb: SetDown}}, steps...)
	}
	return steps
}

// MTU returns the nearest to n that a tunnel device can have.
func MTU(n int) int { return min(max(n, minMTU), maxMTU) }
