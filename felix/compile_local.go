package felix

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"caracal.dev/caracal"
)

// local is a workload of this node.
type local struct {
	id         uint32
	key, iface string
	about      string // key, as it may stand in a comment
	space      *namespace
	// policies are those that select it, sorted.
	policies []*policy
	// placed is what it has in sets, groups and trees; nil if it has nothing.
	placed *placed
	// rematch says that policies have to be found anew.
	dirty, rematch, gone bool
}

// placed is how a local workload is shown.
type placed struct {
	addrs    []netip.Addr
	family   [2]bool      // those it has addresses of
	policies []*policy    // all that select it
	bound    [2][]*policy // those that isolate it, sorted
	groups   [2][2]*group // by family and direction
}

// group is the workloads that the same policies isolate in one direction.
type group struct {
	key  ChainKey
	refs int
}

// leaves are the interfaces of isolated workloads, sorted, with the rule that leads
// to the group of each.
type leaves struct {
	names []string
	rules map[string]Rule
}

func (l *leaves) put(name string, r Rule) {
	if i, there := slices.BinarySearch(l.names, name); !there {
		l.names = slices.Insert(l.names, i, name)
	}
	l.rules[name] = r
}

func (l *leaves) remove(name string) {
	if i, there := slices.BinarySearch(l.names, name); there {
		l.names = slices.Delete(l.names, i, i+1)
	}
	delete(l.rules, name)
}

// isLocal reports whether a workload is one that the rules lead to.
func (c *Compiler) isLocal(w *caracal.Workload) bool {
	return w.Node == c.in.Snapshot.Self && validInterface(w.Interface)
}

// validInterface reports whether an interface may be named in a rule: the kernel
// takes 15 bytes (IFNAMSIZ, if.h), iptables a "+" at the end for a wildcard.
func validInterface(name string) bool {
	if len(name) == 0 || len(name) > 15 || name == "lo" || strings.ContainsAny(name[:1], "-!.") {
		return false
	}
	return !strings.ContainsFunc(name, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_.@:", r))
	})
}

// checkInterface records that a workload's interface cannot be used.
func (c *Compiler) checkInterface(key string, is *caracal.Workload) {
	delete(c.bad, "Workload "+key)
	if is == nil || !takesPart(is) || is.Node != c.in.Snapshot.Self || is.Interface == "" || validInterface(is.Interface) {
		return
	}
	c.bad["Workload "+key] = caracal.Problem{
		Severity: caracal.Rejected, Source: is.Source, Kind: "Workload", Name: key,
		Message: fmt.Sprintf("The interface %q of the Workload cannot be named in a rule, so its traffic is not protected by policies. Give it another name, of letters and digits.", is.Interface),
	}
}

func (c *Compiler) addLocal(id uint32, key string, w *caracal.Workload) {
	if !c.isLocal(w) {
		return
	}
	l := &local{id: id, key: key, about: cleanAbout(key, ""), iface: w.Interface, space: c.pods[id].space}
	c.locals[id] = l
	l.space.locals = append(l.space.locals, l)
	c.ifaces[l.iface] = append(c.ifaces[l.iface], l)
	c.join(c.here, id)
	c.touchLocal(l, true)
	c.touchIface(l.iface)
}

func (c *Compiler) removeLocal(id uint32) {
	l := c.locals[id]
	if l == nil {
		return
	}
	c.unplace(l)
	l.gone = true
	delete(c.locals, id)
	l.space.locals = without(l.space.locals, l)
	if c.ifaces[l.iface] = without(c.ifaces[l.iface], l); len(c.ifaces[l.iface]) == 0 {
		delete(c.ifaces, l.iface)
	}
	c.leave(c.here, id)
	c.touchIface(l.iface)
}

// touchIface looks again at who has an interface. If two claim it, neither has it:
// one of them is wrong, and the other's policies must not be those of this one.
func (c *Compiler) touchIface(iface string) {
	on := c.ifaces[iface]
	if !strings.HasPrefix(iface, podPrefix) {
		c.tx.fixed = true
	}
	delete(c.bad, "interface "+iface)
	for _, l := range on {
		c.touchLocal(l, false)
	}
	if len(on) < 2 {
		return
	}
	keys := make([]string, 0, len(on))
	for _, l := range on {
		keys = append(keys, l.key)
	}
	slices.Sort(keys)
	c.bad["interface "+iface] = caracal.Problem{
		Severity: caracal.Rejected, Kind: "Workload", Name: keys[0],
		Message: fmt.Sprintf("The interface %s is said to be that of %s: everything from and to it is dropped until only one of them has it.", iface, strings.Join(keys, " and of ")),
	}
}

func (c *Compiler) touchLocal(l *local, rematch bool) {
	l.rematch = l.rematch || rematch
	if !l.dirty {
		l.dirty = true
		c.tx.locals = append(c.tx.locals, l)
	}
}

