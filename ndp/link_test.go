package ndp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

// line is a link under a clock of the test's own.
type line struct {
	*link
	now time.Time
	log []string
}

func newLine() *line {
	l := &line{link: &link{name: "eth0"}, now: time.Unix(1_000_000, 0)}
	l.plug(true)
	return l
}

func (l *line) plug(up bool) {
	l.changed(l.now, device{index: 7, up: up, local: ip("fe80::1"), own: []netip.Addr{ip("fe80::1"), ip("fd00::1")}})
}

// run lets time pass and notes what is sent, and when.
func (l *line) run(d time.Duration) {
	for end := l.now.Add(d); ; {
		due := l.tick(l.now)
		if due.advertise {
			l.log = append(l.log, "advertise")
		}
		if due.solicit {
			l.log = append(l.log, "solicit")
		}
		next := l.next(l.now)
		if next.After(end) {
			l.now = end
			return
		}
		l.now = next
	}
}

func (l *line) sent(kind string) (n int) {
	for _, s := range l.log {
		if s == kind {
			n++
		}
	}
	return n
}

func TestAlone(t *testing.T) {
	l := newLine()
	l.run(2500 * time.Millisecond)
	if l.sent("advertise") != initialCount || l.sent("solicit") != 3 {
		t.Errorf("in the beginning %v", l.log)
	}
	l.run(time.Hour)
	// One in 7.5 to 10 s.
	if n := l.sent("advertise"); n < 360 || n > 490 || l.sent("solicit") != maxAsked {
		t.Errorf("in an hour %d advertisements and %d solicitations", n, l.sent("solicit"))
	}
}

func TestRouterComesAndGoes(t *testing.T) {
	l := newLine()
	l.run(time.Second)
	l.advertisedBy(l.now, ip("fe80::a"))
	l.log = nil
	for range 10 {
		l.run(9 * time.Second)
		l.advertisedBy(l.now, ip("fe80::a"))
	}
	if l.router != ip("fe80::a") || l.sent("solicit") != 0 {
		t.Errorf("router %s, %d solicitations for one that speaks", l.router, l.sent("solicit"))
	}
	// It says nothing by itself, but answers: it is there.
	for range 5 {
		l.run(quiet + 2500*time.Millisecond)
		l.advertisedBy(l.now, ip("fe80::a"))
	}
	if l.router != ip("fe80::a") || l.sent("solicit") != 15 {
		t.Errorf("router %s after %d solicitations", l.router, l.sent("solicit"))
	}
	l.run(quiet + (maxAsked+1)*initialInterval)
	if l.router.IsValid() {
		t.Errorf("router %s is dead", l.router)
	}
	l.advertisedBy(l.now, ip("fe80::b"))
	if l.router != ip("fe80::b") {
		t.Errorf("router %s", l.router)
	}
}

func TestTwoRouters(t *testing.T) {
	l := newLine()
	l.run(time.Second)
	for range 20 {
		l.advertisedBy(l.now, ip("fe80::b"))
		l.advertisedBy(l.now, ip("fe80::a"))
		l.run(8 * time.Second)
	}
	if l.router != ip("fe80::b") || len(l.others) != 1 || l.others[ip("fe80::a")].IsZero() {
		t.Errorf("router %s, others %v", l.router, l.others)
	}
	for range 6 { // the first falls silent
		l.advertisedBy(l.now, ip("fe80::a"))
		l.run(8 * time.Second)
	}
	if l.router != ip("fe80::a") || len(l.others) != 0 {
		t.Errorf("router %s, others %v", l.router, l.others)
	}
	for i := range 100 {
		l.advertisedBy(l.now, netip.MustParseAddr(fmt.Sprintf("fe80::1:%x", i)))
	}
	if len(l.others) != maxOthers {
		t.Errorf("%d others are kept", len(l.others))
	}
	l.run(time.Minute)
	if len(l.others) != 0 {
		t.Errorf("others are not forgotten: %v", l.others)
	}
}

func TestLinkDown(t *testing.T) {
	l := newLine()
	l.run(5 * time.Second)
	l.advertisedBy(l.now, ip("fe80::a"))
	l.plug(false)
	l.log = nil
	l.run(10 * time.Minute)
	if l.router != ip("fe80::a") || len(l.log) != 0 || !strings.Contains(l.err, "is down") {
		t.Errorf("down: router %s, sent %v, %q", l.router, l.log, l.err)
	}
	l.plug(true)
	l.run(2 * time.Second)
	if l.router != ip("fe80::a") || l.sent("advertise") != 3 || l.sent("solicit") != 3 || l.err != "" {
		t.Errorf("up: router %s, sent %v, %q", l.router, l.log, l.err)
	}
	l.advertisedBy(l.now, ip("fe80::b")) // another switch at the other end
	if l.router != ip("fe80::b") || len(l.others) != 0 {
		t.Errorf("router %s, others %v", l.router, l.others)
	}
	l.plug(false)
	l.plug(true)
	l.run(maxAsked*initialInterval + time.Millisecond)
	if l.router.IsValid() {
		t.Errorf("router %s does not answer after the link is up", l.router)
	}
	l.advertisedBy(l.now, ip("fe80::b"))
	l.changed(l.now, device{})
	if l.router.IsValid() || !strings.Contains(l.err, "does not exist") {
		t.Errorf("gone: router %s, %q", l.router, l.err)
	}
}

