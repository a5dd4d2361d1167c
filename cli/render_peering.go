package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	pb "caracal.dev/caracal/proto"
)

func renderBFD(w io.Writer, now time.Time, list *pb.BFDList) {
	if len(list.Sessions) == 0 {
		fmt.Fprintln(w, "no BFD sessions")
		return
	}
	g := newGrid("NEIGHBOR", "ADDRESS", "STATE", ">SINCE", ">SENDS", ">DETECTS", ">FLAPS", "INFO")
	for _, b := range list.Sessions {
		addr := b.Address
		if b.Interface != "" && !strings.Contains(addr, "%") {
			addr += "%" + b.Interface
		}
		g.addWrapped([]any{b.Neighbor, orDash(addr), orDash(b.State), age(now, b.Since), millis(b.TransmitMs), millis(b.DetectionMs), b.Flaps}, wrap(bfdInfo(b), 40))
	}
	g.print(w)
}

// millis is a time of BFD, which is counted in milliseconds.
func millis(ms float32) string {
	if ms == 0 {
		return "-"
	}
	return fmt.Sprintf("%.4gms", ms)
}

// bfdInfo is what is not as usual.
func bfdInfo(b *pb.BFDSession) string {
	var info []string
	if b.Multihop {
		info = append(info, "multihop")
	}
	if b.State != "Up" && b.Diagnostic != "" {
		info = append(info, b.Diagnostic)
	}
	if b.RemoteState != "" && b.RemoteState != b.State {
		text := "it is " + b.RemoteState + " there"
		if b.RemoteDiagnostic != "" {
			text += " (" + b.RemoteDiagnostic + ")"
		}
		info = append(info, text)
	}
	return strings.Join(info, ", ")
}

// bfdText is a session in one line, for show protocols all.
func bfdText(now time.Time, b *pb.BFDSession) string {
	if b == nil {
		return "off"
	}
	text := fmt.Sprintf("%s for %s, every %s, detects in %s", orDash(b.State), age(now, b.Since), millis(b.TransmitMs), millis(b.DetectionMs))
	if b.ConfiguredTransmitMs > 0 {
		text += fmt.Sprintf(" (configured %s and %s, times %d)", millis(b.ConfiguredTransmitMs), millis(b.ConfiguredReceiveMs), b.ConfiguredMultiplier)
	}
	if info := bfdInfo(b); info != "" {
		text += ", " + info
	}
	return text
}

func renderFilters(w io.Writer, list *pb.FilterList) {
	if len(list.Filters) == 0 {
		fmt.Fprintln(w, "no filters")
	}
	for i, f := range list.Filters {
		if i > 0 {
			fmt.Fprintln(w)
		}
		renderFilter(w, f)
	}
}

func renderFilter(w io.Writer, f *pb.Filter) {
	who := "for no neighbor"
	if len(f.Neighbors) > 0 {
		who = "for " + first(f.Neighbors, mostDown, ", ")
	}
	if f.Missing {
		fmt.Fprintf(w, "%s: %s; there is no BGPFilter of that name, so everything from and to them is refused\n", f.Name, who)
		return
	}
	fmt.Fprintf(w, "%s: %s\n", f.Name, who)
	if len(f.Rules) == 0 {
		fmt.Fprintln(w, "  no rules")
		return
	}
	g := newGrid("", "DIRECTION", "FAMILY", "ACTION", "IF", "THEN")
	for _, r := range f.Rules {
		g.addWrapped([]any{"", r.Direction, r.Family, r.Action}, wrap(conditions(r), 40), r.Operations)
	}
	g.print(w)
}

// conditions are what must hold for a rule to match, in words.
func conditions(r *pb.FilterRule) string {
	var c []string
	if r.Cidr != "" {
		c = append(c, matchWords[r.Match]+" "+r.Cidr)
	}
	if r.MinLength != nil {
		c = append(c, fmt.Sprintf("length %d to %d", r.GetMinLength(), r.GetMaxLength()))
	}
	if len(r.Communities) > 0 {
		c = append(c, "community "+strings.Join(r.Communities, " "))
	}
	if len(r.AsPathPrefix) > 0 {
		c = append(c, "AS path begins "+strings.Trim(fmt.Sprint(r.AsPathPrefix), "[]"))
	}
	if r.Source != "" {
		c = append(c, "source "+r.Source)
	}
	if r.PeerType != "" {
		c = append(c, "peer type "+r.PeerType)
	}
	if len(c) == 0 {
		return "any"
	}
	return strings.Join(c, ", ")
}

// matchWords are the match operators as people say them.
var matchWords = map[string]string{"": "equal to", "Equal": "equal to", "NotEqual": "not equal to", "In": "in", "NotIn": "not in"}
