package malformed

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"
)

// prefixes are cases of NLRI (RFC 4271 section 4.3).
func prefixes() []test {
	raw := func(name, clause string, want outcome, b ...byte) test {
		return sent("NLRI: "+name, clause, want, func(p *peer) []byte { return update(nil, p.with(), b) })
	}
	return []test{
		raw("33 bits", "RFC 7606 §5.3", resets(3, 10), 33, 10, 64, 0, 0, 0),
		raw("255 bits", "RFC 7606 §5.3", resets(3, 10), slices.Concat([]byte{255}, make([]byte, 32))...),
		raw("cut off", "RFC 7606 §5.3", resets(3, 10), 24, 10, 64),
		raw("length alone", "RFC 7606 §5.3", resets(3, 10), 8),
		raw("a right one and a cut off one", "RFC 7606 §5.3", resets(3, 10), 24, 10, 64, 0, 32, 10),
		{name: "NLRI: another node's block", clause: "RFC 4271 §9.1", want: only(refused),
			target: func(p *peer) netip.Prefix { return (&peer{index: p.index + 1}).route4() },
			send:   func(p *peer) []byte { return p.announce4((&peer{index: p.index + 1}).route4()) }},
		sent("NLRI: bits beyond the mask", "RFC 4271 §4.3", only(accepted), func(p *peer) []byte {
			b := nlri(p.route4())
			b[4] |= 0x3f
			return update(nil, p.with(), b)
		}),
		sent("NLRI: a hundred times the same", "RFC 4271 §4.3", only(accepted), func(p *peer) []byte {
			return update(nil, p.with(), bytes.Repeat(nlri(p.route4()), 100))
		}),
		sent("NLRI: with a path identifier not negotiated", "RFC 7911 §3", only(ignored), func(p *peer) []byte {
			return update(nil, p.with(), join([]byte{0, 0, 0, 0}, nlri(p.host4(9))))
		}),
		sent("NLRI: also withdrawn", "RFC 4271 §4.3", only(accepted), func(p *peer) []byte {
			return update(nlri(p.route4()), p.with(), nlri(p.route4()))
		}),
		sent("NLRI: 4000 octets of /0", "RFC 4271 §4.3", only(ignored), func(p *peer) []byte {
			return update(nil, p.with(), make([]byte, 4000))
		}),
	}
}

// refusals are cases of prefixes that are well formed and not to be had.
func refusals() []test {
	// refusedAt is a case of a prefix that is well formed and not to be had.
	refusedAt := func(name, clause, prefix string) test {
		pre := netip.MustParsePrefix(prefix)
		return test{name: "NLRI: " + name, clause: clause, want: only(refused),
			target: func(*peer) netip.Prefix { return pre },
			send: func(p *peer) []byte {
				if pre.Addr().Is6() {
					return p.sendReach(p.reach6(nlri(pre)))
				}
				return p.announce4(pre)
			}}
	}
	return []test{
		refusedAt("0.0.0.0/0", "RFC 4271 §4.3", "0.0.0.0/0"),
		refusedAt("::/0", "RFC 4271 §4.3", "::/0"),
		refusedAt("0.0.0.0/8", "RFC 1122 §3.2.1.3", "0.0.0.0/8"),
		refusedAt("0.0.0.0/32", "RFC 1122 §3.2.1.3", "0.0.0.0/32"),
		refusedAt("127.0.0.1/32", "RFC 1122 §3.2.1.3", "127.0.0.1/32"),
		refusedAt("224.0.0.0/4", "RFC 4271 §6.3", "224.0.0.0/4"),
		refusedAt("224.0.0.5/32", "RFC 4271 §6.3", "224.0.0.5/32"),
		refusedAt("255.255.255.255/32", "RFC 1122 §3.2.1.3", "255.255.255.255/32"),
		refusedAt("240.0.0.0/4", "RFC 1122 §3.2.1.3", "240.0.0.0/4"),
		refusedAt("169.254.0.0/16", "RFC 3927 §7", "169.254.0.0/16"),
		refusedAt("ff00::/8", "RFC 4291 §2.7", "ff00::/8"),
		refusedAt("fe80::/10", "RFC 4291 §2.5.6", "fe80::/10"),
		refusedAt("::1/128", "RFC 4291 §2.5.3", "::1/128"),
		refusedAt("::ffff:10.64.0.0/122", "RFC 4291 §2.5.5.2", "::ffff:10.64.0.0/122"),
		refusedAt("a node's address", "RFC 4271 §9.1", "10.200.0.1/32"),
		refusedAt("the whole pool", "RFC 4271 §9.1", "10.64.0.0/10"),
	}
}

