package malformed

import (
	"bytes"
	"slices"

	"caracal.dev/caracal"
)

// moreAttributes are cases of optional attributes, of unknown ones, and of the
// list of attributes as a whole.
func moreAttributes() []test {
	withdraw, take := only(withdrawn), only(accepted)
	large := make([]byte, 12)
	tests := []test{
		withAttrs("COMMUNITIES: no value", "RFC 7606 §7.8", withdraw, attr(optTrans, communities)),
		withAttrs("COMMUNITIES: 3 octets", "RFC 7606 §7.8", withdraw, attr(optTrans, communities, 0, 0, 1)),
		withAttrs("COMMUNITIES: 5 octets", "RFC 7606 §7.8", withdraw, attr(optTrans, communities, 0, 0, 0, 1, 2)),
		withAttrs("COMMUNITIES: not optional", "RFC 7606 §3(c)", withdraw, attr(wellKnown, communities, 0, 0, 0, 1)),
		withAttrs("COMMUNITIES: not transitive", "RFC 7606 §3(c)", withdraw, attr(optional, communities, 0, 0, 0, 1)),
		withAttrs("COMMUNITIES: partial", "RFC 4271 §5", take, attr(optTrans|partial, communities, 0, 0, 0, 1)),
		withAttrs("COMMUNITIES: 300 of them", "RFC 1997", take, attr(optTrans|extended, communities, make([]byte, 1200)...)),
		withAttrs("COMMUNITIES: twice", "RFC 7606 §3(g)", take, attr(optTrans, communities, 0, 0, 0, 1), attr(optTrans, communities, 0, 0, 0, 2)),
		withAttrs("extended communities: no value", "RFC 7606 §7.14", withdraw, attr(optTrans, extCommunities)),
		withAttrs("extended communities: 7 octets", "RFC 7606 §7.14", withdraw, attr(optTrans, extCommunities, make([]byte, 7)...)),
		withAttrs("extended communities: 9 octets", "RFC 7606 §7.14", withdraw, attr(optTrans, extCommunities, make([]byte, 9)...)),
		withAttrs("extended communities: unknown type", "RFC 7606 §7.14", take, attr(optTrans, extCommunities, 0x3f, 0xee, 1, 2, 3, 4, 5, 6)),
		withAttrs("extended communities: every type", "RFC 7606 §7.14", take, attr(optTrans|extended, extCommunities, everyType()...)),
		withAttrs("IPv6 extended communities: no value", "RFC 7606 §7.15", withdraw, attr(optTrans, ext6Communities)),
		withAttrs("IPv6 extended communities: 19 octets", "RFC 7606 §7.15", withdraw, attr(optTrans, ext6Communities, make([]byte, 19)...)),
		withAttrs("IPv6 extended communities: 20 octets", "RFC 5701 §2", take, attr(optTrans, ext6Communities, make([]byte, 20)...)),
		withAttrs("large communities: no value", "RFC 8092 §6", withdraw, attr(optTrans, largeCommunities)),
		withAttrs("large communities: 11 octets", "RFC 8092 §6", withdraw, attr(optTrans, largeCommunities, large[:11]...)),
		withAttrs("large communities: 13 octets", "RFC 8092 §6", withdraw, attr(optTrans, largeCommunities, make([]byte, 13)...)),
		withAttrs("large communities: not optional", "RFC 7606 §3(c)", withdraw, attr(wellKnown, largeCommunities, large...)),
		checked(withAttrs("large communities: the same one twice", "RFC 8092 §5", take, attr(optTrans, largeCommunities, join(large, large)...)), func(a *caracal.Attrs) string {
			if len(a.LargeCommunities) != 1 {
				return "counted twice"
			}
			return ""
		}),
		withAttrs("ORIGINATOR_ID: no value", "RFC 7606 §7.9", withdraw, attr(optional, originatorID)),
		withAttrs("ORIGINATOR_ID: 3 octets", "RFC 7606 §7.9", withdraw, attr(optional, originatorID, 1, 2, 3)),
		withAttrs("ORIGINATOR_ID: 5 octets", "RFC 7606 §7.9", withdraw, attr(optional, originatorID, 1, 2, 3, 4, 5)),
		withAttrs("ORIGINATOR_ID: transitive", "RFC 7606 §3(c)", withdraw, attr(optTrans, originatorID, 1, 2, 3, 4)),
		withAttrs("ORIGINATOR_ID: our own", "RFC 4456 §8", withdraw, attr(optional, originatorID, 10, 200, 0, 1)),
		withAttrs("CLUSTER_LIST: no value", "RFC 7606 §7.10", withdraw, attr(optional, clusterList)),
		withAttrs("CLUSTER_LIST: 3 octets", "RFC 7606 §7.10", withdraw, attr(optional, clusterList, 1, 2, 3)),
		withAttrs("CLUSTER_LIST: 6 octets", "RFC 7606 §7.10", withdraw, attr(optional, clusterList, 1, 2, 3, 4, 5, 6)),
		withAttrs("CLUSTER_LIST: transitive", "RFC 7606 §3(c)", withdraw, attr(optTrans, clusterList, 1, 2, 3, 4)),
		withAttrs("CLUSTER_LIST: 250 of them", "RFC 4456 §8", take, attr(optional|extended, clusterList, bytes.Repeat([]byte{9, 9, 9, 9}, 250)...)),
	}
	return slices.Concat(tests, rarer(), ofOld(), lists())
}

