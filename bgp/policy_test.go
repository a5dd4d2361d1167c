package bgp_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"caracal.dev/caracal"
	"caracal.dev/caracal/bench/sender"
	"caracal.dev/caracal/bgp"
	"caracal.dev/caracal/filter"
)

// exporting is a speaker with a neighbor of each kind, all up.
type exporting struct {
	*station
	relays []bgp.Relay
}

const (
	torASN   = 65001
	otherASN = 65002
)

func newExporting(t *testing.T, ip string) *exporting {
	e := &exporting{station: newStation(t, "x", ip, bgp.Options{})}
	base := ip[:strings.LastIndex(ip, ".")+1]
	e.conf.ClusterID = addr("10.10.10.10")
	var configs []sender.Config
	for i, kind := range []func(*bgp.Neighbor){
		func(n *bgp.Neighbor) { n.Client = true },
		func(n *bgp.Neighbor) { n.Client, n.Node = true, "client" },
		func(n *bgp.Neighbor) { n.Node, n.Reflector = "reflector", true },
		func(n *bgp.Neighbor) { n.Client, n.Node, n.Filters = true, "filtered", "a" },
		func(n *bgp.Neighbor) { n.Filters = "a,b" },
		func(n *bgp.Neighbor) { n.External, n.ASN = true, torASN },
		func(n *bgp.Neighbor) { n.External, n.ASN, n.Filters = true, torASN, "a" },
		func(n *bgp.Neighbor) { n.External, n.ASN, n.Filters = true, otherASN, "b,a" },
		func(n *bgp.Neighbor) { n.Node, n.ASN, n.Filters = "far", otherASN, "b" },
		func(n *bgp.Neighbor) { n.Filters = "gone" },
	} {
		n, c := neighborOf(e.station, fmt.Sprintf("%s%d", base, 11+i))
		kind(&n)
		c.ASN = n.ASN
		e.conf.Neighbors, configs = append(e.conf.Neighbors, n), append(configs, c)
	}
	e.apply()
	var all sync.WaitGroup
	for _, c := range configs {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), patient)
			defer cancel()
			s, err := sender.Dial(ctx, c)
			if err != nil {
				t.Error(err)
				return
			}
			t.Cleanup(func() { _ = s.Close() })
		})
	}
	all.Wait()
	for _, n := range e.conf.Neighbors {
		e.eventually(n.Name+" is up", func() bool {
			return slices.ContainsFunc(e.all, func(ev bgp.Event) bool {
				return ev.Session != nil && ev.Session.Neighbor == n.Name && ev.Session.State == bgp.Established
			})
		})
	}
	return e
}

// said is what a neighbor is announced, in words.
func (e *exporting) said(name string) map[netip.Prefix]string {
	e.t.Helper()
	got := map[netip.Prefix]string{}
	if err := e.AdjOut(context.Background(), name, func(p netip.Prefix, a caracal.Attrs) bool {
		got[p] = words(a, a.LocalPref)
		return true
	}); err != nil {
		e.t.Fatal(err)
	}
	return got
}

func words(a caracal.Attrs, pref uint32) string {
	communities := slices.Compact(slices.Sorted(slices.Values(a.Communities)))
	var large []string
	for _, c := range a.LargeCommunities {
		large = append(large, fmt.Sprint(c))
	}
	slices.Sort(large)
	med := "-"
	if a.HasMED {
		med = fmt.Sprint(a.MED)
	}
	return fmt.Sprintf("path %v pref %d med %s communities %v %v originator %s clusters %v", a.ASPath, pref, med, communities, slices.Compact(large), a.OriginatorID, a.ClusterList)
}

