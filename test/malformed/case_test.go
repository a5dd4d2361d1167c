package malformed

import (
	"fmt"
	"net/netip"

	"caracal.dev/caracal"
)

// kind is what becomes of a message.
type kind uint8

const (
	// accepted: the path is taken, and installed.
	accepted kind = iota
	// discarded: taken without the attribute (RFC 7606 section 2).
	discarded
	// withdrawn: the route is gone, the session lives (RFC 7606 section 2,
	// treat-as-withdraw).
	withdrawn
	// reset: the session ends with a NOTIFICATION.
	reset
	// closed: it ends without one.
	closed
	// refused: the path is taken into the mirror, and not installed.
	refused
	// ignored: everything is as it was.
	ignored
)

func (k kind) String() string {
	return [...]string{"accepted", "attribute-discard", "treat-as-withdraw", "session-reset", "closed", "refused", "ignored"}[k]
}

// outcome is a kind, with the NOTIFICATION of a reset.
type outcome struct {
	kind          kind
	code, subcode byte
}

// anySubcode stands for every subcode, where the RFCs leave the choice.
const anySubcode = 255

func (o outcome) String() string {
	if o.kind != reset {
		return o.kind.String()
	}
	if o.subcode == anySubcode {
		return fmt.Sprintf("%s %d/any", o.kind, o.code)
	}
	return fmt.Sprintf("%s %d/%d", o.kind, o.code, o.subcode)
}

func (o outcome) is(want outcome) bool {
	return o == want || o.kind == reset && want.kind == reset && o.code == want.code && want.subcode == anySubcode
}

func only(k kind) outcome           { return outcome{kind: k} }
func resets(code, sub byte) outcome { return outcome{reset, code, sub} }
func resetsAny(code byte) outcome   { return outcome{reset, code, anySubcode} }

// stage is when the bytes of a case are sent.
type stage uint8

const (
	established stage = iota // with routes installed
	connected                // in place of OPEN
	opened                   // after OPEN, in place of KEEPALIVE
)

// session is how the neighbor of a case is configured, and what its OPEN says.
type session struct {
	external bool   // AS 65001 in place of our own
	onlyIPv4 bool   // neither side speaks IPv6
	oldAS    bool   // no four-octet AS capability (RFC 6793)
	extra    []byte // further parameters
}

const (
	ownAS, otherAS = 64512, 65001
	asTrans        = 23456
)

// test is one case.
type test struct {
	name, clause string
	session
	at   stage
	send func(p *peer) []byte
	want outcome
	// v6 says that the case is about the neighbor's IPv6 route; target, that it
	// is about another than that or its IPv4 route.
	v6     bool
	target func(p *peer) netip.Prefix
	// check says what is wrong with the attributes of the path that was taken;
	// for an attribute to discard, whether it is gone.
	check func(a *caracal.Attrs) string
	// later looks at the outcome again when the speaker may have changed its mind.
	later bool
	// drive, where set, replaces the sending: it does all by itself.
	drive func(p *peer) (outcome, error)
}

func (t test) prefix(p *peer) netip.Prefix {
	switch {
	case t.target != nil:
		return t.target(p)
	case t.v6:
		return p.route6()
	}
	return p.route4()
}

// on puts cases on a session.
func on(s session, tests ...test) []test {
	for i := range tests {
		tests[i].session = s
	}
	return tests
}

// at puts cases into a stage.
func at(s stage, tests ...test) []test {
	for i := range tests {
		tests[i].at = s
	}
	return tests
}

// withAttrs is a case of an announcement of the IPv4 route with attributes that
// replace right ones of their types, or are added.
func withAttrs(name, clause string, want outcome, attrs ...[]byte) test {
	return test{name: name, clause: clause, want: want, send: func(p *peer) []byte {
		return update(nil, p.with(attrs...), nlri(p.route4()))
	}}
}

// later is a case that is looked at again.
func later(t test) test {
	t.later = true
	return t
}

// sent is a case of some bytes.
func sent(name, clause string, want outcome, send func(p *peer) []byte) test {
	return test{name: name, clause: clause, want: want, send: send}
}

// literal is a case of bytes that depend on nothing.
func literal(name, clause string, want outcome, bytes ...[]byte) test {
	return sent(name, clause, want, func(*peer) []byte { return join(bytes...) })
}
