package malformed

import "bytes"

// headers are cases of the header (RFC 4271 section 4.1), and of messages
// without a body worth the name.
func headers() []test {
	badMarker := func(at int) []byte {
		m := message(keepalive)
		m[at] = 0
		return m
	}
	var tests []test
	for _, s := range []struct {
		name string
		at   stage
	}{{"before OPEN", connected}, {"before KEEPALIVE", opened}, {"in session", established}} {
		tests = append(tests, at(s.at,
			literal("marker: first octet 0, "+s.name, "RFC 4271 §6.1", resets(1, 1), badMarker(0)),
			literal("marker: last octet 0, "+s.name, "RFC 4271 §6.1", resets(1, 1), badMarker(15)),
			literal("length 0, "+s.name, "RFC 4271 §6.1", resets(1, 2), header(0, keepalive)),
			literal("length 18, "+s.name, "RFC 4271 §6.1", resets(1, 2), header(18, keepalive)),
			literal("length 4097, "+s.name, "RFC 4271 §6.1", resets(1, 2), header(4097, updateMsg), make([]byte, 4078)),
			literal("length 65535, "+s.name, "RFC 4271 §6.1", resets(1, 2), header(65535, updateMsg)),
			literal("type 0, "+s.name, "RFC 4271 §6.1", resets(1, 3), message(0)),
			literal("type 6, "+s.name, "RFC 4271 §6.1", resets(1, 3), message(6)),
			literal("type 255 with a body, "+s.name, "RFC 4271 §6.1", resets(1, 3), message(255, make([]byte, 100))),
		)...)
	}
	return append(tests,
		literal("KEEPALIVE with one octet", "RFC 4271 §6.1", resets(1, 2), message(keepalive, []byte{0})),
		literal("KEEPALIVE of 4096 octets", "RFC 4271 §6.1", resets(1, 2), message(keepalive, make([]byte, 4077))),
		literal("UPDATE of 19 octets", "RFC 4271 §6.1", resets(1, 2), message(updateMsg)),
		literal("UPDATE of 20 octets", "RFC 4271 §6.1", resets(1, 2), message(updateMsg, []byte{0})),
		literal("UPDATE of 22 octets", "RFC 4271 §6.1", resets(1, 2), message(updateMsg, []byte{0, 0, 0})),
		literal("NOTIFICATION without subcode", "RFC 4271 §6.1", resets(1, 2), message(notification, []byte{6})),
		literal("NOTIFICATION without code", "RFC 4271 §6.1", resets(1, 2), message(notification)),
		literal("NOTIFICATION of unknown code", "RFC 4271 §6.4", only(closed), message(notification, []byte{77, 0})),
		literal("NOTIFICATION of code 0", "RFC 4271 §6.4", only(closed), message(notification, []byte{0, 0})),
		literal("NOTIFICATION of unknown subcode", "RFC 4271 §6.4", only(closed), message(notification, []byte{6, 200})),
		literal("NOTIFICATION with 4075 octets of data", "RFC 4271 §4.5", only(closed), message(notification, []byte{3, 1}, make([]byte, 4075))),
		literal("shutdown communication longer than said", "RFC 9003 §2", only(closed), message(notification, []byte{6, 2, 5}, bytes.Repeat([]byte{'x'}, 20))),
		literal("shutdown communication shorter than said", "RFC 9003 §2", only(closed), message(notification, []byte{6, 2, 200, 'x'})),
		literal("shutdown communication of 255 octets", "RFC 9003 §2", only(closed), message(notification, []byte{6, 2, 255}, bytes.Repeat([]byte{'x'}, 255))),
		literal("shutdown communication not UTF-8", "RFC 9003 §3", only(closed), message(notification, []byte{6, 2, 4, 0xff, 0xfe, 0x80, 0x00})),
		literal("hard reset with nothing in it", "RFC 8538 §3.1", only(closed), message(notification, []byte{6, 9})),
		literal("two KEEPALIVEs at once", "RFC 4271 §8.2.2", only(ignored), message(keepalive), message(keepalive)),
		literal("a thousand KEEPALIVEs", "RFC 4271 §8.2.2", only(ignored), bytes.Repeat(message(keepalive), 1000)),
	)
}

// refreshes are cases of ROUTE-REFRESH (RFC 2918, RFC 7313).
func refreshes() []test {
	rr := func(b ...byte) []byte { return message(refresh, b) }
	return []test{
		literal("ROUTE-REFRESH of IPv4", "RFC 2918 §4", only(ignored), rr(0, 1, 0, 1)),
		literal("ROUTE-REFRESH of IPv6", "RFC 2918 §4", only(ignored), rr(0, 2, 0, 1)),
		literal("ROUTE-REFRESH of 0 octets", "RFC 7313 §5", resets(7, 1), rr()),
		literal("ROUTE-REFRESH of 3 octets", "RFC 7313 §5", resets(7, 1), rr(0, 1, 0)),
		literal("ROUTE-REFRESH of 5 octets", "RFC 7313 §5", only(ignored), rr(0, 1, 0, 1, 0)),
		literal("ROUTE-REFRESH of an unknown AFI", "RFC 2918 §4", only(ignored), rr(0x77, 0x77, 0, 1)),
		literal("ROUTE-REFRESH of an unknown SAFI", "RFC 2918 §4", only(ignored), rr(0, 1, 0, 200)),
		on(session{onlyIPv4: true}, literal("ROUTE-REFRESH of a family not negotiated", "RFC 2918 §4", only(ignored), rr(0, 2, 0, 1)))[0],
		literal("ROUTE-REFRESH subtype BoRR", "RFC 7313 §3.2", only(ignored), rr(0, 1, 1, 1)),
		literal("ROUTE-REFRESH subtype EoRR without BoRR", "RFC 7313 §3.2", only(ignored), rr(0, 1, 2, 1)),
		literal("ROUTE-REFRESH subtype 255", "RFC 7313 §5", only(ignored), rr(0, 1, 255, 1)),
		literal("ROUTE-REFRESH subtype 3", "RFC 7313 §5", only(ignored), rr(0, 1, 3, 1)),
		literal("ROUTE-REFRESH a hundred times", "RFC 2918 §4", only(ignored), bytes.Repeat(rr(0, 1, 0, 1), 100)),
		literal("ROUTE-REFRESH with an outbound filter", "RFC 5291 §4", only(ignored), rr(0, 1, 0, 1, 1, 64, 0, 0)),
	}
}
