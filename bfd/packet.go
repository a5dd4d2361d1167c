package bfd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// State is the state of a session (RFC 5880 section 6.2).
type State uint8

// The states, with their numbers on the wire (RFC 5880 section 4.1).
const (
	AdminDown State = iota
	Down
	Init
	Up
)

// String returns the RFC's name of the state.
func (s State) String() string {
	return [...]string{"AdminDown", "Down", "Init", "Up"}[s&3]
}

// Diag says why a system last left Up (RFC 5880 section 4.1).
type Diag uint8

// The diagnostic codes that matter here; [Diag.String] knows all of the RFC.
const (
	DiagNone         Diag = 0
	DiagExpired      Diag = 1
	DiagNeighborDown Diag = 3
	DiagAdminDown    Diag = 7
)

var diagNames = [...]string{
	"no diagnostic", "control detection time expired", "echo function failed", "neighbor signaled session down",
	"forwarding plane reset", "path down", "concatenated path down", "administratively down", "reverse concatenated path down",
}

// String returns the RFC's words for the code.
func (d Diag) String() string {
	if int(d) < len(diagNames) {
		return diagNames[d]
	}
	return fmt.Sprintf("diagnostic %d", uint8(d))
}

// packetLen is the length of a control packet without authentication.
const packetLen = 24

// packet is a BFD control packet (RFC 5880 section 4.1), as values. Intervals
// are whole microseconds on the wire, up to [maxInterval].
type packet struct {
	Diag  Diag
	State State
	// The flags, by the RFC's letters: P, F, C, A, D. M must be 0.
	Poll, Final, CPI, Auth, Demand bool
	// Multiplier is the sender's detection time multiplier; never 0.
	Multiplier uint8
	// MyDiscr is the sender's discriminator, never 0; YourDiscr is what it has
	// heard from the receiver, 0 if nothing.
	MyDiscr, YourDiscr uint32
	// DesiredMinTx, RequiredMinRx and RequiredMinEchoRx are the sender's.
	DesiredMinTx, RequiredMinRx, RequiredMinEchoRx time.Duration
}

// maxInterval is the longest interval that a packet can carry, over an hour.
const maxInterval = (1<<32 - 1) * time.Microsecond

const (
	bitPoll = 1 << (5 - iota)
	bitFinal
	bitCPI
	bitAuth
	bitDemand
	bitMultipoint
)

// Why a packet is discarded before its session is looked for, in the order of
// RFC 5880 section 6.8.6.
var (
	errVersion    = errors.New("version is not 1")
	errLength     = errors.New("wrong length")
	errMultiplier = errors.New("detection multiplier is 0")
	errMultipoint = errors.New("multipoint bit is set")
	errMyDiscr    = errors.New("sender's discriminator is 0")
)

// decode reads a packet and holds it against the rules of RFC 5880 section
// 6.8.6 that need no session. Of an authentication section nothing is read.
func decode(b []byte) (packet, error) {
	if len(b) < packetLen {
		return packet{}, errLength
	}
	// "If the version number is not correct (1), the packet MUST be discarded."
	if b[0]>>5 != 1 {
		return packet{}, errVersion
	}
	p := packet{
		Diag: Diag(b[0] & 0x1f), State: State(b[1] >> 6),
		Poll: b[1]&bitPoll != 0, Final: b[1]&bitFinal != 0, CPI: b[1]&bitCPI != 0,
		Auth: b[1]&bitAuth != 0, Demand: b[1]&bitDemand != 0,
		Multiplier: b[2],
		MyDiscr:    binary.BigEndian.Uint32(b[4:]), YourDiscr: binary.BigEndian.Uint32(b[8:]),
		DesiredMinTx: interval(b[12:]), RequiredMinRx: interval(b[16:]), RequiredMinEchoRx: interval(b[20:]),
	}
	// "If the Length field is less than the minimum correct value (24 if the A bit
	// is clear, or 26 if the A bit is set) ... [or] greater than the payload of the
	// encapsulating protocol, the packet MUST be discarded."
	least := packetLen
	if p.Auth {
		least += 2
	}
	if int(b[3]) < least || int(b[3]) > len(b) {
		return packet{}, errLength
	}
	// "If the Detect Mult field is zero ..."
	if p.Multiplier == 0 {
		return packet{}, errMultiplier
	}
	// "If the Multipoint (M) bit is nonzero ..."
	if b[1]&bitMultipoint != 0 {
		return packet{}, errMultipoint
	}
	// "If the My Discriminator field is zero ..."
	if p.MyDiscr == 0 {
		return packet{}, errMyDiscr
	}
	return p, nil
}

func interval(b []byte) time.Duration {
	return time.Duration(binary.BigEndian.Uint32(b)) * time.Microsecond
}

// encode returns the packet as it is on the wire, without authentication.
func (p packet) encode() [packetLen]byte {
	var b [packetLen]byte
	b[0] = 1<<5 | byte(p.Diag)&0x1f
	b[1] = byte(p.State) << 6
	for _, f := range [...]struct {
		on  bool
		bit byte
	}{{p.Poll, bitPoll}, {p.Final, bitFinal}, {p.CPI, bitCPI}, {p.Demand, bitDemand}} {
		if f.on {
			b[1] |= f.bit
		}
	}
	b[2], b[3] = p.Multiplier, packetLen
	binary.BigEndian.PutUint32(b[4:], p.MyDiscr)
	binary.BigEndian.PutUint32(b[8:], p.YourDiscr)
	for i, d := range [...]time.Duration{p.DesiredMinTx, p.RequiredMinRx, p.RequiredMinEchoRx} {
		binary.BigEndian.PutUint32(b[12+4*i:], uint32(min(max(d, 0), maxInterval)/time.Microsecond))
	}
	return b
}
