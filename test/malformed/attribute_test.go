package malformed

import (
	"bytes"
	"fmt"
	"slices"

	"caracal.dev/caracal"
)

// The sessions of the cases.
var (
	external = session{external: true}
	// old and oldExternal do without four-octet AS numbers.
	old         = session{oldAS: true}
	oldExternal = session{external: true, oldAS: true}
)

// has wants a MED, to tell which of two attributes counted.
func hasMED(want uint32) func(*caracal.Attrs) string {
	return func(a *caracal.Attrs) string {
		if a.MED != want {
			return fmt.Sprintf("MED %d, want %d", a.MED, want)
		}
		return ""
	}
}

func defaultPref(a *caracal.Attrs) string {
	if a.LocalPref != 100 {
		return "LOCAL_PREF of another AS counts"
	}
	return ""
}

func notReflected(a *caracal.Attrs) string {
	if a.OriginatorID.IsValid() || a.ClusterList != nil {
		return "ORIGINATOR_ID or CLUSTER_LIST of another AS counts"
	}
	return ""
}

// checked adds a check to a case.
func checked(t test, check func(*caracal.Attrs) string) test {
	t.check = check
	return t
}

// attributes are cases of the well-known attributes, and of what an external
// neighbor makes different.
func attributes() []test {
	return slices.Concat(origins(), asPaths(), nextHops(), otherKnown(), missing(), ofExternal())
}

// origins are cases of ORIGIN.
func origins() []test {
	withdraw, take := only(withdrawn), only(accepted)
	return []test{
		withAttrs("ORIGIN: no value", "RFC 7606 §7.1", withdraw, attr(wellKnown, origin)),
		withAttrs("ORIGIN: two octets", "RFC 7606 §7.1", withdraw, attr(wellKnown, origin, 0, 0)),
		withAttrs("ORIGIN: value 3", "RFC 7606 §7.1", withdraw, attr(wellKnown, origin, 3)),
		withAttrs("ORIGIN: value 255", "RFC 7606 §7.1", withdraw, attr(wellKnown, origin, 255)),
		withAttrs("ORIGIN: optional", "RFC 7606 §3(c)", withdraw, attr(optTrans, origin, 0)),
		withAttrs("ORIGIN: not transitive", "RFC 7606 §3(c)", withdraw, attr(0, origin, 0)),
		withAttrs("ORIGIN: partial", "RFC 4271 §4.3", withdraw, attr(wellKnown|partial, origin, 0)),
		withAttrs("ORIGIN: extended length", "RFC 4271 §4.3", take, attr(wellKnown|extended, origin, 0)),
		withAttrs("ORIGIN: low flag bits set", "RFC 4271 §4.3", take, attr(wellKnown|0x0f, origin, 0)),
		withAttrs("ORIGIN: twice", "RFC 7606 §3(g)", take, attr(wellKnown, origin, 0), attr(wellKnown, origin, 2)),
	}
}

