package malformed

import (
	"net/netip"
	"slices"
)

// reachOf is a case of an MP_REACH_NLRI for the IPv6 route.
func reachOf(name, clause string, want outcome, value func(p *peer) []byte) test {
	return test{name: "MP_REACH: " + name, clause: clause, want: want, v6: true, send: func(p *peer) []byte { return p.sendReach(value(p)) }}
}

// reaches are cases of MP_REACH_NLRI and MP_UNREACH_NLRI (RFC 4760).
func reaches() []test {
	take := only(accepted)
	tests := []test{
		reachOf("nothing wrong", "RFC 4760 §3", take, func(p *peer) []byte { return p.reach6(nlri(p.route6())) }),
		reachOf("no value", "RFC 7606 §7.11", resetsAny(3), func(*peer) []byte { return nil }),
		reachOf("2 octets", "RFC 7606 §7.11", resetsAny(3), func(*peer) []byte { return []byte{0, 2} }),
		reachOf("ends before the next hop", "RFC 7606 §7.11", resetsAny(3), func(*peer) []byte { return []byte{0, 2, 1} }),
		reachOf("next hop longer than the attribute", "RFC 7606 §7.11", resetsAny(3), func(*peer) []byte { return []byte{0, 2, 1, 16, 0x20, 1} }),
		reachOf("ends before the reserved octet", "RFC 7606 §7.11", resetsAny(3), func(p *peer) []byte {
			return join([]byte{0, 2, 1, 16}, p.hop6().AsSlice())
		}),
		reachOf("reserved octet 255", "RFC 4760 §3", take, func(p *peer) []byte {
			v := p.reach6(nlri(p.route6()))
			v[20] = 255
			return v
		}),
		reachOf("no prefix", "RFC 7606 §5.2", only(ignored), func(p *peer) []byte { return p.reach6(nil) }),
		reachOf("prefix of 129 bits", "RFC 7606 §5.3", resetsAny(3), func(p *peer) []byte { return p.reach6(join([]byte{129}, make([]byte, 17))) }),
		reachOf("prefix of 255 bits", "RFC 7606 §5.3", resetsAny(3), func(p *peer) []byte { return p.reach6(join([]byte{255}, make([]byte, 32))) }),
		reachOf("prefix cut off", "RFC 7606 §5.3", resetsAny(3), func(p *peer) []byte { return p.reach6([]byte{122, 0xfd, 0}) }),
		reachOf("bits beyond the mask", "RFC 4271 §4.3", take, func(p *peer) []byte {
			v := p.reach6(nlri(p.route6()))
			v[len(v)-1] |= 0x3f
			return v
		}),
		reachOf("next hop of 4 octets", "RFC 7606 §7.11", resetsAny(3), func(p *peer) []byte { return reach(2, 1, p.hop4().AsSlice(), nlri(p.route6())) }),
		reachOf("next hop of 0 octets", "RFC 7606 §7.11", resetsAny(3), func(p *peer) []byte { return reach(2, 1, nil, nlri(p.route6())) }),
		reachOf("next hop of 12 octets", "RFC 7606 §7.11", resetsAny(3), func(p *peer) []byte {
			return reach(2, 1, join(make([]byte, 8), p.hop4().AsSlice()), nlri(p.route6()))
		}),
		reachOf("next hop of 24 octets", "RFC 7606 §7.11", resetsAny(3), func(p *peer) []byte {
			return reach(2, 1, join(make([]byte, 8), p.hop6().AsSlice()), nlri(p.route6()))
		}),
		reachOf("next hop of 48 octets", "RFC 7606 §7.11", resetsAny(3), func(p *peer) []byte {
			return reach(2, 1, join(make([]byte, 8), p.hop6().AsSlice(), make([]byte, 8), netip.MustParseAddr("fe80::9").AsSlice()), nlri(p.route6()))
		}),
		reachOf("next hop of 15 octets", "RFC 7606 §7.11", resetsAny(3), func(p *peer) []byte { return reach(2, 1, p.hop6().AsSlice()[:15], nlri(p.route6())) }),
		reachOf("next hop of 255 octets", "RFC 7606 §7.11", resetsAny(3), func(p *peer) []byte { return reach(2, 1, make([]byte, 255), nlri(p.route6())) }),
		reachOf("next hop and a link-local one", "RFC 2545 §3", take, func(p *peer) []byte {
			return reach(2, 1, join(p.hop6().AsSlice(), netip.MustParseAddr("fe80::9").AsSlice()), nlri(p.route6()))
		}),
	}
	for _, f := range []struct {
		name string
		afi  int
		safi byte
	}{{"AFI 0", 0, 1}, {"AFI 99", 99, 1}, {"SAFI 0", 2, 0}, {"SAFI 250", 2, 250}, {"labels", 2, 4}, {"VPN", 2, 128}, {"EVPN", 25, 70}, {"flow specification", 1, 133}} {
		tests = append(tests, reachOf("family never negotiated: "+f.name, "RFC 4760 §7", resetsAny(3), func(p *peer) []byte {
			return reach(f.afi, f.safi, p.hop6().AsSlice(), nlri(p.route6()))
		}))
	}
	return slices.Concat(tests, hopsAndFlags(), mixedReaches(), unreaches())
}

