package address

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strings"
)

// Annotations of a Node under which its own daemon writes its addresses, each with
// the prefix length of the network: 192.0.2.1/24.
const (
	AnnotationIPv4 = "caracal.dev/ipv4-address"
	AnnotationIPv6 = "caracal.dev/ipv6-address"
)

// Kind is one way to choose an address.
type Kind string

// The kinds of a [Method].
const (
	// InternalIP takes the Node's InternalIPs as the kubelet reports them, with the
	// length that they have on an interface.
	InternalIP Kind = "kubernetes-internal-ip"
	// Interface takes the first address of the first interface whose name matches.
	Interface Kind = "interface"
	// CIDR takes the first address that lies in one of some networks.
	CIDR Kind = "cidr"
	// CanReach takes the address from which the kernel would send to another.
	CanReach Kind = "can-reach"
)

// Method is how a node's addresses are chosen.
type Method struct {
	Kind Kind
	// Globs of interface names (path.Match), CIDRs, or Reach by Kind, the first first.
	Globs []string
	CIDRs []netip.Prefix
	Reach []netip.Addr
}

// ParseMethod reads a method as it is written for --address-from:
// kubernetes-internal-ip, interface=GLOB[,GLOB], cidr=CIDR[,CIDR] or
// can-reach=ADDR[,ADDR]. Empty is the first.
func ParseMethod(s string) (Method, error) {
	kind, list, given := strings.Cut(cmp.Or(s, string(InternalIP)), "=")
	m := Method{Kind: Kind(kind)}
	bad := func(format string, args ...any) (Method, error) {
		return Method{}, fmt.Errorf("address: read method %q: "+format, append([]any{s}, args...)...)
	}
	if m.Kind == InternalIP {
		if given {
			return bad("%s takes no value", kind)
		}
		return m, nil
	}
	if !slices.Contains([]Kind{Interface, CIDR, CanReach}, m.Kind) {
		return bad("it is %s, interface=GLOB, cidr=CIDR or can-reach=ADDR", InternalIP)
	}
	for word := range strings.SplitSeq(list, ",") {
		if err := m.add(strings.TrimSpace(word)); err != nil {
			return bad("%w", err)
		}
	}
	return m, nil
}

// add takes one word of the method's list.
func (m *Method) add(word string) error {
	switch {
	case word == "":
		return fmt.Errorf("%s= wants a value", m.Kind)
	case m.Kind == Interface:
		if _, err := path.Match(word, ""); err != nil {
			return fmt.Errorf("interface %q: %w", word, err)
		}
		m.Globs = append(m.Globs, word)
	case m.Kind == CIDR:
		p, err := netip.ParsePrefix(word)
		if err != nil {
			return fmt.Errorf("%q is not a CIDR such as 192.0.2.0/24", word)
		}
		m.CIDRs = append(m.CIDRs, p.Masked())
	case m.Kind == CanReach:
		a, err := netip.ParseAddr(word)
		if err != nil || a.Zone() != "" {
			return fmt.Errorf("%q is not an address such as 192.0.2.1", word)
		}
		m.Reach = append(m.Reach, a.Unmap())
	}
	return nil
}

// String returns the method as [ParseMethod] reads it.
func (m Method) String() string {
	var words []string
	words = append(words, m.Globs...)
	for _, p := range m.CIDRs {
		words = append(words, p.String())
	}
	for _, a := range m.Reach {
		words = append(words, a.String())
	}
	if len(words) == 0 {
		return string(m.Kind)
	}
	return string(m.Kind) + "=" + strings.Join(words, ",")
}

// On is an address of an interface of this host.
type On struct {
	Link   string
	Prefix netip.Prefix
	// Lasting says that it is meant to be used: not deprecated, not a temporary one of
	// RFC 8981, not found to be another's (RFC 4862 section 5.4).
	Lasting bool
}

// Facts are what a choice rests on.
type Facts struct {
	// InternalIPs are those of the Node, in its order.
	InternalIPs []netip.Addr
	// Addrs are those of the host's interfaces, in the kernel's order.
	Addrs []On
	// Sources are the addresses from which the kernel sends to each of Method.Reach;
	// the zero Addr where it cannot.
	Sources []netip.Addr
}

// Choice is a node's addresses; the zero Prefix where it has none of a family.
type Choice struct {
	IPv4, IPv6 netip.Prefix
}

// Of returns the address of a family.
func (c Choice) Of(v6 bool) netip.Prefix {
	if v6 {
		return c.IPv6
	}
	return c.IPv4
}

// Empty reports whether there is no address of either family.
func (c Choice) Empty() bool { return c == Choice{} }

// String returns the addresses with a space in between.
func (c Choice) String() string {
	var words []string
	for _, p := range []netip.Prefix{c.IPv4, c.IPv6} {
		if p.IsValid() {
			words = append(words, p.String())
		}
	}
	return strings.Join(words, " ")
}