// asPaths are cases of AS_PATH.
func asPaths() []test {
	withdraw, take := only(withdrawn), only(accepted)
	return []test{
		withAttrs("AS_PATH: unknown segment type", "RFC 7606 §7.2", withdraw, attr(wellKnown, asPath, segment(5, otherAS)...)),
		withAttrs("AS_PATH: segment type 0", "RFC 7606 §7.2", withdraw, attr(wellKnown, asPath, segment(0, otherAS)...)),
		withAttrs("AS_PATH: empty segment", "RFC 7606 §7.2", withdraw, attr(wellKnown, asPath, 2, 0)),
		withAttrs("AS_PATH: empty set", "RFC 7606 §7.2", withdraw, attr(wellKnown, asPath, 1, 0)),
		withAttrs("AS_PATH: segment overrun", "RFC 7606 §7.2", withdraw, attr(wellKnown, asPath, 2, 3, 0, 0, 0xfd, 0xe9)),
		withAttrs("AS_PATH: one octet left", "RFC 7606 §7.2", withdraw, attr(wellKnown, asPath, append(segment(2, otherAS), 2)...)),
		withAttrs("AS_PATH: two octets left", "RFC 7606 §7.2", withdraw, attr(wellKnown, asPath, append(segment(2, otherAS), 2, 1)...)),
		withAttrs("AS_PATH: AS 0", "RFC 7607 §2", withdraw, attr(wellKnown, asPath, segment(2, otherAS, 0)...)),
		withAttrs("AS_PATH: AS 0 in a set", "RFC 7607 §2", withdraw, attr(wellKnown, asPath, join(segment(2, otherAS), segment(1, 0, 7))...)),
		withAttrs("AS_PATH: our own AS", "RFC 4271 §9.1.2", only(refused), attr(wellKnown, asPath, segment(2, otherAS, ownAS)...)),
		withAttrs("AS_PATH: our own AS in a set", "RFC 4271 §9.1.2", only(refused), attr(wellKnown, asPath, join(segment(2, otherAS), segment(1, 7, ownAS))...)),
		withAttrs("AS_PATH: 255 numbers", "RFC 4271 §4.3", take, attr(wellKnown|extended, asPath, segment(2, repeat(otherAS, 255)...)...)),
		withAttrs("AS_PATH: 510 numbers", "RFC 4271 §4.3", take, attr(wellKnown|extended, asPath, bytes.Repeat(segment(2, repeat(otherAS, 255)...), 2)...)),
		withAttrs("AS_PATH: two-octet numbers", "RFC 7606 §7.2", withdraw, attr(wellKnown, asPath, 2, 1, 0xfd, 0xe9)),
		withAttrs("AS_PATH: optional", "RFC 7606 §3(c)", withdraw, attr(optTrans, asPath)),
		withAttrs("AS_PATH: partial", "RFC 4271 §4.3", withdraw, attr(wellKnown|partial, asPath)),
		withAttrs("AS_PATH: twice", "RFC 7606 §3(g)", take, attr(wellKnown, asPath), attr(wellKnown, asPath, segment(2, ownAS)...)),
		withAttrs("AS_PATH: AS_TRANS", "RFC 6793 §4.2.3", take, attr(wellKnown, asPath, segment(2, asTrans)...)),
	}
}

// nextHops are cases of NEXT_HOP.
func nextHops() []test {
	withdraw, take := only(withdrawn), only(accepted)
	return []test{
		withAttrs("NEXT_HOP: no value", "RFC 7606 §7.3", withdraw, attr(wellKnown, nextHop)),
		withAttrs("NEXT_HOP: 3 octets", "RFC 7606 §7.3", withdraw, attr(wellKnown, nextHop, 10, 200, 1)),
		withAttrs("NEXT_HOP: 5 octets", "RFC 7606 §7.3", withdraw, attr(wellKnown, nextHop, 10, 200, 1, 1, 1)),
		sent("NEXT_HOP: 16 octets", "RFC 7606 §7.3", withdraw, func(p *peer) []byte {
			return update(nil, p.with(attr(wellKnown, nextHop, p.hop6().AsSlice()...)), nlri(p.route4()))
		}),
		withAttrs("NEXT_HOP: 0.0.0.0", "RFC 4271 §6.3", withdraw, attr(wellKnown, nextHop, 0, 0, 0, 0)),
		withAttrs("NEXT_HOP: 0.0.0.1", "RFC 4271 §6.3", withdraw, attr(wellKnown, nextHop, 0, 0, 0, 1)),
		withAttrs("NEXT_HOP: multicast", "RFC 4271 §6.3", withdraw, attr(wellKnown, nextHop, 224, 0, 0, 1)),
		withAttrs("NEXT_HOP: class E", "RFC 4271 §6.3", withdraw, attr(wellKnown, nextHop, 240, 0, 0, 1)),
		withAttrs("NEXT_HOP: 255.255.255.255", "RFC 4271 §6.3", withdraw, attr(wellKnown, nextHop, 255, 255, 255, 255)),
		withAttrs("NEXT_HOP: our own address", "RFC 4271 §6.3", only(refused), attr(wellKnown, nextHop, 10, 200, 0, 1)),
		withAttrs("NEXT_HOP: nobody's address", "RFC 4271 §9.1.2", only(refused), attr(wellKnown, nextHop, 10, 200, 255, 9)),
		withAttrs("NEXT_HOP: loopback", "RFC 4271 §6.3", only(refused), attr(wellKnown, nextHop, 127, 0, 0, 1)),
		withAttrs("NEXT_HOP: optional", "RFC 7606 §3(c)", withdraw, attr(optional, nextHop, 10, 200, 1, 1)),
		withAttrs("NEXT_HOP: not transitive", "RFC 7606 §3(c)", withdraw, attr(0, nextHop, 10, 200, 1, 1)),
		sent("NEXT_HOP: twice", "RFC 7606 §3(g)", take, func(p *peer) []byte {
			return update(nil, join(p.with(), attr(wellKnown, nextHop, 10, 200, 255, 9)), nlri(p.route4()))
		}),
	}
}

