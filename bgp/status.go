package bgp

// status returns what is known of all neighbors, in no order.
func (t *tracker) status() []NeighborStatus {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]NeighborStatus, 0, len(t.byAddr)+len(t.parked))
	for nb := range t.all() {
		list = append(list, nb.status())
	}
	return list
}

func (nb *tracked) status() NeighborStatus {
	s := NeighborStatus{
		Neighbor:         nb.conf,
		State:            nb.state,
		Since:            nb.since,
		Restarting:       nb.stale != nil,
		StaleUntil:       nb.keptUntil(),
		LongLivedStale:   nb.last != [2]bool{},
		Held:             nb.held,
		HeldUntil:        nb.heldUntil,
		Refused:          nb.refused,
		Flaps:            nb.flaps,
		LastError:        nb.lastErr,
		LastErrorAt:      nb.errAt,
		LastNotification: nb.notice,
		Sent:             nb.sent,
		Received:         nb.received,
	}
	if nb.state == Established {
		s.RouterID, s.RemoteASN = nb.open.routerID, nb.open.asn
		s.LocalAddr, s.RemoteAddr = nb.local, nb.remote
		s.Capabilities, s.LocalCapabilities = nb.open.caps, nb.open.ours
		s.NeighborRestartTime = nb.open.restart
		s.EndOfRIB4, s.EndOfRIB6 = nb.eor[0], nb.eor[1]
		s.Warned = nb.warned
	}
	return s
}
