package felix_test

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"caracal.dev/caracal/felix"
)

// model is a kernel that Deltas are written to: it refuses what the kernel refuses,
// and walks packets through its chains.
type model struct {
	sets   map[string]felix.Set
	member map[string]map[felix.Member]bool
	chains map[felix.ChainKey][]felix.Rule
	hooks  map[felix.ChainKey]felix.Rule
}

func newModel() *model {
	return &model{
		sets: map[string]felix.Set{}, member: map[string]map[felix.Member]bool{},
		chains: map[felix.ChainKey][]felix.Rule{}, hooks: map[felix.ChainKey]felix.Rule{},
	}
}

// modelOf is a kernel that holds a Ruleset.
func modelOf(t *testing.T, r felix.Ruleset) *model {
	t.Helper()
	m := newModel()
	for s := range r.Sets() {
		m.sets[s.Name] = s
		m.member[s.Name] = map[felix.Member]bool{}
		for member := range r.Members(s.Name) {
			m.add(t, s.Name, member)
		}
	}
	for key, rules := range r.Chains() {
		m.chains[key] = rules
	}
	for key, rule := range r.Hooks() {
		m.hooks[key] = rule
	}
	m.check(t)
	return m
}

// apply writes a Delta in the order of the contract, and calls between after each
// step but the last.
func (m *model) apply(t *testing.T, d felix.Delta, between func(step string)) {
	t.Helper()
	for _, s := range d.Sets {
		if _, there := m.sets[s.Name]; there == s.New || s.New && s.Gone || (s.New || s.Gone) && len(s.AddLate)+len(s.Remove)+len(s.RemoveLate) > 0 || s.Gone && len(s.Add) > 0 {
			t.Fatalf("set %s: new %v, gone %v, there %v", s.Name, s.New, s.Gone, there)
		}
		if s.New {
			m.sets[s.Name], m.member[s.Name] = s.Set, map[felix.Member]bool{}
		}
		for _, member := range s.Add {
			m.add(t, s.Name, member)
		}
	}
	between("members added")
	for _, s := range d.Sets {
		m.remove(t, s.Name, s.Remove)
	}
	between("members removed")
	for _, c := range d.Chains {
		if old, there := m.chains[c.ChainKey]; there && !c.Gone && slices.Equal(old, c.Rules) || c.Gone && !there {
			t.Fatalf("chain %v changes without a change", c.ChainKey)
		}
		if c.Gone {
			delete(m.chains, c.ChainKey)
		} else {
			m.chains[c.ChainKey] = c.Rules
		}
	}
	m.check(t)
	between("chains written")
	for _, s := range d.Sets {
		for _, member := range s.AddLate {
			m.add(t, s.Name, member)
		}
	}
	between("members added late")
	for _, s := range d.Sets {
		m.remove(t, s.Name, s.RemoveLate)
		if s.Gone {
			delete(m.sets, s.Name)
			delete(m.member, s.Name)
		}
	}
	m.check(t)
}

func (m *model) add(t *testing.T, set string, member felix.Member) {
	t.Helper()
	s := m.sets[set]
	if m.member[set][member] {
		t.Fatalf("set %s has %v already", set, member)
	}
	host := member.Net.Bits() == member.Net.Addr().BitLen()
	v6 := member.Net.Addr().Is6()
	ok := member.Net.IsValid() && member.Net == member.Net.Masked() && v6 == (s.Family == felix.IPv6) &&
		(member.Iface != "") == (s.Type == felix.HashNetIface) &&
		(member.Port != 0) == (s.Type == felix.HashIPPort) && (member.Protocol != 0) == (s.Type == felix.HashIPPort) &&
		member.Net.Bits() > 0 && (host || s.Type == felix.HashNet)
	if !ok {
		t.Fatalf("set %s of type %v cannot hold %+v", set, s.Type, member)
	}
	m.member[set][member] = true
}

func (m *model) remove(t *testing.T, set string, members []felix.Member) {
	t.Helper()
	for _, member := range members {
		if !m.member[set][member] {
			t.Fatalf("set %s has no %v to remove", set, member)
		}
		delete(m.member[set], member)
	}
}

