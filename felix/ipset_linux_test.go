package felix

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"caracal.dev/caracal/internal/nstest"
)

// hosts returns n addresses as members.
func hosts(n int) []Member {
	members := make([]Member, n)
	for i := range members {
		a := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		members[i] = Member{Net: netip.PrefixFrom(a, 32)}
	}
	return members
}

func openSets(t testing.TB, ns *nstest.NS) *ipsets {
	t.Helper()
	var s *ipsets
	var err error
	ns.Do(func() { s, err = openIPSets() })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	return s
}

func mustWrite(t testing.TB, s SetHost, ops ...SetOp) {
	t.Helper()
	failures, err := s.Write(testContext(t), ops)
	if err != nil || len(failures) > 0 {
		t.Fatalf("%v, %v", failures, err)
	}
}

func listMembers(t testing.TB, s SetHost, name string) []Member {
	t.Helper()
	var members []Member
	err := s.Members(testContext(t), name, func(m Member, plain bool) { members = append(members, m) })
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(members, compareMembers)
	return members
}

func TestSetsOfEachType(t *testing.T) {
	ns := nstest.New(t)
	s := openSets(t, ns)
	for _, c := range []struct {
		set     Set
		members []string
		listed  string
	}{
		{Set{"caracal-a", HashIP, IPv4}, []string{"10.0.0.1", "255.255.255.255"}, "10.0.0.1"},
		{Set{"caracal-b", HashIP, IPv6}, []string{"fd00::1", "::ffff:0:1"}, "fd00::1"},
		{Set{"caracal-c", HashNet, IPv4}, []string{"0.0.0.0/1", "128.0.0.0/1", "10.0.0.1"}, "0.0.0.0/1"},
		{Set{"caracal-d", HashNet, IPv6}, []string{"::/1", "fd00::/64", "fd00::1/128"}, "fd00::/64"},
		{Set{"caracal-e", HashIPPort, IPv4}, []string{"10.0.0.1,6:80", "10.0.0.1,17:80", "10.0.0.1,132:65535"}, "10.0.0.1,sctp:65535"},
		{Set{"caracal-f", HashIPPort, IPv6}, []string{"fd00::1,6:80"}, "fd00::1,tcp:80"},
		{Set{"caracal-g", HashNetIface, IPv4}, []string{"10.0.0.1,car0123456789ab", "10.0.0.0/24,b"}, "10.0.0.0/24,b"},
		{Set{"caracal-h", HashNetIface, IPv6}, []string{"fd00::1,car1", "fd00::1,car2"}, "fd00::1,car2"},
	} {
		var members []Member
		for _, m := range c.members {
			members = append(members, parseMember(m))
		}
		slices.SortFunc(members, compareMembers)
		mustWrite(t, s, createOp(c.set, len(members)), SetOp{Verb: AddMembers, Set: c.set, Members: members})
		mustWrite(t, s, SetOp{Verb: AddMembers, Set: c.set, Members: members}) // is no error
		if got := listMembers(t, s, c.set.Name); !slices.Equal(got, members) {
			t.Errorf("%s has %v, want %v", c.set.Name, got, members)
		}
		if out := ns.Run("ipset", "list", c.set.Name); !strings.Contains(out, "\n"+c.listed) {
			t.Errorf("ipset does not list %s:\n%s", c.listed, out)
		}
		for range 2 { // the second time is no error either
			mustWrite(t, s, SetOp{Verb: RemoveMembers, Set: c.set, Members: members[:1]})
		}
		if got := listMembers(t, s, c.set.Name); !slices.Equal(got, members[1:]) {
			t.Errorf("%s has %v, want %v", c.set.Name, got, members[1:])
		}
	}
	headers, err := s.List(testContext(t))
	if err != nil || len(headers) != 8 {
		t.Fatalf("%d sets, %v", len(headers), err)
	}
	for _, h := range headers {
		if h.Odd || h.MaxElem != leastMaxElem || h.HashSize != 64 {
			t.Errorf("%+v", h)
		}
	}
}