// withdrawals are cases of withdrawn routes.
func withdrawals() []test {
	gone := func(name, clause string, want outcome, b ...byte) test {
		return sent("withdrawn: "+name, clause, want, func(*peer) []byte { return update(b, nil, nil) })
	}
	return []test{
		gone("33 bits", "RFC 7606 §5.3", resetsAny(3), 33, 10, 64, 0, 0, 0),
		gone("255 bits", "RFC 7606 §5.3", resetsAny(3), 255, 10, 64, 0, 0, 0),
		gone("cut off", "RFC 7606 §5.3", resetsAny(3), 24, 10, 64),
		gone("length alone", "RFC 7606 §5.3", resetsAny(3), 8),
		gone("0.0.0.0/0", "RFC 4271 §4.3", only(ignored), 0),
		gone("never announced", "RFC 4271 §4.3", only(ignored), 24, 192, 0, 2),
		gone("a thousand /0", "RFC 4271 §4.3", only(ignored), make([]byte, 1000)...),
		sent("withdrawn: bits beyond the mask", "RFC 4271 §4.3", only(withdrawn), func(p *peer) []byte {
			b := nlri(p.route4())
			b[4] |= 0x3f
			return update(b, nil, nil)
		}),
		sent("withdrawn: twice", "RFC 4271 §4.3", only(withdrawn), func(p *peer) []byte {
			return update(nlri(p.route4(), p.route4()), nil, nil)
		}),
		sent("withdrawn: with malformed attributes and no prefix", "RFC 7606 §5.2", only(withdrawn), func(p *peer) []byte {
			return update(nlri(p.route4()), p.with(attr(wellKnown, origin, 9)), nil)
		}),
		sent("withdrawn: with attributes that overrun", "RFC 7606 §4", only(withdrawn), func(p *peer) []byte {
			return update(nlri(p.route4()), []byte{wellKnown, origin, 99, 0}, nil)
		}),
	}
}

