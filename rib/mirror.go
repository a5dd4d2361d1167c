package rib

import (
	"net/netip"
	"time"

	"github.com/gaissmai/bart"

	"caracal.dev/caracal"
	"caracal.dev/caracal/bgp"
	"caracal.dev/caracal/filter"
)

// Mirror holds every path of every neighbor. Its methods take what happened
// ([Mirror.Apply], [Mirror.SetNeighbors], [Mirror.SetPolicy], [Mirror.Rejudge]) and mark prefixes
// dirty; [Mirror.Decide] hands out the choices that changed.
type Mirror struct {
	owners    *Owners
	asn       uint32 // our own
	table     bart.Table[*entry]
	neighbors map[string]*neighbor
	former    map[string]*neighbor // by a name that the speaker still calls them
	dirty     []*entry
	gone      []netip.Prefix               // without a path, by Decide
	sets      map[netip.Addr]*[]netip.Addr // interned single next hops
	// kept is the last accepted version of paths that were replaced by a refused
	// one: until the right path is back, the accepted route stays.
	kept map[*path]kept
	// altered are the attributes of accepted paths that are not used as they came.
	altered map[*path]*caracal.Attrs
	last    struct {
		altering
		attrs *caracal.Attrs
	}

	policy Policy
	relays
	scratch []*path
}

// kept is a path's last accepted version: as it was received, and as it is used.
type kept struct{ received, attrs *caracal.Attrs }

// entry is one prefix. It and path are 64 bytes each: there are 100,000.
type entry struct {
	nlri   netip.Prefix
	paths  *path         // of any neighbor, newest first
	chosen *[]netip.Addr // nil while nothing is installed
	dirty  bool
}

// path is one neighbor's path for a prefix. It is in two lists: the entry's,
// and its neighbor's.
type path struct {
	entry *entry
	from  *neighbor
	next  *path // in the entry
	nbPrev,
	nbNext *path // in the neighbor
	update *update
	id     uint32
	epoch  uint32
	code   Code
	best   bool // among the chosen
	kept   bool // Mirror.kept has its last accepted version
	// altered: Mirror.altered has its attributes as they are used.
	altered bool
}

// update is what the paths of one UPDATE share.
type update struct {
	attrs    *caracal.Attrs
	received int64 // UnixNano
}

// identity is what is configured of a neighbor and matters here.
type identity struct {
	known        bool // configured
	addr, local  netip.Addr
	localASN     uint32 // ours towards it
	allowLocalAS int
	peer         string // key of the BGPPeer
	external     bool   // in another AS and not one of the nodes
	ebgp         bool   // in another AS
	client       bool
}

// neighbor is one session's part of the mirror.
type neighbor struct {
	name string
	identity
	rules     rules
	exports   string // names of the filters
	sendsMore bool   // it is sent more than one path for a prefix
	up        bool
	// seen says that in this process's life the neighbor has sent all it had.
	seen     bool
	eor      [2]bool // in this session, for IPv4 and IPv6
	families [2]bool
	epoch    uint32
	// lasting are the epochs, for IPv4 and IPv6, before which stale paths are the
	// last resort (RFC 9494).
	lasting [2]uint32
	// suspect says that the neighbor was found to be out of reach, so that its
	// stale paths may lead nowhere.
	suspect bool
	paths   *path
	counts  Counts
}

// Counts are a neighbor's paths by fate. Received is all of them.
type Counts struct {
	Received, Accepted, Best, Stale int
	Refused                         map[Code]int
}

// NewMirror returns an empty Mirror that judges by owners.
func NewMirror(owners *Owners) *Mirror {
	return &Mirror{
		owners: owners, neighbors: map[string]*neighbor{}, former: map[string]*neighbor{}, sets: map[netip.Addr]*[]netip.Addr{},
		kept: map[*path]kept{}, altered: map[*path]*caracal.Attrs{}, policy: PolicyOf(caracal.NewSnapshot(""), nil),
	}
}

// Rejudge marks every prefix at or below one of the changed ones, and those
// above them, which may now be too wide or no longer so.
func (m *Mirror) Rejudge(changed []netip.Prefix) {
	for _, c := range changed {
		for _, e := range m.table.Subnets(c) {
			m.mark(e)
		}
		for _, e := range m.table.Supernets(c) {
			m.mark(e)
		}
	}
}

// Apply takes one event of the speaker, in the order it happened.
func (m *Mirror) Apply(ev bgp.Event) {
	switch {
	case ev.Update != nil:
		m.update(ev.Update)
	case ev.Session != nil:
		m.session(ev.Session)
	case ev.EndOfRIB != nil:
		m.endOfRIB(ev.EndOfRIB)
	}
}

