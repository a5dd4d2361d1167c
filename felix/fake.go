package felix

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

// Fake is a [Host] in memory that behaves like the real one where that matters: a
// transaction is carried out whole or not at all, rules may lead only to chains
// and sets that are there, and what a rule uses can be neither deleted nor
// destroyed. Several goroutines may use it.
type Fake struct {
	mu     sync.Mutex
	tables map[TableRef]*fakeTable
	sets   map[string]*fakeSet
	bells  []chan struct{}
	fail   func(what string) error
	hang   chan struct{}
	writes int
	noIPv6 bool
}

type fakeTable struct {
	order []string // of chains
	rules map[string][]string
}

type fakeSet struct {
	Set
	members map[Member]bool
	maxElem int
}

// NewFake returns a machine without rules and sets.
func NewFake() *Fake {
	return &Fake{tables: map[TableRef]*fakeTable{}, sets: map[string]*fakeSet{}}
}

// Host returns the machine as [FilterOptions] takes it.
func (k *Fake) Host() *Host { return &Host{Tables: k, Sets: k} }

// Fail has fn asked before anything is read or written: its error is the outcome.
// what is "restore IPv4 filter (nft)", "save IPv4 filter (nft)", "add to
// caracal-x" and the like. nil ends that.
func (k *Fake) Fail(fn func(what string) error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.fail = fn
}

// Hang has programs run until their deadline without doing anything, until the
// function that it returns is called.
func (k *Fake) Hang() (end func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	gate := make(chan struct{})
	k.hang = gate
	return sync.OnceFunc(func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.hang = nil
		close(gate)
	})
}

// Without6 leaves the machine without IPv6.
func (k *Fake) Without6() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.noIPv6 = true
}

// Writes returns how many transactions and set operations were carried out.
func (k *Fake) Writes() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.writes
}