// check looks at every rule as the kernel does when it is written.
func (m *model) check(t *testing.T) {
	t.Helper()
	for key, rules := range m.chains {
		if len(key.Name) > 28 || !strings.HasPrefix(key.Name, felix.Prefix) {
			t.Fatalf("bad name of a chain: %s", key.Name)
		}
		for _, r := range rules {
			m.checkRule(t, key, r)
		}
	}
	depths := map[felix.ChainKey]int{}
	for key := range m.chains {
		// NFT_JUMP_STACK_SIZE, nf_tables.h: a chain of the kernel's is the first of 16.
		if d := m.depth(key, depths); d > 15 {
			t.Fatalf("%v has %d chains below one another", key, d)
		}
	}
	for name, s := range m.sets {
		if len(name) > 31 || !strings.HasPrefix(name, felix.Prefix) || s.Name != name {
			t.Fatalf("bad name of a set: %s", name)
		}
	}
}

// depth is how many chains a packet may be in at once, gotos included, from key on.
func (m *model) depth(key felix.ChainKey, known map[felix.ChainKey]int) int {
	if d, ok := known[key]; ok {
		return d
	}
	below := 0
	for _, r := range m.chains[key] {
		words := strings.Fields(r.Spec)
		if at := slices.IndexFunc(words, func(w string) bool { return w == "-j" || w == "-g" }); strings.HasPrefix(words[at+1], felix.Prefix) {
			to := key
			to.Name = words[at+1]
			below = max(below, m.depth(to, known))
		}
	}
	known[key] = below + 1
	return below + 1
}

func (m *model) checkRule(t *testing.T, key felix.ChainKey, r felix.Rule) {
	t.Helper()
	if strings.ContainsAny(r.About, "\"'\\\n") || len(r.About) > 200 || r.About == "" {
		t.Fatalf("bad comment %q", r.About)
	}
	words := strings.Fields(r.Spec)
	if strings.Join(words, " ") != r.Spec {
		t.Fatalf("bad spacing in %q", r.Spec)
	}
	for i, w := range words {
		switch w {
		case "-j", "-g":
			to := key
			to.Name = words[i+1]
			if _, there := m.chains[to]; !there && strings.HasPrefix(to.Name, felix.Prefix) {
				t.Fatalf("%v: %q leads to a chain that there is not", key, r.Spec)
			}
		case "--match-set":
			s, there := m.sets[words[i+1]]
			if !there || s.Family != key.Family || (strings.Contains(words[i+2], ",")) != (s.Type == felix.HashIPPort || s.Type == felix.HashNetIface) {
				t.Fatalf("%v: %q matches a set that there is not, or another", key, r.Spec)
			}
		}
	}
}

// equal fails the test unless both hold the same.
func (m *model) equal(t *testing.T, other *model) {
	t.Helper()
	same := maps.Equal(m.sets, other.sets) && maps.EqualFunc(m.member, other.member, maps.Equal) && maps.EqualFunc(m.chains, other.chains, slices.Equal)
	if same {
		return
	}
	a, b := m.lines(), other.lines()
	for _, l := range a {
		if _, there := slices.BinarySearch(b, l); !there {
			t.Errorf("only the first has: %s", l)
		}
	}
	for _, l := range b {
		if _, there := slices.BinarySearch(a, l); !there {
			t.Errorf("only the second has: %s", l)
		}
	}
	t.FailNow()
}

func (m *model) lines() []string {
	var out []string
	for _, s := range m.sets {
		out = append(out, fmt.Sprintf("set %s %v %v", s.Name, s.Type, s.Family))
		for member := range m.member[s.Name] {
			out = append(out, fmt.Sprintf("member %s %v", s.Name, member))
		}
	}
	for key, rules := range m.chains {
		out = append(out, fmt.Sprintf("chain %v", key))
		for i, r := range rules {
			out = append(out, fmt.Sprintf("rule %v %d %v", key, i, r))
		}
	}
	slices.Sort(out)
	return out
}

// packet is what rules look at.
type packet struct {
	family   felix.Family
	in, out  string
	src, dst netip.Addr
	proto    int
	port     uint16 // the destination's
	icmp     int
	state    string // of conntrack
}

// The verdicts.
const (
	accept = "ACCEPT"
	drop   = "DROP"
	none   = "" // nothing was decided
)

// forward walks a packet that the node routes.
func (m *model) forward(t *testing.T, p packet) string {
	if m.hook(t, felix.RawTable, "PREROUTING", p) == drop {
		return drop
	}
	return m.hook(t, felix.FilterTable, "FORWARD", p)
}

func (m *model) hook(t *testing.T, table felix.Table, chain string, p packet) string {
	rule, ok := m.hooks[felix.ChainKey{Family: p.family, Table: table, Name: chain}]
	if !ok {
		t.Fatalf("no hook in %v %s", table, chain)
	}
	steps := 0
	return m.walkRule(t, felix.ChainKey{Family: p.family, Table: table, Name: chain}, rule, p, &steps)
}

