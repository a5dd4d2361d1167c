package records

import (
	"net/netip"
	"strings"
	"testing"

	"caracal.dev/caracal/ipam"
)

func pfx(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// TestNames: every name is one that Kubernetes takes, is nobody else's, and leads
// back.
func TestNames(t *testing.T) {
	nodes := []string{"a", "borrowed", "a.b", "10.0.0.0-26", "a.10.0.0", "fd00-0-0-0-0-0-0-0-122", "h-" + strings.Repeat("0", 40), "x.h-" + strings.Repeat("a", 40),
		strings.Repeat("n", 200), strings.Repeat("n", 253), "A", "a_b", "-a", "a-", "..", "ä"}
	prefixes := []string{"10.0.0.0/26", "10.0.0.0/32", "0.0.0.0/0", "fd00::/122", "::/0", "::1/128", "::ffff:1.2.3.0/120", "fd00:a:b:c:d:e:f:1/128", "2001:db8::/64"}
	seen := map[string]ipam.Subject{}
	check := func(s ipam.Subject) {
		t.Helper()
		name := nameOf(s)
		blocks := s.Kind == ipam.BlockSubject
		id := name
		if blocks {
			id = "block " + name
		}
		if other, taken := seen[id]; taken {
			t.Errorf("%v and %v are both %s", other, s, name)
		}
		seen[id] = s
		if len(name) > 253 || !subdomain.MatchString(name) {
			t.Errorf("%v: %q is no name", s, name)
		}
		if is, ok := ipam.SubjectOf(s.Key()); !ok || is != s {
			t.Errorf("%v has key %s, which is of %v", s, s.Key(), is)
		}
		if is, ok := subjectOf(blocks, name, s.Key()); !ok || is != s {
			t.Errorf("%s is of %v, not %v", name, is, s)
		}
		is, ok := subjectOf(blocks, name, "block/1.2.3.4-32") // a key that was edited
		if hashed := s.Node != "" && short(s.Node, longestNode) != s.Node; !hashed && (!ok || is != s) {
			t.Errorf("%s is by itself of %v, not %v", name, is, s)
		}
	}
	for _, p := range prefixes {
		check(ipam.Subject{CIDR: pfx(p)})
		for _, n := range nodes {
			check(ipam.Subject{Kind: ipam.AffinitySubject, Node: n, CIDR: pfx(p)})
		}
		if p := pfx(p); p.IsSingleIP() {
			check(ipam.Subject{Kind: ipam.BorrowedSubject, CIDR: p})
		}
	}
	for _, name := range []string{"", "foo", "10.0.0.0", "10.0.0.0-33", "10.0.0.1-26", "fd00-0-0-0-0-0-0-122", "FD00-0-0-0-0-0-0-0-122", "fd00-0-0-0-0-0-0-00-122", "10.0.0.0-026"} {
		if s, ok := subjectOf(true, name, ""); ok {
			t.Errorf("%q is taken for block %v", name, s)
		}
	}
	for _, name := range []string{"", "foo", "10.0.0.0-26", "borrowed.", "borrowed.10.0.0", "borrowed.fd00", "a.fd00-0-0-0-0-0-0-0"} {
		if s, ok := subjectOf(false, name, ""); ok {
			t.Errorf("%q is taken for claim %v", name, s)
		}
	}
}
