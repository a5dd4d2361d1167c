package bgp

import (
	"bytes"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// TestDiffLeadsToWant takes random walks of configurations and holds that the
// delta applied to what was gives what is wanted, and that a second is empty.
func TestDiffLeadsToWant(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	have := applied{neighbors: map[string]Neighbor{}, paths: map[netip.Prefix]own{}}
	for range 500 {
		want := randomConfig(r)
		d := diff(have, want)
		for _, n := range d.remove {
			delete(have.neighbors, n.Name)
		}
		for _, list := range [][]Neighbor{d.reset, d.update, d.add} {
			for _, n := range list {
				have.neighbors[n.Name] = n
			}
		}
		for _, p := range d.announce {
			have.paths[p] = want.own(p)
		}
		for _, p := range d.withdraw {
			delete(have.paths, p)
		}
		neighbors, paths := map[string]Neighbor{}, map[netip.Prefix]own{}
		for _, n := range want.Neighbors {
			neighbors[n.Name] = n
		}
		for _, p := range want.Originate {
			paths[p] = want.own(p)
		}
		if !maps.Equal(have.neighbors, neighbors) || !maps.EqualFunc(have.paths, paths, own.equal) {
			t.Fatalf("got %+v, want %+v", have, want)
		}
		if again := diff(have, want); fmt.Sprint(again) != fmt.Sprint(delta{}) {
			t.Fatalf("a second time: %+v", again)
		}
	}
}

func randomConfig(r *rand.Rand) Config {
	c := Config{NextHop4: netip.AddrFrom4([4]byte{192, 0, 2, byte(r.IntN(2))}), NextHop6: netip.MustParseAddr("2001:db8::1")}
	for i := range 6 {
		if r.IntN(2) == 0 {
			c.Originate = append(c.Originate, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 32))
		}
		if r.IntN(2) == 0 {
			c.Neighbors = append(c.Neighbors, Neighbor{Name: fmt.Sprint("mesh/n", i), Port: uint16(r.IntN(2)), MaxPrefixes: uint32(r.IntN(2))})
		}
	}
	return c
}

func TestLogAdapter(t *testing.T) {
	var out bytes.Buffer
	inner := slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})
	names := func(a netip.Addr) string {
		if a == netip.MustParseAddr("192.0.2.2") {
			return "mesh/b"
		}
		return a.String()
	}
	log := slog.New(newLogAdapter(inner, names, faults{}))
	peer := log.With(slog.String("Topic", "Peer"), slog.String("Key", "192.0.2.2"))
	for range 3 { // said once a minute
		log.Info(unknownPeer, slog.String("Topic", "Server"), slog.String("Key", "192.0.2.99"))
	}
	log.Info(unknownPeer, slog.String("Key", "192.0.2.98"))
	peer.Info("Peer Up") // we say that ourselves
	peer.Warn("Closed an accepted connection", slog.String("State", "BGP_FSM_IDLE"))
	peer.Warn("cannot set TTL", slog.String("Error", "no"))
	peer.Info("received notification", slog.Int("Code", 6), slog.Int("Subcode", 2), slog.String("Communicated-Reason", "rack move"), slog.Any("Data", []byte{}))
	peer.Error("code logic bug")
	peer.Debug("received update")
	want := `level=WARN msg="connection refused: no neighbor has this address" neighbor=192.0.2.99
level=WARN msg="connection refused: no neighbor has this address" neighbor=192.0.2.98
level=WARN msg="gobgp: cannot set TTL" neighbor=mesh/b err=no
level=INFO msg="gobgp: received notification" neighbor=mesh/b reason="rack move" notification="Cease: administrative shutdown"
level=ERROR msg="gobgp: code logic bug" neighbor=mesh/b
`
	if out.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", out.String(), want)
	}
	if strings.Contains(out.String(), "Topic") {
		t.Error("GoBGP's topic is logged")
	}
	s := seldom{last: map[string]time.Time{}}
	now := time.Unix(1000, 0)
	if s.again("x", now) || !s.again("x", now.Add(time.Second)) || s.again("x", now.Add(repeatAfter)) {
		t.Error("a line is not said once a minute")
	}
}