// orders are cases of messages in the wrong state (RFC 4271 section 8.2.2,
// with the subcodes of RFC 6608), and of the connection itself.
func orders() []test {
	right := func(p *peer) []byte { return p.open().bytes() }
	tests := at(connected,
		sent("UPDATE before OPEN", "RFC 6608 §4", resets(5, 1), func(p *peer) []byte { return p.announce4(p.route4()) }),
		literal("KEEPALIVE before OPEN", "RFC 6608 §4", resets(5, 1), message(keepalive)),
		literal("ROUTE-REFRESH before OPEN", "RFC 6608 §4", resets(5, 1), message(refresh, []byte{0, 1, 0, 1})),
		literal("NOTIFICATION before OPEN", "RFC 4271 §8.2.2", only(closed), message(notification, []byte{6, 4})),
		literal("unknown type before OPEN", "RFC 4271 §6.1", resets(1, 3), message(99)),
		literal("text before OPEN", "RFC 4271 §6.1", resets(1, 1), []byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")),
		literal("zeroes before OPEN", "RFC 4271 §6.1", resets(1, 1), make([]byte, 4096)),
		sent("OPEN, KEEPALIVE and UPDATE at once", "RFC 4271 §8.2.2", only(accepted), func(p *peer) []byte {
			return join(right(p), message(keepalive), p.announce4(p.route4()))
		}),
	)
	tests = append(tests, at(opened,
		sent("second OPEN before KEEPALIVE", "RFC 6608 §4", resetsAny(5), right),
		sent("UPDATE before KEEPALIVE", "RFC 6608 §4", resets(5, 2), func(p *peer) []byte { return p.announce4(p.route4()) }),
		literal("ROUTE-REFRESH before KEEPALIVE", "RFC 6608 §4", resets(5, 2), message(refresh, []byte{0, 1, 0, 1})),
		literal("NOTIFICATION before KEEPALIVE", "RFC 4271 §8.2.2", only(closed), message(notification, []byte{6, 4})),
		literal("unknown type before KEEPALIVE", "RFC 4271 §6.1", resets(1, 3), message(99)),
		literal("KEEPALIVE with a body, the first", "RFC 4271 §6.1", resets(1, 2), message(keepalive, []byte{1, 2, 3})),
	)...)
	return append(tests,
		sent("second OPEN in session", "RFC 6608 §4", resets(5, 3), right),
		changedIn("second OPEN in session, of another AS", "RFC 6608 §4", resets(5, 3)),
		literal("5000 octets without extended messages", "RFC 8654 §4", resets(1, 2), header(5000, updateMsg), make([]byte, 4981)),
		on(session{extra: capability(6)}, sent("5000 octets with extended messages", "RFC 8654 §4", only(accepted), func(p *peer) []byte {
			return update(nil, p.with(attr(optTrans|extended, unknown, make([]byte, 4900)...)), nlri(p.route4()))
		}))[0],
		on(session{extra: capability(6)}, sent("65535 octets with extended messages", "RFC 8654 §4", only(accepted), func(p *peer) []byte {
			fill := 65535 - len(update(nil, p.with(attr(optTrans|extended, unknown)), nlri(p.route4())))
			return update(nil, p.with(attr(optTrans|extended, unknown, make([]byte, fill)...)), nlri(p.route4()))
		}))[0],
		on(session{extra: capability(6)}, literal("KEEPALIVE of 4097 octets with extended messages", "RFC 8654 §4", resets(1, 2), header(4097, keepalive), make([]byte, 4078)))[0],
		sent("4096 octets", "RFC 4271 §4.1", only(accepted), func(p *peer) []byte {
			fill := 4096 - len(update(nil, p.with(attr(optTrans|extended, unknown)), nlri(p.route4())))
			return update(nil, p.with(attr(optTrans|extended, unknown, make([]byte, fill)...)), nlri(p.route4()))
		}),
		on(session{extra: gracefully}, literal("bad marker, with graceful restart", "RFC 4724 §4", resets(1, 1), make([]byte, 19)))[0],
		on(session{extra: gracefully}, literal("NOTIFICATION, with graceful restart", "RFC 4724 §4", only(closed), message(notification, []byte{3, 1})))[0],
		on(session{extra: gracefully}, withAttrs("unknown well-known attribute, with graceful restart", "RFC 4724 §4", resets(3, 2), attr(wellKnown, unknown, 1)))[0],
		on(session{extra: gracefully}, withAttrs("an overrun, with graceful restart", "RFC 7606 §4", only(withdrawn), []byte{optTrans, communities, 200, 0}))[0],
		literal("End-of-RIB before anything is announced again", "RFC 4724 §2", only(ignored), update(nil, nil, nil)),
		literal("End-of-RIB of an unknown family", "RFC 4724 §2", resetsAny(3), update(nil, attr(optional, mpUnreach, 0, 99, 1), nil)),
		test{name: "octet by octet", clause: "RFC 4271 §4.1", want: only(accepted), drive: slowly},
		test{name: "ends in the middle of a header", clause: "RFC 4271 §8.2.2", want: only(closed), drive: (*peer).cutHeader},
		test{name: "ends in the middle of an UPDATE", clause: "RFC 4271 §8.2.2", want: only(closed), drive: (*peer).cutUpdate},
		test{name: "a silent connection, then another", clause: "RFC 4271 §6.8", want: only(accepted), drive: afterSilence},
		test{name: "two connections at once", clause: "RFC 4271 §6.8", want: only(accepted), drive: collide},
		test{name: "a second connection in session", clause: "RFC 4271 §6.8", want: only(ignored), drive: second},
		test{name: "a hundred connections closed at once", clause: "RFC 4271 §8.2.2", want: only(accepted), drive: hammer},
		test{name: "from an address that is not configured", clause: "RFC 4271 §8.2.1", want: only(closed), drive: stranger},
	)
}

// gracefully is the capability of graceful restart, which must not keep the
// routes of a session that ended by a NOTIFICATION.
var gracefully = capability(64, 0, 120, 0, 1, 1, 0x80, 0, 2, 1, 0x80)

func changedIn(name, clause string, want outcome) test {
	return sent(name, clause, want, func(p *peer) []byte {
		o := p.open()
		o.as, o.params = 64999, nil
		return o.bytes()
	})
}

// slowly sends an OPEN and an UPDATE an octet at a time.
func slowly(p *peer) (outcome, error) {
	if err := p.dial(); err != nil {
		return outcome{}, err
	}
	for _, b := range p.open().bytes() {
		p.write([]byte{b})
		time.Sleep(time.Millisecond)
	}
	if err := p.establish(); err != nil {
		return p.lost(err)
	}
	for _, b := range p.announce4(p.last4()) {
		p.write([]byte{b})
		time.Sleep(time.Millisecond)
	}
	if ended, err := p.until(p.last4()); ended || err != nil {
		return p.lost(err)
	}
	return only(accepted), nil
}

// cut ends the connection after some octets. The speaker cannot tell it from a
// loss, so graceful restart is not announced, and the routes go.
func (p *peer) cut(b []byte) (outcome, error) {
	if err := p.up(); err != nil {
		return outcome{}, err
	}
	p.write(b)
	p.conn.Close()
	<-p.over
	return p.ended(), p.stand.eventually(p)
}

func (p *peer) cutHeader() (outcome, error) { return p.cut(message(keepalive)[:10]) }

func (p *peer) cutUpdate() (outcome, error) {
	u := p.announce4(p.last4())
	return p.cut(u[:len(u)-3])
}

// connect opens a connection beside the peer's own.
func (p *peer) connect() (net.Conn, error) {
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(p.addr(), 0)), Timeout: patience}
	return d.Dial("tcp", p.stand.listen().String())
}

