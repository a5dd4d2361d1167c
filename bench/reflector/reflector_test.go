package main

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"caracal.dev/caracal/bench/sender"
	"caracal.dev/caracal/bench/stand"
)

func TestHeld(t *testing.T) {
	shares, err := stand.Split(40, 2)
	if err != nil {
		t.Fatal(err)
	}
	clients, all := newHeld(shares)
	path := sender.Path{NextHop: netip.MustParseAddr("192.0.2.1"), LocalPref: 100}
	feed := func(messages [][]byte) {
		for _, m := range messages {
			clients[0].message(m[18], m[19:])
		}
	}
	for _, step := range []struct {
		what     string
		messages [][]byte
		want     int64
	}{
		{"own routes do not count", sender.Encode(shares[0].Routes, path), 0},
		{"the other's do", sender.Encode(shares[1].Routes, path), 20},
		{"once", sender.Encode(shares[1].Routes[:3], path), 20},
		{"a block is not a route", sender.Encode([]netip.Prefix{shares[1].Block}, path), 20},
		{"withdrawn", sender.EncodeWithdraw(shares[1].Routes[:5]), 15},
		{"what is not a message", [][]byte{make([]byte, 19), append(make([]byte, 18), sender.Update, 0xff, 0xff, 0, 0)}, 15},
		{"End-of-RIB", [][]byte{sender.EncodeEndOfRIB(false)}, 15},
	} {
		feed(step.messages)
		if got := all.total.Load(); got != step.want {
			t.Errorf("%s: %d held, want %d", step.what, got, step.want)
		}
	}
}

func TestReport(t *testing.T) {
	var b strings.Builder
	s := time.Second
	report(&b, "Caracal", 1, result{s, 2 * s, 3 * s, 4 * s, 5 * s, time.Millisecond, 20 << 20, 120 << 20})
	const want = "| Caracal | 1 | 1.00 s | 2.00 s | 4.00 s | 1.0 ms | 3.00 s | 5.00 s | 20 MB | 120 MB |\n"
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", &b, want)
	}
}

// A small cluster with the real BIRD.
func TestRunBIRD(t *testing.T) {
	shares, err := stand.Split(60, 6)
	if err != nil {
		t.Fatal(err)
	}
	r, err := run(t.Context(), stand.BIRD{Reflect: true}, shares, false)
	if err != nil {
		t.Fatal(err)
	}
	if r.up <= 0 || r.reflected <= 0 || r.withdrawn <= 0 || r.one <= 0 || r.peak < r.rss {
		t.Errorf("result %+v", r)
	}
}
