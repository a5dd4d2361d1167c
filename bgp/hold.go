package bgp

import (
	"context"
	"time"

	"github.com/osrg/gobgp/v4/api"
)

// A node that passes paths on, as a reflector does, and restarts must not end its
// announcements with End-of-RIB before it has passed on what it learned: its
// neighbors would drop what they still keep of it (RFC 4724 section 4.1). GoBGP
// would do so once every neighbor has sent its own End-of-RIB, which is before we
// have chosen and passed on the last of it. So it is given a neighbor that never comes up, for which it waits,
// and a time to wait that is longer than ours.
//
// [Speaker.Complete] ends that. What changes then until the sessions' time is
// over is announced with it or after it; see errDeferring for withdrawals.
const (
	holdDeferral = 15 * time.Second
	holdAddr     = "0.255.255.255" // no neighbor can have it (RFC 6890)
	// holdAtOnce is how many neighbors may be announced to without waiting for one.
	holdAtOnce = 32
)

// hold keeps GoBGP from announcing anything.
func (s *Speaker) hold(ctx context.Context) error {
	err := s.engine.server.AddPeer(ctx, &api.AddPeerRequest{Peer: &api.Peer{
		Conf:            &api.PeerConf{NeighborAddress: holdAddr, PeerAsn: relayASN, AdminDown: true},
		Transport:       &api.Transport{PassiveMode: true},
		GracefulRestart: &api.GracefulRestart{Enabled: true, RestartTime: 1},
		AfiSafis: []*api.AfiSafi{{
			Config:            &api.AfiSafiConfig{Family: &api.Family{Afi: api.Family_AFI_IP, Safi: api.Family_SAFI_UNICAST}, Enabled: true},
			MpGracefulRestart: &api.MpGracefulRestart{Config: &api.MpGracefulRestartConfig{Enabled: true}},
		}},
	}})
	if err != nil {
		return err
	}
	s.holding = true
	s.tracker.setHolding(true)
	return nil
}

// deferral is how long GoBGP waits in a session that begins now.
func (s *Speaker) deferral() time.Duration {
	if s.holding {
		return max(holdDeferral, s.opts.DeferralTime)
	}
	return s.opts.DeferralTime
}

// Complete says that what neighbors have announced so far was chosen from and
// passed on. A node that held its announcements back announces it now, and ends
// with End-of-RIB; for others it is no news. It may be called any number of times.
func (s *Speaker) Complete(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.holding || s.engine == nil {
		return nil
	}
	s.holding = false
	s.tracker.setHolding(false)
	return s.engine.server.DeletePeer(ctx, &api.DeletePeerRequest{Address: holdAddr})
}

// setHolding says whether sessions of a restart wait. When they need no more,
// they are announced what there is.
func (t *tracker) setHolding(yes bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.holding = yes
	if yes {
		return
	}
	type session struct {
		nb    *tracked
		since time.Time
	}
	var waiting []session
	for _, nb := range t.byAddr {
		if nb.state == Established && nb.options.restarting && nb.conf.GracefulRestart {
			waiting = append(waiting, session{nb, nb.since})
		}
	}
	go func() { // one after the other: a table for each of a thousand at once fills the memory
		for _, s := range waiting {
			t.announceEarly(s.nb, s.since)
			if len(waiting) > holdAtOnce {
				waitSent(context.Background())
			}
		}
	}()
}
