package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"caracal.dev/caracal"
	"caracal.dev/caracal/bgp"
)

var at = time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC)

// fakeAgent answers with what a test put into it.
type fakeAgent struct {
	Feed
	status    Status
	neighbors []Neighbor
	routes    int // how many /32 to list
	given     int // how many of them were asked for
	query     RouteQuery
	fib       []FIBEntry
	nodes     []Node
	filters   []Filter
	done      []string
	err       error
	panics    bool
}

func (f *fakeAgent) Status(context.Context) (Status, error) {
	if f.panics {
		panic("fake")
	}
	return f.status, f.err
}

func (f *fakeAgent) Neighbors(context.Context) ([]Neighbor, error) { return f.neighbors, f.err }

func (f *fakeAgent) Routes(_ context.Context, q RouteQuery, fn func(RoutePath) bool) error {
	f.query = q
	attrs := &caracal.Attrs{NextHop: netip.MustParseAddr("192.0.2.2"), LocalPref: 100,
		Communities: []uint32{64512<<16 | 7}, LargeCommunities: [][3]uint32{{1, 2, 3}}}
	for i := range f.routes {
		f.given = i + 1
		ip := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		if !fn(RoutePath{Path: caracal.Path{NLRI: caracal.HostPrefix(ip), Neighbor: "mesh/b", Attrs: attrs, Received: at}, Source: FromBGP, Best: true}) {
			break
		}
	}
	return f.err
}

func (f *fakeAgent) FIB(_ context.Context, fn func(FIBEntry) bool) error {
	for _, e := range f.fib {
		if !fn(e) {
			break
		}
	}
	return f.err
}

func (f *fakeAgent) Nodes(context.Context) ([]Node, error)           { return f.nodes, f.err }
func (f *fakeAgent) Workloads(context.Context) ([]Workload, error)   { return nil, f.err }
func (f *fakeAgent) Interfaces(context.Context) ([]Interface, error) { return nil, f.err }

func (f *fakeAgent) Neighbor(_ context.Context, verb NeighborVerb, name string) (string, error) {
	if name != "mesh/b" {
		return "", fmt.Errorf("there is no neighbor %q: %w", name, ErrNotFound)
	}
	f.done = append(f.done, string(verb)+" "+name)
	return name + ": done", f.err
}

func (f *fakeAgent) Configure(_ context.Context, o ConfigureOptions) (ConfigureResult, error) {
	f.done = append(f.done, fmt.Sprint("configure ", o.Check, o.Confirm, o.Dir))
	return ConfigureResult{Applied: !o.Check, Generation: 7, Resets: []NeighborReset{{"mesh/b", "port"}},
		Ends: []string{"mesh/c"}, Starts: []string{"mesh/d"}}, f.err
}

func (f *fakeAgent) Cleanup(_ context.Context, yes bool) (CleanupResult, error) {
	f.done = append(f.done, fmt.Sprint("cleanup ", yes))
	return CleanupResult{Items: []string{"route 10.0.0.0/24"}, Total: 1}, f.err
}

func (f *fakeAgent) Drain(_ context.Context, wait time.Duration, force bool, fn func(Drain) error) error {
	f.done = append(f.done, fmt.Sprint("drain ", wait, force))
	if err := fn(Drain{Stage: DrainMoving, Since: at}); err != nil || f.err != nil {
		return errors.Join(err, f.err)
	}
	return fn(Drain{Stage: DrainAway, Since: at, Workloads: 14})
}

func (f *fakeAgent) Undrain(context.Context) (Drain, error) {
	f.done = append(f.done, "undrain")
	return Drain{}, f.err
}

func (f *fakeAgent) Drained() Drain { return f.status.Drain }

func (f *fakeAgent) BFD(context.Context) ([]BFDSession, error) {
	return []BFDSession{{Neighbor: "mesh/c"}, {Neighbor: "mesh/b", Detection: 300 * time.Millisecond}}, f.err
}

func (f *fakeAgent) Filters(context.Context) ([]Filter, error) { return f.filters, f.err }

func (f *fakeAgent) TorConfig(_ context.Context, q TorQuery) (string, error) {
	return fmt.Sprintf("%+v", q), f.err
}

func testNeighbor(name string) Neighbor {
	return Neighbor{NeighborStatus: bgp.NeighborStatus{
		Neighbor: bgp.Neighbor{Name: name, Addr: netip.MustParseAddr("192.0.2.2"), IPv4: true, HoldTime: 90 * time.Second},
		State:    bgp.Established, Since: at, HoldTime: 30 * time.Second,
	}, Prefixes: PrefixCounts{Received: 1 << 40}}
}

// serve runs a server for f and returns a connection to it.
func serve(t *testing.T, f *fakeAgent) (*grpc.ClientConn, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "run", "caracal.sock")
	start(t, f, path)
	return dial(t, path), path
}

// start runs a server until the test ends, or stop is called.
func start(t testing.TB, f *fakeAgent, path string) (stop func()) {
	t.Helper()
	s := New(Backend{Source: f, Inventory: f, Commander: f, Peering: f}, Options{Socket: path, Log: slog.New(slog.DiscardHandler)})
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
		if _, err := os.Lstat(path); !os.IsNotExist(err) {
			t.Errorf("the socket file is left: %v", err)
		}
	}
	t.Cleanup(stop)
	return stop
}

func dial(t testing.TB, path string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///caracald",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}
