package node

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/bgp"
	"caracal.dev/caracal/fib"
	"caracal.dev/caracal/ndp"
)

// place is the link that an address is directly on.
type place struct {
	device string
	index  int
	// up and carrier are as in fib.Link.
	up, carrier bool
}

func (p place) alive() bool { return p.up && p.carrier }

// lostLink is a neighbor whose link is gone.
type lostLink struct{ neighbor, reason string }

// singleHop returns the neighbors whose sessions live and die with a link, by
// name: those in another AS that must be on it (RFC 4271 section 5.1.3). Nodes
// of the mesh, internal and multihop neighbors can be reached another way.
func singleHop(neighbors []bgp.Neighbor) map[string]netip.Addr {
	watched := map[string]netip.Addr{}
	for _, n := range neighbors {
		if n.External && !n.Multihop && n.Node == "" {
			watched[n.Name] = n.Addr
		}
	}
	return watched
}

// lostLinks compares where neighbors were with where they are: those that were
// reachable on a link and are no longer, or whose link was away in between as
// events tell, are returned in the order of their names. A flap, however short,
// counts: the other end has seen it too, and does the same.
func lostLinks(was, is map[string]place, watched map[string]netip.Addr, events []fib.LinkEvent) []lostLink {
	var lost []lostLink
	for name, before := range was {
		addr, wanted := watched[name]
		if !wanted || !before.alive() {
			continue
		}
		now, there := is[name]
		var reason string
		switch {
		case there && now.index == before.index && now.alive():
			reason = flapped(before, events)
		case there && now.device != before.device && now.alive():
			continue // another link took over, at once
		case there && now.index != before.index && now.alive():
			reason = fmt.Sprintf("link %s was removed and made anew", before.device)
		case there:
			reason = now.word()
		default:
			reason = gone(before, addr, events)
		}
		if reason != "" {
			lost = append(lost, lostLink{name, reason})
		}
	}
	slices.SortFunc(lost, func(a, b lostLink) int { return strings.Compare(a.neighbor, b.neighbor) })
	return lost
}

// word says what is wrong with a link.
func (p place) word() string {
	if !p.up {
		return fmt.Sprintf("link %s is down", p.device)
	}
	return fmt.Sprintf("link %s has no carrier", p.device)
}

// flapped says that a link that is alive now was not in between.
func flapped(p place, events []fib.LinkEvent) string {
	for _, ev := range events {
		if ev.Link.Index == p.index && (ev.Gone || !ev.Link.Up || !ev.Link.Carrier) {
			return fmt.Sprintf("link %s was down for a moment", p.device)
		}
	}
	return ""
}

// gone says why an address is on no link any more.
func gone(p place, addr netip.Addr, events []fib.LinkEvent) string {
	for _, ev := range slices.Backward(events) {
		if ev.Link.Index != p.index {
			continue
		}
		if ev.Gone {
			return fmt.Sprintf("link %s was removed", p.device)
		}
		if now := (place{p.device, p.index, ev.Link.Up, ev.Link.Carrier}); !now.alive() {
			return now.word()
		}
		break
	}
	return fmt.Sprintf("this node has no address any more on link %s that %s is a neighbor of", p.device, addr)
}

// routerProblems puts what ndp found into words. A problem that stood before
// keeps its time.
func routerProblems(devices []ndp.Device, before []caracal.Problem, now time.Time) []caracal.Problem {
	out := []caracal.Problem{}
	add := func(device, message string) {
		p := caracal.Problem{Severity: caracal.Warning, Kind: "Interface", Name: device, Message: message, Since: now}
		same := func(o caracal.Problem) bool { return o.Kind == p.Kind && o.Name == p.Name && o.Message == p.Message }
		if i := slices.IndexFunc(before, same); i >= 0 {
			p.Since = before[i].Since
		}
		out = append(out, p)
	}
	for _, d := range devices {
		switch {
		case d.Reason != "":
			add(d.Name, fmt.Sprintf("the unnumbered session on %s has to wait: %s", d.Name, d.Reason))
		case !d.Router.IsValid():
			add(d.Name, fmt.Sprintf("the unnumbered session on %s has to wait: no router advertises itself there; let the other end send router advertisements (RFC 4861)", d.Name))
		}
		if len(d.Others) > 0 {
			add(d.Name, fmt.Sprintf("several routers advertise themselves on %s, and an unnumbered session can be with one only: it is with %s, not with %s; give each a link of its own", d.Name, d.Router.WithZone(""), joinAddrs(d.Others)))
		}
	}
	return out
}

func joinAddrs(addrs []netip.Addr) string {
	var text []string
	for _, a := range addrs {
		text = append(text, a.String())
	}
	return strings.Join(text, ", ")
}
