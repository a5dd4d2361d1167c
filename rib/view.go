package rib

import (
	"fmt"
	"net/netip"

	"caracal.dev/caracal"
	"caracal.dev/caracal/filter"
)

// Ref names a prefix of the mirror for a later [Mirror.View]. A long listing
// takes all refs at once and views them a page at a time, so that changes go
// through in between.
type Ref struct{ e *entry }

// Prefix returns the prefix it names.
func (r Ref) Prefix() netip.Prefix { return r.e.nlri }

// PathView is a path with its fate, as it is shown to people.
type PathView struct {
	caracal.Path
	Verdict Verdict
	// Best says that the path is the choice, or one of several equal ones.
	Best bool
	// Stale says that its neighbor is restarting and has not announced it again.
	Stale bool
	// Kept is the accepted version that stays in force although the neighbor
	// replaced it by this, refused, one; nil otherwise.
	Kept *caracal.Attrs
	// Why says in words why the path is not a choice; empty if it is.
	Why string
}

// Refs returns the prefixes of the mirror in order.
func (m *Mirror) Refs() []Ref {
	refs := make([]Ref, 0, m.table.Size())
	for _, e := range m.table.AllSorted() {
		refs = append(refs, Ref{e})
	}
	return refs
}

// RefsOf returns the prefixes of which a neighbor announced a path, unordered.
func (m *Mirror) RefsOf(neighbor string) []Ref {
	nb := m.neighbors[neighbor]
	if nb == nil {
		return nil
	}
	refs := make([]Ref, 0, nb.counts.Received)
	for p := nb.paths; p != nil; p = p.nbNext {
		if p.entry.find(nb, p.id) == p { // once for several add-path identifiers
			refs = append(refs, Ref{p.entry})
		}
	}
	return refs
}

// Ref returns the ref of exactly prefix.
func (m *Mirror) Ref(prefix netip.Prefix) (Ref, bool) {
	e, ok := m.table.Get(prefix)
	return Ref{e}, ok
}

// RefFor returns the ref of the longest prefix that covers the address.
func (m *Mirror) RefFor(a netip.Addr) (Ref, bool) {
	_, e, ok := m.table.LookupPrefixLPM(caracal.HostPrefix(a))
	return Ref{e}, ok
}

// View returns the paths of a prefix now, the choice first; none if it is gone.
func (m *Mirror) View(r Ref) []PathView {
	var best *path
	for p := r.e.paths; p != nil; p = p.next {
		if p.best && (best == nil || m.tie(p, best) < 0) {
			best = p
		}
	}
	var out []PathView
	for p := r.e.paths; p != nil; p = p.next {
		v := m.view(p, best)
		if p == best {
			out = append([]PathView{v}, out...)
		} else {
			out = append(out, v)
		}
	}
	return out
}

func (m *Mirror) view(p, best *path) PathView {
	v := PathView{
		Path:    caracal.Path{NLRI: p.entry.nlri, ID: p.id, Neighbor: p.from.name, Attrs: p.update.attrs, Received: p.receivedAt()},
		Verdict: m.verdict(p),
		Best:    p.best,
		Stale:   p.stale(),
		Kept:    m.kept[p].attrs,
	}
	switch {
	case v.Verdict.Code != Accepted:
		v.Why = v.Verdict.Explain(p.entry.nlri, p.update.attrs.NextHop)
		if p.kept {
			v.Why += fmt.Sprintf("; the accepted path via %s stays until it is withdrawn", v.Kept.NextHop)
		}
	case !p.best && best != nil:
		v.Why = m.lost(p, best)
	}
	return v
}

// lost says by which step of the selection p lost against best.
func (m *Mirror) lost(p, best *path) string {
	x, y := m.usable(p), m.usable(best)
	switch {
	case x == nil || y == nil:
		return "not decided yet"
	case p.suspect() != best.suspect():
		return "its neighbor is out of reach, and may only be restarting (RFC 5882)"
	case worst(x) != worst(y):
		return "long-lived stale: the last resort (RFC 9494)"
	case x.LocalPref != y.LocalPref:
		return fmt.Sprintf("local preference %d, the best path has %d%s", x.LocalPref, y.LocalPref, leaving(x))
	case x.ASPathLen != y.ASPathLen:
		return fmt.Sprintf("AS path length %d, the best path has %d", x.ASPathLen, y.ASPathLen)
	case x.Origin != y.Origin:
		return fmt.Sprintf("origin %s, the best path has %s", x.Origin, y.Origin)
	case p.from.ebgp == best.from.ebgp && m.tie(p, best) > 0 && x.MED == y.MED:
		return fmt.Sprintf("equal, but %d next hops are enough", maxPaths)
	case x.MED != y.MED && firstAS(x) == firstAS(y):
		return fmt.Sprintf("MED %d, the best path has %d", x.MED, y.MED)
	case p.from.ebgp != best.from.ebgp:
		return "learned from an internal neighbor, the best path from an external one"
	default:
		return fmt.Sprintf("MED %d, another path of AS %d has less", x.MED, firstAS(x))
	}
}

func leaving(a *caracal.Attrs) string {
	if a.LocalPref == 0 && filter.Has(a, caracal.GracefulShutdown) {
		return " (GRACEFUL_SHUTDOWN, RFC 8326)"
	}
	return ""
}
