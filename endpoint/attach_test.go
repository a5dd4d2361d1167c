package endpoint

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"caracal.dev/caracal"
	"caracal.dev/caracal/ipam"
)

// A name that is given to another namespace by mistake does not cut off the one
// that has it; once that is gone, the name is free.
func TestAttachedNameStaysWhereItIs(t *testing.T) {
	w := newWorld(t)
	w.start()
	ctx := context.Background()
	box := Request{ID: ID{"box", "eth0", ""}, NetNS: "/run/netns/box", Kind: KindAttach}
	w.addReady(box)
	before := w.text()
	other := box
	other.NetNS = "/run/netns/other"
	w.ground.Container(other.NetNS)
	if _, err := w.Add(ctx, other); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "box is attached already, to /run/netns/box: detach it first") {
		t.Errorf("another namespace: %v", err)
	}
	named := box
	named.Addrs = []netip.Addr{ip("10.1.0.77")}
	if _, err := w.Add(ctx, named); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "and not 10.1.0.77: take it away first") {
		t.Errorf("another address: %v", err)
	}
	labeled := box
	labeled.Labels = map[string]string{"app": "web"}
	if _, err := w.Add(ctx, labeled); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "detach it first to have that otherwise") {
		t.Errorf("other labels: %v", err)
	}
	if _, err := w.Add(ctx, box); err != nil {
		t.Errorf("the same again: %v", err)
	}
	if w.text() != before || !w.ground.links[(&Endpoint{ID: box.ID}).HostInterface()] {
		t.Errorf("the first was touched:\n%s", w.text())
	}
	w.ground.Kill(box.NetNS, box.ID)
	other.Labels = labeled.Labels
	w.addReady(other)
	if wl, _ := w.Snapshot().Workloads.Get("default/box"); wl.Labels["app"] != "web" {
		t.Errorf("labels %v", wl.Labels)
	}
	if w.text() != before {
		t.Errorf("after the first was gone:\n%swant\n%s", w.text(), before)
	}
	w.clean(1)
	w.addReady(request("c1"))
	if freed, err := w.Remove(ctx, ID{ContainerID: "c1"}); err != nil || len(freed) > 0 {
		t.Errorf("a runtime's container was detached: %v %v", freed, err)
	}
	w.clean(2)
}

// Who looks for an address on the wrong node is told which is the right one.
func TestLookupElsewhere(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.source.put(func(s *caracal.Snapshot) {
		s.Blocks = s.Blocks.Put(pfx("10.9.0.0/26"), caracal.Block{CIDR: pfx("10.9.0.0/26"), Node: "b"})
	})
	for addr, want := range map[string]string{"10.9.0.1": "It is in a block of node b, which knows more", "10.8.0.1": ""} {
		got, err := w.Lookup(context.Background(), ip(addr))
		if err != nil || got.State != ipam.StateOutside || got.Note != want {
			t.Errorf("%s: %+v, %v", addr, got, err)
		}
	}
}