// otherKnown are cases of MED, LOCAL_PREF, ATOMIC_AGGREGATE and AGGREGATOR.
func otherKnown() []test {
	withdraw, discard, take := only(withdrawn), only(discarded), only(accepted)
	return []test{
		withAttrs("MED: no value", "RFC 7606 §7.4", withdraw, attr(optional, med)),
		withAttrs("MED: 3 octets", "RFC 7606 §7.4", withdraw, attr(optional, med, 0, 0, 1)),
		withAttrs("MED: 5 octets", "RFC 7606 §7.4", withdraw, attr(optional, med, 0, 0, 0, 0, 1)),
		withAttrs("MED: transitive", "RFC 7606 §3(c)", withdraw, attr(optTrans, med, 0, 0, 0, 1)),
		withAttrs("MED: well-known", "RFC 7606 §3(c)", withdraw, attr(wellKnown, med, 0, 0, 0, 1)),
		withAttrs("MED: partial", "RFC 4271 §4.3", withdraw, attr(optional|partial, med, 0, 0, 0, 1)),
		withAttrs("MED: 4294967295", "RFC 4271 §4.3", take, attr(optional, med, 255, 255, 255, 255)),
		checked(withAttrs("MED: twice", "RFC 7606 §3(g)", take, attr(optional, med, be32(7)...), attr(optional, med, be32(9)...)), hasMED(7)),
		checked(withAttrs("MED: twice, the second malformed", "RFC 7606 §3(g)", take, attr(optional, med, be32(7)...), attr(optional, med, 9)), hasMED(7)),
		withAttrs("MED: twice, the first malformed", "RFC 7606 §7.4", withdraw, attr(optional, med, 7), attr(optional, med, be32(9)...)),
		withAttrs("LOCAL_PREF: no value", "RFC 7606 §7.5", withdraw, attr(wellKnown, localPref)),
		withAttrs("LOCAL_PREF: 3 octets", "RFC 7606 §7.5", withdraw, attr(wellKnown, localPref, 0, 0, 1)),
		withAttrs("LOCAL_PREF: 8 octets", "RFC 7606 §7.5", withdraw, attr(wellKnown, localPref, 0, 0, 0, 1, 0, 0, 0, 1)),
		withAttrs("LOCAL_PREF: optional", "RFC 7606 §3(c)", withdraw, attr(optional, localPref, 0, 0, 0, 1)),
		withAttrs("LOCAL_PREF: 0", "RFC 4271 §5.1.5", take, attr(wellKnown, localPref, 0, 0, 0, 0)),
		withAttrs("ATOMIC_AGGREGATE: with a value", "RFC 7606 §7.6", discard, attr(wellKnown, atomic, 1)),
		withAttrs("ATOMIC_AGGREGATE: 200 octets", "RFC 7606 §7.6", discard, attr(wellKnown, atomic, make([]byte, 200)...)),
		withAttrs("ATOMIC_AGGREGATE: optional", "RFC 7606 §3(c)", withdraw, attr(optTrans, atomic)),
		withAttrs("ATOMIC_AGGREGATE: twice", "RFC 7606 §3(g)", take, attr(wellKnown, atomic), attr(wellKnown, atomic)),
		withAttrs("AGGREGATOR: no value", "RFC 7606 §7.7", discard, attr(optTrans, aggregator)),
		withAttrs("AGGREGATOR: 7 octets", "RFC 7606 §7.7", discard, attr(optTrans, aggregator, 0, 0, 0, 1, 10, 0, 0)),
		withAttrs("AGGREGATOR: 6 octets with four-octet AS", "RFC 7606 §7.7", discard, attr(optTrans, aggregator, 0, 1, 10, 0, 0, 1)),
		withAttrs("AGGREGATOR: AS 0", "RFC 7607 §2", discard, attr(optTrans, aggregator, 0, 0, 0, 0, 10, 0, 0, 1)),
		withAttrs("AGGREGATOR: not optional", "RFC 7606 §3(c)", withdraw, attr(wellKnown, aggregator, 0, 0, 0, 1, 10, 0, 0, 1)),
		withAttrs("AGGREGATOR: partial", "RFC 4271 §5", take, attr(optTrans|partial, aggregator, 0, 0, 0, 1, 10, 0, 0, 1)),
	}
}

