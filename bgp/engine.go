package bgp

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"github.com/osrg/gobgp/v4/pkg/server"

	"caracal.dev/caracal"
)

// engine drives one GoBGP server. A server serves once: after a failed start it
// is thrown away, and one that started lives as long as the process.
type engine struct {
	server  *server.BgpServer
	unwatch context.CancelFunc
	sockets *sockets
	changes changes
}

// sink is told what happens, all from one goroutine.
type sink interface {
	paths(addr netip.Addr, convert func(guard) []Event)
	endOfRIB(addr netip.Addr, v6 bool)
	changed(c change)
}

// startEngine starts a server that listens, with the policy that keeps received
// paths out of its Loc-RIB, and lets to know what happens.
func startEngine(ctx context.Context, g Global, log *slog.Logger, to sink) (*engine, error) {
	e := &engine{server: server.NewBgpServer(server.LoggerOption(log, nil))}
	go e.server.Serve()
	if err := e.start(ctx, g, to); err != nil {
		if e.sockets != nil {
			e.sockets.close()
		}
		e.server.Stop() // closes what listeners it has opened
		return nil, err
	}
	return e, nil
}

func (e *engine) start(ctx context.Context, g Global, to sink) error {
	if err := e.server.StartBgp(ctx, &api.StartBgpRequest{Global: toGlobal(g)}); err != nil {
		return err
	}
	var err error
	if e.sockets, err = findSockets(g); err != nil {
		return err
	}
	set, policy, assignment := toImportPolicy()
	if err := e.server.AddDefinedSet(ctx, &api.AddDefinedSetRequest{DefinedSet: set}); err != nil {
		return err
	}
	if err := e.server.AddPolicy(ctx, &api.AddPolicyRequest{Policy: policy}); err != nil {
		return err
	}
	if err := e.server.SetPolicyAssignment(ctx, &api.SetPolicyAssignmentRequest{Assignment: assignment}); err != nil {
		return err
	}
	return e.watch(to)
}

// stop ends all sessions with a Cease (RFC 4486 subcode 3) and stops listening.
func (e *engine) stop(ctx context.Context) error {
	e.sockets.close()
	return e.server.StopBgp(ctx, &api.StopBgpRequest{})
}

// watch subscribes to what neighbors send, before any policy, and to sessions.
// It leaves out GoBGP's own withdrawals for a session that ended: the change of
// state says the same at once for all its paths.
func (e *engine) watch(to sink) error {
	ctx, cancel := context.WithCancel(context.Background())
	e.unwatch = cancel
	return e.server.WatchEvent(ctx, server.WatchEventMessageCallbacks{
		OnPathUpdate: func(paths []*apiutil.Path, at time.Time) {
			if len(paths) > 0 {
				to.paths(paths[0].PeerAddress, func(g guard) []Event { return fromPaths(g, paths, at) })
			}
		},
		OnPathEor: func(p *apiutil.Path, _ time.Time) {
			to.endOfRIB(p.PeerAddress, p.Family == gobgp.RF_IPv6_UC)
		},
		OnPeerUpdate: func(ev *apiutil.WatchEventMessage_PeerEvent, at time.Time) {
			if ev.Type == apiutil.PEER_EVENT_STATE {
				to.changed(fromPeerEvent(ev, at))
			}
		},
	}, server.WatchUpdate(true, "", ""), server.WatchPeer(), server.WatchEor(true))
}

// batch bounds how long one call holds GoBGP's lock against its sessions.
const batch = 256

// announce adds paths of our own. It goes on after a prefix that fails.
func (e *engine) announce(paths map[netip.Prefix]own, order []netip.Prefix, failed map[string]error) {
	defer e.changes.begin()()
	e.inBatches(paths, order, failed, func(list []*apiutil.Path) error {
		_, err := e.server.AddPath(apiutil.AddPathRequest{Paths: list})
		return err
	})
}

// withdraw removes paths of our own, which needs their next hops again.
func (e *engine) withdraw(paths map[netip.Prefix]own, order []netip.Prefix, failed map[string]error) {
	defer e.changes.begin()()
	e.inBatches(paths, order, failed, func(list []*apiutil.Path) error {
		return e.server.DeletePath(apiutil.DeletePathRequest{Paths: list})
	})
}

func (e *engine) inBatches(paths map[netip.Prefix]own, order []netip.Prefix, failed map[string]error, do func([]*apiutil.Path) error) {
	for len(order) > 0 {
		n := min(batch, len(order))
		list := make([]*apiutil.Path, 0, n)
		for _, prefix := range order[:n] {
			path, err := toPath(prefix, paths[prefix])
			if err != nil {
				failed[prefix.String()] = err
				continue
			}
			list = append(list, path)
		}
		if len(list) > 0 && do(list) != nil {
			for _, path := range list { // GoBGP names no culprit
				if err := do([]*apiutil.Path{path}); err != nil {
					failed[path.Nlri.String()] = err
				}
			}
		}
		order = order[n:]
	}
}

func (e *engine) add(ctx context.Context, n Neighbor, o peerOptions) error {
	if err := e.protect(n); err != nil {
		return err
	}
	err := e.server.AddPeer(ctx, &api.AddPeerRequest{Peer: toPeer(n, o)})
	if err != nil && !e.counters(n.Addr).known {
		e.unprotect(n.Addr)
	}
	return err
}

