package api

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "caracal.dev/caracal/proto"
)

// pageSize is how many paths or routes go into one message: enough that the
// cost of a message disappears, few enough that a page is some 100 KB.
const pageSize = 500

type showServer struct {
	pb.UnimplementedShowServer
	src      Source
	peering  Peering // may be nil
	stopping <-chan struct{}
}

// GetStatus implements the RPC.
func (s showServer) GetStatus(ctx context.Context, _ *pb.StatusRequest) (*pb.Status, error) {
	st, err := s.src.Status(ctx)
	if err != nil {
		return nil, statusOf(err)
	}
	return statusMessage(st), nil
}

// ListNeighbors implements the RPC.
func (s showServer) ListNeighbors(ctx context.Context, req *pb.NeighborsRequest) (*pb.NeighborList, error) {
	all, err := s.src.Neighbors(ctx)
	if err != nil {
		return nil, statusOf(err)
	}
	all = slices.SortedFunc(slices.Values(all), func(a, b Neighbor) int { return strings.Compare(a.Name, b.Name) })
	list := &pb.NeighborList{}
	if s.peering != nil {
		list.Drain = drainMessage(s.peering.Drained())
	}
	for i := range all {
		if req.Name == "" || req.Name == all[i].Name {
			list.Neighbors = append(list.Neighbors, neighborMessage(&all[i]))
		}
	}
	if req.Name != "" && len(list.Neighbors) == 0 {
		names := make([]string, len(all))
		for i := range all {
			names[i] = all[i].Name
		}
		return nil, status.Errorf(codes.NotFound, "there is no neighbor %q; %s", req.Name, thereAre(names))
	}
	return list, nil
}

// thereAre lists names for an error, not all of a thousand.
func thereAre(names []string) string {
	const most = 10
	switch n := len(names); {
	case n == 0:
		return "there are none"
	case n > most:
		return "there are " + strings.Join(names[:most], ", ") + " and others"
	default:
		return "there are " + strings.Join(names, ", ")
	}
}

// ListRoutes implements the RPC.
func (s showServer) ListRoutes(req *pb.RoutesRequest, stream grpc.ServerStreamingServer[pb.RouteList]) error {
	q, err := routeQuery(req)
	if err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	var conv pathConverter
	page := newPager(func(paths []*pb.Path) error { return stream.Send(&pb.RouteList{Paths: paths}) })
	err = s.src.Routes(stream.Context(), q, func(p RoutePath) bool { return page.add(conv.message(&p)) })
	return page.end(err)
}

// ListFIB implements the RPC.
func (s showServer) ListFIB(_ *pb.FIBRequest, stream grpc.ServerStreamingServer[pb.FIBList]) error {
	page := newPager(func(entries []*pb.FIBEntry) error { return stream.Send(&pb.FIBList{Entries: entries}) })
	err := s.src.FIB(stream.Context(), func(e FIBEntry) bool { return page.add(fibMessage(&e)) })
	return page.end(err)
}

// pager collects messages into pages.
type pager[T any] struct {
	send func([]T) error
	page []T
	err  error
}

func newPager[T any](send func([]T) error) *pager[T] { return &pager[T]{send: send} }

// add reports whether more is wanted: false once the client is gone.
func (p *pager[T]) add(item T) bool {
	p.page = append(p.page, item)
	if len(p.page) == pageSize {
		p.flush()
	}
	return p.err == nil
}

// flush starts a new slice each time, as the sent one may still be in use by
// the transport.
func (p *pager[T]) flush() {
	if len(p.page) == 0 || p.err != nil {
		return
	}
	p.err = p.send(p.page)
	p.page = make([]T, 0, pageSize)
}

// end sends what is left, and returns the first error of source and client.
func (p *pager[T]) end(err error) error {
	if err != nil {
		return statusOf(err)
	}
	p.flush()
	return p.err
}

// routeQuery checks the request; its errors name the field as the CLI calls it.
func routeQuery(req *pb.RoutesRequest) (RouteQuery, error) {
	q := RouteQuery{Neighbor: req.Neighbor}
	switch req.Table {
	case "", LocRIB.String():
	case AdjRIBIn.String():
		q.Table = AdjRIBIn
	case AdjRIBOut.String():
		q.Table = AdjRIBOut
		if req.Neighbor == "" {
			return q, errors.New("adj-rib-out needs the name of a neighbor")
		}
	default:
		return q, fmt.Errorf("there is no table %q; there are loc-rib, adj-rib-in, adj-rib-out", req.Table)
	}
	var err error
	if req.Prefix != "" {
		if q.Prefix, err = netip.ParsePrefix(req.Prefix); err == nil {
			q.Prefix = q.Prefix.Masked()
		}
	}
	if req.For != "" && err == nil {
		q.For, err = netip.ParseAddr(req.For)
	}
	return q, err
}

// Monitor implements the RPC.
func (s showServer) Monitor(req *pb.MonitorRequest, stream grpc.ServerStreamingServer[pb.EventList]) error {
	// Headers at once, so that the client knows it is heard though nothing
	// happens.
	if err := stream.SendHeader(nil); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	q := newEventQueue()
	ended := make(chan error, 1)
	go func() {
		ended <- s.src.Monitor(ctx, func(ev MonitorEvent) error {
			if len(req.Kinds) == 0 || slices.Contains(req.Kinds, string(ev.Kind)) {
				q.push(ev)
			}
			return nil
		})
	}()
	for {
		select {
		case <-q.bell:
			if err := sendEvents(stream, q); err != nil {
				cancel()
				<-ended
				return err
			}
		case err := <-ended:
			return statusOf(err)
		case <-s.stopping:
			cancel()
			<-ended
			return status.Error(codes.Unavailable, "caracald is stopping")
		}
	}
}

func sendEvents(stream grpc.ServerStreamingServer[pb.EventList], q *eventQueue) error {
	events, dropped := q.take()
	for len(events) > 0 {
		page := events[:min(pageSize, len(events))]
		events = events[len(page):]
		list := &pb.EventList{Events: make([]*pb.Event, len(page))}
		for i := range page {
			list.Events[i] = eventMessage(&page[i])
		}
		if len(events) == 0 {
			list.Dropped = count(dropped)
		}
		if err := stream.Send(list); err != nil {
			return err
		}
	}
	return nil
}
