package felix

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"caracal.dev/caracal"
)

// policy is a NetworkPolicy. It is in force here for the families in which it
// selects local workloads; most are not.
type policy struct {
	key    string
	spec   caracal.Policy
	space  *namespace
	anchor int // in space.policies
	// names are those of its chains, for each direction, once it needs them.
	names [2]string
	// count is how many local workloads with an address of a family it selects.
	count [2]int
	// sets are those that its chains refer to, by family and direction; made says
	// which chains there are.
	sets [2][2][]*liveSet
	made [2][2]bool

	changed, touched, gone bool
}

func (p *policy) matches(labels map[string]string) bool { return p.spec.Pods.Matches(labels) }

// chain returns the name of its chain for a direction. It is of the policy and not of
// its rules, so that a change of them changes one chain.
func (p *policy) chain(b bound) string {
	if p.names[b] == "" {
		p.names[b] = hashName([...]string{"pi", "pe"}[b], p.key)
	}
	return p.names[b]
}

func (p *policy) active() bool { return p.count != [2]int{} }

func comparePolicies(a, b *policy) int { return strings.Compare(a.key, b.key) }

// samePolicy compares all but where a policy comes from.
func samePolicy(a, b caracal.Policy) bool {
	a.Source, b.Source = "", ""
	return reflect.DeepEqual(a, b)
}

func (c *Compiler) changePolicy(key string, was, is *caracal.Policy) {
	delete(c.bad, "NetworkPolicy "+key)
	if is == nil || was != nil && was.Namespace != is.Namespace {
		c.removePolicy(key)
	}
	if is == nil {
		return
	}
	spec := c.closed(key, *is)
	p := c.policies[key]
	if p == nil {
		p = &policy{key: key, space: c.space(spec.Namespace)}
		c.policies[key] = p
		p.space.count++
	} else {
		p.space.policies.remove(p.spec.Pods, p.anchor, p)
	}
	flags := func(s caracal.Policy) [2]bool { return [2]bool{isolates(s, true), isolates(s, false)} }
	changed := flags(p.spec) != flags(spec)
	p.spec, p.changed = spec, true
	p.anchor = p.space.policies.add(spec.Pods, p)
	for _, l := range p.space.locals {
		at, had := slices.BinarySearchFunc(l.policies, p, comparePolicies)
		has := p.matches(c.pods[l.id].labels)
		if had != has || had && changed {
			c.touchLocal(l, false)
		}
		switch {
		case has && !had:
			l.policies = slices.Insert(l.policies, at, p)
		case had && !has:
			l.policies = slices.Delete(l.policies, at, at+1)
		}
	}
	c.touchPolicy(p)
}

func (c *Compiler) removePolicy(key string) {
	p := c.policies[key]
	delete(c.policies, key)
	p.space.policies.remove(p.spec.Pods, p.anchor, p)
	p.space.count--
	c.touchSpace(p.space)
	p.gone = true
	for _, l := range p.space.locals {
		if at, had := slices.BinarySearchFunc(l.policies, p, comparePolicies); had {
			l.policies = slices.Delete(l.policies, at, at+1)
			c.touchLocal(l, false)
		}
	}
	c.touchPolicy(p)
}

// closed returns a policy as it is taken. Whom a selector with an operator that we
// don't know may select is isolated, and whom one selects that is too much.
func (c *Compiler) closed(key string, p caracal.Policy) caracal.Policy {
	known := func(r caracal.LabelRequirement) bool {
		switch r.Op {
		case caracal.LabelIn, caracal.LabelNotIn, caracal.LabelExists, caracal.LabelDoesNotExist:
			return true
		}
		return false
	}
	var rest []caracal.LabelRequirement
	for _, r := range p.Pods.Requirements {
		if known(r) {
			rest = append(rest, r)
			continue
		}
		p.Invalid = fmt.Sprintf("its podSelector has the operator %q, which is unknown", r.Op)
		c.bad["NetworkPolicy "+key] = caracal.Problem{
			Severity: caracal.Rejected, Source: p.Source, Kind: "NetworkPolicy", Name: key,
			Message: fmt.Sprintf("The podSelector of the NetworkPolicy has the operator %q for %s, which is unknown: all workloads that it may select are isolated. Use In, NotIn, Exists or DoesNotExist.", r.Op, r.Key),
		}
	}
	if len(rest) < len(p.Pods.Requirements) {
		p.Pods.Requirements = rest
	}
	if why := tooMuch(p); why != "" {
		p.Invalid = why
		c.bad["NetworkPolicy "+key] = caracal.Problem{
			Severity: caracal.Rejected, Source: p.Source, Kind: "NetworkPolicy", Name: key,
			Message: fmt.Sprintf("NetworkPolicy %s: %s. Until then the workloads that it selects are isolated.", key, why),
		}
	}
	return p
}

func (c *Compiler) touchPolicy(p *policy) {
	if !p.touched {
		p.touched = true
		c.tx.policies = append(c.tx.policies, p)
	}
}

// settlePolicies makes the chains of the touched policies what they are now.
func (c *Compiler) settlePolicies() {
	for _, p := range c.tx.policies {
		for _, f := range families {
			for _, b := range bounds {
				c.settleChain(p, f, b)
			}
		}
		p.touched, p.changed = false, false
	}
	c.sweepSets()
}

func (c *Compiler) settleChain(p *policy, f Family, b bound) {
	had, has := p.made[f][b], !p.gone && p.count[f] > 0 && isolates(p.spec, b == inbound)
	if !had && !has {
		return
	}
	key := ChainKey{f, FilterTable, p.chain(b)}
	old := p.sets[f][b]
	switch {
	case has && (!had || p.changed):
		rules, sets := c.render(p, f, b)
		if had && !includes(rules, c.chains[key]) {
			c.tx.tightened = true
		}
		p.made[f][b], p.sets[f][b] = true, slices.Clip(sets)
		c.setChain(key, slices.Clip(rules))
		c.policyOf[key.Name] = p.key
	case had && !has:
		p.made[f][b], p.sets[f][b] = false, nil
		c.dropChain(key)
		if !p.made[IPv4][b] && !p.made[IPv6][b] {
			delete(c.policyOf, key.Name)
		}
	default:
		return
	}
	c.release(old)
}

// includes reports whether rules have all that old have.
func includes(rules, old []Rule) bool {
	has := make(map[string]bool, len(rules))
	for _, r := range rules {
		has[r.Spec] = true
	}
	return !slices.ContainsFunc(old, func(o Rule) bool { return !has[o.Spec] })
}
