package bgp_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/bench/sender"
	"caracal.dev/caracal/bgp"
)

// listener is a neighbor that keeps the last UPDATE about each IPv4 prefix, as
// attributes in hexadecimal by type.
type listener struct {
	*sender.Session
	mu   sync.Mutex
	have map[string]map[byte]string
}

func listen(t *testing.T, c sender.Config) *listener {
	l := &listener{have: map[string]map[byte]string{}}
	c.OnMessage = func(kind byte, body []byte) {
		if kind == sender.Update {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.update(body)
		}
	}
	l.Session = dial(t, c)
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func (l *listener) update(body []byte) {
	n := int(binary.BigEndian.Uint16(body))
	for _, p := range prefixesIn(body[2 : 2+n]) {
		delete(l.have, p)
	}
	body = body[2+n:]
	n = int(binary.BigEndian.Uint16(body))
	attrs, nlri := body[2:2+n], body[2+n:]
	found := map[byte]string{}
	for len(attrs) > 0 {
		flags, kind, size, head := attrs[0], attrs[1], int(attrs[2]), 3
		if flags&0x10 != 0 {
			size, head = int(binary.BigEndian.Uint16(attrs[2:])), 4
		}
		found[kind] = fmt.Sprintf("%02x %x", flags&^0x10, attrs[head:head+size])
		attrs = attrs[head+size:]
	}
	for _, p := range prefixesIn(nlri) {
		l.have[p] = found
	}
}

func prefixesIn(b []byte) (list []string) {
	for len(b) > 0 {
		bits := int(b[0])
		n := (bits + 7) / 8
		var a [4]byte
		copy(a[:], b[1:1+n])
		list = append(list, netip.PrefixFrom(netip.AddrFrom4(a), bits).String())
		b = b[1+n:]
	}
	return list
}

// told waits until the listener has a prefix with these attributes; without any
// until it has it no more.
func (l *listener) told(t *testing.T, prefix string, want map[byte]string) {
	t.Helper()
	var got map[byte]string
	for deadline := time.Now().Add(patient); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		l.mu.Lock()
		got = l.have[prefix]
		ok := (got != nil) == (want != nil)
		for kind, value := range want {
			ok = ok && got[kind] == value
		}
		l.mu.Unlock()
		if ok {
			return
		}
	}
	t.Fatalf("%s: told %v, want %v", prefix, got, want)
}

// update is an UPDATE with these attributes, of two octets of flags and type and
// a value each.
func updateOf(prefix netip.Prefix, attrs ...string) []byte {
	var all []byte
	for _, a := range attrs {
		all = append(all, a[0], a[1], byte(len(a)-2))
		all = append(all, a[2:]...)
	}
	body := binary.BigEndian.AppendUint16([]byte{0, 0}, uint16(len(all)))
	body = append(append(body, all...), byte(prefix.Bits()))
	body = append(body, prefix.Addr().AsSlice()[:(prefix.Bits()+7)/8]...)
	m := slices.Repeat([]byte{0xff}, 16)
	return append(append(binary.BigEndian.AppendUint16(m, uint16(19+len(body))), sender.Update), body...)
}

