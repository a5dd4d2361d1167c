package node

import (
	"context"
	"slices"

	"caracal.dev/caracal/bfd"
	"caracal.dev/caracal/node/api"
)

// BFD implements api.Peering.
func (a *Agent) BFD(context.Context) ([]api.BFDSession, error) {
	up := a.up.Load()
	if up == nil {
		return nil, nil
	}
	var out []api.BFDSession
	for _, s := range up.watcher.Status() {
		out = append(out, bfdSession(s))
	}
	return out, nil
}

// bfdOf finds a neighbor's session; nil without one.
func bfdOf(sessions []bfd.Status, neighbor string) *api.BFDSession {
	i := slices.IndexFunc(sessions, func(s bfd.Status) bool { return s.Name == neighbor })
	if i < 0 {
		return nil
	}
	s := bfdSession(sessions[i])
	return &s
}

func bfdSession(s bfd.Status) api.BFDSession {
	out := api.BFDSession{
		Neighbor: s.Name, Addr: s.Remote, Local: s.LocalAddr, Interface: s.Interface, Multihop: s.Multihop,
		State: s.State.String(), Since: s.Since, Diagnostic: s.LastDown, Configured: s.BFD,
		Transmit: s.Transmit, Detection: s.Detection,
		RemoteTransmit: s.RemoteMinTx, RemoteReceive: s.RemoteMinRx, RemoteMultiplier: s.RemoteMultiplier,
		RemoteIndependent: s.RemoteCPI, Sent: s.Sent, Received: s.Received, Discarded: s.Dropped, Flaps: s.Flaps,
		LocalDiscriminator: s.LocalDiscr, RemoteDiscriminator: s.RemoteDiscr,
	}
	switch {
	case s.Err != "":
		out.Diagnostic = s.Err
	case s.Received == 0:
		out.Diagnostic = "nothing was heard of it yet"
	}
	if s.RemoteDiscr != 0 {
		out.RemoteState = s.RemoteState.String()
	}
	if s.RemoteDiag != bfd.DiagNone {
		out.RemoteDiagnostic = s.RemoteDiag.String()
	}
	return out
}