// hopsAndFlags are cases of the next hop's value, and of the attribute's flags.
func hopsAndFlags() []test {
	// hop is one with another next hop.
	hop := func(name, clause string, want outcome, hop string) test {
		return reachOf("next hop "+name, clause, want, func(p *peer) []byte {
			return reach(2, 1, netip.MustParseAddr(hop).AsSlice(), nlri(p.route6()))
		})
	}
	// flagged is one with other flags.
	flagged := func(name, clause string, want outcome, flags byte) test {
		return test{name: "MP_REACH: " + name, clause: clause, want: want, v6: true, send: func(p *peer) []byte {
			return update(nil, p.with6(attr(flags, mpReach, p.reach6(nlri(p.route6()))...)), nil)
		}}
	}
	withdraw := only(withdrawn)
	return []test{
		hop("::", "RFC 2545 §3", withdraw, "::"),
		hop("::1", "RFC 2545 §3", withdraw, "::1"),
		hop("ff02::1", "RFC 2545 §3", withdraw, "ff02::1"),
		hop("::ffff:10.200.1.1", "RFC 2545 §3", withdraw, "::ffff:10.200.1.1"),
		hop("our own address", "RFC 4271 §6.3", only(refused), "2001:db8::1"),
		hop("link-local alone", "RFC 2545 §2", only(refused), "fe80::9"),
		flagged("transitive", "RFC 7606 §3(c)", withdraw, optTrans),
		flagged("well-known", "RFC 7606 §3(c)", withdraw, wellKnown),
		flagged("partial", "RFC 4271 §4.3", withdraw, optional|partial),
		flagged("extended length", "RFC 4271 §4.3", only(accepted), optional|extended),
	}
}

// mixedReaches are cases of UPDATEs with more than one MP_REACH_NLRI, or more
// than that.
func mixedReaches() []test {
	six := func(name, clause string, want outcome, send func(p *peer) []byte) test {
		return test{name: name, clause: clause, want: want, v6: true, send: send}
	}
	right := func(p *peer) []byte { return attr(optional, mpReach, p.reach6(nlri(p.route6()))...) }
	return append([]test{
		six("MP_REACH: twice", "RFC 7606 §3(g)", resets(3, 1), func(p *peer) []byte {
			return update(nil, p.with6(right(p), right(p)), nil)
		}),
		six("MP_REACH: ORIGIN missing", "RFC 7606 §3(d)", only(withdrawn), func(p *peer) []byte {
			return update(nil, join(attr(wellKnown, asPath), attr(wellKnown, localPref, 0, 0, 0, 100), right(p)), nil)
		}),
		six("MP_REACH: AS_PATH missing", "RFC 7606 §3(d)", only(withdrawn), func(p *peer) []byte {
			return update(nil, join(attr(wellKnown, origin, 0), attr(wellKnown, localPref, 0, 0, 0, 100), right(p)), nil)
		}),
		six("MP_REACH: malformed COMMUNITIES", "RFC 7606 §7.8", only(withdrawn), func(p *peer) []byte {
			return update(nil, p.with6(right(p), attr(optTrans, communities, 1)), nil)
		}),
		six("MP_REACH: COMMUNITIES without a value", "RFC 7606 §7.8", only(withdrawn), func(p *peer) []byte {
			return update(nil, p.with6(right(p), attr(optTrans, communities)), nil)
		}),
		six("MP_REACH: a NEXT_HOP as well", "RFC 4760 §3", only(accepted), func(p *peer) []byte {
			return update(nil, p.with6(right(p), attr(wellKnown, nextHop, 10, 200, 255, 9)), nil)
		}),
		six("MP_REACH: a malformed NEXT_HOP as well", "RFC 4760 §3", only(withdrawn), func(p *peer) []byte {
			return update(nil, p.with6(right(p), attr(wellKnown, nextHop, 10)), nil)
		}),
		six("MP_REACH behind what overruns", "RFC 7606 §4", only(withdrawn), func(p *peer) []byte {
			return update(nil, join(p.with6(), []byte{optTrans, communities, 255, 0}, right(p)), nil)
		}),
		six("MP_REACH and MP_UNREACH of the same prefix", "RFC 4760 §4", only(accepted), func(p *peer) []byte {
			return update(nil, p.with6(right(p), attr(optional, mpUnreach, unreach(2, 1, nlri(p.route6()))...)), nil)
		}),
		sent("MP_REACH of IPv4", "RFC 4760 §3", only(accepted), func(p *peer) []byte {
			return update(nil, p.with6(attr(optional, mpReach, reach(1, 1, p.hop4().AsSlice(), nlri(p.route4()))...)), nil)
		}),
		sent("MP_REACH of IPv4, next hop of 5 octets", "RFC 7606 §7.11", resetsAny(3), func(p *peer) []byte {
			return update(nil, p.with6(attr(optional, mpReach, reach(1, 1, make([]byte, 5), nlri(p.route4()))...)), nil)
		}),
		sent("MP_REACH of IPv4, next hop 0.0.0.0", "RFC 4271 §6.3", only(withdrawn), func(p *peer) []byte {
			return update(nil, p.with6(attr(optional, mpReach, reach(1, 1, make([]byte, 4), nlri(p.route4()))...)), nil)
		}),
		sent("MP_REACH of IPv4, prefix of 33 bits", "RFC 7606 §5.3", resetsAny(3), func(p *peer) []byte {
			return update(nil, p.with6(attr(optional, mpReach, reach(1, 1, p.hop4().AsSlice(), []byte{33, 10, 64, 0, 0, 0})...)), nil)
		}),
	}, on(session{onlyIPv4: true},
		sent("MP_REACH of a family not negotiated", "RFC 4760 §7", resetsAny(3), func(p *peer) []byte {
			return update(nil, p.with6(right(p)), nil)
		}),
		sent("MP_UNREACH of a family not negotiated", "RFC 4760 §7", resetsAny(3), func(p *peer) []byte {
			return update(nil, attr(optional, mpUnreach, unreach(2, 1, nlri(p.route6()))...), nil)
		}),
		test{name: "MP_REACH of a family not negotiated, and an attribute to discard", clause: "RFC 4760 §7", want: only(ignored),
			target: (*peer).route6, send: func(p *peer) []byte {
				return update(nil, p.with6(right(p), attr(wellKnown, atomic, 1)), nil)
			}},
	)...)
}