// afterSilence leaves one connection open without a word, and then uses
// another.
func afterSilence(p *peer) (outcome, error) {
	if err := p.dial(); err != nil {
		return outcome{}, err
	}
	other, err := p.connect()
	if err != nil {
		return outcome{}, err
	}
	defer other.Close()
	if _, err := other.Write(p.open().bytes()); err != nil {
		return outcome{}, err
	}
	time.Sleep(50 * time.Millisecond)
	p.conn.Close()
	<-p.over
	if err := p.up(); err != nil {
		return outcome{}, err
	}
	return only(accepted), nil
}

// collide opens two sessions at once: one must come up.
func collide(p *peer) (outcome, error) {
	if err := p.dial(); err != nil {
		return outcome{}, err
	}
	other, err := p.connect()
	if err != nil {
		return outcome{}, err
	}
	defer other.Close()
	_, _ = other.Write(p.open().bytes()) // it may be closed already
	p.write(p.open().bytes())
	return p.afterOpen()
}

// second opens a connection beside a session, which must not suffer.
func second(p *peer) (outcome, error) {
	if err := p.up(); err != nil {
		return outcome{}, err
	}
	other, err := p.connect()
	if err != nil {
		return outcome{}, err
	}
	defer other.Close()
	_, _ = other.Write(p.open().bytes()) // it may be closed already
	_ = other.SetReadDeadline(time.Now().Add(patience))
	if n, err := other.Read(make([]byte, 1)); n > 0 || err == nil {
		return outcome{}, fmt.Errorf("the second connection is answered")
	}
	p.write(p.announce4(p.last4()))
	if ended, err := p.until(p.last4()); ended || err != nil {
		return p.lost(err)
	}
	return only(ignored), nil
}

// hammer opens and closes many connections before it behaves.
func hammer(p *peer) (outcome, error) {
	for range 100 {
		c, err := p.connect()
		if err != nil {
			return outcome{}, err
		}
		c.Close()
	}
	if err := p.up(); err != nil {
		return outcome{}, err
	}
	return only(accepted), nil
}

// stranger comes from an address of no neighbor.
func stranger(p *peer) (outcome, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 78, 0, 9)}, Timeout: patience}
	c, err := d.Dial("tcp", p.stand.listen().String())
	if err != nil {
		return outcome{}, err
	}
	defer c.Close()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	if n, err := c.Read(make([]byte, 1)); n > 0 || err == nil {
		return outcome{}, fmt.Errorf("a stranger is answered")
	}
	return only(closed), nil
}
