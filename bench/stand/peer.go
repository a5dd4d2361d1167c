package stand

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"

	"caracal.dev/caracal/bench/sender"
)

// Peer is one established session with what it will send, encoded already.
type Peer struct {
	*sender.Session
	announces, removes [][]byte
}

// newPeer brings up the session of peer i, trying again until ctx ends: a
// daemon may listen before it takes sessions.
func newPeer(ctx context.Context, w *World, i int, routes []netip.Prefix, on func(kind byte, body []byte)) (*Peer, error) {
	c := w.Session(i)
	c.OnMessage = on
	s, err := sender.Dial(ctx, c)
	if err != nil {
		return nil, err
	}
	return &Peer{
		Session:   s,
		announces: append(sender.Encode(routes, sender.Path{NextHop: w.Addrs[i], LocalPref: 100}), sender.EncodeEndOfRIB(false)),
		removes:   sender.EncodeWithdraw(routes),
	}, nil
}

// Announce sends every route and End-of-RIB.
func (p *Peer) Announce() error { return p.send(p.announces) }

// Withdraw takes every route back.
func (p *Peer) Withdraw() error { return p.send(p.removes) }

func (p *Peer) send(messages [][]byte) error { return errors.Join(p.Err(), p.Send(messages...)) }

// Connect brings up a session for each share.
func Connect(ctx context.Context, w *World, d *Daemon, shares []Share) ([]*Peer, error) {
	return ConnectFunc(ctx, w, d, shares, func(int) func(byte, []byte) { return nil })
}

// ConnectFunc is Connect with what is to be called for the messages that each
// peer receives, as in [sender.Config].
func ConnectFunc(ctx context.Context, w *World, d *Daemon, shares []Share, on func(peer int) func(kind byte, body []byte)) ([]*Peer, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	peers := make([]*Peer, len(shares))
	g, gctx := errgroup.WithContext(ctx)
	for i, s := range shares {
		g.Go(func() (err error) {
			peers[i], err = newPeer(gctx, w, i, s.Routes, on(i))
			return err
		})
	}
	err := g.Wait()
	if err == nil {
		return peers, nil
	}
	Abort(peers)
	if gone := d.Alive(); gone != nil {
		return nil, gone
	}
	return nil, fmt.Errorf("sessions: %w; log of the daemon:\n%s", err, d.LastWords())
}

// Abort breaks the connections; those that are nil were none.
func Abort(peers []*Peer) {
	for _, p := range peers {
		if p != nil {
			p.Session.Abort()
		}
	}
}

// Lost returns why the first session that ended did.
func Lost(peers []*Peer) error {
	for _, p := range peers {
		if err := p.Err(); err != nil {
			return err
		}
	}
	return nil
}
