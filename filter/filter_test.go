package filter

import (
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"caracal.dev/caracal"
)

func pfx(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func set(f caracal.Filter) func(string) (caracal.Filter, bool) {
	return func(name string) (caracal.Filter, bool) { return f, name == f.Name }
}

func path(asPath string, as ...uint32) *caracal.Attrs {
	return &caracal.Attrs{ASPathText: asPath, ASPath: as, ASPathLen: len(as), LocalPref: 100,
		Communities: []uint32{65000<<16 | 1}, LargeCommunities: [][3]uint32{{65000, 1, 2}}}
}

var (
	one   = caracal.StandardCommunity(65000, 1)
	two   = caracal.StandardCommunity(65000, 2)
	large = caracal.Community{Large: true, Value: [3]uint32{65000, 1, 2}}
)

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		name string
		rule caracal.Rule
		nlri string
		as   *caracal.Attrs
		want bool
	}{
		{"no condition", caracal.Rule{}, "10.0.0.0/8", nil, true},
		{"equal", caracal.Rule{CIDR: pfx("10.0.0.0/8"), Match: caracal.MatchEqual}, "10.0.0.0/8", nil, true},
		{"equal, longer", caracal.Rule{CIDR: pfx("10.0.0.0/8"), Match: caracal.MatchEqual}, "10.0.0.0/9", nil, false},
		{"equal, host bits in the rule", caracal.Rule{CIDR: pfx("10.1.2.3/8"), Match: caracal.MatchEqual}, "10.0.0.0/8", nil, true},
		{"not equal", caracal.Rule{CIDR: pfx("10.0.0.0/8"), Match: caracal.MatchNotEqual}, "10.0.0.0/9", nil, true},
		{"in, same", caracal.Rule{CIDR: pfx("10.0.0.0/8"), Match: caracal.MatchIn}, "10.0.0.0/8", nil, true},
		{"in, longer", caracal.Rule{CIDR: pfx("10.0.0.0/8"), Match: caracal.MatchIn}, "10.9.0.0/16", nil, true},
		{"in, wider", caracal.Rule{CIDR: pfx("10.0.0.0/8"), Match: caracal.MatchIn}, "0.0.0.0/0", nil, false},
		{"not in", caracal.Rule{CIDR: pfx("10.0.0.0/8"), Match: caracal.MatchNotIn}, "11.0.0.0/8", nil, true},
		{"not in, other family", caracal.Rule{CIDR: pfx("fd00::/8"), Match: caracal.MatchNotIn}, "11.0.0.0/8", nil, false},
		{"length", caracal.Rule{HasLen: true, MinLen: 24, MaxLen: 26}, "10.0.0.0/24", nil, true},
		{"length, shorter", caracal.Rule{HasLen: true, MinLen: 24, MaxLen: 26}, "10.0.0.0/23", nil, false},
		{"length, longer", caracal.Rule{HasLen: true, MinLen: 24, MaxLen: 26}, "10.0.0.0/27", nil, false},
		{"communities", caracal.Rule{Communities: []caracal.Community{one, large}}, "10.0.0.0/8", path(""), true},
		{"communities, one missing", caracal.Rule{Communities: []caracal.Community{one, two}}, "10.0.0.0/8", path(""), false},
		{"AS path", caracal.Rule{ASPathPrefix: []uint32{1, 2}}, "10.0.0.0/8", path("1 2 3", 1, 2, 3), true},
		{"AS path, whole", caracal.Rule{ASPathPrefix: []uint32{1, 2}}, "10.0.0.0/8", path("1 2", 1, 2), true},
		{"AS path, digits", caracal.Rule{ASPathPrefix: []uint32{1, 2}}, "10.0.0.0/8", path("1 23", 1, 23), false},
		{"AS path, a set", caracal.Rule{ASPathPrefix: []uint32{1, 2}}, "10.0.0.0/8", path("1 {2 3}", 1, 2, 3), false},
		{"AS path, short", caracal.Rule{ASPathPrefix: []uint32{1, 2}}, "10.0.0.0/8", path("1", 1), false},
		{"AS path without text", caracal.Rule{ASPathPrefix: []uint32{1}}, "10.0.0.0/8", path("", 1), true},
		{"source", caracal.Rule{Source: caracal.SourceLocal}, "10.0.0.0/8", nil, false},
		{"peer type", caracal.Rule{PeerType: caracal.PeerExternal}, "10.0.0.0/8", nil, true},
		{"other peer type", caracal.Rule{PeerType: caracal.PeerInternal}, "10.0.0.0/8", nil, false},
	} {
		c.rule.Accept = true
		if c.as == nil {
			c.as = path("1", 1)
		}
		f := caracal.Filter{Name: "f", Import4: []caracal.Rule{c.rule}}
		r := Compile([]string{"f"}, set(f)).Import(Subject{NLRI: pfx(c.nlri), Attrs: c.as, Source: caracal.SourceRemotePeers, Peer: caracal.PeerExternal})
		if r.Decided != c.want || r.Accept != c.want {
			t.Errorf("%s: %+v, want %v", c.name, r, c.want)
		}
	}
}

