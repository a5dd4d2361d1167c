package bfd

import (
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"testing"
	"time"
)

// goldens are packets on the wire, with what they mean.
var goldens = []struct {
	name, wire string
	p          packet
}{
	{"first", "20400318 00000001 00000000 000f4240 000186a0 00000000", packet{
		State: Down, Multiplier: 3, MyDiscr: 1, DesiredMinTx: time.Second, RequiredMinRx: 100 * time.Millisecond,
	}},
	{"up with poll and C", "20e80318 89abcdef 01234567 000186a0 000186a0 0000c350", packet{
		State: Up, Poll: true, CPI: true, Multiplier: 3, MyDiscr: 0x89abcdef, YourDiscr: 0x01234567,
		DesiredMinTx: 100 * time.Millisecond, RequiredMinRx: 100 * time.Millisecond, RequiredMinEchoRx: 50 * time.Millisecond,
	}},
	{"final, demand, longest intervals", "21d2ff18 00000002 00000003 ffffffff ffffffff 00000000", packet{
		Diag: DiagExpired, State: Up, Final: true, Demand: true, Multiplier: 255, MyDiscr: 2, YourDiscr: 3,
		DesiredMinTx: maxInterval, RequiredMinRx: maxInterval,
	}},
	{"admin down", "27000118 00000004 00000005 000f4240 00000000 00000000", packet{
		Diag: DiagAdminDown, State: AdminDown, Multiplier: 1, MyDiscr: 4, YourDiscr: 5, DesiredMinTx: time.Second,
	}},
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	var out []byte
	for i := 0; i < len(s); i += 9 {
		b, err := hex.DecodeString(s[i : i+8])
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, b...)
	}
	return out
}

func TestPacketGoldens(t *testing.T) {
	for _, g := range goldens {
		wire := unhex(t, g.wire)
		if got := g.p.encode(); string(got[:]) != string(wire) {
			t.Errorf("%s: encoded %x, want %x", g.name, got, wire)
		}
		if got, err := decode(wire); err != nil || got != g.p {
			t.Errorf("%s: decoded %+v, %v, want %+v", g.name, got, err, g.p)
		}
		if got, err := decode(append(wire, 1, 2, 3)); err != nil || got != g.p {
			t.Errorf("%s: with more behind it: %+v, %v", g.name, got, err)
		}
	}
}

func TestPacketRefused(t *testing.T) {
	good := unhex(t, goldens[0].wire)
	for _, c := range []struct {
		name string
		at   int
		to   byte
		want error
	}{
		{"version 0", 0, 0x00, errVersion},
		{"version 2", 0, 0x40, errVersion},
		{"too short", 3, 23, errLength},
		{"too short for authentication", 1, 0x44, errLength},
		{"longer than the payload", 3, 25, errLength},
		{"multiplier 0", 2, 0, errMultiplier},
		{"multipoint", 1, 0x41, errMultipoint},
		{"discriminator 0", 7, 0, errMyDiscr},
	} {
		b := append([]byte{}, good...)
		b[c.at] = c.to
		if _, err := decode(b); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	for n := range good {
		if _, err := decode(good[:n]); err == nil {
			t.Errorf("%d bytes are a packet", n)
		}
	}
	if p, err := decode(append(unhex(t, "20440318 00000001 00000000 000f4240 000186a0 00000000")[:3:3], append([]byte{26}, append(good[4:], 1, 2)...)...)); err != nil || !p.Auth {
		t.Errorf("with authentication: %+v, %v", p, err)
	}
}

func TestPacketRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	us := func() time.Duration { return time.Duration(r.Uint32()) * time.Microsecond }
	for range 10000 {
		p := packet{
			Diag: Diag(r.UintN(32)), State: State(r.UintN(4)), Poll: r.UintN(2) == 0, Final: r.UintN(2) == 0, CPI: r.UintN(2) == 0,
			Demand: r.UintN(2) == 0, Multiplier: uint8(1 + r.UintN(255)), MyDiscr: 1 + r.Uint32N(1<<32-1), YourDiscr: r.Uint32(),
			DesiredMinTx: us(), RequiredMinRx: us(), RequiredMinEchoRx: us(),
		}
		b := p.encode()
		if got, err := decode(b[:]); err != nil || got != p {
			t.Fatalf("%+v became %+v, %v", p, got, err)
		}
	}
}

// FuzzDecode holds that no bytes do harm, that what is taken is taken whole, and
// that no machine is brought into a state that is none.
func FuzzDecode(f *testing.F) {
	for _, g := range goldens {
		f.Add(unhex(f, g.wire))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := decode(b)
		if err != nil {
			return
		}
		if !p.Auth {
			if again := p.encode(); string(again[:3]) != string(b[:3]) || string(again[4:]) != string(b[4:packetLen]) {
				t.Errorf("%x became %x", b, again)
			}
		}
		m := newMachine(timing{tx: 50 * time.Millisecond, rx: 50 * time.Millisecond, multiplier: 3}, 1, func() float64 { return 0.5 }, 0)
		for i := range 8 {
			now := time.Duration(i) * 20 * time.Millisecond
			if i == 2 {
				m.state = State(b[0] & 3)
			}
			m.receive(p, now, now)
			m.tick(now, 0)
			if m.sends(now) {
				m.transmit(now)
			}
			if m.state > Up || m.due() < 0 || m.detection() < 0 || m.txInterval() < 50*time.Millisecond {
				t.Errorf("%+v led to %+v", p, m)
			}
		}
	})
}
