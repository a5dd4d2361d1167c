package fib

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// A machine is what happens around a FIB, on the fake and on the real kernel
// alike.
type machine interface {
	kernel() Kernel
	// pump hands the FIB what happened since the last pump, all of it.
	pump(*FIB)
	setLink(name string, up bool)
	setAddr(name, addr string, there bool)
	recreate(name string, addrs ...string)
	// foreign writes as another program does, with a mark of its own.
	foreign(m Mark, op Op) error
	// listForeign lists the routes of a foreign mark.
	listForeign(m Mark) map[netip.Prefix]string
	index(name string) int
	hasTable(int) bool
}

// foreignMarks are those of other programs: another metric, our metric, another
// table, our protocol.
var foreignMarks = []Mark{
	{Table: 254, Protocol: 99, Metric: 100},
	{Table: 254, Protocol: 99, Metric: 427},
	{Table: 100, Protocol: 99, Metric: 427},
	{Table: 254, Protocol: 67, Metric: 101},
}

const inOurWay = 1 // of foreignMarks

// story is a random sequence of operations on a machine, with a plain model of
// what should come of it.
type story struct {
	t      *testing.T
	rng    *rand.Rand
	m      machine
	f      *FIB
	wanted map[netip.Prefix]Want
	theirs []map[netip.Prefix]bool // by foreign mark
	up     bool
	addr   bool
}

func newStory(t *testing.T, m machine, seed uint64) *story {
	s := &story{
		t: t, rng: rand.New(rand.NewPCG(seed, 1)), m: m, f: New(m.kernel(), Options{}),
		wanted: map[netip.Prefix]Want{}, up: true, addr: true,
	}
	for range foreignMarks {
		s.theirs = append(s.theirs, map[netip.Prefix]bool{})
	}
	if _, err := s.f.Adopt(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.f.Sweep(nil) // from here on what has our mark and is not wanted goes
	return s
}

var (
	storyHops4 = addrs("10.0.0.2", "10.0.0.3", "10.0.1.2", "10.0.1.3", "10.9.0.1", "10.9.200.1", "10.0.0.1", "203.0.113.7", "fd00::2", "fe80::1%eth1", "fe80::2%eth0")
	storyHops6 = addrs("fd00::2", "fd00::3", "fd01::2", "fe80::1%eth1", "fd09::1", "fd00::1", "2001:db8::7")
)

func addrs(ss ...string) []netip.Addr {
	as := make([]netip.Addr, len(ss))
	for i, s := range ss {
		as[i] = netip.MustParseAddr(s)
	}
	return as
}

// prefix picks one of some eighty: nets and hosts of both families, a few of
// which hide the way to a next hop.
func (s *story) prefix() netip.Prefix {
	i := byte(s.rng.IntN(20))
	switch s.rng.IntN(9) {
	case 0, 1, 2:
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64, i, 0}), 24)
	case 3, 4:
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 65, 0, i}), 32)
	case 5, 6:
		return netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd, 0xaa, 15: i}), 128)
	case 7:
		return netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd, 0xab, 3: i}), 64)
	}
	return pfx([]string{"10.9.0.0/17", "fd09::/33"}[i%2])
}

func (s *story) want() Want {
	w := Want{Dst: s.prefix(), Kind: Learned, Source: []string{"mesh/a", "mesh/b"}[s.rng.IntN(2)]}
	switch s.rng.IntN(8) {
	case 0:
		w.Kind = Discard
		return w
	case 1:
		w.Kind, w.Link = Local, []string{"eth1", "cali1", "nosuch"}[s.rng.IntN(3)]
		return w
	}
	hops := storyHops4
	if w.Dst.Addr().Is6() {
		hops = storyHops6
	}
	for range 1 + s.rng.IntN(3) {
		w.NextHops = append(w.NextHops, hops[s.rng.IntN(len(hops))])
	}
	return w
}

func (s *story) step() {
	switch n := s.rng.IntN(1000); {
	case n < 450:
		w := s.want()
		s.wanted[w.Dst] = w
		s.f.Set(w)
	case n < 600:
		p := s.prefix()
		delete(s.wanted, p)
		s.f.Unset(p)
	case n < 720:
		s.m.pump(s.f)
		applyAll(s.t, s.f)
	case n < 830:
		s.tamper()
	case n < 980:
		s.another()
	case n < 984:
		s.m.setLink("eth1", !s.up)
		s.up = !s.up
	case n < 988:
		if s.up {
			s.m.setAddr("eth1", "10.0.1.1/24", !s.addr)
			s.addr = !s.addr
		}
	case n < 990:
		s.m.recreate("cali1")
	default:
		s.check()
	}
}

