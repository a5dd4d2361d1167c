package endpoint

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
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
	if w.text() != before || !w.ground.links[(&Endpoint{ID: box.ID}).HostInterface()] {
		t.Errorf("the first was touched:\n%s", w.text())
	}
	w.ground.Kill(box.NetNS, box.ID)
	w.addReady(other)
	if w.text() != before {
		t.Errorf("after the first was gone:\n%swant\n%s", w.text(), before)
	}
	w.clean(1)
}