func TestOperationsLeaveThePathAlone(t *testing.T) {
	pref, med := uint32(7), uint32(0)
	f := caracal.Filter{Name: "f", Export6: []caracal.Rule{{Accept: true, Operations: []caracal.Operation{
		{AddCommunity: &one}, {AddCommunity: &two}, {AddCommunity: &large}, {PrependASPath: []uint32{9, 8}},
		{SetLocalPref: &pref}, {SetMED: &med},
	}}}}
	in := path("1 {2}", 1, 2)
	in.ASPathLen = 2
	was := *in
	r := Compile([]string{"f"}, set(f)).Export(Subject{NLRI: pfx("fd00::/8"), Attrs: in})
	want := &caracal.Attrs{ASPathText: "9 8 1 {2}", ASPath: []uint32{9, 8, 1, 2}, ASPathLen: 4, LocalPref: 7, HasMED: true,
		Communities: []uint32{one.Value[0], two.Value[0]}, LargeCommunities: [][3]uint32{large.Value}}
	if !reflect.DeepEqual(r.Attrs, want) || !reflect.DeepEqual(*in, was) || r.Rule != "rule 1 of exportV6 of BGPFilter f" {
		t.Fatalf("%+v\n%+v, want\n%+v; before %+v", r, r.Attrs, want, in)
	}
	if r := Compile([]string{"f"}, set(f)).Export(Subject{NLRI: pfx("10.0.0.0/8"), Attrs: in}); r.Decided || r.Attrs != in {
		t.Fatalf("IPv6 rules decided about IPv4: %+v", r)
	}
}

func TestMissingRejects(t *testing.T) {
	f := caracal.Filter{Name: "there", Import4: []caracal.Rule{{Accept: true}}}
	r := Compile([]string{"there", "gone"}, set(f)).Import(Subject{NLRI: pfx("10.0.0.0/8"), Attrs: path("")})
	if !r.Decided || r.Accept || r.Rule != "BGPFilter gone, which is not there: until it is, everything is rejected" {
		t.Fatalf("%+v", r)
	}
	var none *Chain
	if r := none.Import(Subject{NLRI: pfx("10.0.0.0/8"), Attrs: path("")}); r.Decided {
		t.Fatalf("%+v", r)
	}
}

func TestExplicitWantsTheSourceNamed(t *testing.T) {
	f := caracal.Filter{Name: "f",
		Export4: []caracal.Rule{{CIDR: pfx("10.9.0.0/16"), Match: caracal.MatchIn}, {Accept: true}},
		Export6: []caracal.Rule{{Accept: true, Source: caracal.SourceRemotePeers}},
	}
	c := Compile([]string{"f"}, set(f))
	for _, q := range []struct {
		nlri            string
		decided, accept bool
	}{{"10.0.0.0/8", false, false}, {"10.9.1.0/24", true, false}, {"fd00::/8", true, true}} {
		r := c.Export(Subject{NLRI: pfx(q.nlri), Attrs: path(""), Source: caracal.SourceRemotePeers, Explicit: true})
		if r.Decided != q.decided || r.Accept != q.accept {
			t.Errorf("%s: %+v", q.nlri, r)
		}
	}
}

