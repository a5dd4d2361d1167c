package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	pb "caracal.dev/caracal/proto"
)

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
	put("Role", roleText(n))
	put("Address", remote(n))
	put("Our end", ourEnd(n))
	put("AS", asText(n))
	put("Router ID", n.RouterId)
	put("Families", strings.Join(n.Families, ", "))
	put("Next hops", nextHopText(n))
	put("Protection", protectionText(n))
	put("Timers", timers(n))
	put("BFD", bfdText(now, n.Bfd))
	put("Restart", restartText(n))
	put("Capabilities", strings.Join(n.Capabilities, ", "))
	put("Ours", strings.Join(n.LocalCapabilities, ", "))
	put("Filters", strings.Join(n.Filters, ", "))
	p := counts(n)
	put("Prefixes", fmt.Sprintf("%d received, %d accepted, %d refused, %d installed; %d sent",
		p.Received, p.Accepted, p.Refused, p.Installed, p.Advertised))
	put("Refused", refusalsText(n))
	put("Limit", limit(n))
	put("End-of-RIB", strings.Join(n.EndOfRib, ", "))
	put("Flaps", fmt.Sprint(n.Flaps))
	put("Notification", notificationText(now, n.LastNotification))
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
	if n.LocalAsn != 0 {
		s += fmt.Sprintf(", ours towards it %d", n.LocalAsn)
	}
	if n.AllowLocalAs != 0 {
		s += fmt.Sprintf(", our own up to %s in a path", plural(int(n.AllowLocalAs), "time", "times"))
	}
	if n.Multihop {
		s += ", multihop"
	}
	return s
}

func timers(n *pb.Neighbor) string {
	configured := "hold " + spell(n.ConfiguredHoldSeconds)
	if n.ConfiguredKeepaliveSeconds != 0 {
		configured += ", keepalive " + spell(n.ConfiguredKeepaliveSeconds)
	}
	switch {
	case n.HoldSeconds == 0 && n.KeepaliveSeconds == 0:
		return configured + " to be proposed"
	case n.ConfiguredHoldSeconds == 0, n.ConfiguredHoldSeconds == n.HoldSeconds:
		return fmt.Sprintf("hold %s, keepalive %s", spell(n.HoldSeconds), spell(n.KeepaliveSeconds))
	}
	return fmt.Sprintf("hold %s, keepalive %s; configured %s", spell(n.HoldSeconds), spell(n.KeepaliveSeconds), configured)
}

// spell is a time that the protocol counts in seconds, as everywhere else.
func spell(seconds float32) string {
	if seconds < 60 && seconds != float32(int(seconds)) { // of a test, or a third of a short hold time
		return fmt.Sprintf("%.3gs", seconds)
	}
	return duration(time.Duration(seconds) * time.Second)
}

func restartText(n *pb.Neighbor) string {
	var s string
	switch {
	case !n.GracefulRestart:
		return "graceful restart is off"
	case n.RestartSeconds == 0 && n.State == established:
		s = "the neighbor does no graceful restart"
	case n.RestartSeconds == 0:
		s = "graceful"
	default:
		s = fmt.Sprintf("graceful, its routes are kept for %s", spell(n.RestartSeconds))
	}
	if n.OwnRestartSeconds != 0 {
		s += fmt.Sprintf(", ours for %s", spell(n.OwnRestartSeconds))
	}
	if n.LongLivedSeconds != 0 {
		s += fmt.Sprintf("; then for %s as the last choice", spell(n.LongLivedSeconds))
	}
	if n.Deferring {
		s += "; this node restarts, so changes are not announced to it yet"
	}
	return s
}

// roleText is what the neighbor is to us.
func roleText(n *pb.Neighbor) string {
	s := map[string]string{
		"mesh": "node of the mesh", "internal": "internal", "external": "external",
		"client": "client of this reflector", "reflector": "reflector of this node",
	}[n.Role]
	if s == "" {
		s = n.Role
	}
	if n.Peer != "" {
		s += ", by BGPPeer " + n.Peer
	}
	return s
}

// nextHopText is empty where everything is as usual.
func nextHopText(n *pb.Neighbor) string {
	var parts []string
	switch n.NextHop {
	case "", "Auto":
	default:
		parts = append(parts, map[string]string{"Self": "always our own", "Keep": "never changed"}[n.NextHop])
	}
	if n.ExtendedNextHop {
		parts = append(parts, "IPv6 ones for IPv4")
	}
	if n.AddPathReceive {
		parts = append(parts, "several paths of a prefix are taken")
	}
	if n.AddPathSend > 0 {
		parts = append(parts, fmt.Sprintf("up to %d are sent", n.AddPathSend))
	}
	return strings.Join(parts, ", ")
}

func protectionText(n *pb.Neighbor) string {
	md5, gtsm := "no MD5", "no GTSM"
	if n.Md5 {
		md5 = "MD5"
		if n.Secret != "" {
			md5 += " with " + n.Secret
		}
	}
	if n.TtlSecurity > 0 {
		gtsm = fmt.Sprintf("GTSM, at most %s away", plural(int(n.TtlSecurity), "hop", "hops"))
	}
	s := md5 + ", " + gtsm
	if n.Unusable {
		s += "; no session comes up unprotected"
	}
	return s
}

// mostRefusals is how many reasons for refusing are shown.
const mostRefusals = 4

func refusalsText(n *pb.Neighbor) string {
	var list []string
	for _, r := range n.Refusals {
		why := refusalWords[r.Reason]
		if why == "" {
			why = r.Reason // of a newer daemon
		}
		list = append(list, fmt.Sprintf("%d %s", r.Paths, why))
	}
	return first(list, mostRefusals, ", ")
}

// refusalWords are the reasons of the daemon as people say them.
var refusalWords = map[string]string{
	"external": "that no filter or range lets in", "default-route": "default routes", "range": "of no use as a route",
	"next-hop-unknown": "by a next hop that is no node's", "next-hop-self": "by ourselves", "no-pool": "outside of every pool",
	"too-wide": "wider than a block", "no-owner": "of no node's block", "local": "of our own", "not-owner": "of another node's",
	"as-loop": "with our AS number in the path", "reflected-back": "reflected back to us", "filter": "by a filter",
	"pools": "in a pool, without acceptPools", "connected": "of networks we are on", "unknown-neighbor": "of a neighbor that is not configured",
}

func limit(n *pb.Neighbor) string {
	if n.MaxPrefixes == 0 {
		return ""
	}
	s := fmt.Sprintf("%d prefixes of a family", n.MaxPrefixes)
	if n.WarnPrefixes != 0 {
		s += fmt.Sprintf(", warning at %d", n.WarnPrefixes)
		if n.Warned {
			s += fmt.Sprintf(" (now %d)", n.CountedPrefixes)
		}
	}
	if n.MaxPrefixesRetrySeconds != 0 {
		s += ", tried again after " + spell(n.MaxPrefixesRetrySeconds)
	}
	return s
}

func notificationText(now time.Time, m *pb.Notification) string {
	if m == nil {
		return ""
	}
	who := "received"
	if m.Sent {
		who = "sent"
	}
	s := fmt.Sprintf("%s %s ago: %s (code %d, subcode %d)", who, age(now, m.At), m.Name, m.Code, m.Subcode)
	if m.Text != "" {
		s += fmt.Sprintf(": %q", m.Text)
	}
	return s
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