// somewhere is a route that is always possible.
func (s *story) somewhere(dst netip.Prefix, last byte) Route {
	gw := netip.AddrFrom4([4]byte{10, 0, 0, last})
	if dst.Addr().Is6() {
		gw = netip.AddrFrom16([16]byte{0xfd, 15: last})
	}
	return Route{Dst: dst, Kind: Unicast, Hops: []Hop{{Gateway: gw, Link: s.m.index("eth0")}}}
}

// tamper changes or deletes a route of ours by hand.
func (s *story) tamper() {
	op := Op{Verb: []Verb{Delete, Replace}[s.rng.IntN(2)], Route: s.somewhere(s.prefix(), 77)}
	s.m.pump(s.f)
	if op.Verb == Replace && s.theirs[inOurWay][op.Route.Dst] {
		return // it would hit the foreign route, and the model has no word for that
	}
	if op.Verb == Delete {
		op.Route.Hops = nil
	}
	_ = s.m.foreign(s.m.kernel().Mark(), op) // ESRCH is no news
}

// another changes the routes of other programs.
func (s *story) another() {
	n := s.rng.IntN(len(foreignMarks))
	op := Op{Verb: []Verb{Delete, Replace, Replace}[s.rng.IntN(3)], Route: s.somewhere(s.prefix(), byte(80+s.rng.IntN(3)))}
	if s.rng.IntN(6) == 0 {
		op.Route = s.somewhere(pfx([]string{"10.9.0.0/16", "fd09::/32"}[s.rng.IntN(2)]), 99)
	}
	if !s.m.hasTable(foreignMarks[n].Table) {
		return
	}
	if op.Verb == Delete {
		op.Route.Hops = nil // whatever they are
	}
	err := s.m.foreign(foreignMarks[n], op)
	switch {
	case op.Verb == Delete:
		delete(s.theirs[n], op.Route.Dst)
	case err != nil:
		s.t.Fatalf("foreign %v: %v", op.Route, err)
	default:
		s.theirs[n][op.Route.Dst] = true
	}
	s.m.pump(s.f) // so that no write of ours crosses it
}

// expected is what the kernel should have, worked out from scratch.
func (s *story) expected() map[netip.Prefix]string {
	scratch := New(s.m.kernel(), Options{})
	for _, w := range s.wanted {
		scratch.Set(w)
	}
	if err := scratch.prepare(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	want := map[netip.Prefix]string{}
	scratch.table.all(func(_ id, e *entry) bool {
		if g := scratch.wants.vals[e.want].group; g != 0 && !s.theirs[inOurWay][e.dst()] {
			want[e.dst()] = bare(scratch.route(e.dst(), g))
		}
		return true
	})
	return want
}

// bare prints a route without the names of devices.
func bare(r Route) string {
	r.Hops = slices.Clone(r.Hops)
	for i := range r.Hops {
		r.Hops[i].Device = ""
	}
	appendGroup(nil, &r) // sorts
	return fmt.Sprint(r, " ", r.Odd)
}

func ownRoutes(t testing.TB, k Kernel) map[netip.Prefix]string {
	t.Helper()
	got := map[netip.Prefix]string{}
	if _, err := k.Dump(t.Context(), Filter{Own: true}, func(r Read) { got[r.Dst] += bare(r.Route) }); err != nil {
		t.Fatal(err)
	}
	return got
}

// check lets things settle and holds the kernel against the model.
func (s *story) check() {
	s.t.Helper()
	var got, want map[netip.Prefix]string
	var trouble string
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		s.m.pump(s.f)
		applyAll(s.t, s.f)
		got, want = ownRoutes(s.t, s.m.kernel()), s.expected()
		trouble = s.states(want)
		if maps.Equal(got, want) && trouble == "" {
			break
		}
		if time.Now().After(deadline) {
			s.report(got, want, trouble)
		}
	}
	for n, mark := range foreignMarks {
		listed := s.m.listForeign(mark)
		for dst := range s.theirs[n] {
			if listed[dst] == "" {
				s.t.Fatalf("foreign route %v of %+v is gone", dst, mark)
			}
		}
	}
	if r := applyAll(s.t, s.f); r.Written+r.Deleted != 0 {
		s.t.Fatalf("Apply wrote again: %+v", r)
	}
}

