package felix

import (
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// plainRuleset is a Ruleset written down by a test.
type plainRuleset struct {
	chains  map[ChainKey][]Rule
	hooks   []plainHook
	sets    map[string]Set
	members map[string]map[Member]bool
}

type plainHook struct {
	ChainKey
	Rule
}

func newPlainRuleset() *plainRuleset {
	return &plainRuleset{chains: map[ChainKey][]Rule{}, sets: map[string]Set{}, members: map[string]map[Member]bool{}}
}

func (p *plainRuleset) Chains() iter.Seq2[ChainKey, []Rule] { return maps.All(p.chains) }

func (p *plainRuleset) Hooks() iter.Seq2[ChainKey, Rule] {
	return func(yield func(ChainKey, Rule) bool) {
		for _, h := range p.hooks {
			if !yield(h.ChainKey, h.Rule) {
				return
			}
		}
	}
}

func (p *plainRuleset) Sets() iter.Seq[Set] { return maps.Values(p.sets) }

func (p *plainRuleset) Members(name string) iter.Seq[Member] { return maps.Keys(p.members[name]) }

// clone returns a copy that may be changed.
func (p *plainRuleset) clone() *plainRuleset {
	c := newPlainRuleset()
	c.hooks = slices.Clone(p.hooks)
	maps.Copy(c.chains, p.chains)
	maps.Copy(c.sets, p.sets)
	for name, members := range p.members {
		c.members[name] = maps.Clone(members)
	}
	return c
}

func (p *plainRuleset) set(name string, t SetType, f Family, members ...string) {
	p.sets[name] = Set{name, t, f}
	p.members[name] = map[Member]bool{}
	for _, m := range members {
		p.members[name][parseMember(m)] = true
	}
}

func (p *plainRuleset) chain(f Family, t Table, name string, specs ...string) {
	rules := make([]Rule, len(specs))
	for i, s := range specs {
		rules[i] = Rule{Spec: s, About: fmt.Sprintf("%s %d", name, i)}
	}
	p.chains[ChainKey{f, t, name}] = rules
}

func (p *plainRuleset) hook(f Family, t Table, chain, spec string) {
	p.hooks = append(p.hooks, plainHook{ChainKey{f, t, chain}, Rule{spec, "hook"}})
}

// parseMember reads "10.0.0.1", "10.0.0.0/24", "10.0.0.1,6:80" or "10.0.0.1,car0".
func parseMember(s string) Member {
	addr, rest, _ := strings.Cut(s, ",")
	var m Member
	if strings.Contains(addr, "/") {
		m.Net = netip.MustParsePrefix(addr)
	} else {
		a := netip.MustParseAddr(addr)
		m.Net = netip.PrefixFrom(a, a.BitLen())
	}
	if _, err := fmt.Sscanf(rest, "%d:%d", &m.Protocol, &m.Port); err != nil {
		m.Iface = rest
	}
	return m
}

// diffRulesets returns the Delta that leads from a to b.
func diffRulesets(a, b *plainRuleset) Delta {
	var d Delta
	for _, name := range slices.Sorted(maps.Keys(a.sets)) {
		if _, ok := b.sets[name]; !ok {
			d.Sets = append(d.Sets, SetChange{Set: a.sets[name], Gone: true})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(b.sets)) {
		c := SetChange{Set: b.sets[name]}
		_, had := a.sets[name]
		c.New = !had
		for m := range b.members[name] {
			if !a.members[name][m] {
				c.Add = append(c.Add, m)
			}
		}
		for m := range a.members[name] {
			if !b.members[name][m] {
				c.Remove = append(c.Remove, m)
			}
		}
		if c.New || len(c.Add)+len(c.Remove) > 0 {
			d.Sets = append(d.Sets, c)
		}
	}
	for k := range a.chains {
		if _, ok := b.chains[k]; !ok {
			d.Chains = append(d.Chains, ChainChange{ChainKey: k, Gone: true})
		}
	}
	for k, rules := range b.chains {
		if old, ok := a.chains[k]; !ok || !slices.Equal(old, rules) {
			d.Chains = append(d.Chains, ChainChange{ChainKey: k, Rules: rules})
		}
	}
	return d
}

// sampleRuleset has something of each kind, in both families.
func sampleRuleset() *plainRuleset {
	p := newPlainRuleset()
	for _, f := range []Family{IPv4, IPv6} {
		v, host, net := "4", "10.0.0.", "10.1.0.0/16"
		if f == IPv6 {
			v, host, net = "6", "fd00::", "fd00:1::/64"
		}
		p.set("caracal-local"+v, HashNetIface, f, host+"1,car1", host+"2,car2")
		p.set("caracal-peers"+v, HashIP, f, host+"7", host+"8", host+"9")
		p.set("caracal-ports"+v, HashIPPort, f, host+"1,6:8080", host+"1,17:53", host+"2,132:99")
		p.set("caracal-nonat"+v, HashNet, f, net, host+"200")
		p.chain(f, RawTable, "caracal-raw",
			"-m set --match-set caracal-local"+v+" src,src -j RETURN", "-j DROP")
		p.chain(f, FilterTable, "caracal-forward",
			"-i car+ -j caracal-pods", "-o car+ -j caracal-pods")
		p.chain(f, FilterTable, "caracal-pods",
			"-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
			"-p tcp -m multiport --dports 80,443,8000:8100 -m set --match-set caracal-peers"+v+" src -j ACCEPT",
			"-m set --match-set caracal-ports"+v+" dst,dst -g caracal-to")
		p.chain(f, FilterTable, "caracal-to", "-j DROP")
		p.chain(f, NATTable, "caracal-nat",
			"-m set ! --match-set caracal-nonat"+v+" dst -j MASQUERADE --random-fully")
		p.hook(f, RawTable, "PREROUTING", "-i car+ -j caracal-raw")
		p.hook(f, FilterTable, "FORWARD", "-j caracal-forward")
		p.hook(f, NATTable, "POSTROUTING", "-j caracal-nat")
	}
	return p
}
