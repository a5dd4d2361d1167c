package felix

import (
	"bytes"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// tableWant is what is wanted of one table.
type tableWant struct {
	chains map[string][]Rule
	hooks  map[string][]Rule // by the kernel's chain, in order from its beginning
}

// wantedTables sorts a Ruleset by table.
func wantedTables(rs Ruleset) map[Family]map[Table]*tableWant {
	want := map[Family]map[Table]*tableWant{}
	at := func(k ChainKey) *tableWant {
		if want[k.Family] == nil {
			want[k.Family] = map[Table]*tableWant{}
		}
		w := want[k.Family][k.Table]
		if w == nil {
			w = &tableWant{chains: map[string][]Rule{}, hooks: map[string][]Rule{}}
			want[k.Family][k.Table] = w
		}
		return w
	}
	for k, rules := range rs.Chains() {
		at(k).chains[k.Name] = rules
	}
	for k, r := range rs.Hooks() {
		w := at(k)
		w.hooks[k.Name] = append(w.hooks[k.Name], r)
	}
	return want
}

// restorePlan is one transaction on one table.
type restorePlan struct {
	text []byte
	// chains and hooks are what the table holds of them afterwards, gone what it
	// does not.
	chains map[string]chainState
	gone   []string
	hooks  map[string][]hookState
	rules  int
}

func (p *restorePlan) empty() bool { return len(p.chains)+len(p.gone)+len(p.hooks) == 0 }

// planAudit makes have what is wanted. was is what was known of the table before
// it was read. Chains that nobody wants go, unless keep says that an attempt at
// that failed.
func planAudit(t Table, was, have *tableState, want *tableWant, keep bool) restorePlan {
	var changes []ChainChange
	for name, rules := range want.chains {
		old, ok := have.chains[name]
		if !ok || old.digest != digestOf(name, rules) || edited(was, name, old) {
			changes = append(changes, ChainChange{ChainKey: ChainKey{Table: t, Name: name}, Rules: rules})
		}
	}
	for name := range have.chains {
		if _, ok := want.chains[name]; !ok && !keep {
			changes = append(changes, ChainChange{ChainKey: ChainKey{Table: t, Name: name}, Gone: true})
		}
	}
	return planRestore(t, have, changes, wrongHooks(was, have, want.hooks))
}

// edited reports whether a chain reads otherwise than the last time, though its
// comments are the same.
func edited(was *tableState, name string, now chainState) bool {
	old, ok := was.chains[name]
	return ok && old.digest == now.digest && old.lines != 0 && old.lines != now.lines
}

// wrongHooks returns what the kernel's chains should have of ours, for those that
// have something else or not at their beginning.
func wrongHooks(was, have *tableState, want map[string][]Rule) map[string][]Rule {
	wrong := map[string][]Rule{}
	for chain := range have.hooks {
		if len(want[chain]) == 0 {
			wrong[chain] = nil
		}
	}
	for chain, rules := range want {
		if !hooksRight(was.hooks[chain], have.hooks[chain], chain, rules) {
			wrong[chain] = rules
		}
	}
	return wrong
}

func hooksRight(was, have []hookState, chain string, want []Rule) bool {
	if len(have) != len(want) {
		return false
	}
	for i, r := range want {
		h := have[i]
		if h.late || h.hash != hookHash(chain, r) {
			return false
		}
		if i < len(was) && was[i].read != "" && h.read != "" && was[i].hash == h.hash && was[i].read != h.read {
			return false
		}
	}
	return true
}

// planRestore writes down the transaction that makes the changes, and gives the
// kernel's chains of hooks those rules first and no others of ours.
//
// All chains are named at its beginning: that makes those that are missing and
// empties the others, so that rules may refer to each other in any order and no
// rule leads to a chain when it goes.
func planRestore(t Table, have *tableState, changes []ChainChange, hooks map[string][]Rule) restorePlan {
	p := restorePlan{chains: map[string]chainState{}, hooks: map[string][]hookState{}}
	if len(changes)+len(hooks) == 0 {
		return p
	}
	slices.SortFunc(changes, func(a, b ChainChange) int { return strings.Compare(a.Name, b.Name) })
	b := append(make([]byte, 0, 1<<12), "*"+t.String()+"\n"...)
	for _, c := range changes {
		b = append(append(append(b, ':'), c.Name...), " - [0:0]\n"...)
	}
	kernelChains := slices.Sorted(maps.Keys(hooks))
	for _, chain := range kernelChains {
		for _, h := range have.hooks[chain] {
			b = appendLine(b, "-D ", chain, h.text)
		}
	}
	for _, c := range changes {
		if c.Gone {
			p.gone = append(p.gone, c.Name)
			continue
		}
		var d chainDigest
		b, d = appendChain(b, c.Name, c.Rules)
		p.chains[c.Name] = chainState{digest: d}
		p.rules += len(c.Rules)
	}
	for _, chain := range kernelChains {
		p.hooks[chain] = nil
		for i, r := range hooks[chain] {
			h := hookState{hash: hookHash(chain, r)}
			h.text = string(appendRule(nil, r, h.hash))
			p.hooks[chain] = append(p.hooks[chain], h)
			b = appendLine(b, "-I ", chain+" "+strconv.Itoa(i+1), h.text)
		}
	}
	for _, name := range p.gone {
		b = appendLine(b, "-X", "", name)
	}
	p.text = append(b, "COMMIT\n"...)
	return p
}

func appendChain(b []byte, name string, rules []Rule) ([]byte, chainDigest) {
	var d chainDigest
	h := newRuleHasher(name)
	for _, r := range rules {
		hash := h.next(r)
		d.add(hash[:])
		b = append(append(append(b, "-A "...), name...), ' ')
		b = appendRule(b, r, string(hash[:]))
		b = append(b, '\n')
	}
	return b, d
}

func appendLine(b []byte, command, chain, rest string) []byte {
	b = append(append(append(b, command...), chain...), ' ')
	return append(append(b, rest...), '\n')
}

// written says that the plan is carried out.
func (s *tableState) written(p restorePlan) {
	maps.Copy(s.chains, p.chains)
	for _, name := range p.gone {
		delete(s.chains, name)
	}
	for chain, hooks := range p.hooks {
		if len(hooks) == 0 {
			delete(s.hooks, chain)
			continue
		}
		s.hooks[chain] = hooks
	}
}

// lineOf returns line n of text, counted from 1.
func lineOf(text []byte, n int) string {
	for line := range bytes.Lines(text) {
		if n--; n == 0 {
			return strings.TrimRight(string(line), "\n")
		}
	}
	return ""
}