// wanted is what the words of caracal.Filter, RFC 4456 and RFC 8212 say that the
// neighbor is announced.
func (e *exporting) wanted(n bgp.Neighbor) map[netip.Prefix]string {
	want := map[netip.Prefix]string{}
	ours := map[netip.Prefix]bool{}
	withheld := func(p netip.Prefix) bool {
		return n.Node != "" && !n.Reflector && slices.ContainsFunc(e.conf.Services, func(r netip.Prefix) bool { return caracal.Covers(r, p) })
	}
	for _, p := range e.conf.Originate {
		ours[p] = true
		if withheld(p) {
			continue
		}
		a := &caracal.Attrs{LocalPref: 100}
		for _, c := range e.conf.Communities[p] {
			if c.Large {
				a.LargeCommunities = append(a.LargeCommunities, c.Value)
			} else {
				a.Communities = append(a.Communities, c.Value[0])
			}
		}
		if text, ok := e.exported(n, filter.Subject{NLRI: p, Attrs: a, Source: caracal.SourceLocal}); ok {
			want[p] = text
		}
	}
	for _, r := range e.relays {
		from := e.conf.Neighbors[slices.IndexFunc(e.conf.Neighbors, func(n bgp.Neighbor) bool { return n.Name == r.From })]
		originator := from.Addr
		if r.Internal && r.Attrs.OriginatorID.IsValid() {
			originator = r.Attrs.OriginatorID
		}
		a := *r.Attrs
		a.OriginatorID, a.ClusterList = netip.Addr{}, nil
		if r.Internal && n.ASN == asn {
			a.OriginatorID, a.ClusterList = originator, append([]netip.Addr{e.conf.ClusterID}, r.Attrs.ClusterList...)
		}
		switch {
		case ours[r.NLRI], withheld(r.NLRI), originator == n.Addr, slices.Contains(a.ASPath, n.ASN),
			n.ASN != asn && filter.Has(&a, caracal.NoExport),
			r.Internal && !r.Client && n.ASN == asn && !n.Client:
			continue
		}
		if text, ok := e.exported(n, filter.Subject{NLRI: r.NLRI, Attrs: &a, Source: caracal.SourceRemotePeers, Explicit: n.External || r.External}); ok {
			want[r.NLRI] = text
		}
	}
	return want
}

func (e *exporting) exported(n bgp.Neighbor, s filter.Subject) (string, bool) {
	chain := filter.Compile(strings.FieldsFunc(n.Filters, func(r rune) bool { return r == ',' }),
		func(name string) (caracal.Filter, bool) { f, ok := e.conf.Filters[name]; return f, ok })
	s.Peer = caracal.PeerInternal
	if n.ASN != asn {
		s.Peer = caracal.PeerExternal
	}
	res := chain.Export(s)
	if res.Decided && !res.Accept || !res.Decided && s.Explicit {
		return "", false
	}
	a := *res.Attrs
	if n.ASN == asn {
		return words(a, a.LocalPref), true
	}
	if s.Source == caracal.SourceRemotePeers && a.MED == s.Attrs.MED {
		a.HasMED = false // not passed on to another AS (RFC 4271 section 5.1.4)
	}
	before := a.ASPath[:len(a.ASPath)-len(s.Attrs.ASPath)]
	a.ASPath = slices.Concat(before, []uint32{asn}, s.Attrs.ASPath)
	if a.ASPath[0] != asn {
		a.ASPath = append([]uint32{asn}, a.ASPath...)
	}
	return words(a, 0), true
}

func (e *exporting) check(round int) {
	e.t.Helper()
	for _, n := range e.conf.Neighbors {
		got, want := e.said(n.Name), e.wanted(n)
		if maps.Equal(got, want) {
			continue
		}
		for _, p := range slices.SortedFunc(maps.Keys(want), netip.Prefix.Compare) {
			if got[p] != want[p] {
				e.t.Errorf("round %d: %s (%s) %s\n is told %q,\n wants   %q", round, n.Name, n.Filters, p, got[p], want[p])
			}
		}
		for p := range got {
			if want[p] == "" {
				e.t.Errorf("round %d: %s (%s) %s is told %q, wants nothing", round, n.Name, n.Filters, p, got[p])
			}
		}
		e.t.Fatalf("filters %+v\nrelays %+v", e.conf.Filters, e.relays)
	}
}

// TestExportPolicyMeansWhatFiltersSay holds what GoBGP announces, under the
// policy that its filters were translated into, against package filter.
func TestExportPolicyMeansWhatFiltersSay(t *testing.T) {
	e := newExporting(t, "127.0.20.1")
	rng := rand.New(rand.NewPCG(5, 6))
	for round := range 60 {
		e.conf.Filters = map[string]caracal.Filter{"a": randomFilter(rng, "a"), "b": randomFilter(rng, "b")}
		e.conf.Originate, e.conf.Communities = nil, map[netip.Prefix][]caracal.Community{}
		var told []bgp.Relay
		for _, r := range e.relays {
			told = append(told, bgp.Relay{NLRI: r.NLRI})
		}
		e.relays, e.conf.Services = nil, nil
		for _, p := range somePrefixes {
			if rng.IntN(8) == 0 {
				e.conf.Services = append(e.conf.Services, p)
			}

			switch rng.IntN(4) {
			case 0:
				e.conf.Originate = append(e.conf.Originate, p)
				if rng.IntN(2) == 0 {
					e.conf.Communities[p] = []caracal.Community{someCommunities[rng.IntN(len(someCommunities))]}
				}
			case 1, 2:
				r := randomRelay(rng, p, e.conf.Neighbors)
				e.relays = append(e.relays, r)
				told = append(told, r)
			}
		}
		e.apply()
		if err := e.Relay(context.Background(), told, nil); err != nil {
			t.Fatal(err)
		}
		e.check(round)
	}
}