// rarer are cases of attributes that are seldom seen, of unknown ones, and of
// several errors at once.
func rarer() []test {
	withdraw, discard, take := only(withdrawn), only(discarded), only(accepted)
	tests := []test{
		withAttrs("AIGP: malformed", "RFC 7311 §3", discard, attr(optional, aigp, 1, 0, 2)),
		withAttrs("AIGP: transitive", "RFC 7311 §3", discard, attr(optTrans, aigp, 1, 0, 11, 0, 0, 0, 0, 0, 0, 0, 1)),
		withAttrs("tunnel encapsulation: malformed", "RFC 9012 §13", discard, attr(optTrans, tunnelEncap, 0, 15, 0, 99)),
		withAttrs("PMSI tunnel: malformed", "RFC 7606 §8", withdraw, attr(optTrans, pmsi, 0, 0)),
		withAttrs("unknown: well-known", "RFC 4271 §6.3", resets(3, 2), attr(wellKnown, unknown, 1)),
		withAttrs("unknown: well-known, type 0", "RFC 4271 §6.3", resets(3, 2), attr(wellKnown, 0, 1)),
		withAttrs("unknown: well-known, not transitive", "RFC 4271 §6.3", resets(3, 2), attr(0, unknown, 1)),
		withAttrs("unknown: optional transitive", "RFC 4271 §5", take, attr(optTrans, unknown, 1, 2, 3)),
		withAttrs("unknown: optional transitive partial", "RFC 4271 §5", take, attr(optTrans|partial, unknown, 1, 2, 3)),
		withAttrs("unknown: optional", "RFC 4271 §5", take, attr(optional, unknown, 1, 2, 3)),
		withAttrs("unknown: optional without a value", "RFC 4271 §5", take, attr(optTrans, unknown)),
		withAttrs("unknown: optional of 3000 octets", "RFC 4271 §5", take, attr(optTrans|extended, unknown, make([]byte, 3000)...)),
		withAttrs("unknown: optional twice", "RFC 7606 §3(g)", take, attr(optTrans, unknown, 1), attr(optTrans, unknown, 2)),
		withAttrs("unknown: reserved type 255", "RFC 2042", take, attr(optTrans, 255, 1)),
		withAttrs("DPA, deprecated", "RFC 6938", take, attr(optTrans, 11, 0, 1, 0, 0, 0, 1)),
		withAttrs("AS4_PATH: from a four-octet speaker", "RFC 6793 §4.1", discard, attr(optTrans, as4Path, segment(2, 70000)...)),
		withAttrs("AS4_PATH: malformed, from a four-octet speaker", "RFC 6793 §6", discard, attr(optTrans, as4Path, 2, 9)),
		withAttrs("AS4_AGGREGATOR: from a four-octet speaker", "RFC 6793 §4.1", discard, attr(optTrans, as4Aggregator, 0, 1, 0, 0, 10, 0, 0, 1)),
		withAttrs("AS4_AGGREGATOR: malformed", "RFC 6793 §6", discard, attr(optTrans, as4Aggregator, 0, 1, 0)),
		withAttrs("discarded and no NEXT_HOP to use", "RFC 7606 §3(h)", withdraw, attr(wellKnown, atomic, 1), attr(wellKnown, nextHop, 0, 0, 0, 0)),
		withAttrs("discarded and ORIGIN 9", "RFC 7606 §3(h)", withdraw, attr(wellKnown, atomic, 1), attr(wellKnown, origin, 9)),
		sent("discarded and AS_PATH missing", "RFC 7606 §3(h)", withdraw, func(p *peer) []byte {
			return update(nil, join(p.without(asPath), attr(wellKnown, atomic, 1)), nlri(p.route4()))
		}),
		sent("discarded and NEXT_HOP missing", "RFC 7606 §3(h)", withdraw, func(p *peer) []byte {
			return update(nil, join(p.without(nextHop), attr(wellKnown, atomic, 1)), nlri(p.route4()))
		}),
		checked(withAttrs("discarded and MED twice", "RFC 7606 §3(g)", take, attr(wellKnown, atomic, 1), attr(optional, med, be32(7)...), attr(optional, med, be32(9)...)), hasMED(7)),
		withAttrs("discarded and a well-known one unknown", "RFC 7606 §3(h)", resets(3, 2), attr(wellKnown, atomic, 1), attr(wellKnown, unknown, 1)),
	}
	return append(tests, on(external, checked(withAttrs("AS4_PATH: from a four-octet speaker, as long as AS_PATH", "RFC 6793 §4.1", discard,
		attr(wellKnown, asPath, segment(2, otherAS, 65002)...), attr(optTrans, as4Path, segment(2, otherAS, 70000)...)), func(a *caracal.Attrs) string {
		if a.ASPathText != "65001 65002" {
			return "AS_PATH " + a.ASPathText
		}
		return ""
	}))...)
}