func TestNoOperationNoAllocation(t *testing.T) {
	f := caracal.Filter{Name: "f", Import4: []caracal.Rule{
		{Communities: []caracal.Community{two}},
		{ASPathPrefix: []uint32{7}},
		{CIDR: pfx("10.0.0.0/8"), Match: caracal.MatchIn, HasLen: true, MinLen: 8, MaxLen: 32, Communities: []caracal.Community{one, large}, ASPathPrefix: []uint32{1, 2}, Accept: true},
	}}
	c := Compile([]string{"f"}, set(f))
	s := Subject{NLRI: pfx("10.1.2.0/26"), Attrs: path("1 2 3", 1, 2, 3), Source: caracal.SourceRemotePeers}
	if n := testing.AllocsPerRun(100, func() {
		if !c.Import(s).Accept {
			t.Fatal("not accepted")
		}
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

// TestFirstMatchDecides holds a Chain against the words of [caracal.Filter]:
// the first rule that matches, of the filters in their order.
func TestFirstMatchDecides(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		filters := map[string]caracal.Filter{}
		var names []string
		var all []caracal.Rule
		for _, name := range []string{"a", "b", "c"}[:rng.IntN(4)] {
			f := caracal.Filter{Name: name}
			for range rng.IntN(4) {
				f.Import4 = append(f.Import4, randomRule(rng))
			}
			filters[name], names, all = f, append(names, name), append(all, f.Import4...)
		}
		s := Subject{NLRI: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(rng.IntN(2)), 0, 0}), 8+rng.IntN(10)).Masked(),
			Attrs: path("1 2", 1, 2), Source: caracal.SourceRemotePeers, Peer: caracal.PeerExternal}
		got := Compile(names, func(n string) (caracal.Filter, bool) { f, ok := filters[n]; return f, ok }).Import(s)
		i := slices.IndexFunc(all, func(r caracal.Rule) bool {
			one := caracal.Filter{Name: "f", Import4: []caracal.Rule{r}}
			return Compile([]string{"f"}, set(one)).Import(s).Decided
		})
		if got.Decided != (i >= 0) || i >= 0 && got.Accept != all[i].Accept {
			t.Fatalf("%+v decided as %+v, first match is %d of %+v", s, got, i, all)
		}
	}
}

func randomRule(rng *rand.Rand) caracal.Rule {
	r := caracal.Rule{Accept: rng.IntN(2) == 0}
	if rng.IntN(2) == 0 {
		r.CIDR = pfx([]string{"10.0.0.0/8", "10.0.0.0/10", "10.1.0.0/16"}[rng.IntN(3)])
		r.Match = []caracal.MatchOperator{caracal.MatchEqual, caracal.MatchNotEqual, caracal.MatchIn, caracal.MatchNotIn}[rng.IntN(4)]
	}
	if rng.IntN(3) == 0 {
		r.HasLen, r.MinLen, r.MaxLen = true, 8+rng.IntN(4), 10+rng.IntN(8)
	}
	if rng.IntN(3) == 0 {
		r.Communities = []caracal.Community{[]caracal.Community{one, two, large}[rng.IntN(3)]}
	}
	if rng.IntN(3) == 0 {
		r.ASPathPrefix = []uint32{uint32(1 + rng.IntN(2))}
	}
	return r
}

// FuzzChain wants that nothing a filter can say makes a path change in place.
func FuzzChain(f *testing.F) {
	f.Add("10.0.0.0/8", uint32(1), uint32(2), true)
	f.Fuzz(func(t *testing.T, nlri string, as, community uint32, accept bool) {
		p, err := netip.ParsePrefix(nlri)
		if err != nil {
			return
		}
		c := caracal.Community{Value: [3]uint32{community}}
		r := caracal.Rule{CIDR: p, Match: caracal.MatchIn, ASPathPrefix: []uint32{as}, Accept: accept,
			Operations: []caracal.Operation{{AddCommunity: &c}, {PrependASPath: []uint32{as}}}}
		chain := Compile([]string{"f"}, set(caracal.Filter{Name: "f", Import4: []caracal.Rule{r}, Import6: []caracal.Rule{r}}))
		in := path("1", 1)
		was := *in
		res := chain.Import(Subject{NLRI: p.Masked(), Attrs: in})
		if !reflect.DeepEqual(*in, was) {
			t.Fatal("the path changed")
		}
		if res.Decided && accept && !Has(res.Attrs, c) {
			t.Fatal("the operation was not carried out")
		}
	})
}
