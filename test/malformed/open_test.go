package malformed

import (
	"bytes"
	"net/netip"
)

// changed is a case of a right OPEN with something changed.
func changed(name, clause string, want outcome, change func(p *peer, o *openBody)) test {
	return test{name: name, clause: clause, want: want, at: connected, send: func(p *peer) []byte {
		o := p.open()
		change(p, &o)
		return o.bytes()
	}}
}

// opens are cases of OPEN's own fields (RFC 4271 section 4.2).
func opens() []test {
	return append(parameters(), []test{
		changed("OPEN: nothing wrong", "RFC 4271 §4.2", only(accepted), func(*peer, *openBody) {}),
		changed("OPEN: version 3", "RFC 4271 §6.2", resets(2, 1), func(_ *peer, o *openBody) { o.version = 3 }),
		changed("OPEN: version 0", "RFC 4271 §6.2", resets(2, 1), func(_ *peer, o *openBody) { o.version = 0 }),
		changed("OPEN: version 5", "RFC 4271 §6.2", resets(2, 1), func(_ *peer, o *openBody) { o.version = 5 }),
		changed("OPEN: version 255", "RFC 4271 §6.2", resets(2, 1), func(_ *peer, o *openBody) { o.version = 255 }),
		changed("OPEN: AS 0 by an old speaker", "RFC 7607 §2", resets(2, 2), func(_ *peer, o *openBody) { o.as, o.params = 0, nil }),
		changed("OPEN: AS 0, right in the capability", "RFC 7607 §2", resets(2, 2), func(_ *peer, o *openBody) { o.as = 0 }),
		changed("OPEN: AS 0 in the capability", "RFC 7607 §2", resets(2, 2), func(_ *peer, o *openBody) { o.params = capability(65, be32(0)...) }),
		changed("OPEN: another AS", "RFC 4271 §6.2", resets(2, 2), func(_ *peer, o *openBody) { o.as, o.params = 64999, nil }),
		changed("OPEN: another AS in the capability", "RFC 6793 §4.2.1", resets(2, 2), func(_ *peer, o *openBody) { o.params = capability(65, be32(64999)...) }),
		changed("OPEN: AS_TRANS by an old speaker", "RFC 6793 §9", resets(2, 2), func(_ *peer, o *openBody) { o.as, o.params = asTrans, nil }),
		changed("OPEN: AS_TRANS in the capability", "RFC 6793 §9", resets(2, 2), func(_ *peer, o *openBody) { o.as, o.params = asTrans, capability(65, be32(asTrans)...) }),
		changed("OPEN: AS_TRANS and a small AS in the capability", "RFC 6793 §4.2.1", only(accepted), func(_ *peer, o *openBody) { o.as = asTrans }),
		changed("OPEN: hold time 1", "RFC 4271 §6.2", resets(2, 6), func(_ *peer, o *openBody) { o.hold = 1 }),
		changed("OPEN: hold time 2", "RFC 4271 §6.2", resets(2, 6), func(_ *peer, o *openBody) { o.hold = 2 }),
		changed("OPEN: hold time 0", "RFC 4271 §4.2", only(accepted), func(_ *peer, o *openBody) { o.hold = 0 }),
		changed("OPEN: hold time 3", "RFC 4271 §4.2", only(accepted), func(_ *peer, o *openBody) { o.hold = 3 }),
		changed("OPEN: hold time 65535", "RFC 4271 §4.2", only(accepted), func(_ *peer, o *openBody) { o.hold = 65535 }),
		changed("OPEN: identifier 0", "RFC 6286 §2.2", resets(2, 3), func(_ *peer, o *openBody) { o.id = netip.IPv4Unspecified() }),
		changed("OPEN: our own identifier", "RFC 6286 §2.2", resets(2, 3), func(p *peer, o *openBody) { o.id = p.stand.config.Global.RouterID }),
		changed("OPEN: identifier 224.0.0.5", "RFC 6286 §2.1", only(accepted), func(_ *peer, o *openBody) { o.id = netip.MustParseAddr("224.0.0.5") }),
		changed("OPEN: identifier 255.255.255.255", "RFC 6286 §2.1", only(accepted), func(_ *peer, o *openBody) { o.id = netip.MustParseAddr("255.255.255.255") }),
	}...)
}

