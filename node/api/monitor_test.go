package api

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	pb "caracal.dev/caracal/proto"
)

func monitor(t *testing.T, conn *grpc.ClientConn, f *fakeAgent, kinds ...string) grpc.ServerStreamingClient[pb.EventList] {
	t.Helper()
	stream, err := pb.NewShowClient(conn).Monitor(t.Context(), &pb.MonitorRequest{Kinds: kinds})
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); !f.Active(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nobody subscribed")
		}
	}
	return stream
}

func TestMonitor(t *testing.T) {
	f := &fakeAgent{}
	conn, _ := serve(t, f)
	stream := monitor(t, conn, f, "session", "route")
	f.Publish(MonitorEvent{At: at, Kind: EventFIB, Action: "installed"})
	f.Publish(MonitorEvent{At: at, Kind: EventSession, Neighbor: "mesh/b", Action: "Established"})
	f.Publish(MonitorEvent{At: at, Kind: EventRoute, Prefix: netip.MustParsePrefix("10.0.0.0/8"), Action: "announced"})
	var got []string
	for len(got) < 2 {
		list, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list.Events {
			got = append(got, fmt.Sprint(e.Kind, e.Neighbor, e.Prefix, e.Action))
		}
	}
	if want := "[sessionmesh/bEstablished route10.0.0.0/8announced]"; fmt.Sprint(got) != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestSlowMonitor: a client that does not read costs neither time nor memory,
// and learns exactly how much it missed.
func TestSlowMonitor(t *testing.T) {
	f := &fakeAgent{}
	conn, _ := serve(t, f)
	stream := monitor(t, conn, f)
	const published = 300_000
	begin := time.Now()
	for i := range published {
		f.Publish(MonitorEvent{At: at, Kind: EventRoute, Action: "announced", Detail: fmt.Sprint("a route of some length, number ", i)})
	}
	if took := time.Since(begin); took > time.Minute { // one that waits for the client never ends
		t.Errorf("publishing took %v", took)
	}
	var seen, dropped int
	for seen+dropped < published {
		list, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		seen += len(list.Events)
		dropped += int(list.Dropped)
	}
	if dropped == 0 || seen+dropped != published {
		t.Errorf("seen %d and dropped %d of %d", seen, dropped, published)
	}
}

func TestMonitorEndsWithTheServer(t *testing.T) {
	f := &fakeAgent{}
	path := t.TempDir() + "/s"
	stop := start(t, f, path)
	stream := monitor(t, dial(t, path), f)
	stop()
	// A stream that is cut off, as after stopGrace, ends without these words.
	_, err := stream.Recv()
	wantStatus(t, err, codes.Unavailable, "caracald is stopping")
	if f.Active() {
		t.Error("still subscribed")
	}
}

func TestFeed(t *testing.T) {
	var f Feed
	f.Publish(MonitorEvent{}) // to nobody
	boom := errors.New("boom")
	ended := make(chan error, 1)
	go func() { ended <- f.Monitor(t.Context(), func(MonitorEvent) error { return boom }) }()
	for !f.Active() {
		time.Sleep(time.Millisecond)
	}
	f.Publish(MonitorEvent{})
	f.Publish(MonitorEvent{})
	if err := <-ended; !errors.Is(err, boom) {
		t.Errorf("got %v", err)
	}
	if f.Active() {
		t.Error("still subscribed")
	}
}