var (
	somePrefixes = []netip.Prefix{
		prefix("10.0.0.0/8"), prefix("10.1.0.0/16"), prefix("10.1.2.0/26"), prefix("10.2.0.0/16"), prefix("172.16.0.0/12"), prefix("10.1.2.3/32"),
		prefix("fd00::/8"), prefix("fd00:1::/48"), prefix("fd00:1::1/128"),
	}
	someCommunities = []caracal.Community{
		caracal.StandardCommunity(65000, 1), caracal.StandardCommunity(65000, 2), caracal.NoExport,
		{Large: true, Value: [3]uint32{65000, 1, 2}}, {Large: true, Value: [3]uint32{65000, 1, 22}},
	}
)

func randomRelay(rng *rand.Rand, p netip.Prefix, neighbors []bgp.Neighbor) bgp.Relay {
	n := neighbors[rng.IntN(len(neighbors))]
	a := &caracal.Attrs{NextHop: addr("192.0.2.9"), LocalPref: uint32(100 + rng.IntN(2)), Origin: caracal.OriginIGP}
	if p.Addr().Is6() {
		a.NextHop = addr("2001:db8::9")
	}
	for range rng.IntN(3) {
		c := someCommunities[rng.IntN(len(someCommunities))]
		switch {
		case filter.Has(a, c):
		case c.Large:
			a.LargeCommunities = append(a.LargeCommunities, c.Value)
		default:
			a.Communities = append(a.Communities, c.Value[0])
		}
	}
	if n.ASN != asn {
		a.ASPath = []uint32{n.ASN}
	}
	for range rng.IntN(3) {
		a.ASPath = append(a.ASPath, uint32(1+rng.IntN(3)))
	}
	a.ASPathLen, a.ASPathText = len(a.ASPath), strings.Trim(fmt.Sprint(a.ASPath), "[]")
	if rng.IntN(2) == 0 {
		a.MED, a.HasMED = 7, true
	}
	internal := n.ASN == asn
	if internal && rng.IntN(3) == 0 {
		a.OriginatorID = neighbors[rng.IntN(len(neighbors))].Addr
		a.ClusterList = []netip.Addr{addr("10.9.9.9")}
	}
	return bgp.Relay{NLRI: p, Attrs: a, From: n.Name, Internal: internal, Client: n.Client, External: n.External}
}

func randomFilter(rng *rand.Rand, name string) caracal.Filter {
	f := caracal.Filter{Name: name}
	for range rng.IntN(4) {
		f.Export4 = append(f.Export4, randomExport(rng, "10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/26", "0.0.0.0/0"))
		f.Export6 = append(f.Export6, randomExport(rng, "fd00::/8", "fd00:1::/48", "::/0"))
	}
	return f
}

func randomExport(rng *rand.Rand, cidrs ...string) caracal.Rule {
	r := caracal.Rule{Accept: rng.IntN(3) > 0}
	if rng.IntN(2) == 0 {
		r.CIDR = prefix(cidrs[rng.IntN(len(cidrs))])
		r.Match = []caracal.MatchOperator{caracal.MatchEqual, caracal.MatchNotEqual, caracal.MatchIn, caracal.MatchNotIn}[rng.IntN(4)]
	}
	if rng.IntN(4) == 0 {
		r.HasLen, r.MinLen, r.MaxLen = true, 8+rng.IntN(9), 16+rng.IntN(33)
	}
	for range max(0, rng.IntN(4)-1) {
		r.Communities = append(r.Communities, someCommunities[rng.IntN(len(someCommunities))])
	}
	for range max(0, rng.IntN(4)-1) {
		r.ASPathPrefix = append(r.ASPathPrefix, []uint32{1, 2, torASN, otherASN}[rng.IntN(4)])
	}
	r.Source = []caracal.PathSource{"", "", caracal.SourceLocal, caracal.SourceRemotePeers, caracal.SourceRemotePeers}[rng.IntN(5)]
	r.PeerType = []caracal.PeerType{"", "", "", caracal.PeerInternal, caracal.PeerExternal}[rng.IntN(5)]
	if !r.Accept {
		return r
	}
	for range rng.IntN(4) {
		med, pref := uint32(100*(1+rng.IntN(2))), uint32(1+rng.IntN(300))
		c := []caracal.Community{caracal.StandardCommunity(65000, 7), {Large: true, Value: [3]uint32{65000, 7, 7}}}[rng.IntN(2)]
		r.Operations = append(r.Operations, []caracal.Operation{
			{AddCommunity: &c}, {SetMED: &med}, {SetLocalPref: &pref},
			{PrependASPath: [][]uint32{{asn, asn}, {8, 9, 9}, {asn, 8}}[rng.IntN(3)]},
		}[rng.IntN(4)])
	}
	return r
}
