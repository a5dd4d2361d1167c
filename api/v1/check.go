package v1

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"caracal.dev/caracal/selector"
)

// checker collects what is wrong with one object.
type checker struct{ errs Errors }

func (c *checker) failf(path, format string, args ...any) {
	c.errs = append(c.errs, FieldError{path, fmt.Sprintf(format, args...)})
}

// meta checks the metadata of a kind that lives in a namespace, or does not.
func (c *checker) meta(m *metav1.ObjectMeta, kind string, namespaced bool) {
	c.name("metadata.name", m.Name)
	switch {
	case namespaced:
		if len(validation.IsDNS1123Label(m.Namespace)) > 0 {
			c.failf("metadata.namespace", "%q must be lower-case letters, digits and -, at most 63 of them", clip(m.Namespace))
		}
	case m.Namespace != "":
		c.failf("metadata.namespace", "%s is in no namespace; remove it", kind)
	}
	for _, k := range sortedKeys(m.Labels) {
		for _, msg := range validation.IsQualifiedName(k) {
			c.failf("metadata.labels", "%q is not a label: %s", clip(k), msg)
		}
		for _, msg := range validation.IsValidLabelValue(m.Labels[k]) {
			c.failf("metadata.labels."+k, "%q is not a value of a label: %s", clip(m.Labels[k]), msg)
		}
	}
}

// name checks the name of an object or a reference to one.
func (c *checker) name(path, name string) {
	if name == "" {
		c.failf(path, "is missing")
	} else if len(validation.IsDNS1123Subdomain(name)) > 0 {
		c.failf(path, "%q must be lower-case letters, digits, - and ., beginning and ending with a letter or digit, at most 253 of them", clip(name))
	}
}

// prefix checks a range: with no bits beyond its length.
func (c *checker) prefix(path, s string) (netip.Prefix, bool) {
	p, ok := c.anyPrefix(path, s)
	if !ok {
		return p, false
	}
	if p != p.Masked() {
		c.failf(path, "%s has bits set beyond its length; did you mean %s?", p, p.Masked())
		return p, false
	}
	return p, true
}

// anyPrefix checks an address with a prefix length.
func (c *checker) anyPrefix(path, s string) (netip.Prefix, bool) {
	if s == "" {
		c.failf(path, "is missing")
		return netip.Prefix{}, false
	}
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil && canParseAddr(s):
		c.failf(path, "%s has no prefix length; write %s/24 or whatever fits its network", s, s)
	case err != nil:
		c.failf(path, "%q is not an address with a prefix length, such as 10.0.0.0/24 or 2001:db8::/64", clip(s))
	case p.Addr().Is4In6():
		c.failf(path, "%s is an IPv4 address in IPv6; write %s", s, p.Addr().Unmap())
	default:
		return p, true
	}
	return p, false
}

func canParseAddr(s string) bool { _, err := netip.ParseAddr(s); return err == nil }

// unicast checks that an address can be the address of a host.
func (c *checker) unicast(path string, a netip.Addr) bool {
	switch {
	case a.IsUnspecified(), a.Is4() && a.As4()[0] == 0:
		c.failf(path, "%s is no host's address", a)
	case a.IsMulticast():
		c.failf(path, "%s is a multicast address", a)
	case a.IsLoopback():
		c.failf(path, "%s is a loopback address; other hosts cannot reach it", a)
	case a.IsLinkLocalUnicast():
		c.failf(path, "%s is a link-local address; use one that is reachable from everywhere in the cluster", a)
	case a.Is4() && a.As4()[0] >= 240:
		c.failf(path, "%s is in a reserved range", a)
	default:
		return true
	}
	return false
}

