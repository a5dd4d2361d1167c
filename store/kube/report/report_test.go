package report

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"caracal.dev/caracal"
	v1 "caracal.dev/caracal/api/v1"
	"caracal.dev/caracal/bgp"
	"caracal.dev/caracal/node/api"
)

// fakeAPI notes what is written, and when.
type fakeAPI struct {
	err      error
	statuses []v1.NodeStatus
	at       []time.Time
	events   []Notice
	up       int
	now      func() time.Time
}

func (f *fakeAPI) status(_ context.Context, s v1.NodeStatus) error {
	if f.err == nil {
		f.statuses, f.at = append(f.statuses, s), append(f.at, f.now())
	}
	return f.err
}

func (f *fakeAPI) networkIsUp(context.Context, time.Time) (bool, error) {
	if f.err == nil {
		f.up++
	}
	return true, f.err
}

func (f *fakeAPI) event(_ context.Context, n Notice, _ time.Time) error {
	if f.err == nil {
		f.events = append(f.events, n)
	}
	return f.err
}

// world is a node whose state and clock the test sets.
type world struct {
	st        api.Status
	neighbors []api.Neighbor
	asked     int
	clock     time.Time
	api       *fakeAPI
	r         *Reporter
	extra     []Notice
}

func (w *world) Status(context.Context) (api.Status, error) {
	w.st.Counts.Neighbors, w.st.Counts.Established = len(w.neighbors), 0
	for _, n := range w.neighbors {
		if n.State == bgp.Established {
			w.st.Counts.Established++
		}
	}
	return w.st, nil
}

func (w *world) Neighbors(context.Context) ([]api.Neighbor, error) {
	w.asked++
	return slices.Clone(w.neighbors), nil
}

func newWorld() *world {
	w := &world{clock: time.Unix(1_000_000, 0)}
	w.st.Counts.Nodes = 1
	w.api = &fakeAPI{now: func() time.Time { return w.clock }}
	w.r = New(Options{Node: "a", Source: w, Notices: func() []Notice { return w.extra }})
	w.r.api, w.r.now, w.r.draw = w.api, w.api.now, func(d time.Duration) time.Duration { return d }
	return w
}

// pass lets time pass, 2 s at a time.
func (w *world) pass(t *testing.T, d time.Duration) {
	for end := w.clock.Add(d); w.clock.Before(end); {
		w.clock = w.clock.Add(2 * time.Second)
		w.r.turn(t.Context())
	}
}

func session(name string, state bgp.State) api.Neighbor {
	return api.Neighbor{NeighborStatus: bgp.NeighborStatus{Neighbor: bgp.Neighbor{Name: name, Addr: netip.MustParseAddr("192.0.2.2"), ASN: 64512}, State: state}}
}

func ready(w *world) {
	w.st.Ready.Holds, w.st.Converged.Holds, w.st.Policy.Since = true, true, w.clock
}

func TestWrittenRarely(t *testing.T) {
	w := newWorld()
	w.st.Ready.Reason = "BGP has not started"
	w.pass(t, 4*time.Second)
	if len(w.api.statuses) != 1 || w.api.statuses[0].NotReady != "BGP has not started" || w.api.up != 0 {
		t.Fatalf("at first: %+v, up %d", w.api.statuses, w.api.up)
	}
	ready(w)
	w.neighbors = []api.Neighbor{session("mesh/b", bgp.Established)}
	w.pass(t, 8*time.Second)
	if n := len(w.api.statuses); n != 2 || !w.api.statuses[1].Ready || w.api.statuses[1].SessionsSummary != "1/1" || w.api.up != 1 {
		t.Fatalf("when ready: %+v, up %d", w.api.statuses, w.api.up)
	}
	// What changes all the time is no reason to write.
	for i := range 60 {
		w.st.Counts.Prefixes, w.st.Counts.FIBInstalled = i, i
		w.neighbors[0].Prefixes.Received++
		w.pass(t, 2*time.Second)
	}
	if n := len(w.api.statuses); n != 2 {
		t.Fatalf("%d writes of figures alone", n-2)
	}
	// A flood of changes that matter is one write each 30 s.
	for i := range 300 {
		w.st.Counts.Originated = i
		w.pass(t, 2*time.Second)
	}
	if n := len(w.api.statuses) - 2; n < 15 || n > 21 {
		t.Errorf("%d writes in 10 minutes of changes", n)
	}
	had := len(w.api.statuses)
	w.pass(t, time.Hour)
	if n := len(w.api.statuses) - had; n < 5 || n > 7 {
		t.Errorf("%d writes in a quiet hour", n)
	}
	if w.asked > 700 {
		t.Errorf("the sessions were listed %d times", w.asked)
	}
}

