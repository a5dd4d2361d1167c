package cli

import (
	"cmp"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	pb "caracal.dev/caracal/proto"
)

// sortByPrefix sorts as routers do: IPv4 first, then by address and length. What
// has the same prefix keeps its order.
func sortByPrefix[T any](items []T, prefix func(T) string) {
	type keyed struct {
		key  netip.Prefix
		item T
	}
	ks := make([]keyed, len(items))
	for i, it := range items {
		p, _ := netip.ParsePrefix(prefix(it))
		ks[i] = keyed{p, it}
	}
	slices.SortStableFunc(ks, func(a, b keyed) int {
		return cmp.Or(a.key.Addr().Compare(b.key.Addr()), cmp.Compare(a.key.Bits(), b.key.Bits()))
	})
	for i := range ks {
		items[i] = ks[i].item
	}
}

// mark says at a glance what a path is: "*" best, "+" as good and used beside
// it, "x" refused.
func mark(p *pb.Path) string {
	switch {
	case p.Refused:
		return "x"
	case p.Best:
		return "*"
	case p.Multipath:
		return "+"
	}
	return ""
}

// renderRoutes prints paths that are sorted; the prefix stands at the first of
// its paths. With all, the attributes are under each.
func renderRoutes(w io.Writer, now time.Time, list *pb.RouteList, all bool) {
	if len(list.Paths) == 0 {
		fmt.Fprintln(w, "no routes")
		return
	}
	g := newGrid("PREFIX", "", "NEXT HOP", "FROM", ">AGE", "STATE")
	last := ""
	for _, p := range list.Paths {
		prefix := p.Prefix
		if prefix == last {
			prefix = ""
		}
		last = p.Prefix
		g.add(prefix, mark(p), nextHop(p), from(p), age(now, p.Received), pathState(p))
	}
	if !all {
		g.print(w)
	} else {
		printWithAttributes(w, now, g, list)
	}
	fmt.Fprintf(w, "\n%s\n", routeSummary(list))
}

// printWithAttributes prints the grid line by line with details in between.
func printWithAttributes(w io.Writer, now time.Time, g *grid, list *pb.RouteList) {
	var text strings.Builder
	g.print(&text)
	lines := strings.SplitAfter(text.String(), "\n")
	io.WriteString(w, lines[0])
	for i, p := range list.Paths {
		io.WriteString(w, lines[i+1])
		for _, detail := range pathDetails(now, p) {
			fmt.Fprintf(w, "      %s\n", detail)
		}
	}
}

func nextHop(p *pb.Path) string {
	if p.Attributes.GetNextHop() != "" {
		return p.Attributes.NextHop
	}
	if len(p.Hops) > 0 {
		return hopText(p.Hops[0])
	}
	return "-"
}

func from(p *pb.Path) string {
	if p.Neighbor != "" {
		return p.Neighbor
	}
	return "local " + orDash(p.Source)
}

// pathState is installed or not, and if not why.
func pathState(p *pb.Path) string {
	var s string
	switch {
	case p.Installed:
		s = "installed"
		if hop := p.Attributes.GetNextHop(); hop != "" {
			s += via(hop, p.Hops)
		}
	case p.Refused:
		s = "refused: " + orDash(p.Why)
	case p.Why == "":
		s = "not installed"
	case p.Best || p.Multipath:
		s = "not installed: " + p.Why
	default:
		s = p.Why
	}
	if p.Stale {
		s += ", stale: its neighbor is restarting"
	}
	if p.Kernel != "" && p.Kernel != "ok" {
		s += ", kernel: " + p.Kernel
	}
	return s
}

// via is how the kernel goes, as far as the next hop does not say it.
func via(nextHop string, hops []*pb.Hop) string {
	var out []string
	for _, h := range hops {
		if h.Gateway == nextHop {
			out = append(out, "dev "+h.Link)
		} else {
			out = append(out, hopText(h))
		}
	}
	if len(out) == 0 {
		return ""
	}
	return " " + strings.Join(out, ", ")
}

func hopText(h *pb.Hop) string {
	s := "dev " + h.Link
	if h.Link == "" {
		s = ""
	}
	if h.Gateway != "" {
		s = strings.TrimSpace("via " + h.Gateway + " " + s)
	}
	if h.OnLink {
		s += " onlink"
	}
	return s
}

func hopTexts(hops []*pb.Hop) string {
	out := make([]string, len(hops))
	for i, h := range hops {
		out[i] = hopText(h)
	}
	return strings.Join(out, ", ")
}

func pathDetails(now time.Time, p *pb.Path) []string {
	var out []string
	if a := p.Attributes; a != nil {
		line := fmt.Sprintf("origin %s, local-pref %d", a.Origin, a.LocalPref)
		if a.Med != nil {
			line += fmt.Sprintf(", MED %d", *a.Med)
		}
		if a.AsPath == "" {
			line += ", AS path empty"
		} else {
			line += ", AS path " + a.AsPath
		}
		if p.PathId != 0 {
			line += fmt.Sprintf(", path ID %d", p.PathId)
		}
		out = append(out, line)
		for _, x := range []struct{ name, value string }{
			{"communities", strings.Join(a.Communities, " ")},
			{"large communities", strings.Join(a.LargeCommunities, " ")},
			{"originator", a.OriginatorId},
			{"cluster list", strings.Join(a.ClusterList, " ")},
		} {
			if x.value != "" {
				out = append(out, x.name+" "+x.value)
			}
		}
	}
	if len(p.Hops) > 0 {
		out = append(out, "packets go "+hopTexts(p.Hops))
	}
	if p.Kernel != "" {
		line := "kernel answered " + p.Kernel
		if p.KernelAt != nil {
			line += ", " + age(now, p.KernelAt) + " ago"
		}
		out = append(out, line)
	}
	return out
}

func routeSummary(list *pb.RouteList) string {
	var prefixes, installed, refused int
	last := ""
	for _, p := range list.Paths {
		if p.Prefix != last {
			prefixes++
		}
		last = p.Prefix
		if p.Installed {
			installed++
		}
		if p.Refused {
			refused++
		}
	}
	return fmt.Sprintf("%s, %s: %d installed, %d refused (* best, + equal, x refused)",
		plural(prefixes, "prefix", "prefixes"), plural(len(list.Paths), "path", "paths"), installed, refused)
}

// renderAdjOut prints what goes out: nothing of it is a decision of ours about
// the kernel.
func renderAdjOut(w io.Writer, now time.Time, list *pb.RouteList, all bool) {
	if len(list.Paths) == 0 {
		fmt.Fprintln(w, "no routes")
		return
	}
	g := newGrid("PREFIX", "NEXT HOP", ">LOCAL PREF", "AS PATH")
	for _, p := range list.Paths {
		g.add(p.Prefix, nextHop(p), p.Attributes.GetLocalPref(), p.Attributes.GetAsPath())
	}
	if all {
		printWithAttributes(w, now, g, list)
	} else {
		g.print(w)
	}
	fmt.Fprintf(w, "\n%s\n", plural(len(list.Paths), "route", "routes"))
}
