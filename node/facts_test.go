package node

import (
	"context"
	"io"
	"log/slog"
	"reflect"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"caracal.dev/caracal/bgp"
)

// TestSessionFacts follows a session through its life and a change of its name.
func TestSessionFacts(t *testing.T) {
	f := newSessionFacts()
	at := time.Unix(1000, 0)
	both := bgp.Neighbor{IPv4: true, IPv6: true}
	f.session(&bgp.Session{Neighbor: "mesh/b", State: bgp.Established, Was: bgp.OpenConfirm, At: at})
	f.endOfRIB(&bgp.EndOfRIB{Neighbor: "mesh/b"}, both)
	if got := f.now["mesh/b"]; !got.Established || !got.EndOfRIB.IsZero() || !got.Since.Equal(at) {
		t.Errorf("one family: %+v", got)
	}
	f.endOfRIB(&bgp.EndOfRIB{Neighbor: "mesh/b", IPv6: true}, both)
	if f.now["mesh/b"].EndOfRIB.IsZero() {
		t.Error("both families: not all is there")
	}
	f.session(&bgp.Session{Neighbor: "peer/x", Renamed: "mesh/b", State: bgp.Established, Was: bgp.Established})
	if got := f.now["peer/x"]; got.EndOfRIB.IsZero() || len(f.now) != 1 {
		t.Errorf("renamed: %+v", f.now)
	}
	f.session(&bgp.Session{Neighbor: "peer/x", State: bgp.Established, Was: bgp.Established, Expired: true})
	if !f.now["peer/x"].Established {
		t.Error("what was stale is gone, and the session with it")
	}
	f.session(&bgp.Session{Neighbor: "peer/x", State: bgp.Idle, Was: bgp.Established})
	if got := f.now["peer/x"]; got.Established || !got.EndOfRIB.IsZero() {
		t.Errorf("down: %+v", got)
	}
	f.session(&bgp.Session{Neighbor: "peer/x", Removed: true})
	if len(f.now)+len(f.eor) != 0 {
		t.Errorf("removed: %+v %+v", f.now, f.eor)
	}
}

// TestFactsFor asks the mirror only about what lingers, and remembers since when
// it has said yes without a break.
func TestFactsFor(t *testing.T) {
	a := New(Options{Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	var asked []string
	says := map[string]coverage{}
	s := &speakerTask{drain: a.drain, coverages: func(_ context.Context, names []string) map[string]coverage {
		asked = slices.Sorted(slices.Values(names))
		return says
	}}
	sessions := map[string]bgp.SessionFact{"mesh/b": {Established: true}}
	s.sessions = &atomic.Pointer[map[string]bgp.SessionFact]{}
	s.sessions.Store(&sessions)
	if f := s.factsFor(t.Context(), bgp.Config{}); asked != nil || f.Covered != nil || len(f.Sessions) != 1 {
		t.Errorf("nothing lingers: asked %v, %+v", asked, f)
	}
	last := bgp.Config{Lingers: map[string]time.Time{"mesh/b": {}, "mesh/c": {}}}
	says = map[string]coverage{"mesh/b": {covered: true}, "mesh/c": {silent: true}}
	first := s.factsFor(t.Context(), last)
	if !reflect.DeepEqual(asked, []string{"mesh/b", "mesh/c"}) || len(first.Covered) != 1 || !first.Sessions["mesh/c"].Silent || sessions["mesh/c"].Silent {
		t.Errorf("asked %v, %+v", asked, first)
	}
	if again := s.factsFor(t.Context(), last); !again.Covered["mesh/b"].Equal(first.Covered["mesh/b"]) {
		t.Error("covered since another time")
	}
	says = map[string]coverage{}
	s.factsFor(t.Context(), last)
	says = map[string]coverage{"mesh/b": {covered: true}}
	if after := s.factsFor(t.Context(), last); after.Covered["mesh/b"].Equal(first.Covered["mesh/b"]) {
		t.Error("a break is forgotten")
	}
}
