package bgp

import (
	"io"
	"log/slog"
	"net/netip"
	"testing"
	"time"
)

// TestReleasedLate: GoBGP tells that it tries a neighbor again before we have noted that
// we let it.
func TestReleasedLate(t *testing.T) {
	tr := newTracker(slog.New(slog.NewTextHandler(io.Discard, nil)), newInbox())
	nb := &tracked{conf: Neighbor{Name: "tor", Addr: netip.MustParseAddr("192.0.2.9")}, state: Disabled, held: true, heldUntil: time.Now()}
	tr.byAddr[nb.conf.Addr] = nb
	tr.changed(change{addr: nb.conf.Addr, state: Active, at: time.Now()})
	tr.setDisabled(nb.conf.Addr, nil)
	if st := nb.status(); st.Held || !st.HeldUntil.IsZero() || st.State != Active || tr.isHeld(nb.conf.Addr) {
		t.Errorf("%+v", st)
	}
}