// parameters are cases of OPEN's optional parameters and of its length.
func parameters() []test {
	tests := []test{
		changed("OPEN: no parameters", "RFC 4271 §4.2", only(accepted), func(_ *peer, o *openBody) { o.params = nil }),
		changed("OPEN: parameters of 255 octets", "RFC 4271 §4.2", only(accepted), func(_ *peer, o *openBody) {
			fill := 255 - len(o.params) - 4
			o.params = join(o.params, capability(200, make([]byte, fill)...))
		}),
		changed("OPEN: parameter of type 0", "RFC 4271 §6.2", resets(2, 4), func(_ *peer, o *openBody) { o.params = join(o.params, []byte{0, 0}) }),
		changed("OPEN: authentication parameter", "RFC 5492 §5", resets(2, 4), func(_ *peer, o *openBody) { o.params = join(o.params, []byte{1, 2, 0, 0}) }),
		changed("OPEN: parameter of type 254", "RFC 4271 §6.2", resets(2, 4), func(_ *peer, o *openBody) { o.params = join(o.params, []byte{254, 1, 0}) }),
		changed("OPEN: parameter longer than the rest", "RFC 4271 §6.2", resetsAny(2), func(_ *peer, o *openBody) { o.params = []byte{2, 20, 1, 4, 0, 1, 0, 1} }),
		changed("OPEN: half a parameter", "RFC 4271 §6.2", resetsAny(2), func(_ *peer, o *openBody) { o.params = join(o.params, []byte{2}) }),
		changed("OPEN: extended parameters", "RFC 9072 §2", only(accepted), func(_ *peer, o *openBody) { o.params = extendedParams(o.params) }),
		changed("OPEN: extended parameters, none", "RFC 9072 §2", only(accepted), func(_ *peer, o *openBody) { o.params = []byte{255, 255, 0, 0} }),
		changed("OPEN: extended parameters without length", "RFC 9072 §2", resetsAny(2), func(_ *peer, o *openBody) { o.params = []byte{255, 255} }),
		changed("OPEN: extended parameters overrun", "RFC 9072 §2", resetsAny(2), func(_ *peer, o *openBody) { o.params = []byte{255, 255, 0x10, 0, 2} }),
		changed("OPEN: parameter of type 255 among others", "RFC 9072 §2", resets(2, 4), func(_ *peer, o *openBody) { o.params = join(o.params, []byte{255, 1, 0}) }),
	}
	return append(tests, at(connected,
		sent("OPEN of 28 octets", "RFC 4271 §6.1", resets(1, 2), func(p *peer) []byte {
			return message(open, p.open().bytes()[19:28])
		}),
		literal("OPEN of 19 octets", "RFC 4271 §6.1", resets(1, 2), message(open)),
		sent("OPEN: parameters longer than the message", "RFC 4271 §6.2", resetsAny(2), func(p *peer) []byte {
			return p.open().withLength(200)
		}),
		sent("OPEN: parameters shorter than the message", "RFC 4271 §6.2", resetsAny(2), func(p *peer) []byte {
			o := p.open()
			return o.withLength(len(o.params) - 8)
		}),
		sent("OPEN: length of parameters 0, and parameters", "RFC 4271 §6.2", resetsAny(2), func(p *peer) []byte {
			return p.open().withLength(0)
		}),
		sent("OPEN of 4096 octets", "RFC 4271 §6.2", resetsAny(2), func(p *peer) []byte {
			o := p.open()
			o.params = join(o.params, make([]byte, 4096-29-len(o.params)))
			return o.withLength(255)
		}),
		sent("OPEN of 4097 octets", "RFC 8654 §4", resets(1, 2), func(*peer) []byte {
			return join(header(4097, open), make([]byte, 4078))
		}),
	)...)
}

// extendedParams puts parameters into the form of RFC 9072.
func extendedParams(params []byte) []byte {
	var long []byte
	for len(params) > 0 {
		n := int(params[1])
		long = append(long, join(params[:1], be16(n), params[2:2+n])...)
		params = params[2+n:]
	}
	return join([]byte{255, 255}, be16(len(long)), long)
}

