package endpoint

import (
	"context"
	"testing"
	"time"

	"caracal.dev/caracal"
)

// A container that comes while the daemon starts waits for it, and does not have to
// be tried again.
func TestAddDuringStart(t *testing.T) {
	w := newWorld(t)
	w.change = func(o *Options) { o.StartWait = 20 * time.Second }
	whole := w.source.Snapshot()
	w.source.put(func(s *caracal.Snapshot) { *s = *caracal.NewSnapshot("a") })
	w.make()
	why := "the daemon has not started routing"
	w.plane.waiting.Store(&why)
	req := request("c1")
	w.ground.Container(req.NetNS)
	added, ready := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := w.Add(context.Background(), req)
		added <- err
	}()
	w.run()
	select {
	case err := <-added:
		t.Fatalf("added before the daemon knows its addresses: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	w.source.put(func(s *caracal.Snapshot) { *s = *whole })
	if err := <-added; err != nil {
		t.Fatal(err)
	}
	w.ground.Link(caracal.HostInterface("c1", "eth0"), true)
	go func() { ready <- w.Ready(context.Background(), req.ID) }()
	select {
	case err := <-ready:
		t.Fatalf("ready before anything is routed: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	w.plane.waiting.Store(nil)
	if err := <-ready; err != nil {
		t.Fatal(err)
	}
	w.clean(1)
}

// Who gives up does not wait on.
func TestAddGivesUpDuringStart(t *testing.T) {
	w := newWorld(t)
	w.change = func(o *Options) { o.StartWait = time.Hour }
	w.make()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := w.Add(ctx, request("c1")); err == nil {
		t.Error("added without a daemon that has begun")
	}
}