func (m *model) walk(t *testing.T, key felix.ChainKey, p packet, steps *int) string {
	rules, there := m.chains[key]
	if !there {
		t.Fatalf("walked to chain %v, which there is not", key)
	}
	for _, r := range rules {
		if *steps++; *steps > 10_000 {
			t.Fatalf("%v is in a loop", key)
		}
		switch v := m.walkRule(t, key, r, p, steps); v {
		case "continue", none:
		case "RETURN", "gone":
			return none
		default:
			return v
		}
	}
	return none
}

// walkRule returns a verdict, "continue" if the rule does not match, "RETURN", or
// "gone" if a goto came back without a verdict.
func (m *model) walkRule(t *testing.T, key felix.ChainKey, r felix.Rule, p packet, steps *int) string {
	match, words := m.matches(t, strings.Fields(r.Spec), p)
	if !match {
		return "continue"
	}
	target := key
	target.Name = words[1]
	switch {
	case !strings.HasPrefix(target.Name, felix.Prefix):
		return target.Name
	case words[0] == "-g":
		if v := m.walk(t, target, p, steps); v != none {
			return v
		}
		return "gone"
	}
	return m.walk(t, target, p, steps)
}

// matches evaluates the matches of a rule and returns its target's words.
func (m *model) matches(t *testing.T, words []string, p packet) (bool, []string) {
	for len(words) > 0 {
		ok, used := true, 2
		switch words[0] {
		case "-j", "-g":
			return true, words
		case "-i":
			ok = ifaceMatches(words[1], p.in)
		case "-o":
			ok = ifaceMatches(words[1], p.out)
		case "-s":
			ok = netip.MustParsePrefix(words[1]).Contains(p.src)
		case "-d":
			ok = netip.MustParsePrefix(words[1]).Contains(p.dst)
		case "-p":
			ok = map[string]int{"tcp": 6, "udp": 17, "sctp": 132, "4": 4, "ipv6-icmp": 58}[words[1]] == p.proto
		case "--dport", "--dports":
			ok = slices.ContainsFunc(strings.Split(words[1], ","), func(s string) bool { return portMatches(t, s, p.port) })
		case "--icmpv6-type":
			ok = words[1] == strconv.Itoa(p.icmp)
		case "--ctstate":
			ok = slices.Contains(strings.Split(words[1], ","), p.state)
		case "-m":
			ok = true
		case "!":
			ok, used = !m.inSet(t, words[2], words[3], p), 4
		case "--match-set":
			ok, used = m.inSet(t, words[1], words[2], p), 3
		default:
			t.Fatalf("the model knows no %q", words)
		}
		if !ok {
			return false, nil
		}
		words = words[used:]
	}
	t.Fatal("a rule has no target")
	return false, nil
}

func ifaceMatches(pattern, name string) bool {
	if prefix, wild := strings.CutSuffix(pattern, "+"); wild {
		return strings.HasPrefix(name, prefix)
	}
	return pattern == name
}

func portMatches(t *testing.T, pattern string, port uint16) bool {
	low, high, ranged := strings.Cut(pattern, ":")
	if !ranged {
		high = low
	}
	from, err1 := strconv.Atoi(low)
	to, err2 := strconv.Atoi(high)
	if err1 != nil || err2 != nil || from > to || from < 1 || to > 65535 {
		t.Fatalf("bad ports %q", pattern)
	}
	return from <= int(port) && int(port) <= to
}

func (m *model) inSet(t *testing.T, name, flags string, p packet) bool {
	set, first, second := m.sets[name], p.src, p.in
	which, other, _ := strings.Cut(flags, ",")
	if which == "dst" {
		first = p.dst
	}
	if other == "dst" {
		second = p.out
	}
	host := felix.Member{Net: netip.PrefixFrom(first, first.BitLen())}
	switch set.Type {
	case felix.HashNetIface:
		host.Iface = second
	case felix.HashIPPort:
		host.Protocol, host.Port = uint8(p.proto), p.port
		if other != "dst" {
			t.Fatalf("a source port is asked for: %s %s", name, flags)
		}
	case felix.HashNet:
		for bits := range first.BitLen() + 1 {
			if n, _ := first.Prefix(bits); m.member[name][felix.Member{Net: n}] {
				return true
			}
		}
		return false
	}
	return m.member[name][host]
}