// states says which prefix is not shown as it is.
func (s *story) states(want map[netip.Prefix]string) string {
	for _, w := range s.wanted {
		state, ok := s.f.State(w.Dst)
		if _, in := want[w.Dst]; !ok || state.Installed != in || !in && state.Reason == "" {
			return fmt.Sprintf("%v: should be installed: %v; state %+v", w.Dst, in, state)
		}
	}
	if n := s.f.Stats().Installed; n != len(want) {
		return fmt.Sprintf("Stats say %d installed, expected are %d", n, len(want))
	}
	return ""
}

func (s *story) report(got, want map[netip.Prefix]string, trouble string) {
	s.t.Helper()
	s.t.Error(trouble)
	for dst := range maps.Keys(mergeKeys(got, want)) {
		if got[dst] != want[dst] {
			state, ok := s.f.State(dst)
			s.t.Errorf("%v: kernel %q, expected %q; wanted %+v; state %v %+v", dst, got[dst], want[dst], s.wanted[dst], ok, state)
		}
	}
	s.t.FailNow()
}

func mergeKeys(a, b map[netip.Prefix]string) map[netip.Prefix]string {
	m := maps.Clone(a)
	maps.Copy(m, b)
	return m
}

// end audits, which must find nothing, and takes everything down.
func (s *story) end() {
	s.check()
	rep, err := s.f.Audit(s.t.Context())
	if err != nil || rep.Missing+rep.Changed+rep.Stray != 0 {
		s.t.Errorf("audit at the end: %+v, %v", rep, err)
	}
	for p := range s.wanted {
		s.f.Unset(p)
	}
	clear(s.wanted)
	s.check()
	if n := s.f.table.len(); n != 0 {
		s.t.Errorf("%d entries are left of nothing", n)
	}
	if n, g, h := len(s.f.wants.byKey), len(s.f.groups.byKey), len(s.f.nexthops); n != 1 || g+h != 0 {
		s.t.Errorf("left of nothing: %d wants, %d ways, %d next hops", n, g, h)
	}
}

type fakeMachine struct{ *Fake }

func (m fakeMachine) kernel() Kernel { return m.Fake }
func (m fakeMachine) pump(f *FIB)    { f.Notify(m.Events()) }

func (m fakeMachine) setLink(name string, up bool) { m.SetLink(name, up, true) }

func (m fakeMachine) setAddr(name, addr string, there bool) {
	if there {
		m.AddAddr(name, addr)
	} else {
		m.DeleteAddr(name, addr)
	}
}

func (m fakeMachine) recreate(name string, addrs ...string) {
	m.DeleteLink(name)
	m.AddLink(name, addrs...)
}

func (m fakeMachine) foreign(mark Mark, op Op) error {
	if op.Verb == Delete {
		m.DeleteForeign(op.Route.Dst, mark.Protocol, mark.Metric)
		return nil
	}
	if errno := m.Foreign(op.Route, mark.Protocol, mark.Metric); errno != 0 {
		return errno
	}
	return nil
}

func (m fakeMachine) listForeign(mark Mark) map[netip.Prefix]string {
	all := map[netip.Prefix]string{}
	for key, r := range m.routes {
		if r.protocol == mark.Protocol && key.metric == mark.Metric {
			all[key.dst] = r.Route.String()
		}
	}
	return all
}

func (m fakeMachine) hasTable(table int) bool { return table == m.mark.Table }

func (m fakeMachine) index(name string) int { return m.byName(name).Index }

func TestRandomOnFake(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			k := NewFake(DefaultMark)
			k.AddLink("eth0", "10.0.0.1/24", "fd00::1/64")
			k.AddLink("eth1", "10.0.1.1/24", "fd01::1/64")
			k.AddLink("cali1")
			s := newStory(t, fakeMachine{k}, seed)
			for range 4_000 {
				s.step()
				if seed%2 == 0 { // not always: so that events also come in bursts
					s.m.pump(s.f)
					s.believes()
				}
			}
			s.end()
		})
	}
}

// believes holds what the FIB takes the kernel to have against what it has.
func (s *story) believes() {
	s.t.Helper()
	own := ownRoutes(s.t, s.m.kernel())
	s.f.table.all(func(_ id, e *entry) bool {
		dst := e.dst()
		switch got, ok := own[dst]; {
		case e.is(flagVerify):
		case ok != (e.have != 0):
			s.t.Fatalf("%v: kernel has it: %v, the FIB thinks it does: %v", dst, ok, e.have != 0)
		case ok && got != bare(s.f.route(dst, e.have)):
			s.t.Fatalf("%v: kernel has %s, the FIB thinks %s", dst, got, bare(s.f.route(dst, e.have)))
		}
		return true
	})
}
