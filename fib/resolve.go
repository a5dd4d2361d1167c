package fib

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
)

// rtm_type of rtnetlink(7), as far as reasons name them.
const (
	typeUnicast     = 1
	typeLocal       = 2
	typeBroadcast   = 3
	typeAnycast     = 4
	typeMulticast   = 5
	typeBlackhole   = 6
	typeUnreachable = 7
	typeProhibit    = 8
	typeThrow       = 9
)

// View is what [Resolve] needs to know of the machine.
type View interface {
	// NextHop returns the kernel's answer for an address; false if it has not
	// been asked yet.
	NextHop(netip.Addr) (Answer, bool)
	LinkByName(string) (Link, bool)
	LinkByIndex(int) (Link, bool)
}

// Resolve returns the route that w becomes on this machine, or the reason, in
// words for an operator, why there is none now. It is pure. A learned next hop
// resolves through the kernel's own and foreign routes, and of ours only through
// one that is [Pinned] to its address: to itself where it is on a connected
// network, else to the gateway of the route that matches. Of several next hops those that resolve are taken; hops without
// carrier are left out while others have it.
func Resolve(w Want, v View) (Route, string) {
	switch w.Kind {
	case Discard:
		return Route{Dst: w.Dst, Kind: Unreachable}, ""
	case Local:
		return resolveLocal(w, v)
	case Learned, Pinned:
		return resolveLearned(w, v)
	}
	return Route{}, "nothing is wanted"
}

func resolveLocal(w Want, v View) (Route, string) {
	l, ok := v.LinkByName(w.Link)
	if !ok {
		return Route{}, fmt.Sprintf("device %s does not exist", w.Link)
	}
	if !l.Up {
		return Route{}, fmt.Sprintf("device %s is down", w.Link)
	}
	return Route{Dst: w.Dst, Kind: Unicast, Hops: []Hop{{Link: l.Index, Device: l.Name}}}, ""
}

func resolveLearned(w Want, v View) (Route, string) {
	if len(w.NextHops) == 0 {
		return Route{}, "the path has no next hop"
	}
	var hops []Hop
	var reasons []string
	for _, nh := range w.NextHops {
		hs, reason := resolveNextHop(w, nh, v)
		if reason != "" {
			reasons = append(reasons, fmt.Sprintf("next hop %s: %s", nh, reason))
		}
		hops = append(hops, hs...)
	}
	if len(hops) == 0 {
		return Route{}, strings.Join(reasons, "; ")
	}
	hops = withCarrier(hops, v)
	slices.SortFunc(hops, compareHops)
	hops = slices.CompactFunc(hops, func(a, b Hop) bool { return a.Gateway == b.Gateway && a.Link == b.Link })
	return Route{Dst: w.Dst, Kind: Unicast, Hops: hops}, ""
}

func resolveNextHop(w Want, nh netip.Addr, v View) ([]Hop, string) {
	if nh.Is4() && !w.Dst.Addr().Is4() {
		return nil, "an IPv4 next hop cannot carry an IPv6 route"
	}
	if nh.Is6() && nh.IsLinkLocalUnicast() {
		return resolveLinkLocal(nh, v)
	}
	a, ok := v.NextHop(nh)
	if !ok {
		return nil, "not resolved yet"
	}
	if w.Tunnel != "" {
		return resolveTunnel(w.Tunnel, nh, a, v)
	}
	if reason := refusal(a); reason != "" {
		return nil, reason
	}
	hops, direct := make([]Hop, 0, len(a.Hops)), false
	var down string
	for _, h := range a.Hops {
		l, ok := v.LinkByIndex(h.Link)
		if !ok || !l.Up {
			down = fmt.Sprintf("device %s is down", linkName(l, h.Link))
			continue
		}
		h.Device = l.Name
		if !h.Gateway.IsValid() {
			h.Gateway, direct = nh.WithZone(""), true
		}
		hops = append(hops, h)
	}
	switch {
	case len(hops) == 0:
		return nil, down
	case w.Kind == Pinned && !direct:
		return nil, "a gateway must be on a network that this machine is connected to"
	}
	return hops, ""
}

// resolveTunnel is for a next hop that packets reach inside others: the kernel
// must not look for it on the tunnel's network. The packets around them may take
// a route of ours, as to a node behind switches that say where it is, but not
// one into the tunnel again.
func resolveTunnel(device string, nh netip.Addr, outer Answer, v View) ([]Hop, string) {
	l, ok := v.LinkByName(device)
	if !ok {
		return nil, fmt.Sprintf("tunnel device %s does not exist", device)
	}
	if !l.Up {
		return nil, fmt.Sprintf("tunnel device %s is down", device)
	}
	outer.Own = outer.Own && outer.Err != nil
	if reason := refusal(outer); reason != "" {
		return nil, reason
	}
	if slices.ContainsFunc(outer.Hops, func(h Hop) bool { return h.Link == l.Index }) {
		return nil, fmt.Sprintf("the route to it (%s) leads into %s itself", outer.Dst, device)
	}
	return []Hop{{Gateway: nh, Link: l.Index, Device: l.Name, OnLink: true}}, ""
}

// resolveLinkLocal is for fe80::/10, which every link has for itself: the
// device comes with the address (RFC 4007).
func resolveLinkLocal(nh netip.Addr, v View) ([]Hop, string) {
	if nh.Zone() == "" {
		return nil, "a link-local next hop needs a device"
	}
	l, ok := v.LinkByName(nh.Zone())
	switch {
	case !ok:
		return nil, fmt.Sprintf("device %s does not exist", nh.Zone())
	case !l.Up:
		return nil, fmt.Sprintf("device %s is down", nh.Zone())
	}
	return []Hop{{Gateway: nh.WithZone(""), Link: l.Index, Device: l.Name}}, ""
}

// refusal says why an answer leads nowhere; empty if it leads somewhere.
func refusal(a Answer) string {
	switch {
	case a.Own:
		return "the only route to it is one of our own"
	case a.Err == syscall.ENETUNREACH || a.Err == syscall.ENOENT || a.Err == syscall.ESRCH:
		return "no route to it"
	case a.Err == syscall.EINVAL || a.Err == syscall.EACCES:
		return "the route to it discards packets (blackhole or prohibit)"
	case errors.As(a.Err, new(pinError)):
		return a.Err.Error()
	case a.Err != nil:
		return fmt.Sprintf("the kernel cannot say how to reach it (%v)", a.Err)
	case a.Type == typeLocal:
		return "it is an address of this machine"
	case a.Type == typeBroadcast || a.Type == typeMulticast || a.Type == typeAnycast:
		return "it is not the address of a single machine"
	case a.Type == typeBlackhole || a.Type == typeUnreachable || a.Type == typeProhibit || a.Type == typeThrow:
		return fmt.Sprintf("the route to it (%s) discards packets", a.Dst)
	case a.Type != typeUnicast || len(a.Hops) == 0:
		return fmt.Sprintf("the route to it (%s) has no way that is alive", a.Dst)
	}
	return ""
}

func linkName(l Link, index int) string {
	if l.Name != "" {
		return l.Name
	}
	return fmt.Sprintf("#%d", index)
}

// withCarrier leaves out the hops on links without carrier, unless that leaves
// none: a route into a dead cable is no worse than no route, and comes back to
// life with the cable.
func withCarrier(hops []Hop, v View) []Hop {
	alive := hops[:0:0]
	for _, h := range hops {
		if l, ok := v.LinkByIndex(h.Link); ok && l.Carrier {
			alive = append(alive, h)
		}
	}
	if len(alive) == 0 {
		return hops
	}
	return alive
}