// ofOld are cases of neighbors without four-octet AS numbers.
func ofOld() []test {
	withdraw, discard, take := only(withdrawn), only(discarded), only(accepted)
	old2 := func(as ...uint32) []byte {
		b := []byte{2, byte(len(as))}
		for _, a := range as {
			b = append(b, be16(int(a))...)
		}
		return attr(wellKnown, asPath, b...)
	}
	return append(on(oldExternal,
		withAttrs("old: nothing wrong", "RFC 6793 §4.2.3", take, old2(otherAS, asTrans), attr(optTrans, as4Path, segment(2, otherAS, 70000)...)),
		withAttrs("old: four-octet AS_PATH", "RFC 7606 §7.2", withdraw, attr(wellKnown, asPath, segment(2, otherAS)...)),
		withAttrs("old: AS4_PATH longer than AS_PATH", "RFC 6793 §4.2.3", take, old2(otherAS), attr(optTrans, as4Path, segment(2, otherAS, 70000)...)),
		withAttrs("old: AS4_PATH of 1 octet", "RFC 6793 §6", discard, old2(otherAS, asTrans), attr(optTrans, as4Path, 2)),
		withAttrs("old: AS4_PATH with an empty segment", "RFC 6793 §6", discard, old2(otherAS, asTrans), attr(optTrans, as4Path, 2, 0)),
		withAttrs("old: AS4_PATH overrun", "RFC 6793 §6", discard, old2(otherAS, asTrans), attr(optTrans, as4Path, 2, 4, 0, 1, 17, 112)),
		withAttrs("old: AS4_PATH of unknown segment type", "RFC 6793 §6", discard, old2(otherAS, asTrans), attr(optTrans, as4Path, segment(9, 70000)...)),
		withAttrs("old: AS4_PATH of a confederation", "RFC 6793 §6", discard, old2(otherAS, asTrans), attr(optTrans, as4Path, segment(3, 70000)...)),
		withAttrs("old: AS4_PATH with AS 0", "RFC 7607 §2", withdraw, old2(otherAS, asTrans), attr(optTrans, as4Path, segment(2, 0)...)),
		withAttrs("old: AS4_PATH not optional", "RFC 7606 §3(c)", withdraw, old2(otherAS, asTrans), attr(wellKnown, as4Path, segment(2, 70000)...)),
		withAttrs("old: AGGREGATOR of 8 octets", "RFC 7606 §7.7", discard, attr(optTrans, aggregator, 0, 0, 0, 1, 10, 0, 0, 1)),
		withAttrs("old: AS4_AGGREGATOR of 7 octets", "RFC 6793 §6", discard, attr(optTrans, aggregator, 0x5b, 0xa0, 10, 0, 0, 1), attr(optTrans, as4Aggregator, 0, 1, 17, 112, 10, 0, 0)),
		withAttrs("old: AS4_AGGREGATOR alone", "RFC 6793 §4.2.3", discard, attr(optTrans, as4Aggregator, 0, 1, 17, 112, 10, 0, 0, 1)),
		withAttrs("old: AS4_AGGREGATOR, AGGREGATOR not AS_TRANS", "RFC 6793 §4.2.3", take, attr(optTrans, aggregator, 0, 9, 10, 0, 0, 1), attr(optTrans, as4Aggregator, 0, 1, 17, 112, 10, 0, 0, 1)),
	), on(old,
		withAttrs("old, internal: empty AS_PATH with AS4_PATH", "RFC 6793 §4.2.3", take, attr(wellKnown, asPath), attr(optTrans, as4Path, segment(2, 70000)...)),
	)...)
}