func (m *Mirror) update(u *bgp.Update) {
	nb := m.neighbor(u.Neighbor)
	for _, n := range u.Withdrawn {
		if e, ok := m.table.Get(n.Prefix); ok {
			if p := e.find(nb, n.ID); p != nil {
				m.drop(p)
			}
		}
	}
	shared := &update{u.Attrs, u.Received.UnixNano()}
	for _, n := range u.Announced {
		m.announce(nb, n, shared)
	}
}

func (m *Mirror) announce(nb *neighbor, n bgp.NLRI, u *update) {
	e, ok := m.table.Get(n.Prefix)
	if !ok {
		e = &entry{nlri: n.Prefix}
		m.table.Insert(n.Prefix, e)
	}
	p := e.find(nb, n.ID)
	if p == nil {
		p = &path{entry: e, from: nb, id: n.ID, next: e.paths, nbNext: nb.paths, code: RefusedUnknown}
		e.paths = p
		if nb.paths != nil {
			nb.paths.nbPrev = p
		}
		nb.paths = p
		nb.counts.Received++
		nb.count(p.code, 1)
	} else {
		if e.dirty {
			m.judge(p)
		}
		if p.code == Accepted {
			m.keep(p, &kept{p.update.attrs, m.usable(p)}) // judge forgets it when the new one is accepted too
		}
	}
	p.update, p.epoch = u, nb.epoch
	m.mark(e)
}

func (m *Mirror) session(s *bgp.Session) {
	if s.Renamed != "" {
		m.renamed(s)
		return
	}
	nb := m.neighbor(s.Neighbor)
	switch {
	case s.Removed:
		m.dropWhere(nb, func(*path) bool { return true })
		nb.up, nb.seen, nb.eor = false, false, [2]bool{}
		delete(m.former, s.Neighbor)
		if !nb.known { // it may be configured anew already
			delete(m.neighbors, nb.name)
		}
	case s.Expired:
		m.expire(nb, [2]bool{s.LongLived4, s.LongLived6})
	case s.State == bgp.Established:
		// RFC 4724 section 4.2 wants stale paths gone at once where the F bit is
		// not set (Preserved4, Preserved6). They are left until End-of-RIB, a
		// moment later: GoBGP by itself omits the bit after the loss of a connection,
		// when forwarding never stopped, and a node that did lose its routes drops
		// the packets whichever way they come.
		nb.up, nb.eor = true, [2]bool{}
		m.suspect(nb, false)
	case s.Was == bgp.Established:
		nb.up, nb.eor = false, [2]bool{}
		kept := [2]bool{s.Kept4, s.Kept6}
		// RFC 4724 section 4.2 drops at a second restart what was stale already, so
		// that a neighbor that crashes on and on cannot keep its paths for ever. The
		// speaker's time to keep them runs on through further restarts and ends that
		// (Expired); until then a crash loop need not cost a packet.
		m.dropWhere(nb, func(p *path) bool { return !s.Graceful || !kept[index(p.entry.nlri.Addr().Is6())] })
		nb.epoch++
		m.suspect(nb, s.Suspect)
	}
}

// suspect has every path of a neighbor compared anew, if what is thought of it
// changes.
func (m *Mirror) suspect(nb *neighbor, yes bool) {
	if nb.suspect == yes {
		return
	}
	nb.suspect = yes
	for p := nb.paths; p != nil; p = p.nbNext {
		m.mark(p.entry)
	}
}

func (m *Mirror) endOfRIB(e *bgp.EndOfRIB) {
	nb := m.neighbor(e.Neighbor)
	nb.eor[index(e.IPv6)] = true
	nb.seen = nb.seen || nb.complete()
	m.dropWhere(nb, func(p *path) bool { return p.epoch != nb.epoch && p.entry.nlri.Addr().Is6() == e.IPv6 })
}

// expire drops what is stale, or makes it the last resort for the families that
// are kept for long (RFC 9494 section 4.2).
func (m *Mirror) expire(nb *neighbor, lasting [2]bool) {
	m.dropWhere(nb, func(p *path) bool {
		return p.stale() && (!lasting[p.family()] || filter.Has(p.update.attrs, caracal.NoLLGR))
	})
	for i, yes := range lasting {
		if yes {
			nb.lasting[i] = nb.epoch
		}
	}
	for p := nb.paths; p != nil; p = p.nbNext {
		if p.longLived() {
			m.mark(p.entry)
		}
	}
}

func (p *path) family() int { return index(p.entry.nlri.Addr().Is6()) }

func index(v6 bool) int {
	if v6 {
		return 1
	}
	return 0
}