// settleLocals finds the policies of the touched local workloads, and puts these
// into the sets, groups and trees that they belong to.
func (c *Compiler) settleLocals() {
	for _, l := range c.tx.locals {
		l.dirty = false
		if l.gone {
			continue
		}
		if l.rematch {
			l.rematch = false
			l.policies = nil
			l.space.policies.each(c.pods[l.id].labels, func(p *policy) { l.policies = append(l.policies, p) })
			slices.SortFunc(l.policies, comparePolicies)
		}
		was := l.placed
		c.unplace(l)
		if len(c.ifaces[l.iface]) == 1 {
			c.place(l)
		}
		if tighter(was, l.placed) || was == nil && l.unwatched() {
			c.tx.tightened = true
			if c.tx.tighter == nil {
				c.tx.tighter = map[uint32]bool{}
			}
			c.tx.tighter[l.id] = true
		}
	}
	for _, g := range c.tx.groups {
		if g.refs == 0 && c.groups[g.key] == g {
			delete(c.groups, g.key)
			c.dropChain(g.key)
		}
	}
}

// tighter reports whether something may be forbidden to a workload that was not.
func tighter(was, is *placed) bool {
	if was == nil || is == nil {
		return was != nil
	}
	for b := range bounds {
		if len(is.bound[b]) == 0 {
			continue
		}
		if len(was.bound[b]) == 0 {
			return true
		}
		for _, p := range was.bound[b] {
			if _, still := slices.BinarySearchFunc(is.bound[b], p, comparePolicies); !still {
				return true
			}
		}
	}
	return false
}

// unwatched reports whether an isolated workload may have connections from before
// its interface was known. CNI's may not: ADD comes first, and DEL ends them.
func (l *local) unwatched() bool {
	return l.placed != nil && len(l.placed.bound[inbound])+len(l.placed.bound[outbound]) > 0 && !strings.HasPrefix(l.iface, podPrefix)
}

func (c *Compiler) place(l *local) {
	p := &placed{addrs: c.pods[l.id].addrs, policies: slices.Clone(l.policies)}
	l.placed = p
	for _, a := range p.addrs {
		p.family[familyOf(a)] = true
	}
	for _, pol := range p.policies {
		for _, b := range bounds {
			if isolates(pol.spec, b == inbound) {
				p.bound[b] = append(p.bound[b], pol)
			}
		}
	}
	c.show(l, 1)
	for _, f := range families {
		for _, b := range bounds {
			if p.family[f] && len(p.bound[b]) > 0 {
				g := c.groupFor(f, b, p.bound[b])
				p.groups[f][b] = g
				c.leaves[f][b].put(l.iface, Rule{b.iface() + " " + l.iface + " -g " + g.key.Name, l.about})
				c.tx.trees[f][b] = true
			}
		}
	}
}

func (c *Compiler) unplace(l *local) {
	p := l.placed
	if p == nil {
		return
	}
	c.show(l, -1)
	l.placed = nil
	for _, f := range families {
		for _, b := range bounds {
			if g := p.groups[f][b]; g != nil {
				if g.refs--; g.refs == 0 {
					c.tx.groups = append(c.tx.groups, g)
				}
				c.leaves[f][b].remove(l.iface)
				c.tx.trees[f][b] = true
			}
		}
	}
}

// show puts what is placed of a local workload into the fixed sets and the counts of
// its policies, or takes it out.
func (c *Compiler) show(l *local, n int) {
	free := [2]fixedSet{setFreeIn, setFreeOut}
	for _, a := range l.placed.addrs {
		m := Member{Net: caracal.HostPrefix(a), Iface: l.iface}
		c.count(familyOf(a), setLocal, m, n)
		for b := range bounds {
			if len(l.placed.bound[b]) == 0 {
				c.count(familyOf(a), free[b], m, n)
			}
		}
	}
	for _, p := range l.placed.policies {
		for f, has := range l.placed.family {
			if has {
				p.count[f] += n
			}
		}
		c.touchPolicy(p)
	}
}

// groupFor returns the group of some policies, with one more reference.
func (c *Compiler) groupFor(f Family, b bound, policies []*policy) *group {
	keys := make([]string, len(policies))
	for i, p := range policies {
		keys[i] = p.key
	}
	key := ChainKey{f, FilterTable, hashName([...]string{"i", "e"}[b], keys...)}
	g := c.groups[key]
	if g == nil {
		g = &group{key: key}
		c.groups[key] = g
		c.setChain(key, groupRules(policies, b))
	}
	g.refs++
	return g
}

func (l *local) endpoint(addrs []netip.Addr) Endpoint {
	e := Endpoint{Workload: l.key, Interface: l.iface, Addrs: addrs}
	for _, p := range l.policies {
		if isolates(p.spec, true) {
			e.Ingress = append(e.Ingress, p.key)
		}
		if isolates(p.spec, false) {
			e.Egress = append(e.Egress, p.key)
		}
	}
	return e
}
