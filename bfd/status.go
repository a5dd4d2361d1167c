package bfd

import (
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Status returns all sessions, sorted by name.
func (s *Server) Status() []Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Status, 0, len(s.sessions))
	for _, x := range s.sessions {
		out = append(out, x.report(s.epoch))
	}
	slices.SortFunc(out, func(a, b Status) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Stats returns what is counted for no session.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

func (x *session) report(epoch time.Time) Status {
	st := x.status
	st.Session, st.State, st.Diag = x.conf, x.state, x.diag
	st.LocalAddr, st.SourcePort = x.localAddr(), x.port
	st.LocalDiscr = x.discr
	st.Transmit, st.Detection, st.Polling = x.txInterval(), x.detection(), x.poll
	if x.heard {
		st.RemoteDiscr, st.RemoteState, st.RemoteDiag = x.far.discr, x.far.state, x.far.diag
		st.RemoteMultiplier, st.RemoteMinTx, st.RemoteMinRx = x.far.multiplier, x.far.minTx, x.far.minRx
		st.RemoteDemand, st.RemoteCPI = x.far.demand, x.far.cpi
		st.Receive = st.Detection / time.Duration(x.far.multiplier)
	}
	if x.status.Received > 0 {
		st.LastReceived = epoch.Add(x.lastRx)
	}
	if x.err != nil {
		st.Err = x.err.Error()
	}
	return st
}

// localAddr is our end: as configured or, without that, as the kernel chose.
func (x *session) localAddr() netip.Addr {
	if x.out == nil {
		return x.conf.Local
	}
	return x.out.local
}

// device is the index of the session's device: 0 for any, -1 if it is not there.
func (x *session) device() int {
	switch {
	case x.conf.Interface == "":
		return 0
	case x.out == nil:
		return -1
	}
	return x.out.ifindex
}