// complete reports whether End-of-RIB came for every family of the session.
func (nb *neighbor) complete() bool {
	return nb.up && (nb.eor[0] || !nb.families[0]) && (nb.eor[1] || !nb.families[1])
}

func (nb *neighbor) count(c Code, d int) {
	if c == Accepted {
		nb.counts.Accepted += d
		return
	}
	if nb.counts.Refused == nil {
		nb.counts.Refused = map[Code]int{}
	}
	nb.counts.Refused[c] += d
}

// Pending returns the configured neighbors that have not yet sent all they
// have in this process's life: while there are some, the RIB has not converged.
func (m *Mirror) Pending() []string {
	var names []string
	for name, nb := range m.neighbors {
		if nb.known && !nb.seen {
			names = append(names, name)
		}
	}
	return names
}

// Seen reports whether the neighbor has sent all it had since this process
// started.
func (m *Mirror) Seen(name string) bool {
	nb := m.neighbors[name]
	return nb != nil && nb.seen
}

// Counts returns a neighbor's paths by fate.
func (m *Mirror) Counts(name string) Counts {
	nb := m.neighbors[name]
	if nb == nil {
		return Counts{}
	}
	c := nb.counts
	c.Refused = make(map[Code]int, len(nb.counts.Refused))
	for code, n := range nb.counts.Refused {
		if n > 0 {
			c.Refused[code] = n
		}
	}
	return c
}

// Len returns the number of prefixes with at least one path.
func (m *Mirror) Len() int { return m.table.Size() }

// neighbor returns the one that the speaker calls so.
func (m *Mirror) neighbor(name string) *neighbor {
	if nb := m.former[name]; nb != nil {
		return nb
	}
	return m.named(name)
}

// named returns the one that is configured under a name.
func (m *Mirror) named(name string) *neighbor {
	nb := m.neighbors[name]
	if nb == nil {
		nb = &neighbor{name: name, families: [2]bool{true, true}}
		m.neighbors[name] = nb
	}
	return nb
}

func (m *Mirror) mark(e *entry) {
	if !e.dirty {
		e.dirty = true
		m.dirty = append(m.dirty, e)
	}
}

func (m *Mirror) dirtyAll(nb *neighbor) {
	for p := nb.paths; p != nil; p = p.nbNext {
		m.mark(p.entry)
	}
}

func (e *entry) find(nb *neighbor, id uint32) *path {
	for p := e.paths; p != nil; p = p.next {
		if p.from == nb && p.id == id {
			return p
		}
	}
	return nil
}

// dropWhere drops those paths of a neighbor for which gone is true.
func (m *Mirror) dropWhere(nb *neighbor, gone func(*path) bool) {
	for p := nb.paths; p != nil; {
		next := p.nbNext
		if gone(p) {
			m.drop(p)
		}
		p = next
	}
}

// keep sets the accepted version that stays in force for a path; nil for none.
func (m *Mirror) keep(p *path, k *kept) {
	if p.kept = k != nil; p.kept {
		m.kept[p] = *k
		return
	}
	delete(m.kept, p)
}

func (m *Mirror) drop(p *path) {
	if p.kept {
		m.keep(p, nil)
	}
	m.alter(p, false, nil)
	for link := &p.entry.paths; *link != nil; link = &(*link).next {
		if *link == p {
			*link = p.next
			break
		}
	}
	if p.nbPrev != nil {
		p.nbPrev.nbNext = p.nbNext
	} else {
		p.from.paths = p.nbNext
	}
	if p.nbNext != nil {
		p.nbNext.nbPrev = p.nbPrev
	}
	p.from.counts.Received--
	p.from.count(p.code, -1)
	if p.best {
		p.from.counts.Best--
	}
	m.mark(p.entry)
}

// stale reports whether a path is only kept because its neighbor restarts.
func (p *path) stale() bool { return p.epoch != p.from.epoch }

// longLived reports whether it is kept as a last resort.
func (p *path) longLived() bool { return p.epoch < p.from.lasting[p.family()] }

func (p *path) receivedAt() time.Time { return time.Unix(0, p.update.received) }

// RejudgeNeighbor marks every prefix that a neighbor announced.
func (m *Mirror) RejudgeNeighbor(name string) {
	if nb := m.neighbors[name]; nb != nil {
		m.dirtyAll(nb)
	}
}

// Reissue has the choice of a prefix handed out again by the next Decide, also
// if it is the same.
func (m *Mirror) Reissue(prefix netip.Prefix) {
	if e, ok := m.table.Get(prefix); ok {
		e.chosen = nil
		m.mark(e)
	}
}
