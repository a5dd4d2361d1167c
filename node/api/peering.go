package api

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"caracal.dev/caracal"
	pb "caracal.dev/caracal/proto"
)

// Peering answers what is about neighbors beside their routes.
type Peering interface {
	// BFD are the sessions of RFC 5880, in any order.
	BFD(ctx context.Context) ([]BFDSession, error)
	// Filters are the BGPFilters, in any order.
	Filters(ctx context.Context) ([]Filter, error)
	// TorConfig writes the configuration of a switch that nodes peer with. What
	// does not exist is [ErrNotFound], what is not clear enough [ErrRefused].
	TorConfig(ctx context.Context, q TorQuery) (string, error)
	// Drained says how far this node has got in leaving.
	Drained() Drain
}

// BFDSession is a session of RFC 5880.
type BFDSession struct {
	// Neighbor is the name of the BGP neighbor that is watched.
	Neighbor            string
	Addr, Local         netip.Addr
	Interface           string
	Multihop            bool
	State, RemoteState  string
	Since               time.Time
	Diagnostic          string // why it went down last, in words
	RemoteDiagnostic    string
	Configured          caracal.BFD
	Transmit, Detection time.Duration // in force
	// RemoteTransmit, RemoteReceive and RemoteMultiplier are what the neighbor's
	// packets say; RemoteIndependent is its C bit.
	RemoteTransmit, RemoteReceive time.Duration
	RemoteMultiplier              uint8
	RemoteIndependent             bool
	Sent, Received, Discarded     uint64
	// Flaps counts how often it left Up.
	Flaps                                   uint64
	LocalDiscriminator, RemoteDiscriminator uint32
}

// Filter is a BGPFilter with who is asked by it.
type Filter struct {
	caracal.Filter
	// Neighbors are those whose paths it judges.
	Neighbors []string
	// Missing says that a peer names it and there is none, so that everything from
	// and to those neighbors is refused.
	Missing bool
}

// TorQuery says which switch a configuration is wanted of.
type TorQuery struct {
	// Node is the name of one node, or Selector selects several.
	Node, Selector string
	// Peer is the name of the BGPPeer; empty if it is clear.
	Peer string
	// Format is "frr", "bird" or "eos".
	Format string
	// ASN is the switch's AS number where the configuration does not say it.
	ASN uint32
}

type peeringServer struct {
	pb.UnimplementedPeeringServer
	src Peering
}

// ListBFD implements the RPC.
func (s peeringServer) ListBFD(ctx context.Context, _ *pb.BFDRequest) (*pb.BFDList, error) {
	all, err := s.src.BFD(ctx)
	if err != nil {
		return nil, statusOf(err)
	}
	list := &pb.BFDList{}
	for _, b := range slices.SortedFunc(slices.Values(all), func(a, b BFDSession) int { return strings.Compare(a.Neighbor, b.Neighbor) }) {
		list.Sessions = append(list.Sessions, bfdMessage(&b))
	}
	return list, nil
}

// ListFilters implements the RPC.
func (s peeringServer) ListFilters(ctx context.Context, req *pb.FiltersRequest) (*pb.FilterList, error) {
	all, err := s.src.Filters(ctx)
	if err != nil {
		return nil, statusOf(err)
	}
	list := &pb.FilterList{}
	var names []string
	for _, f := range slices.SortedFunc(slices.Values(all), func(a, b Filter) int { return strings.Compare(a.Name, b.Name) }) {
		names = append(names, f.Name)
		if req.Name == "" || req.Name == f.Name {
			list.Filters = append(list.Filters, filterMessage(&f))
		}
	}
	if req.Name != "" && len(list.Filters) == 0 {
		return nil, status.Errorf(codes.NotFound, "there is no filter %q; %s", req.Name, thereAre(names))
	}
	return list, nil
}

// GetTorConfig implements the RPC.
func (s peeringServer) GetTorConfig(ctx context.Context, req *pb.TorConfigRequest) (*pb.TorConfig, error) {
	if (req.Node == "") == (req.Selector == "") {
		return nil, status.Error(codes.InvalidArgument, "say for which nodes: with --node or with --selector, one of the two")
	}
	text, err := s.src.TorConfig(ctx, TorQuery{Node: req.Node, Selector: req.Selector, Peer: req.Peer, Format: req.Format, ASN: req.Asn})
	if err != nil {
		return nil, statusOf(err)
	}
	return &pb.TorConfig{Text: text}, nil
}