// capabilityCases are cases of single capabilities (RFC 5492).
func capabilityCases() []test {
	with := func(name, clause string, want outcome, params ...[]byte) test {
		return changed("capability: "+name, clause, want, func(_ *peer, o *openBody) { o.params = join(o.params, join(params...)) })
	}
	return []test{
		with("unknown", "RFC 5492 §3", only(accepted), capability(99, 1, 2, 3)),
		with("unknown, empty", "RFC 5492 §3", only(accepted), capability(254)),
		with("code 0", "RFC 5492 §4", only(accepted), capability(0)),
		with("the same one twice", "RFC 5492 §4", only(accepted), capability(2), capability(2)),
		with("many in one parameter", "RFC 5492 §4", only(accepted), []byte{2, 6, 2, 0, 6, 0, 99, 0}),
		with("none in a parameter", "RFC 5492 §4", only(accepted), []byte{2, 0}),
		with("half a header", "RFC 5492 §4", resetsAny(2), []byte{2, 1, 1}),
		with("longer than its parameter", "RFC 5492 §4", resetsAny(2), []byte{2, 4, 1, 10, 0, 1}),
		with("longer than its parameter by one", "RFC 5492 §4", resetsAny(2), []byte{2, 5, 1, 4, 0, 1, 0}),
		with("multiprotocol of 0 octets", "RFC 4760 §8", resetsAny(2), capability(1)),
		with("multiprotocol of 3 octets", "RFC 4760 §8", resetsAny(2), capability(1, 0, 1, 0)),
		with("multiprotocol of 5 octets", "RFC 4760 §8", resetsAny(2), capability(1, 0, 1, 0, 1, 0)),
		with("multiprotocol, reserved octet 255", "RFC 4760 §8", only(accepted), capability(1, 0, 1, 255, 1)),
		with("multiprotocol, AFI 0", "RFC 4760 §8", only(accepted), capability(1, 0, 0, 0, 1)),
		with("multiprotocol, unknown family", "RFC 4760 §8", only(accepted), capability(1, 0x40, 0x99, 0, 250)),
		with("multiprotocol, 40 families", "RFC 4760 §8", only(accepted), bytes.Repeat([]byte{2, 6, 1, 4, 0, 25, 0, 70}, 20)),
		with("four-octet AS of 2 octets", "RFC 6793 §3", resetsAny(2), capability(65, 0xfc, 0)),
		with("four-octet AS of 0 octets", "RFC 6793 §3", resetsAny(2), capability(65)),
		with("four-octet AS of 8 octets", "RFC 6793 §3", resetsAny(2), capability(65, 0, 0, 0xfc, 0, 0, 0, 0xfc, 0)),
		with("four-octet AS twice, not the same", "RFC 6793 §4.2.1", resets(2, 2), capability(65, be32(64999)...)),
		with("graceful restart of 0 octets", "RFC 4724 §3", resetsAny(2), capability(64)),
		with("graceful restart of 1 octet", "RFC 4724 §3", resetsAny(2), capability(64, 0)),
		with("graceful restart of 5 octets", "RFC 4724 §3", only(accepted), capability(64, 0, 120, 0, 1, 1)),
		with("graceful restart of an unknown family", "RFC 4724 §3", only(accepted), capability(64, 0, 120, 0x40, 0x99, 250, 0)),
		with("graceful restart, time 0", "RFC 4724 §3", only(accepted), capability(64, 0, 0, 0, 1, 1, 0)),
		with("graceful restart, all flags", "RFC 4724 §3", only(accepted), capability(64, 0xff, 0xff, 0, 1, 1, 0xff)),
		with("graceful restart twice", "RFC 4724 §3", only(accepted), capability(64, 0, 120, 0, 1, 1, 0), capability(64, 0, 60)),
		with("route refresh of 1 octet", "RFC 2918 §2", only(accepted), capability(2, 1)),
		with("extended message of 1 octet", "RFC 8654 §3", only(accepted), capability(6, 1)),
		with("enhanced route refresh of 2 octets", "RFC 7313 §3.1", only(accepted), capability(70, 0, 0)),
		with("add-path of 3 octets", "RFC 7911 §4", resetsAny(2), capability(69, 0, 1, 1)),
		with("add-path of 0 octets", "RFC 7911 §4", resetsAny(2), capability(69)),
		with("add-path, mode 9", "RFC 7911 §4", only(accepted), capability(69, 0, 1, 1, 9)),
		with("add-path that we do not announce", "RFC 7911 §4", only(accepted), capability(69, 0, 1, 1, 3)),
		with("extended next hop of 5 octets", "RFC 8950 §4", resetsAny(2), capability(5, 0, 1, 0, 1, 0)),
		with("extended next hop of an unknown family", "RFC 8950 §4", only(accepted), capability(5, 0, 99, 0, 1, 0, 2)),
		with("long-lived graceful restart of 6 octets", "RFC 9494 §3.1", resetsAny(2), capability(71, 0, 1, 1, 0, 0, 0)),
		with("host name longer than said", "RFC 5492 §4", resetsAny(2), capability(73, 200, 'x')),
		with("host name of 0 octets", "RFC 5492 §4", resetsAny(2), capability(73)),
	}
}