// unreaches are cases of MP_UNREACH_NLRI.
func unreaches() []test {
	value := func(name, clause string, want outcome, flags byte, make func(p *peer) []byte) test {
		return test{name: "MP_UNREACH: " + name, clause: clause, want: want, v6: true, send: func(p *peer) []byte {
			return update(nil, attr(flags, mpUnreach, make(p)...), nil)
		}}
	}
	right := func(p *peer) []byte { return unreach(2, 1, nlri(p.route6())) }
	return []test{
		value("nothing wrong", "RFC 4760 §4", only(withdrawn), optional, right),
		value("no value", "RFC 7606 §7.12", resetsAny(3), optional, func(*peer) []byte { return nil }),
		value("2 octets", "RFC 7606 §7.12", resetsAny(3), optional, func(*peer) []byte { return []byte{0, 2} }),
		value("prefix of 129 bits", "RFC 7606 §5.3", resetsAny(3), optional, func(*peer) []byte { return unreach(2, 1, join([]byte{129}, make([]byte, 17))) }),
		value("prefix cut off", "RFC 7606 §5.3", resetsAny(3), optional, func(*peer) []byte { return unreach(2, 1, []byte{122, 0xfd}) }),
		value("never announced", "RFC 4271 §3.1", only(ignored), optional, func(*peer) []byte { return unreach(2, 1, []byte{16, 0x20, 1}) }),
		value("unknown AFI", "RFC 4760 §7", resetsAny(3), optional, func(p *peer) []byte { return unreach(99, 1, nlri(p.route6())) }),
		value("unknown SAFI", "RFC 4760 §7", resetsAny(3), optional, func(p *peer) []byte { return unreach(2, 99, nlri(p.route6())) }),
		value("of an unknown family, empty", "RFC 4760 §7", resetsAny(3), optional, func(*peer) []byte { return unreach(99, 99, nil) }),
		value("transitive", "RFC 7606 §3(c)", only(withdrawn), optTrans, right),
		value("partial", "RFC 4271 §4.3", only(withdrawn), optional|partial, right),
		{name: "MP_UNREACH: twice", clause: "RFC 7606 §3(g)", want: resets(3, 1), v6: true, send: func(p *peer) []byte {
			a := attr(optional, mpUnreach, right(p)...)
			return update(nil, join(a, a), nil)
		}},
		{name: "MP_UNREACH: with a malformed ORIGIN", clause: "RFC 7606 §5.2", want: only(withdrawn), v6: true, send: func(p *peer) []byte {
			return update(nil, join(attr(wellKnown, origin, 9), attr(optional, mpUnreach, right(p)...)), nil)
		}},
	}
}
