package bgp

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"testing"
	"time"
)

// TestReadsDoNotWait: a removal that GoBGP never reports holds up neither a
// reader nor an Apply whose context ends.
func TestReadsDoNotWait(t *testing.T) {
	ip, other := netip.MustParseAddr("127.0.17.1"), netip.MustParseAddr("127.0.17.9")
	s := New(Options{Log: slog.New(slog.DiscardHandler)})
	conf := Config{
		Global:    Global{ASN: 64512, RouterID: ip, Port: 17900, ListenAddrs: ip.String()},
		Neighbors: []Neighbor{{Name: "mesh/b", Addr: other, Port: 17900, ASN: 64512, Local: ip, Passive: true, IPv4: true}},
	}
	if _, err := s.Apply(context.Background(), conf); err != nil {
		t.Fatal(err)
	}
	defer s.Leave(context.Background())
	for s.tracker.state(other) != Active { // else what ends the watch may be seen late, after the removal
		time.Sleep(10 * time.Millisecond)
	}
	s.engine.unwatch()
	conf.Neighbors = nil
	ctx, cancel := context.WithCancel(context.Background())
	applied := make(chan error, 1)
	go func() {
		_, err := s.Apply(ctx, conf)
		applied <- err
	}()
	for s.mu.TryLock() {
		s.mu.Unlock()
		time.Sleep(time.Millisecond)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		if list, err := s.Neighbors(context.Background()); err != nil || len(list) != 1 {
			t.Errorf("neighbors: %+v %v", list, err)
		}
		if err := s.LocRIB(context.Background(), nil); err != nil {
			t.Error(err)
		}
		if err := s.AdjOut(context.Background(), "mesh/x", nil); !errors.Is(err, ErrUnknown) {
			t.Error(err)
		}
	}()
	select {
	case <-read:
	case <-time.After(30 * time.Second):
		t.Fatal("a reader waits for Apply")
	}
	select {
	case err := <-applied:
		t.Fatalf("Apply did not wait for GoBGP: %v", err)
	default:
	}
	cancel()
	select {
	case err := <-applied:
		if err == nil {
			t.Error("no error")
		}
	case <-time.After(30 * time.Second):
		t.Fatal("Apply waits on though its context ended")
	}
}