// TestRelayOnTheWire: what one client announces another gets, with everything
// that is to go on and nothing that is not, and it goes nowhere else.
func TestRelayOnTheWire(t *testing.T) {
	x := newStation(t, "x", "127.0.21.1", bgp.Options{})
	x.conf.ClusterID = addr("10.9.9.1")
	one, c1 := neighborOf(x, "127.0.21.11")
	two, c2 := neighborOf(x, "127.0.21.12")
	tor, c3 := neighborOf(x, "127.0.21.13")
	one.Client, two.Client, tor.External, tor.ASN, c3.ASN = true, true, true, torASN, torASN
	x.conf.Neighbors = []bgp.Neighbor{one, two, tor}
	x.apply()
	from, to, switch_ := listen(t, c1), listen(t, c2), listen(t, c3)
	x.eventually("all are up", func() bool {
		return x.in(one.Name, bgp.Established)() && x.in(two.Name, bgp.Established)() && x.in(tor.Name, bgp.Established)()
	})
	p := prefix("10.1.2.0/24")
	if err := from.Send(updateOf(p,
		"\x40\x01\x02", "\x40\x02\x02\x02\x00\x00\x00\x01\x00\x00\x00\x02", "\x40\x03\xc0\x00\x02\x09", "\x40\x05\x00\x00\x00\x96",
		"\xc0\x08\xfd\xe8\x00\x01", "\xc0\x10\x00\x02\xfd\xe8\x00\x00\x00\x01", // communities, extended communities
		"\xc0\x20\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\xfd\xe8\x00\x00\x00\x01\x00\x00\x00\x02", // a forged mark and a large community
		"\xc0\xc8hello", "\x80\xc9secret", // unknown, transitive and not
	)); err != nil {
		t.Fatal(err)
	}
	if err := switch_.Announce([]netip.Prefix{prefix("10.7.0.0/16")}, sender.Path{NextHop: addr("192.0.2.13"), ASPath: []uint32{torASN}}); err != nil {
		t.Fatal(err)
	}
	x.eventually("the paths are there", func() bool {
		return x.rib[one.Name+" "+p.String()] != nil && x.rib[tor.Name+" 10.7.0.0/16"] != nil
	})
	x.mu.Lock()
	r := bgp.Relay{NLRI: p, Attrs: x.rib[one.Name+" "+p.String()], From: one.Name, Internal: true, Client: true}
	x.mu.Unlock()
	relay := func(list ...bgp.Relay) {
		t.Helper()
		if err := x.Relay(context.Background(), list, nil); err != nil {
			t.Fatal(err)
		}
	}
	relay(r)
	reflected := map[byte]string{
		1: "40 02", 2: "40 02020000000100000002", 3: "40 c0000209", 5: "40 00000096", 8: "c0 fde80001", 16: "c0 0002fde800000001",
		32: "c0 0000fde80000000100000002", 9: "80 7f00150b", 10: "80 0a090901", 200: "e0 68656c6c6f", 201: "", 25: "",
	}
	to.told(t, p.String(), reflected)
	from.told(t, p.String(), nil)
	switch_.told(t, p.String(), nil)

	// What is ours comes first, whenever it came.
	x.conf.Originate = []netip.Prefix{p}
	x.apply()
	to.told(t, p.String(), map[byte]string{3: "40 7f001501", 9: "", 5: "40 00000064"})
	relay(r)
	to.told(t, p.String(), map[byte]string{3: "40 7f001501", 9: ""})
	from.told(t, p.String(), map[byte]string{3: "40 7f001501"})
	x.conf.Originate = nil
	x.apply()
	to.told(t, p.String(), reflected)
	from.told(t, p.String(), nil)

	// Leaving: the last choice, then none.
	x.conf.Drain = bgp.DrainLast
	x.apply()
	to.told(t, p.String(), map[byte]string{5: "40 00000000", 8: "c0 fde80001ffff0000", 9: "80 7f00150b"})
	x.conf.Drain = bgp.DrainOut
	x.apply()
	to.told(t, p.String(), nil)
	x.conf.Drain = bgp.DrainNone
	x.apply()
	to.told(t, p.String(), reflected)
	relay(bgp.Relay{NLRI: p})
	to.told(t, p.String(), nil)
	if err := x.LocRIB(context.Background(), func(p netip.Prefix, a caracal.Attrs) bool {
		t.Errorf("%s %+v is in GoBGP's Loc-RIB", p, a)
		return true
	}); err != nil {
		t.Fatal(err)
	}
}

// TestRelayFromNobody: a path cannot be passed on while it is not known whose it
// is; it is once that is known, without being told again.
func TestRelayFromNobody(t *testing.T) {
	x := newStation(t, "x", "127.0.22.1", bgp.Options{})
	x.conf.ClusterID = addr("10.9.9.1")
	one, c1 := neighborOf(x, "127.0.22.11")
	two, c2 := neighborOf(x, "127.0.22.12")
	one.Client, two.Client = true, true
	x.conf.Neighbors = []bgp.Neighbor{one, two}
	x.apply()
	to := listen(t, c2)
	r := bgp.Relay{NLRI: prefix("10.1.0.0/16"), Attrs: &caracal.Attrs{NextHop: addr("192.0.2.9"), LocalPref: 100}, From: one.Name, Internal: true, Client: true}
	if err := x.Relay(context.Background(), []bgp.Relay{r}, nil); err == nil || !strings.Contains(err.Error(), "10.1.0.0/16") {
		t.Fatalf("error %v", err)
	}
	from := listen(t, c1)
	x.eventually("the client is up", x.in(one.Name, bgp.Established))
	if err := x.Relay(context.Background(), nil, nil); err != nil {
		t.Fatal(err)
	}
	to.told(t, "10.1.0.0/16", map[byte]string{9: "80 7f00160b"})
	from.told(t, "10.1.0.0/16", nil)
}
