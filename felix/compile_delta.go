package felix

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
)

// transaction is what one Update has touched and changed so far.
type transaction struct {
	first bool // there was nothing before
	// What has to be looked at again.
	spaces   []*namespace
	pods     []uint32
	locals   []*local
	policies []*policy
	groups   []*group   // that may have lost their last workload
	idle     []*liveSet // that may have lost their last reference
	// tighter are the local workloads to which something may be forbidden now.
	tighter map[uint32]bool
	// scopes and the peers of fresh are new.
	scopes, fresh []*scope
	trees         [2][2]bool
	fixed         bool // the chains that there always are

	born, changed, gone []*liveSet
	// chains has what those that changed were before.
	chains    map[ChainKey]formerChain
	tightened bool
}

type formerChain struct {
	rules []Rule
	was   bool
}

func (c *Compiler) begin(first bool) {
	c.tx = transaction{first: first, chains: map[ChainKey]formerChain{}}
	if first {
		c.addFixedSets()
	}
}

// setChain makes a chain hold these rules.
func (c *Compiler) setChain(key ChainKey, rules []Rule) {
	old, was := c.chains[key]
	if was && slices.Equal(old, rules) {
		return
	}
	c.noteChain(key, old, was)
	c.chains[key] = rules
}

func (c *Compiler) dropChain(key ChainKey) {
	if old, was := c.chains[key]; was {
		c.noteChain(key, old, was)
		delete(c.chains, key)
	}
}

func (c *Compiler) noteChain(key ChainKey, rules []Rule, was bool) {
	if _, noted := c.tx.chains[key]; !noted {
		c.tx.chains[key] = formerChain{rules, was}
	}
}

// delta ends the transaction.
func (c *Compiler) delta() Delta {
	d := Delta{Sets: c.setChanges(), Tightened: c.tx.tightened}
	for key, former := range c.tx.chains {
		rules, is := c.chains[key]
		if is == former.was && slices.Equal(rules, former.rules) {
			continue
		}
		d.Chains = append(d.Chains, ChainChange{ChainKey: key, Gone: !is, Rules: rules})
	}
	slices.SortFunc(d.Chains, func(a, b ChainChange) int { return compareChains(a.ChainKey, b.ChainKey) })
	for _, s := range d.Sets {
		policy := s.Type != HashNetIface && !fixedName(s.Name)
		if policy && !s.Gone && len(s.Remove) > 0 || len(s.RemoveLate) > 0 {
			d.Tightened = true
		}
	}
	c.tx = transaction{}
	return d
}

func compareChains(a, b ChainKey) int {
	return cmp.Or(cmp.Compare(a.Family, b.Family), cmp.Compare(a.Table, b.Table), strings.Compare(a.Name, b.Name))
}

func fixedName(name string) bool {
	return slices.ContainsFunc(fixedSets, func(x struct {
		set   fixedSet
		kind  SetType
		about string
	}) bool {
		return name == x.set.name(IPv4) || name == x.set.name(IPv6)
	})
}

func (c *Compiler) setChanges() []SetChange {
	var out []SetChange
	for _, s := range c.tx.born {
		change := SetChange{Set: s.Set, New: true}
		c.eachMember(s, func(m Member) bool { change.Add = append(change.Add, m); return true })
		s.born = false
		out = append(out, change)
	}
	for _, s := range c.tx.changed {
		if c.sets[s.Name] == s {
			if change := c.setChange(s); len(change.Add)+len(change.AddLate)+len(change.Remove)+len(change.RemoveLate) > 0 {
				out = append(out, change)
			}
		}
		s.changed = nil
	}
	for _, s := range c.tx.gone {
		out = append(out, SetChange{Set: s.Set, Gone: true})
	}
	slices.SortFunc(out, func(a, b SetChange) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// setChange returns what came and went of a set that stays. A workload leaves a set
// of those that are not isolated only when the chains that isolate it are in, unless
// it leaves the node altogether. It is a peer of more than before, and an address of
// an interface that may have been another's, only when its own chains are in.
func (c *Compiler) setChange(s *liveSet) SetChange {
	change := SetChange{Set: s.Set}
	free := s.Name == setFreeIn.name(s.Family) || s.Name == setFreeOut.name(s.Family)
	for m, n := range s.changed {
		switch {
		case n > 0 && (s.Name == setLocal.name(s.Family) || s.peer != nil && c.isTightened(m.Net.Addr())):
			change.AddLate = append(change.AddLate, m)
		case n > 0:
			change.Add = append(change.Add, m)
		case n < 0 && free && c.sets[setLocal.name(s.Family)].counts[m] > 0:
			change.RemoveLate = append(change.RemoveLate, m)
		case n < 0:
			change.Remove = append(change.Remove, m)
		}
	}
	for _, list := range [][]Member{change.Add, change.AddLate, change.Remove, change.RemoveLate} {
		slices.SortFunc(list, compareMembers)
	}
	return change
}

// isTightened reports whether this Update isolates a workload more that has the
// address.
func (c *Compiler) isTightened(a netip.Addr) bool {
	return len(c.tx.tighter) > 0 && c.owners.any(a, func(id uint32) bool { return c.tx.tighter[id] })
}
