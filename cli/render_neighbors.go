package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	pb "caracal.dev/caracal/proto"
)

// established is the state in which routes flow (RFC 4271 section 8.2.2).
const established = "Established"

func renderNeighbors(w io.Writer, now time.Time, list *pb.NeighborList) {
	if len(list.Neighbors) == 0 {
		fmt.Fprintln(w, "no neighbors")
		return
	}
	g := newGrid("NAME", "ADDRESS", ">AS", "STATE", ">SINCE", ">RECEIVED", ">INSTALLED", ">REFUSED", ">SENT", "INFO")
	for _, n := range list.Neighbors {
		p := counts(n)
		g.add(n.Name, orDash(n.Address), n.Asn, n.State, age(now, n.Since),
			p.Received, p.Installed, p.Refused, p.Advertised, neighborInfo(now, n))
	}
	g.print(w)
}

func counts(n *pb.Neighbor) *pb.PrefixCounts {
	if n.Prefixes == nil {
		return &pb.PrefixCounts{}
	}
	return n.Prefixes
}

// neighborInfo is what is not as it should be.
func neighborInfo(now time.Time, n *pb.Neighbor) string {
	var info []string
	up := n.State == established
	if n.Restarting {
		info = append(info, "restarting, its routes are kept")
	}
	if up && len(n.EndOfRib) < len(n.Families) {
		info = append(info, "waiting for its End-of-RIB")
	}
	if !up && n.LastError != "" {
		info = append(info, lastError(now, n))
	}
	return strings.Join(info, ": ")
}

func lastError(now time.Time, n *pb.Neighbor) string {
	if n.LastErrorAt == nil {
		return n.LastError
	}
	return fmt.Sprintf("%s (%s ago)", n.LastError, age(now, n.LastErrorAt))
}

// renderNeighborsAll prints a paragraph for each.
func renderNeighborsAll(w io.Writer, now time.Time, list *pb.NeighborList) {
	if len(list.Neighbors) == 0 {
		fmt.Fprintln(w, "no neighbors")
	}
	for i, n := range list.Neighbors {
		if i > 0 {
			fmt.Fprintln(w)
		}
		renderNeighbor(w, now, n)
	}
}

func renderNeighbor(w io.Writer, now time.Time, n *pb.Neighbor) {
	head := fmt.Sprintf("%s: %s for %s", n.Name, n.State, age(now, n.Since))
	if info := neighborInfo(now, n); info != "" {
		head += ", " + info
	}
	fmt.Fprintln(w, head)
	g := &grid{right: make([]bool, 3)}
	put := func(name, value string) {
		if value != "" {
			g.addWrapped([]any{"", name}, wrap(value, 90))
		}
	}
	put("Address", remote(n))
	put("Our end", ourEnd(n))
	put("AS", asText(n))
	put("Router ID", n.RouterId)
	put("Families", strings.Join(n.Families, ", "))
	put("Timers", timers(n))
	put("Restart", restartText(n))
	put("Capabilities", strings.Join(n.Capabilities, ", "))
	p := counts(n)
	put("Prefixes", fmt.Sprintf("%d received, %d accepted, %d refused, %d installed; %d sent%s",
		p.Received, p.Accepted, p.Refused, p.Installed, p.Advertised, limit(n)))
	put("End-of-RIB", strings.Join(n.EndOfRib, ", "))
	put("Flaps", fmt.Sprint(n.Flaps))
	if n.LastError != "" {
		put("Last error", lastError(now, n))
	}
	g.print(w)
	fmt.Fprintln(w)
	messages(w, n)
}

func remote(n *pb.Neighbor) string {
	s := n.Address
	if n.Port != 0 && n.Port != 179 {
		s += fmt.Sprintf(" port %d", n.Port)
	}
	if n.Node != "" {
		s += ", node " + n.Node
	}
	if n.RemoteEndpoint != "" {
		s += ", connected to " + n.RemoteEndpoint
	}
	return s
}

func ourEnd(n *pb.Neighbor) string {
	s := n.LocalAddress
	if n.LocalEndpoint != "" {
		s = n.LocalEndpoint
	}
	if n.Passive {
		s += ", passive: the neighbor dials"
	}
	return s
}

func asText(n *pb.Neighbor) string {
	s := fmt.Sprint(n.Asn)
	if n.RemoteAsn != 0 && n.RemoteAsn != n.Asn {
		s += fmt.Sprintf(" configured, but it says %d", n.RemoteAsn)
	}
	if n.Multihop {
		s += ", multihop"
	}
	return s
}

func timers(n *pb.Neighbor) string {
	if n.HoldSeconds == 0 && n.KeepaliveSeconds == 0 {
		return fmt.Sprintf("hold %s to be proposed", spell(n.ConfiguredHoldSeconds))
	}
	return fmt.Sprintf("hold %s, keepalive %s", spell(n.HoldSeconds), spell(n.KeepaliveSeconds))
}

// spell is a time that the protocol counts in seconds, as everywhere else.
func spell(seconds float32) string {
	if seconds < 60 && seconds != float32(int(seconds)) { // of a test, or a third of a short hold time
		return fmt.Sprintf("%.3gs", seconds)
	}
	return duration(time.Duration(seconds) * time.Second)
}

func restartText(n *pb.Neighbor) string {
	switch {
	case !n.GracefulRestart:
		return "graceful restart is off"
	case n.RestartSeconds == 0 && n.State == established:
		return "the neighbor does no graceful restart"
	case n.RestartSeconds == 0:
		return "graceful"
	}
	return fmt.Sprintf("graceful, its routes are kept for %s", spell(n.RestartSeconds))
}

func limit(n *pb.Neighbor) string {
	if n.MaxPrefixes == 0 {
		return ""
	}
	return fmt.Sprintf(" (limit %d)", n.MaxPrefixes)
}

func messages(w io.Writer, n *pb.Neighbor) {
	g := newGrid("", "MESSAGES", ">OPEN", ">UPDATE", ">NOTIFICATION", ">KEEPALIVE", ">REFRESH")
	row := func(name string, m *pb.Messages) {
		if m == nil {
			m = &pb.Messages{}
		}
		g.add("", name, m.Open, m.Update, m.Notification, m.Keepalive, m.Refresh)
	}
	row("received", n.Received)
	row("sent", n.Sent)
	g.print(w)
}