// addr checks a plain address.
func (c *checker) addr(path, s string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(s)
	switch {
	case err != nil && canParsePrefix(s):
		c.failf(path, "%s must be an address without a prefix length", s)
	case err != nil || a.Zone() != "":
		c.failf(path, "%q is not an address, such as 192.0.2.1 or 2001:db8::1", clip(s))
	case a.Is4In6():
		c.failf(path, "%s is an IPv4 address in IPv6; write %s", s, a.Unmap())
	default:
		return a, true
	}
	return a, false
}

func canParsePrefix(s string) bool { _, err := netip.ParsePrefix(s); return err == nil }

func (c *checker) asn(path string, n *uint32) {
	switch {
	case n == nil:
	case *n == 0: // RFC 7607
		c.failf(path, "must not be 0")
	case *n == 23456: // RFC 6793 section 9
		c.failf(path, "must not be 23456, which stands for AS numbers of more than 16 bits")
	case *n == 65535 || *n == 4294967295: // RFC 7300
		c.failf(path, "must not be %d, which is reserved", *n)
	}
}

// duration checks a duration of whole seconds between lo and hi.
func (c *checker) duration(path, s string, lo, hi time.Duration) (time.Duration, bool) {
	d, err := time.ParseDuration(s)
	switch {
	case err != nil:
		c.failf(path, "%q is not a duration, such as \"90s\" or \"2m\"", clip(s))
	case d%time.Second != 0:
		c.failf(path, "%s must be whole seconds", s)
	case d < lo || d > hi:
		c.failf(path, "%s must be from %s to %s", d, seconds(lo), seconds(hi))
	default:
		return d, true
	}
	return d, false
}

func seconds(d time.Duration) string { return strconv.Itoa(int(d/time.Second)) + "s" }

// timers checks a hold time and a keepalive time that are set. RFC 4271 section
// 4.2: the hold time is 0 or at least 3 s, in 16 bits; 0 is refused here, for a
// dead neighbor would never be noticed. Section 4.4: a third is reasonable for
// the keepalive time.
func (c *checker) timers(hold, keepalive string) {
	holdTime, holdOK := time.Duration(0), false
	if hold != "" {
		holdTime, holdOK = c.duration("spec.holdTime", hold, 3*time.Second, 65535*time.Second)
	}
	if keepalive == "" {
		return
	}
	k, ok := c.duration("spec.keepaliveTime", keepalive, time.Second, 21845*time.Second)
	if ok && holdOK && k > holdTime/3 {
		c.failf("spec.keepaliveTime", "%s must be at most a third of the hold time, %s", k, holdTime/3)
	}
}

func (c *checker) selector(path, s string) {
	if s == "" {
		return
	}
	if _, err := selector.Parse(s); err != nil {
		c.failf(path, "%v", err)
	}
}

func (c *checker) oneOf(path, s string, allowed ...string) {
	if !slices.Contains(allowed, s) {
		c.failf(path, "%q must be %s or %s", clip(s), strings.Join(allowed[:len(allowed)-1], ", "), allowed[len(allowed)-1])
	}
}

// parsePeerIP reads an address with an optional port.
func parsePeerIP(s string) (netip.AddrPort, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.AddrPortFrom(a, DefaultPort), nil
	}
	if inner, ok := strings.CutPrefix(s, "["); ok && strings.HasSuffix(inner, "]") {
		if a, err := netip.ParseAddr(strings.TrimSuffix(inner, "]")); err == nil && a.Is6() {
			return netip.AddrPortFrom(a, DefaultPort), nil
		}
	}
	ap, err := netip.ParseAddrPort(s)
	if err != nil || ap.Port() == 0 {
		return netip.AddrPort{}, errors.New("not an address with an optional port")
	}
	return ap, nil
}

// parseHost reads an address, or the /32 or /128 of one.
func parseHost(s string) (netip.Addr, error) {
	if p, err := netip.ParsePrefix(s); err == nil {
		if !p.IsSingleIP() {
			return netip.Addr{}, errors.New("not a single address")
		}
		return p.Addr(), nil
	}
	return netip.ParseAddr(s)
}