// lists are cases of the list of attributes, and of the lengths around it.
func lists() []test {
	withdraw := only(withdrawn)
	// broken ends the right attributes with a wrong one.
	broken := func(name, clause string, want outcome, last ...byte) test {
		return sent(name, clause, want, func(p *peer) []byte {
			return update(nil, join(p.with(), last), nlri(p.route4()))
		})
	}
	// lengths is an UPDATE with lengths that are off by as much.
	lengths := func(name, clause string, want outcome, withdrawn, attrs int) test {
		return sent(name, clause, want, func(p *peer) []byte {
			list := p.with()
			return message(updateMsg, be16(withdrawn), be16(len(list)+attrs), list, nlri(p.route4()))
		})
	}
	return []test{
		broken("list: one octet at the end", "RFC 7606 §4", withdraw, wellKnown),
		broken("list: two octets at the end", "RFC 7606 §4", withdraw, optTrans, communities),
		broken("list: three octets, extended length", "RFC 7606 §4", withdraw, optTrans|extended, communities, 0),
		broken("list: the last overruns by one", "RFC 7606 §4", withdraw, optTrans, communities, 5, 0, 0, 0, 1),
		broken("list: the last overruns by 200", "RFC 7606 §4", withdraw, optTrans, communities, 200, 0, 0, 0, 1),
		broken("list: the last overruns the message", "RFC 7606 §4", withdraw, optTrans|extended, communities, 0xff, 0xff, 0, 0, 0, 1),
		broken("list: an unknown one overruns", "RFC 7606 §4", withdraw, optTrans, unknown, 9, 1),
		broken("list: discarded one overruns", "RFC 7606 §4", withdraw, wellKnown, atomic, 9),
		sent("list: the first overruns", "RFC 7606 §4", withdraw, func(p *peer) []byte {
			return update(nil, []byte{wellKnown, origin, 250, 0}, nlri(p.route4()))
		}),
		sent("list: a bad ORIGIN, and the last overruns", "RFC 7606 §4", withdraw, func(p *peer) []byte {
			return update(nil, join(p.with(attr(optTrans, origin, 0)), []byte{optTrans, communities, 200, 0}), nlri(p.route4()))
		}),
		sent("list: only zeroes", "RFC 4271 §6.3", resetsAny(3), func(p *peer) []byte {
			return update(nil, make([]byte, 30), nlri(p.route4()))
		}),
		sent("list: backwards", "RFC 4271 §5", only(accepted), func(p *peer) []byte {
			base := p.base(false)
			var list []byte
			for i := range base {
				list = append(list, base[len(base)-1-i]...)
			}
			return update(nil, list, nlri(p.route4()))
		}),
		lengths("length of attributes beyond the message", "RFC 7606 §3(j)", resets(3, 1), 0, 500),
		lengths("length of attributes 65535", "RFC 7606 §3(j)", resets(3, 1), 0, 65000),
		lengths("length of attributes takes in a prefix", "RFC 7606 §4", withdraw, 0, 5),
		lengths("length of attributes short by one", "RFC 7606 §4", withdraw, 0, -1),
		lengths("length of withdrawn routes beyond the message", "RFC 7606 §3(j)", resets(3, 1), 500, 0),
		lengths("length of withdrawn routes 65535", "RFC 7606 §3(j)", resets(3, 1), 65535, 0),
		literal("length of withdrawn routes takes in the next length", "RFC 7606 §3(j)", resets(3, 1), message(updateMsg, []byte{0, 2, 0, 0})),
		sent("attributes, and nothing announced", "RFC 7606 §5.2", only(ignored), func(p *peer) []byte {
			return update(nil, p.with(), nil)
		}),
		later(withAttrs("a malformed attribute, seconds later", "RFC 7606 §2", withdraw, attr(optional, med, 1))),
		later(sent("an attribute of wrong length, and nothing announced", "RFC 7606 §5.2", only(ignored), func(p *peer) []byte {
			return update(nil, p.with(attr(optional, med, 1)), nil)
		})),
		broken("list: the last is too long and overruns", "RFC 7606 §4", withdraw, optional, med, 5, 0, 0, 0, 1),
		sent("a malformed attribute, and nothing announced", "RFC 7606 §5.2", only(ignored), func(p *peer) []byte {
			return update(nil, p.with(attr(wellKnown, origin, 9)), nil)
		}),
	}
}

// everyType is an extended community of each type, for decoders of each.
func everyType() []byte {
	var b []byte
	for kind := range 256 {
		b = append(b, byte(kind), 2, 0, 0, 0, 1, 0, 1)
	}
	return b
}