func TestOwnWordsAreNotARouter(t *testing.T) {
	l := newLine()
	l.advertisedBy(l.now, ip("fe80::1"))
	if l.router.IsValid() {
		t.Errorf("router %s", l.router)
	}
}

func TestRefusedIsSentAgain(t *testing.T) {
	l := newLine()
	d := l.tick(l.now)
	l.refused(l.now, d, errors.New("tentative"))
	if got := l.next(l.now); got != l.now.Add(retryInterval) || l.err != "tentative" {
		t.Errorf("next in %v, %q", got.Sub(l.now), l.err)
	}
	l.now = l.now.Add(retryInterval)
	if d := l.tick(l.now); !d.advertise || !d.solicit {
		t.Errorf("not again: %+v", d)
	}
}

func TestAnswersAreLimited(t *testing.T) {
	l := newLine()
	n := 0
	for range 1000 {
		if l.solicitedNow(l.now) {
			n++
		}
		l.now = l.now.Add(time.Millisecond)
	}
	if n != 10 {
		t.Errorf("%d answers in a second", n)
	}
}

func TestParse(t *testing.T) {
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	lifetime := advertisement(mac)
	lifetime[6], lifetime[7] = 0x07, 0x08
	edit := func(b []byte, at int, v byte) []byte { b = slices.Clone(b); b[at] = v; return b }
	for _, c := range []struct {
		name string
		p    packet
		want string
	}{
		{"advertisement", packet{from: ip("fe80::a"), hopLimit: 255, body: advertisement(mac)}, "advertisement from fe80::a"},
		{"without option", packet{from: ip("fe80::a"), hopLimit: 255, body: advertisement(nil)}, "advertisement from fe80::a"},
		{"default router", packet{from: ip("fe80::a"), hopLimit: 255, body: lifetime}, "advertisement from fe80::a"},
		{"solicitation", packet{from: ip("fe80::a"), hopLimit: 255, body: solicitation(mac)}, "solicitation from fe80::a"},
		{"solicitation from nowhere", packet{from: ip("::"), hopLimit: 255, body: solicitation(nil)}, "solicitation from ::"},
		{"from nowhere with address", packet{from: ip("::"), hopLimit: 255, body: solicitation(mac)}, "has a link-layer address but no source address"},
		{"from afar", packet{from: ip("fe80::a"), hopLimit: 254, body: advertisement(mac)}, "has hop limit 254, so it is not from this link"},
		{"from a global address", packet{from: ip("fd00::a"), hopLimit: 255, body: advertisement(mac)}, "is not from a link-local address"},
		{"code", packet{from: ip("fe80::a"), hopLimit: 255, body: edit(advertisement(mac), 1, 1)}, "has code 1"},
		{"type", packet{from: ip("fe80::a"), hopLimit: 255, body: edit(advertisement(mac), 0, 135)}, "has type 135"},
		{"short", packet{from: ip("fe80::a"), hopLimit: 255, body: advertisement(nil)[:15]}, "of 15 bytes is too short"},
		{"empty", packet{from: ip("fe80::a"), hopLimit: 255}, "of 0 bytes is too short"},
		{"option of length 0", packet{from: ip("fe80::a"), hopLimit: 255, body: edit(advertisement(mac), 17, 0)}, "has an option of a wrong length"},
		{"option that is cut off", packet{from: ip("fe80::a"), hopLimit: 255, body: edit(advertisement(mac), 17, 2)}, "has an option of a wrong length"},
		{"half an option", packet{from: ip("fe80::a"), hopLimit: 255, body: advertisement(mac)[:17]}, "has an option of a wrong length"},
	} {
		m, err := parse(c.p)
		got := fmt.Sprintf("solicitation from %s", m.from)
		switch {
		case err != nil:
			got = err.Error()
		case m.advertise:
			got = fmt.Sprintf("advertisement from %s", m.from)
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(255, advertisement(net.HardwareAddr{2, 0, 0, 0, 0, 1}))
	f.Add(255, solicitation(nil))
	f.Fuzz(func(t *testing.T, hops int, body []byte) {
		m, err := parse(packet{from: ip("fe80::a"), hopLimit: hops, body: body})
		if err == nil && (hops != 255 || m.from != ip("fe80::a")) {
			t.Errorf("%d %x gives %+v", hops, body, m)
		}
	})
}
