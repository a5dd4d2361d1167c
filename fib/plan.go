package fib

// standing is what a decision about one prefix rests on. Ways are numbers of
// groups: equal numbers are equal ways, 0 is none.
type standing struct {
	wanted  bool
	adopted bool   // found at start; kept until Sweep although not wanted
	have    uint32 // what the kernel has, as far as is known
	shall   uint32 // what it shall have: what the want resolves to
	verify  bool   // the kernel may have dropped have without a word
	foreign bool   // a foreign route of our metric is known to be there
}

// decision is what Apply does about a prefix.
type decision uint8

const (
	leave   decision = iota // it is as it shall be
	create                  // write; fails if anything is there
	replace                 // write over ours
	remove                  // delete ours
	confirm                 // write as create does: EEXIST means that ours is still there
)

// decide is the plan for one prefix. It never writes over a route that may not
// be ours: what is not known to be in the kernel is created, which fails if
// something is there, and only what is known to be ours is replaced. Where a
// foreign route of our metric is there too, the kernel might replace that one,
// so ours is removed first. Deleting names our protocol and hits nothing else.
func decide(s standing) decision {
	switch {
	case !s.wanted && (s.adopted || s.have == 0):
		return leave
	case !s.wanted, s.shall == 0 && s.have != 0:
		return remove
	case s.shall == 0:
		return leave // unresolved, and nothing of ours is there
	case s.have == s.shall && !s.verify:
		return leave
	case s.have == 0:
		return create
	case s.verify:
		return confirm
	case s.foreign:
		return remove
	}
	return replace
}