// missing are cases of well-known attributes that are not there.
func missing() []test {
	var tests []test
	for _, a := range []struct {
		kind byte
		name string
	}{{origin, "ORIGIN"}, {asPath, "AS_PATH"}, {nextHop, "NEXT_HOP"}, {localPref, "LOCAL_PREF"}} {
		want := only(withdrawn)
		if a.kind == localPref {
			want = only(accepted) // well-known, but not looked for (RFC 4271 section 5.1.5)
		}
		tests = append(tests, sent(a.name+": missing", "RFC 7606 §3(d)", want, func(p *peer) []byte {
			return update(nil, p.without(a.kind), nlri(p.route4()))
		}))
	}
	return append(tests, sent("no attribute, and prefixes", "RFC 7606 §3(d)", only(withdrawn), func(p *peer) []byte {
		return update(nil, nil, nlri(p.route4()))
	}))
}

func repeat(as uint32, n int) []uint32 {
	list := make([]uint32, n)
	for i := range list {
		list[i] = as
	}
	return list
}

// ofExternal are cases that an external neighbor makes different.
func ofExternal() []test {
	withdraw, discard, take := only(withdrawn), only(discarded), only(accepted)
	return on(external,
		withAttrs("external: nothing wrong", "RFC 4271 §5.1.2", take, attr(optional, med, be32(1)...)),
		withAttrs("external: empty AS_PATH", "RFC 4271 §6.3", withdraw, attr(wellKnown, asPath)),
		withAttrs("external: first AS is another", "RFC 4271 §6.3", withdraw, attr(wellKnown, asPath, segment(2, 65099, otherAS)...)),
		withAttrs("external: first AS in a set", "RFC 4271 §6.3", withdraw, attr(wellKnown, asPath, segment(1, otherAS)...)),
		withAttrs("external: our own AS first", "RFC 4271 §6.3", withdraw, attr(wellKnown, asPath, segment(2, ownAS)...)),
		withAttrs("external: our own AS behind", "RFC 4271 §9.1.2", only(refused), attr(wellKnown, asPath, segment(2, otherAS, ownAS)...)),
		withAttrs("external: confederation sequence", "RFC 5065 §5", withdraw, attr(wellKnown, asPath, join(segment(3, 64600), segment(2, otherAS))...)),
		withAttrs("external: confederation set", "RFC 5065 §5", withdraw, attr(wellKnown, asPath, join(segment(2, otherAS), segment(4, 64600))...)),
		checked(withAttrs("external: LOCAL_PREF", "RFC 7606 §7.5", discard, attr(wellKnown, localPref, be32(900)...)), defaultPref),
		checked(withAttrs("external: malformed LOCAL_PREF", "RFC 7606 §7.5", discard, attr(wellKnown, localPref, 1)), defaultPref),
		checked(withAttrs("external: ORIGINATOR_ID", "RFC 7606 §7.9", discard, attr(optional, originatorID, 10, 9, 9, 9)), notReflected),
		checked(withAttrs("external: malformed ORIGINATOR_ID", "RFC 7606 §7.9", discard, attr(optional, originatorID, 10)), notReflected),
		checked(withAttrs("external: CLUSTER_LIST", "RFC 7606 §7.10", discard, attr(optional, clusterList, 10, 9, 9, 9)), notReflected),
		checked(withAttrs("external: malformed CLUSTER_LIST", "RFC 7606 §7.10", discard, attr(optional, clusterList, 10)), notReflected),
		sent("external: AS_PATH missing", "RFC 7606 §3(d)", withdraw, func(p *peer) []byte {
			return update(nil, p.without(asPath), nlri(p.route4()))
		}),
	)
}