// TestSetFailures has each failure located, and the rest written.
func TestSetFailures(t *testing.T) {
	s := openSets(t, nstest.New(t))
	set := Set{"caracal-net", HashNet, IPv4}
	members := hosts(3000)
	bad := []int{0, 7, 1500, 2999}
	for _, i := range bad {
		members[i].Net = netip.MustParsePrefix("0.0.0.0/0") // hash:net has no such
	}
	failures, err := s.Write(testContext(t), []SetOp{createOp(set, 3000), {Verb: AddMembers, Set: set, Members: members}})
	if err != nil {
		t.Fatal(err)
	}
	var got []int
	for _, f := range failures {
		if f.Op != 1 {
			t.Errorf("%+v", f)
		}
		got = append(got, f.Member)
	}
	slices.Sort(got)
	if !slices.Equal(got, bad) {
		t.Errorf("the failures are %+v", failures)
	}
	if n := len(listMembers(t, s, set.Name)); n != 3000-len(bad) {
		t.Errorf("the set has %d members", n)
	}
	small := createOp(Set{"caracal-small", HashIP, IPv4}, 0)
	small.MaxElem = 10
	gone := Set{"caracal-gone", HashIP, IPv4}
	for _, c := range []struct {
		op   SetOp
		want error
	}{
		{small, nil},
		{small, ErrSetExists},
		{SetOp{Verb: AddMembers, Set: small.Set, Members: hosts(1000)}, ErrSetFull},
		{SetOp{Verb: AddMembers, Set: gone, Members: hosts(1000)}, ErrNoSet},
		{SetOp{Verb: RemoveMembers, Set: gone, Members: hosts(1)}, ErrNoSet},
		{SetOp{Verb: DestroySet, Set: gone}, ErrNoSet},
		{SetOp{Verb: FlushSet, Set: gone}, ErrNoSet},
		{SetOp{Verb: SwapSets, Set: small.Set, Other: set.Name}, ErrSetMismatch},
		{SetOp{Verb: DestroySet, Set: small.Set}, nil},
	} {
		failures, err := s.Write(testContext(t), []SetOp{c.op})
		if err != nil || (len(failures) > 0) != (c.want != nil) || c.want != nil && !errors.Is(failures[0].Err, c.want) {
			t.Errorf("%s %s: %v, %v; want %v", c.op.Verb, c.op.Set.Name, failures, err, c.want)
		}
	}
}

// setsOnly is a Ruleset of one set.
func setsOnly(members []Member) *plainRuleset {
	rs := newPlainRuleset()
	rs.set("caracal-big", HashIP, IPv4)
	for _, m := range members {
		rs.members["caracal-big"][m] = true
	}
	rs.chain(IPv4, FilterTable, "caracal-x", "-m set --match-set caracal-big src -j ACCEPT")
	return rs
}

// TestSetsGrowAndShrink exchanges sets that are full or lose most of their
// members, while a rule uses them.
func TestSetsGrowAndShrink(t *testing.T) {
	ns := nstest.New(t)
	f := openFilter(t, ns, FilterOptions{Backend: BackendNFT})
	ns.Run("ipset", "create", "caracal-big", "hash:ip", "maxelem", "100")
	all := hosts(20000)
	steps := [][]Member{all[:90], all[:150], all, all[19000:], all[:19500], nil, all[:3]}
	was := setsOnly(steps[0])
	mustAudit(t, f, was)
	for i, members := range steps[1:] {
		rs := setsOnly(members)
		if i%2 == 0 || i == 3 {
			if _, err := f.Apply(testContext(t), rs, diffRulesets(was, rs)); err != nil {
				t.Fatal(err)
			}
		} else {
			mustAudit(t, f, rs)
		}
		if got := listMembers(t, f.host.Sets, "caracal-big"); !slices.Equal(got, slices.SortedFunc(slices.Values(members), compareMembers)) {
			t.Errorf("step %d: %d members, want %d", i, len(got), len(members))
		}
		was = rs
	}
	settle(t, f, was)
	if out := ns.Run("ipset", "list", "-n"); out != "caracal-big" {
		t.Errorf("the sets are %s", out)
	}
}

// BenchmarkFillSet is to be held against `ipset restore`, which took 2.6 s for
// 250,000 members in the same place.
func BenchmarkFillSet(b *testing.B) {
	s := openSets(b, nstest.New(b))
	members := hosts(250_000)
	for i := 0; b.Loop(); i++ {
		set := Set{fmt.Sprintf("caracal-%d", i), HashIP, IPv4}
		mustWrite(b, s, createOp(set, len(members)), SetOp{Verb: AddMembers, Set: set, Members: members})
	}
}