// update changes timers, which needs no new session; nothing else of n may
// differ from what was added. With the limit set in o it holds the neighbor down
// that has passed it (RFC 4486 subcode 1).
func (e *engine) update(ctx context.Context, n Neighbor, o peerOptions) error {
	_, err := e.server.UpdatePeer(ctx, &api.UpdatePeerRequest{Peer: toPeer(n, o)})
	return err
}

// remove ends the session with a Cease (RFC 4486 subcode 3).
func (e *engine) remove(ctx context.Context, addr netip.Addr) error {
	if err := e.pull(ctx, addr); err != nil {
		return err
	}
	e.unprotect(addr)
	return nil
}

// pull is remove for a neighbor that is to come back at its address. It stays
// protected: a connection that is accepted without a password in between might
// become its next session.
func (e *engine) pull(ctx context.Context, addr netip.Addr) error {
	return e.server.DeletePeer(ctx, &api.DeletePeerRequest{Address: addr.String()})
}

func (e *engine) enable(ctx context.Context, addr netip.Addr) error {
	return e.server.EnablePeer(ctx, &api.EnablePeerRequest{Address: addr.String()})
}

// disable ends the session with a Cease (RFC 4486 subcode 2) that carries the
// reason (RFC 9003).
func (e *engine) disable(ctx context.Context, addr netip.Addr, reason string) error {
	return e.server.DisablePeer(ctx, &api.DisablePeerRequest{Address: addr.String(), Communication: reason})
}

// reset is for Established sessions only: GoBGP keeps the message of one that
// is down, and ends the next session with it.
func (e *engine) reset(ctx context.Context, addr netip.Addr) error {
	return e.server.ResetPeer(ctx, &api.ResetPeerRequest{Address: addr.String()})
}

// resetFor is reset with a reason that the neighbor is told (RFC 9003).
func (e *engine) resetFor(ctx context.Context, addr netip.Addr, reason string) error {
	return e.server.ResetPeer(ctx, &api.ResetPeerRequest{Address: addr.String(), Communication: reason})
}

func (e *engine) refreshOut(ctx context.Context, addr netip.Addr) error {
	return e.server.ResetPeer(ctx, &api.ResetPeerRequest{
		Address: addr.String(), Soft: true, Direction: api.ResetPeerRequest_DIRECTION_OUT,
	})
}

// list returns the counters of all neighbors, or of the one with the address.
func (e *engine) list(ctx context.Context, only netip.Addr) (map[netip.Addr]counters, error) {
	req := &api.ListPeerRequest{}
	if only.IsValid() {
		req.Address = only.String()
	}
	all := map[netip.Addr]counters{}
	err := e.server.ListPeer(ctx, req, func(p *api.Peer) {
		addr, c := fromPeer(p)
		all[addr] = c
	})
	return all, err
}

// counters returns those of one neighbor, zero for one that is not there.
func (e *engine) counters(addr netip.Addr) counters {
	all, _ := e.list(context.Background(), addr) // fails only once the server stopped
	return all[addr]
}

// advertised counts what a neighbor is announced, of all families.
func (e *engine) advertised(ctx context.Context, addr netip.Addr) (count uint64, err error) {
	req := &api.ListPeerRequest{Address: addr.String(), EnableAdvertised: true}
	err = e.server.ListPeer(ctx, req, func(p *api.Peer) {
		for _, af := range p.GetAfiSafis() {
			count += af.GetState().GetAdvertised()
		}
	})
	return count, err
}

// deferring reports whether there is a session in which GoBGP passes no change
// on, since this node restarts.
func (e *engine) deferring() bool {
	all, _ := e.list(context.Background(), netip.Addr{}) // fails only once the server stopped
	for _, c := range all {
		if c.deferring && c.up {
			return true
		}
	}
	return false
}

// adjOut lists what an Established neighbor is announced, family by family.
func (e *engine) adjOut(ctx context.Context, n Neighbor, fn func(netip.Prefix, caracal.Attrs) bool) error {
	return e.paths(ctx, apiutil.ListPathRequest{TableType: api.TableType_TABLE_TYPE_ADJ_OUT, Name: n.Addr.String()}, n.families(), fn)
}

// locRIB lists what is originated.
func (e *engine) locRIB(ctx context.Context, fn func(netip.Prefix, caracal.Attrs) bool) error {
	return e.paths(ctx, apiutil.ListPathRequest{TableType: api.TableType_TABLE_TYPE_GLOBAL},
		[]gobgp.Family{gobgp.RF_IPv4_UC, gobgp.RF_IPv6_UC}, fn)
}

func (e *engine) paths(ctx context.Context, req apiutil.ListPathRequest, families []gobgp.Family, fn func(netip.Prefix, caracal.Attrs) bool) error {
	more := true
	for _, family := range families {
		req.Family = family
		err := e.server.ListPath(req, func(nlri gobgp.NLRI, paths []*apiutil.Path) {
			prefix, ok := nlri.(*gobgp.IPAddrPrefix)
			for _, p := range paths {
				more = more && ok && ctx.Err() == nil && fn(prefix.Prefix, *fromAttrs(p.Attrs))
			}
		})
		if err = errors.Join(err, ctx.Err()); err != nil || !more {
			return err
		}
	}
	return nil
}
