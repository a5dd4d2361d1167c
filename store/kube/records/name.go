package records

import (
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"caracal.dev/caracal/ipam"
)

// Names of objects are DNS-1123 subdomains: 253 lower-case letters, digits, '-'
// and '.', where each part between dots begins and ends with a letter or digit
// (kubernetes.io/docs/concepts/overview/working-with-objects/names). No two
// subjects have the same name: an IPv4 prefix is four parts, an IPv6 one a single
// part of nine numbers, an address one number less.
const (
	borrowedPrefix = "borrowed."
	longestNode    = 200 // with a dot and an IPv6 prefix that is at most 245
	longestLabel   = 63
)

var (
	subdomain = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)
	digest    = regexp.MustCompile(`^h-[0-9a-f]{40}$`)
)

// nameOf returns the name of the object about a subject.
func nameOf(s ipam.Subject) string {
	switch s.Kind {
	case ipam.AffinitySubject:
		return short(s.Node, longestNode) + "." + prefixName(s.CIDR)
	case ipam.BorrowedSubject:
		return borrowedPrefix + addrName(s.CIDR.Addr())
	}
	return prefixName(s.CIDR)
}

// short is the name of a node where it can be part of a name, and else a digest
// that no name of a node is.
func short(node string, longest int) string {
	if len(node) <= longest && subdomain.MatchString(node) && !digest.MatchString(node) {
		return node
	}
	sum := sha256.Sum256([]byte(node))
	return "h-" + hex.EncodeToString(sum[:20])
}

func prefixName(p netip.Prefix) string { return addrName(p.Addr()) + "-" + strconv.Itoa(p.Bits()) }

func addrName(a netip.Addr) string {
	if a.Is4() {
		return a.String()
	}
	b := a.As16()
	groups := make([]string, 8)
	for i := range groups {
		groups[i] = strconv.FormatUint(uint64(b[2*i])<<8|uint64(b[2*i+1]), 16)
	}
	return strings.Join(groups, "-")
}

// subjectOf returns what an object of a kind is about, by its name. The key is what
// the object itself says that its key is; it counts where the name does not tell
// the node's.
func subjectOf(blocks bool, name, key string) (s ipam.Subject, ok bool) {
	if said, known := ipam.SubjectOf(key); known && (said.Kind == ipam.BlockSubject) == blocks && nameOf(said) == name {
		return said, true
	}
	if blocks {
		s.CIDR, ok = parsePrefix(name)
	} else if rest, cut := strings.CutPrefix(name, borrowedPrefix); cut {
		var a netip.Addr
		if a, ok = parseAddr(rest); ok {
			s = ipam.Subject{Kind: ipam.BorrowedSubject, CIDR: netip.PrefixFrom(a, a.BitLen())}
		}
	}
	if !ok && !blocks {
		s, ok = parseAffinity(name)
	}
	return s, ok && nameOf(s) == name
}

func parseAffinity(name string) (ipam.Subject, bool) {
	parts := strings.Split(name, ".")
	for _, n := range []int{1, 4} { // of the prefix: IPv6, IPv4
		if len(parts) <= n {
			continue
		}
		at := len(parts) - n
		if p, ok := parsePrefix(strings.Join(parts[at:], ".")); ok {
			return ipam.Subject{Kind: ipam.AffinitySubject, Node: strings.Join(parts[:at], "."), CIDR: p}, true
		}
	}
	return ipam.Subject{}, false
}

func parsePrefix(name string) (netip.Prefix, bool) {
	i := strings.LastIndexByte(name, '-')
	if i < 0 {
		return netip.Prefix{}, false
	}
	a, ok := parseAddr(name[:i])
	bits, err := strconv.Atoi(name[i+1:])
	p := netip.PrefixFrom(a, bits)
	return p, ok && err == nil && p.IsValid() && p == p.Masked()
}

func parseAddr(name string) (netip.Addr, bool) {
	if strings.Contains(name, ".") {
		a, err := netip.ParseAddr(name)
		return a, err == nil && a.Is4()
	}
	a, err := netip.ParseAddr(strings.ReplaceAll(name, "-", ":"))
	return a, err == nil && strings.Count(name, "-") == 7
}
