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
	switch {
	case n.LongLivedStale:
		info = append(info, "away, its routes are kept as the last choice"+forUntil(now, n))
	case n.Restarting:
		info = append(info, "restarting, its routes are kept"+forUntil(now, n))
	}
	if up && len(n.EndOfRib) < len(n.Families) {
		info = append(info, "waiting for its End-of-RIB")
	}
	switch {
	case n.Held && n.HeldUntil != nil:
		info = append(info, fmt.Sprintf("held down for %s for its prefix limit", until(now, n.HeldUntil)))
	case n.Held:
		info = append(info, "held down for its prefix limit until it is enabled")
	case n.Warned:
		info = append(info, fmt.Sprintf("near its limit of %d prefixes", n.MaxPrefixes))
	}
	if up && n.Bfd != nil && n.Bfd.State != "Up" && n.Bfd.RemoteState != "" {
		info = append(info, "BFD is "+n.Bfd.State)
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

// forUntil is how long stale routes are kept yet.
func forUntil(now time.Time, n *pb.Neighbor) string {
	if n.StaleUntil == nil {
		return ""
	}
	return " for " + until(now, n.StaleUntil)
}