// await waits while programs hang.
func (k *Fake) await(ctx context.Context) error {
	k.mu.Lock()
	gate := k.hang
	k.mu.Unlock()
	if gate == nil {
		return ctx.Err()
	}
	select {
	case <-gate:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// table returns a table; it has the kernel's chains.
func (k *Fake) table(ref TableRef) *fakeTable {
	if k.tables[ref] == nil {
		t := &fakeTable{rules: map[string][]string{}}
		for _, c := range []string{"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"} {
			t.order, t.rules[c] = append(t.order, c), nil
		}
		k.tables[ref] = t
	}
	return k.tables[ref]
}

// Present implements [TableHost].
func (k *Fake) Present(ctx context.Context, backend string, family Family) ([]Table, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if family == IPv6 && k.noIPv6 {
		return nil, errNoIPv6
	}
	var tables []Table
	for _, t := range []Table{RawTable, FilterTable, NATTable} {
		if k.tables[TableRef{backend, family, t}] != nil {
			tables = append(tables, t)
		}
	}
	return tables, ctx.Err()
}

// Save implements [TableHost].
func (k *Fake) Save(ctx context.Context, ref TableRef, fn func(line []byte)) error {
	if err := k.await(ctx); err != nil {
		return err
	}
	text, err := k.save(ref)
	if err != nil {
		return err
	}
	for line := range strings.Lines(text) {
		fn([]byte(strings.TrimSuffix(line, "\n")))
	}
	return nil
}

func (k *Fake) save(ref TableRef) (string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fail != nil {
		if err := k.fail("save " + ref.String()); err != nil {
			return "", err
		}
	}
	return k.table(ref).save(ref), nil
}

func (t *fakeTable) save(ref TableRef) string {
	var b strings.Builder
	fmt.Fprintf(&b, "*%s\n", ref.Table)
	for _, c := range t.order {
		policy := "-"
		if kernelChain(c) {
			policy = "ACCEPT"
		}
		fmt.Fprintf(&b, ":%s %s [0:0]\n", c, policy)
	}
	for _, c := range t.order {
		for _, r := range t.rules[c] {
			fmt.Fprintf(&b, "[0:0] -A %s %s\n", c, r)
		}
	}
	return b.String() + "COMMIT\n"
}

func kernelChain(name string) bool { return name == strings.ToUpper(name) }

// Restore implements [TableHost].
func (k *Fake) Restore(ctx context.Context, ref TableRef, text []byte) error {
	if err := k.await(ctx); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fail != nil {
		if err := k.fail("restore " + ref.String()); err != nil {
			return err
		}
	}
	k.writes++
	return k.restore(ref, text)
}

// Edit has another program write to a table, in the words of iptables-restore
// without the lines for the table and the end: "-A FORWARD -j ACCEPT".
func (k *Fake) Edit(ref TableRef, lines ...string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, bell := range k.bells {
		select {
		case bell <- struct{}{}:
		default:
		}
	}
	return k.restore(ref, []byte("*"+ref.Table.String()+"\n"+strings.Join(lines, "\n")+"\nCOMMIT\n"))
}

func (k *Fake) restore(ref TableRef, text []byte) error {
	was := k.table(ref)
	t := &fakeTable{order: slices.Clone(was.order), rules: map[string][]string{}}
	for c, rules := range was.rules {
		t.rules[c] = slices.Clone(rules)
	}
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		if err := k.line(t, strings.TrimSpace(line)); err != nil {
			return fmt.Errorf("line %d: %q: %w", n, strings.TrimSpace(line), err)
		}
	}
	k.tables[ref] = t
	return nil
}

// line carries out one line of iptables-restore.
func (k *Fake) line(t *fakeTable, line string) error {
	command, rest, _ := strings.Cut(line, " ")
	chain, rule, _ := strings.Cut(rest, " ")
	if strings.HasPrefix(line, ":") {
		chain = command[1:]
		if _, ok := t.rules[chain]; !ok {
			t.order = append(t.order, chain)
		}
		t.rules[chain] = nil
		return nil
	}
	if _, ok := t.rules[chain]; strings.HasPrefix(command, "-") && !ok && chain != "" {
		return fmt.Errorf("no chain %s", chain)
	}
	switch command {
	case "-A":
		t.rules[chain] = append(t.rules[chain], rule)
		return k.checkRule(t, rule)
	case "-I":
		at := 1
		if n, tail, _ := strings.Cut(rule, " "); n != "" && n[0] >= '0' && n[0] <= '9' {
			rule = tail
			_, _ = fmt.Sscan(n, &at) // digits
		}
		t.rules[chain] = slices.Insert(t.rules[chain], min(at-1, len(t.rules[chain])), rule)
		return k.checkRule(t, rule)
	case "-D":
		i := slices.Index(t.rules[chain], rule)
		if i < 0 {
			return fmt.Errorf("no such rule in %s", chain)
		}
		t.rules[chain] = slices.Delete(t.rules[chain], i, i+1)
	case "-F":
		for _, c := range t.order {
			if chain == "" || c == chain {
				t.rules[c] = nil
			}
		}
	case "-X":
		return t.deleteChain(chain)
	}
	return nil
}

// deleteChain deletes a chain, or all empty ones of users.
func (t *fakeTable) deleteChain(chain string) error {
	for _, c := range slices.Clone(t.order) {
		if kernelChain(c) || chain != "" && c != chain {
			continue
		}
		for _, rules := range t.rules {
			for _, r := range rules {
				if slices.Contains(strings.Fields(r), c) {
					return fmt.Errorf("chain %s is in use", c)
				}
			}
		}
		if len(t.rules[c]) > 0 {
			return fmt.Errorf("chain %s is not empty", c)
		}
		delete(t.rules, c)
		t.order = slices.DeleteFunc(t.order, func(o string) bool { return o == c })
	}
	return nil
}

// checkRule looks for what a rule leads to.
func (k *Fake) checkRule(t *fakeTable, rule string) error {
	words := strings.Fields(rule)
	for i, w := range words[:max(0, len(words)-1)] {
		next := words[i+1]
		switch w {
		case "-j", "-g":
			if _, ok := t.rules[next]; !ok && !kernelChain(next) {
				return fmt.Errorf("no chain %s", next)
			}
		case "--match-set":
			if k.sets[next] == nil {
				return fmt.Errorf("set %s doesn't exist", next)
			}
		}
	}
	return nil
}

// Watch implements [TableHost]: it rings at each Edit.
func (k *Fake) Watch(ctx context.Context, backend string) (<-chan struct{}, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	bell := make(chan struct{}, 1)
	k.bells = append(k.bells, bell)
	return bell, nil
}

// String lists rules and sets, sorted, for whole comparisons.
func (k *Fake) String() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	var parts []string
	for ref, t := range k.tables {
		parts = append(parts, "# "+ref.String()+"\n"+t.save(ref))
	}
	for name, s := range k.sets {
		members := slices.SortedFunc(maps.Keys(s.members), compareMembers)
		parts = append(parts, fmt.Sprintf("set %s %s %s %v\n", name, s.Type, s.Family, members))
	}
	slices.Sort(parts)
	return strings.Join(parts, "")
}