// ErrNone is wrapped by the error of [Choose] when no address fits.
var ErrNone = errors.New("no address of this host fits")

// Choose returns the addresses by a method, one of each family at most. The error
// says what there was to choose from.
func Choose(m Method, f Facts) (Choice, error) {
	c := Choice{IPv4: chooseOne(m, f, false), IPv6: chooseOne(m, f, true)}
	if c.Empty() {
		return c, fmt.Errorf("address: choose by %s: %w: %s", m, ErrNone, f.words(m))
	}
	return c, nil
}

func chooseOne(m Method, f Facts, v6 bool) netip.Prefix {
	var fits func(On) bool
	var order []func(On) bool // the first that has an address wins
	switch m.Kind {
	case InternalIP:
		for _, a := range f.InternalIPs {
			order = append(order, func(o On) bool { return o.Prefix.Addr() == a })
		}
		fits = func(o On) bool { return !foreign(o.Link) }
	case Interface:
		for _, glob := range m.Globs {
			order = append(order, func(o On) bool { ok, _ := path.Match(glob, o.Link); return ok && (o.Link != "lo" || glob == "lo") })
		}
		fits = func(o On) bool { return o.Lasting && !foreign(o.Link) }
	case CIDR:
		for _, p := range m.CIDRs {
			order = append(order, func(o On) bool { return p.Contains(o.Prefix.Addr()) })
		}
		fits = func(o On) bool { return o.Lasting && !foreign(o.Link) }
	case CanReach:
		for _, a := range f.Sources {
			order = append(order, func(o On) bool { return a.IsValid() && o.Prefix.Addr() == a })
		}
		fits = func(o On) bool { return !foreign(o.Link) }
	}
	for _, wanted := range order {
		for _, o := range f.Addrs {
			if o.Prefix.Addr().Is6() == v6 && usable(o.Prefix.Addr()) && fits(o) && wanted(o) {
				return o.Prefix
			}
		}
	}
	return netip.Prefix{}
}

// usable says whether other nodes can reach an address at all.
func usable(a netip.Addr) bool {
	return !a.IsLoopback() && !a.IsLinkLocalUnicast() && !a.IsMulticast() && !a.IsUnspecified()
}

// dockerBridge is how Docker calls the bridge of a network that a user made.
var dockerBridge = regexp.MustCompile(`^br-[0-9a-f]{12}$`)

// foreign says whether an interface is one that a node's address is never on: those
// of workloads, of tunnels, of container runtimes, and kube-proxy's, which holds the
// addresses of Services.
func foreign(link string) bool {
	if slices.Contains([]string{"tunl0", "kube-ipvs0", "nodelocaldns"}, link) || dockerBridge.MatchString(link) {
		return true
	}
	return slices.ContainsFunc([]string{"car", "docker", "cni", "veth", "cali", "virbr"}, func(p string) bool { return strings.HasPrefix(link, p) })
}

// words says what there was to choose from.
func (f Facts) words(m Method) string {
	var here []string
	for _, o := range f.Addrs {
		if usable(o.Prefix.Addr()) && !foreign(o.Link) {
			here = append(here, fmt.Sprintf("%s on %s", o.Prefix, o.Link))
		}
	}
	text := "it has none that other nodes could reach"
	if len(here) > 0 {
		text = "it has " + strings.Join(here, ", ")
	}
	if m.Kind == InternalIP {
		text += fmt.Sprintf("; the Node's InternalIPs are %v", f.InternalIPs)
	}
	return text + "; choose another way with --address-from, or set addresses in a NodeConfig"
}

// Misfit says what is wrong with addresses that were chosen before; empty if nothing.
// What cannot be known now, the InternalIPs while the API is away, is left out of
// Facts and not judged.
func Misfit(m Method, kept Choice, f Facts) string {
	var wrong []string
	for _, p := range []netip.Prefix{kept.IPv4, kept.IPv6} {
		if !p.IsValid() {
			continue
		}
		i := slices.IndexFunc(f.Addrs, func(o On) bool { return o.Prefix.Addr() == p.Addr() })
		switch {
		case i < 0:
			wrong = append(wrong, fmt.Sprintf("the node's address %s is on none of its interfaces", p.Addr()))
		case f.Addrs[i].Prefix.Bits() != p.Bits():
			wrong = append(wrong, fmt.Sprintf("the node's address %s is on %s with a prefix length of %d", p, f.Addrs[i].Link, f.Addrs[i].Prefix.Bits()))
		case m.Kind == InternalIP && len(f.InternalIPs) > 0 && !slices.Contains(f.InternalIPs, p.Addr()):
			wrong = append(wrong, fmt.Sprintf("the node's address %s is no longer among the Node's InternalIPs, %v", p.Addr(), f.InternalIPs))
		}
	}
	if len(wrong) == 0 {
		return ""
	}
	return strings.Join(wrong, "; ") + "; it does not change by itself: give it back, or remove " + FileName + " from the state directory and restart the daemon to choose anew"
}
