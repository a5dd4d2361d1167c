package main

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	"caracal.dev/caracal/bench/sender"
)

// peer is one established session with what it will send, encoded already.
type peer struct {
	session            *sender.Session
	announces, removes [][]byte
}

// newPeer brings up the session of peer i, trying again until ctx ends: a
// daemon may listen before it takes sessions.
func newPeer(ctx context.Context, w *world, i int, routes []netip.Prefix) (*peer, error) {
	s, err := sender.Dial(ctx, sender.Config{
		Local: w.addrs[i], Remote: netip.AddrPortFrom(daemonAddr, 179),
		ASN: asn, RouterID: w.addrs[i],
		GracefulRestart: true, RestartTime: 120 * time.Second,
		Dialer: func(ctx context.Context) (net.Conn, error) { return w.dial(ctx, i) },
	})
	if err != nil {
		return nil, err
	}
	return &peer{
		session:   s,
		announces: append(sender.Encode(routes, sender.Path{NextHop: w.addrs[i], LocalPref: 100}), sender.EncodeEndOfRIB(false)),
		removes:   sender.EncodeWithdraw(routes),
	}, nil
}

func (p *peer) announce() error { return p.send(p.announces) }

func (p *peer) withdraw() error { return p.send(p.removes) }

func (p *peer) send(messages [][]byte) error {
	return errors.Join(p.session.Err(), p.session.Send(messages...))
}

// close breaks the connection: the daemon is about to be killed anyway.
func (p *peer) close() { p.session.Abort() }
