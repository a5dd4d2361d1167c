package felix

import (
	"bytes"
	"strconv"
)

// tableState is what is known of a table, as far as it is ours.
type tableState struct {
	chains map[string]chainState // the chains with our prefix
	hooks  map[string][]hookState
}

// chainState is what is known of a chain of ours.
type chainState struct {
	digest chainDigest
	// lines sums up what iptables-save printed of it, 0 if that was not read: a
	// rule that somebody changed and left its comment shows in nothing else.
	lines uint64
}

// hookState is a rule of ours in one of the kernel's chains.
type hookState struct {
	hash string
	text string // the rule with its comment, as iptables takes it after "-D CHAIN"
	read string // what iptables-save printed of it; empty if that was not read
	// late says that a rule of another program stands before it.
	late bool
}

func newTableState() *tableState {
	return &tableState{chains: map[string]chainState{}, hooks: map[string][]hookState{}}
}

// tableReader takes the lines of iptables-save of one table.
type tableReader struct {
	state *tableState
	// foreign are the kernel's chains in which a rule of another room or program
	// was seen.
	foreign map[string]bool
	builtin map[string]bool
	// last is the chain of the last rule, which is mostly that of the next too.
	last      string
	lastState chainState
	whole     bool // the listing has its end
}

func newTableReader() *tableReader {
	return &tableReader{state: newTableState(), foreign: map[string]bool{}, builtin: map[string]bool{}}
}

var (
	prefixBytes = []byte(Prefix)
	guardMark   = []byte(ruleMark)
)

// line takes one line. Those of the chains of others cost a look at their first
// bytes.
func (r *tableReader) line(line []byte) {
	if len(line) > 0 && line[0] == ':' {
		r.chain(line[1:])
		return
	}
	_, rule := cutCounters(line)
	rest, ok := bytes.CutPrefix(rule, []byte("-A "))
	if !ok {
		r.whole = r.whole || string(line) == "COMMIT"
		return
	}
	name, spec, _ := bytes.Cut(rest, []byte(" "))
	if bytes.HasPrefix(name, prefixBytes) {
		r.own(name, spec)
		return
	}
	if r.builtin[string(name)] {
		r.hook(name, spec)
	}
}

// chain takes the line of a chain without its colon. Those that are the kernel's
// have a policy.
func (r *tableReader) chain(line []byte) {
	name, rest, _ := bytes.Cut(line, []byte(" "))
	switch {
	case bytes.HasPrefix(name, prefixBytes):
		r.state.chains[string(name)] = chainState{}
	case len(rest) > 0 && rest[0] != '-':
		r.builtin[string(name)] = true
	}
}

func (r *tableReader) own(name, spec []byte) {
	if string(name) != r.last {
		r.flush()
		r.last = string(name)
		r.lastState = r.state.chains[r.last]
	}
	hash, _, _ := readMark(spec)
	r.lastState.digest.add(hash)
	sum := r.lastState.lines
	for _, b := range spec {
		sum = (sum ^ uint64(b)) * fnvPrime
	}
	r.lastState.lines = (sum ^ '\n') * fnvPrime
}

func (r *tableReader) hook(name, spec []byte) {
	hash, _, ours := readMark(spec)
	if !ours {
		// The guard of room ipip has its mark, and may stand before ours.
		i := bytes.Index(spec, commentWord)
		if i < 0 || !bytes.HasPrefix(bytes.TrimPrefix(spec[i+len(commentWord):], []byte(`"`)), guardMark) {
			r.foreign[string(name)] = true
		}
		return
	}
	chain := string(name)
	r.state.hooks[chain] = append(r.state.hooks[chain], hookState{
		hash: string(hash), text: string(spec), read: string(spec), late: r.foreign[chain],
	})
}

func (r *tableReader) flush() {
	if r.last != "" {
		r.state.chains[r.last] = r.lastState
	}
}

// done returns what was read.
func (r *tableReader) done() *tableState {
	r.flush()
	return r.state
}

// cutCounters cuts "[packets:bytes] " off a line.
func cutCounters(line []byte) (counters, rest []byte) {
	if len(line) == 0 || line[0] != '[' {
		return nil, line
	}
	counters, rest, _ = bytes.Cut(line[1:], []byte("] "))
	return counters, rest
}

// parseCounters reads "packets:bytes".
func parseCounters(b []byte) (packets, octets uint64) {
	p, o, _ := bytes.Cut(b, []byte(":"))
	packets, _ = strconv.ParseUint(string(p), 10, 64) // numbers, says iptables-save
	octets, _ = strconv.ParseUint(string(o), 10, 64)
	return packets, octets
}