func TestFlappingReady(t *testing.T) {
	w := newWorld()
	for range 30 {
		ready(w)
		w.pass(t, 2*time.Second)
		w.st.Ready = api.Fact{Reason: "x"}
		w.pass(t, 2*time.Second)
	}
	if n := len(w.api.statuses); n > 2*60/5 {
		t.Errorf("%d writes in two minutes", n)
	}
	if w.api.up != 1 {
		t.Errorf("the condition was written %d times", w.api.up)
	}
}

func TestWithoutTheAPI(t *testing.T) {
	w := newWorld()
	ready(w)
	w.api.err = errors.New("connection refused")
	w.st.Problems = []caracal.Problem{{Severity: caracal.Rejected, Kind: "BGPPeer", Name: "tor", Message: "no"}}
	w.pass(t, 10*time.Minute)
	if w.r.failures > 15 {
		t.Errorf("%d attempts in 10 minutes", w.r.failures)
	}
	w.api.err = nil
	w.pass(t, 5*time.Minute)
	if len(w.api.statuses) == 0 || w.api.up != 1 || len(w.api.events) != 1 {
		t.Errorf("afterwards: %d statuses, up %d, events %v", len(w.api.statuses), w.api.up, w.api.events)
	}
}

func TestEvents(t *testing.T) {
	w := newWorld()
	ready(w)
	w.neighbors = []api.Neighbor{session("mesh/b", bgp.Established), session("mesh/c", bgp.Established)}
	w.pass(t, time.Minute)
	if len(w.api.events) != 0 {
		t.Fatalf("events %v", w.api.events)
	}
	reasons := func() (out []string) {
		for _, n := range w.api.events {
			out = append(out, n.Reason)
		}
		w.api.events = nil
		return out
	}
	w.neighbors[0].State, w.neighbors[0].LastError = bgp.Active, "no route to host"
	w.pass(t, 50*time.Second)
	if got := reasons(); len(got) != 0 {
		t.Errorf("after 50 s: %v", got)
	}
	w.neighbors[0].State = bgp.Idle // its state changes, it stays down
	w.pass(t, 40*time.Second)
	if n := w.api.events; len(n) != 1 || !strings.Contains(n[0].Message, "mesh/b with 192.0.2.2 (AS 64512)") || !strings.Contains(n[0].Message, "no route to host") {
		t.Errorf("session down: %v", n)
	}
	reasons()
	w.neighbors[0].LastError = "connection refused"
	w.pass(t, time.Hour)
	if got := reasons(); len(got) != 0 {
		t.Errorf("said again: %v", got)
	}
	w.st.Problems = []caracal.Problem{
		{Severity: caracal.Warning, Kind: "BGPPeer", Name: "x", Message: "selects no node"},
		{Severity: caracal.Rejected, Kind: "NetworkPolicy", Name: "default/p", Message: "bad CIDR"},
		{Severity: caracal.Held, Kind: "BGPPeer", Message: "5 of 6 would go"},
	}
	w.extra = []Notice{{Reason: ReasonAddress, Message: "address 192.0.2.1 is on none"}}
	w.st.Policy.Problem, w.st.Policy.FailingSince = "iptables-restore failed", w.clock
	w.pass(t, time.Minute)
	got := reasons()
	slices.Sort(got)
	if want := []string{ReasonAddress, ReasonPolicy, ReasonRejected, ReasonHeld}; len(got) != 4 || slices.ContainsFunc(want, func(r string) bool { return !slices.Contains(got, r) }) {
		t.Errorf("%v; want %v", got, want)
	}
	// A flood is cut short.
	for i := range 500 {
		w.st.Problems = append(w.st.Problems, caracal.Problem{Severity: caracal.Rejected, Kind: "IPPool", Name: strings.Repeat("x", i), Message: "bad"})
	}
	w.pass(t, time.Minute)
	if got := reasons(); len(got) > burst+3 {
		t.Errorf("%d events in a minute", len(got))
	}
	if last := w.api.statuses[len(w.api.statuses)-1]; len(last.Problems) != maxProblems || last.ProblemCount != 503 || last.Problems[0].Severity == "warning" {
		t.Errorf("%d problems of %d, first %+v", len(last.Problems), last.ProblemCount, last.Problems[0])
	}
}

func TestNeighborsThatAreDownComeFirst(t *testing.T) {
	var list []api.Neighbor
	for i := range 200 {
		list = append(list, session("mesh/"+strings.Repeat("n", i+1), bgp.Established))
	}
	list = append(list, session("peer/z", bgp.Active))
	if got := neighborsOf(list); len(got) != maxNeighbors || got[0].Name != "peer/z" || got[0].State != "Active" {
		t.Errorf("%d, first %+v", len(got), got[0])
	}
}
