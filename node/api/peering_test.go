package api

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"caracal.dev/caracal"
	"caracal.dev/caracal/bgp"
	pb "caracal.dev/caracal/proto"
)

// TestNeighborInFull: what a neighbor is to us and how it is protected arrives,
// and no secret does.
func TestNeighborInFull(t *testing.T) {
	n := testNeighbor("peer/tor@192.0.2.2")
	n.External, n.Peer, n.Filters, n.TTLSecurity = true, "tor", "one,two", 1
	n.Password = caracal.Password{From: "local/secrets/tor/md5", Secret: caracal.NewSecret("hunter2")}
	n.Held, n.HeldUntil = true, at
	n.LastNotification = bgp.Notification{Sent: true, Code: 6, Subcode: 1, At: at}
	n.Refusals = []Refusal{{"no filter lets it in", 7}}
	n.BFD = &BFDSession{State: "Up", Configured: caracal.BFD{Transmit: 100 * time.Millisecond}}
	f := &fakeAgent{neighbors: []Neighbor{n}, status: Status{Drain: Drain{Stage: DrainClosed, Since: at}}}
	conn, _ := serve(t, f)
	list, err := pb.NewShowClient(conn).ListNeighbors(t.Context(), &pb.NeighborsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	got := list.Neighbors[0]
	if got.Role != "external" || got.Peer != "tor" || len(got.Filters) != 2 || got.TtlSecurity != 1 || !got.Md5 || got.Secret != "local/secrets/tor/md5" ||
		!got.Held || !got.HeldUntil.AsTime().Equal(at) || got.LastNotification.Name != "Cease: maximum number of prefixes reached" ||
		got.Refusals[0].Paths != 7 || got.Bfd.ConfiguredTransmitMs != 100 {
		t.Errorf("got %v", got)
	}
	if strings.Contains(list.String(), "hunter2") {
		t.Error("the secret is in the answer")
	}
	if list.Drain.GetStage() != "closed" || list.Drain.Message != "drained, sessions closed" {
		t.Errorf("drain %v", list.Drain)
	}
}

func TestRole(t *testing.T) {
	for want, n := range map[string]bgp.Neighbor{
		"mesh": {}, "internal": {Peer: "x"}, "external": {Peer: "x", External: true}, "client": {Client: true}, "reflector": {Peer: "x", Reflector: true},
	} {
		if got := role(n); got != want {
			t.Errorf("%+v: %s, want %s", n, got, want)
		}
	}
}

func TestPeering(t *testing.T) {
	community, pref, med := caracal.StandardCommunity(65000, 1), uint32(50), uint32(0)
	f := &fakeAgent{filters: []Filter{
		{Filter: caracal.Filter{Name: "b"}, Missing: true},
		{Filter: caracal.Filter{
			Name: "a",
			Export6: []caracal.Rule{{Accept: true, Operations: []caracal.Operation{
				{AddCommunity: &community}, {PrependASPath: []uint32{1, 1}}, {SetLocalPref: &pref}, {SetMED: &med}, {}}}},
			Import4: []caracal.Rule{{CIDR: netip.MustParsePrefix("10.0.0.0/8"), Match: caracal.MatchIn, HasLen: true, MaxLen: 24, Communities: []caracal.Community{community}}},
		}, Neighbors: []string{"peer/y", "peer/x"}},
	}}
	conn, _ := serve(t, f)
	peering := pb.NewPeeringClient(conn)
	bfd, err := peering.ListBFD(t.Context(), &pb.BFDRequest{})
	if err != nil || len(bfd.Sessions) != 2 || bfd.Sessions[0].Neighbor != "mesh/b" || bfd.Sessions[0].DetectionMs != 300 {
		t.Errorf("got %v, %v", bfd, err)
	}
	list, err := peering.ListFilters(t.Context(), &pb.FiltersRequest{})
	if err != nil || len(list.Filters) != 2 || !list.Filters[1].Missing {
		t.Fatalf("got %v, %v", list, err)
	}
	a := list.Filters[0]
	if a.Neighbors[0] != "peer/x" || len(a.Rules) != 2 || a.Rules[0].Match != "In" || a.Rules[0].GetMinLength() != 0 || a.Rules[0].MinLength == nil ||
		a.Rules[0].GetMaxLength() != 24 || a.Rules[0].Action != "reject" || a.Rules[0].Communities[0] != "65000:1" || a.Rules[1].Direction != "export" || a.Rules[1].MinLength != nil {
		t.Errorf("got %v", a)
	}
	if got, want := strings.Join(a.Rules[1].Operations, "; "), "add community 65000:1; prepend 1 1; set local preference 50; set MED 0; nothing"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	_, err = peering.ListFilters(t.Context(), &pb.FiltersRequest{Name: "c"})
	wantStatus(t, err, codes.NotFound, `there is no filter "c"; there are a, b`)
	tor, err := peering.GetTorConfig(t.Context(), &pb.TorConfigRequest{Node: "a", Format: "frr"})
	if err != nil || tor.Text != "{Node:a Selector: Peer: Format:frr ASN:0}" {
		t.Errorf("got %v, %v", tor, err)
	}
	_, err = peering.GetTorConfig(t.Context(), &pb.TorConfigRequest{Node: "a", Selector: "all()"})
	wantStatus(t, err, codes.InvalidArgument, "one of the two")
}

func TestDrain(t *testing.T) {
	f := &fakeAgent{}
	conn, _ := serve(t, f)
	cmd := pb.NewCommandClient(conn)
	stream, err := cmd.Drain(t.Context(), &pb.DrainRequest{WaitSeconds: 1.5, Force: true})
	if err != nil {
		t.Fatal(err)
	}
	var last string
	n := 0
	for {
		s, err := stream.Recv()
		if err != nil {
			break
		}
		last = s.Message
		n++
	}
	if n != 2 || last != "services and transit are withdrawn; 14 workloads still here, their routes kept; --force withdraws them" {
		t.Errorf("%d answers, the last %q", n, last)
	}
	if was, err := cmd.Undrain(t.Context(), &pb.UndrainRequest{}); err != nil || was.Stage != "" || was.Message != "not drained" {
		t.Errorf("got %v, %v", was, err)
	}
	if got, want := strings.Join(f.done, "; "), "drain 1.5s true; undrain"; got != want {
		t.Errorf("done %q, want %q", got, want)
	}
	stream, err = cmd.Drain(t.Context(), &pb.DrainRequest{WaitSeconds: 1e9})
	if err == nil {
		_, err = stream.Recv()
	}
	wantStatus(t, err, codes.InvalidArgument, "a drain waits up to 24h0m0s")
}

// TestDrainDone: the command ends when nothing more happens by itself.
func TestDrainDone(t *testing.T) {
	for _, tc := range []struct {
		d    Drain
		done bool
		text string
	}{
		{Drain{}, true, "not drained"},
		{Drain{Stage: DrainMoving}, false, "services and transit of this node are announced as the last choice (GRACEFUL_SHUTDOWN); next they are withdrawn"},
		{Drain{Stage: DrainAway}, false, "services and transit are withdrawn; next the sessions are closed"},
		{Drain{Stage: DrainAway, Workloads: 1}, true, "services and transit are withdrawn; 1 workload still here, their routes kept; --force withdraws them"},
		{Drain{Stage: DrainAway, Workloads: 2, Force: true}, false, "services and transit are withdrawn; next the sessions are closed"},
		{Drain{Stage: DrainClosed, Sessions: 2}, false, "drained, sessions closed"},
		{Drain{Stage: DrainClosed, Workloads: 2}, true, "drained, sessions closed; 2 workloads still here, their routes withdrawn"},
	} {
		if got := tc.d.Done(); got != tc.done || tc.d.String() != tc.text {
			t.Errorf("%+v: done %t, %q", tc.d, got, tc.d)
		}
	}
}
