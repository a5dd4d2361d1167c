package torconfig

import (
	"fmt"
	"net/netip"
	"time"
)

// Placeholder stands in the output where the MD5 secret belongs.
const Placeholder = "REPLACE-WITH-THE-SECRET"

// Config is what one switch is to be configured with.
type Config struct {
	// Peers are the BGPPeers that it serves: several if they ask for the same.
	Peers []string
	// Addr is the switch's own address; invalid if the nodes find it themselves.
	Addr netip.Addr
	// ASN is the switch's AS number.
	ASN uint32
	// Generation and Digest are those of the configuration it was made from.
	Generation uint64
	Digest     string
	// Groups are the neighbors that share their settings.
	Groups []Group
	// Notes are sentences for the operator of the switch.
	Notes []string
}

// Group is a set of neighbors with the same settings: a peer group of FRR and
// EOS, a template of BIRD.
type Group struct {
	Name     string
	Settings Settings
	// Out is what the nodes accept, so what the switch should send them.
	Out       []Permit
	Neighbors []Neighbor
}

// Settings are what the sessions of a group have in common. The value is
// comparable.
type Settings struct {
	// ASN is the nodes' AS number, as they use it towards the switch.
	ASN uint32
	// Internal says that it is also the switch's, which then is a route reflector
	// for the nodes (RFC 4456).
	Internal          bool
	Hold, Keepalive   time.Duration
	GracefulRestart   bool
	RestartTime       time.Duration
	LongLived         time.Duration
	Transmit, Receive time.Duration // of BFD as the switch is to do it
	Multiplier        uint8         // 0 for no BFD
	TTLSecurity       uint8
	Multihop          bool
	// Direct says that the two are on one network, so that BFD is that of a single
	// hop (RFC 5881).
	Direct               bool
	Secret               string // where the nodes have the MD5 secret; empty for none
	IPv4, IPv6           bool
	ExtendedNextHop      bool
	AddPathTX, AddPathRX bool // as the switch does it
}

// Neighbor is one node, as the switch sees it.
type Neighbor struct {
	Node string
	// Addr is the node's end of the session; invalid if it is unnumbered.
	Addr netip.Addr
	// Port is the node's TCP port.
	Port uint16
	// In4 and In6 are what it announces.
	In4, In6 []Permit
}

// Permit is an entry of a prefix list: the prefixes that Prefix covers with a
// length from Min to Max.
type Permit struct {
	Prefix   netip.Prefix
	Min, Max int
}

// exactly permits one prefix.
func exactly(p netip.Prefix) Permit { return Permit{p, p.Bits(), p.Bits()} }

// within permits a prefix and all that is more specific.
func within(p netip.Prefix) Permit { return Permit{p, p.Bits(), p.Addr().BitLen()} }

// hosts permits the single addresses of a prefix.
func hosts(p netip.Prefix) Permit {
	return Permit{p, p.Addr().BitLen(), p.Addr().BitLen()}
}

// Matches reports whether the entry permits p.
func (e Permit) Matches(p netip.Prefix) bool {
	return p.Addr().Is6() == e.Prefix.Addr().Is6() && e.Prefix.Contains(p.Addr()) && p.Bits() >= e.Min && p.Bits() <= e.Max
}

// many is what is counted for a range with more prefixes.
const many = 1 << 16

// count is how many prefixes the entry permits, at most [many].
func (e Permit) count() int {
	n := 0
	for bits := e.Min; bits <= e.Max; bits++ {
		n = min(many, n+1<<min(bits-e.Prefix.Bits(), 16))
	}
	return n
}

// limits are the prefix limits that switches are given: round numbers, which
// stay the same when a node gets another block.
var limits = []int{100, 1000, 10_000, 100_000}

// Limit is the most prefixes of a family that a neighbor of the group may
// announce: at least twice what the lists permit now.
func (g Group) Limit(v6 bool) int {
	most := 0
	for _, n := range g.Neighbors {
		sum := 0
		for _, e := range n.in(v6) {
			sum = min(many, sum+e.count())
		}
		most = max(most, sum)
	}
	for _, l := range limits {
		if 2*most <= l {
			return l
		}
	}
	return 2 * many
}

func (n Neighbor) in(v6 bool) []Permit {
	if v6 {
		return n.In6
	}
	return n.In4
}

// Unnumbered reports whether the neighbor is known by the switch's interface.
func (n Neighbor) Unnumbered() bool { return !n.Addr.IsValid() }

// portName stands for the name of the port that the node is on, which only the
// operator knows.
func (n Neighbor) portName() string { return "PORT-TO-" + n.Node }

// family returns those of a list that are of one address family.
func family(list []Permit, v6 bool) []Permit {
	var out []Permit
	for _, e := range list {
		if e.Prefix.Addr().Is6() == v6 {
			out = append(out, e)
		}
	}
	return out
}

// families lists those of the group: false for IPv4, true for IPv6.
func (s Settings) families() []bool {
	var out []bool
	if s.IPv4 {
		out = append(out, false)
	}
	if s.IPv6 {
		out = append(out, true)
	}
	return out
}

// familyName is "ipv4" or "ipv6".
func familyName(v6 bool) string {
	if v6 {
		return "ipv6"
	}
	return "ipv4"
}

// whole is a duration in units, rounded up.
func whole(d, unit time.Duration) int { return int((d + unit - 1) / unit) }

// Format is a language that configurations are written in.
type Format string

// The formats of [Config.Render].
const (
	FRR  Format = "frr"
	BIRD Format = "bird"
	EOS  Format = "eos"
)

// Formats lists them all.
func Formats() []Format { return []Format{FRR, BIRD, EOS} }

// Render writes the configuration in a format.
func (c Config) Render(f Format) (string, error) {
	switch f {
	case FRR:
		return renderFRR(c), nil
	case BIRD:
		return renderBIRD(c), nil
	case EOS:
		return renderEOS(c), nil
	}
	return "", fmt.Errorf("torconfig: render: there is no format %q; there are frr, bird and eos", f)
}
