package selector

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

const (
	maxLength = 16 << 10 // bytes of a selector
	maxDepth  = 64       // of parentheses and negations
)

// ParseError says what is wrong with a selector, and where.
type ParseError struct {
	// Column counts characters from 1.
	Column int
	Msg    string
}

// Error implements error.
func (e *ParseError) Error() string { return fmt.Sprintf("column %d: %s", e.Column, e.Msg) }

// Parse reads a selector. The empty selector is the same as all(). Its error is
// of type [*ParseError].
func Parse(s string) (*Selector, error) {
	if len(s) > maxLength {
		return nil, &ParseError{1, fmt.Sprintf("the selector is longer than %d bytes", maxLength)}
	}
	p := &parser{in: s}
	p.next()
	if p.tok.kind == tokEnd && p.err == nil {
		return &Selector{root: allNode{}}, nil
	}
	root := p.or()
	if p.err == nil && p.tok.kind != tokEnd {
		p.failf("expected && or || or the end, found %s", p.tok)
	}
	if p.err != nil {
		return nil, p.err
	}
	return &Selector{root: root}, nil
}

type tokKind uint8

const (
	tokEnd   tokKind = iota
	tokWord          // label key or keyword
	tokValue         // quoted
	tokMark          // ( ) { } , ! == != && ||
)

type token struct {
	kind tokKind
	text string
	at   int // byte offset
}

func (t token) String() string {
	switch t.kind {
	case tokEnd:
		return "the end"
	case tokValue:
		return quote(t.text)
	default:
		return fmt.Sprintf("%q", t.text)
	}
}

// parser is a recursive descent over one token of lookahead. The first error
// sticks, and every later step is without effect.
type parser struct {
	in    string
	pos   int
	tok   token
	depth int
	err   error
}

func (p *parser) failf(format string, args ...any) { p.failAt(p.tok.at, format, args...) }

func (p *parser) failAt(at int, format string, args ...any) {
	if p.err == nil {
		p.err = &ParseError{utf8.RuneCountInString(p.in[:at]) + 1, fmt.Sprintf(format, args...)}
	}
	p.tok = token{kind: tokEnd, at: len(p.in)}
	p.pos = len(p.in)
}

// next reads the next token into p.tok.
func (p *parser) next() {
	for p.pos < len(p.in) && strings.IndexByte(" \t\r\n", p.in[p.pos]) >= 0 {
		p.pos++
	}
	at, rest := p.pos, p.in[p.pos:]
	if rest == "" {
		p.tok = token{kind: tokEnd, at: at}
		return
	}
	for _, mark := range []string{"(", ")", "{", "}", ",", "==", "!=", "!", "&&", "||"} {
		if strings.HasPrefix(rest, mark) {
			p.tok, p.pos = token{tokMark, mark, at}, at+len(mark)
			return
		}
	}
	if q := rest[0]; q == '\'' || q == '"' {
		end := strings.IndexByte(rest[1:], q)
		if end < 0 {
			p.failAt(at, "the quote %c is not closed", q)
			return
		}
		p.tok, p.pos = token{tokValue, rest[1 : 1+end], at}, at+end+2
		return
	}
	n := 0
	for n < len(rest) && isKeyByte(rest[n]) {
		n++
	}
	if n == 0 {
		r, _ := utf8.DecodeRuneInString(rest)
		switch r {
		case '=', '&', '|':
			p.failAt(at, "unexpected character %q; write %[1]c%[1]c", r)
		default:
			p.failAt(at, "unexpected character %q", r)
		}
		return
	}
	p.tok, p.pos = token{tokWord, rest[:n], at}, at+n
}

func isKeyByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
		c == '_' || c == '.' || c == '/' || c == '-'
}

// is reports whether the token is the mark.
func (p *parser) is(mark string) bool { return p.tok.kind == tokMark && p.tok.text == mark }

// expect passes over a mark.
func (p *parser) expect(mark string) {
	if !p.is(mark) {
		p.failf("expected %q, found %s", mark, p.tok)
		return
	}
	p.next()
}

func (p *parser) or() node  { return p.join("||", p.and) }
func (p *parser) and() node { return p.join("&&", p.unary) }

func (p *parser) join(op string, operand func() node) node {
	of := []node{operand()}
	for p.is(op) {
		p.next()
		of = append(of, operand())
	}
	if len(of) == 1 {
		return of[0]
	}
	// (a && b) && c is the chain a && b && c: one canonical form.
	var flat []node
	for _, o := range of {
		if j, ok := o.(joinNode); ok && j.and == (op == "&&") {
			flat = append(flat, j.of...)
		} else {
			flat = append(flat, o)
		}
	}
	return joinNode{and: op == "&&", of: flat}
}

func (p *parser) unary() node {
	p.depth++
	defer func() { p.depth-- }()
	if p.depth > maxDepth {
		p.failf("more than %d levels of parentheses or !", maxDepth)
		return allNode{}
	}
	switch {
	case p.is("!"):
		p.next()
		return notNode{p.unary()}
	case p.is("("):
		p.next()
		n := p.or()
		p.expect(")")
		return n
	case p.tok.kind == tokWord:
		return p.term()
	default:
		p.failf("expected a label, has(...), all(), ! or (, found %s", p.tok)
		return allNode{}
	}
}

// term parses what begins with a word: a function or a comparison. A label may
// be called "all" or "has": only a parenthesis makes it a function.
func (p *parser) term() node {
	word := p.tok
	p.next()
	if p.is("(") {
		return p.call(word)
	}
	switch {
	case p.is("=="), p.is("!="):
		op := p.tok.text
		p.next()
		return compareNode{word.text, op, p.value()}
	case p.keyword("contains"):
		return compareNode{word.text, "contains", p.value()}
	case p.keyword("starts"):
		p.with()
		return compareNode{word.text, "starts with", p.value()}
	case p.keyword("ends"):
		p.with()
		return compareNode{word.text, "ends with", p.value()}
	case p.keyword("in"):
		return setNode{word.text, false, p.set()}
	case p.keyword("not"):
		if !p.keyword("in") {
			p.failf("expected \"in\" after \"not\", found %s", p.tok)
		}
		return setNode{word.text, true, p.set()}
	default:
		p.failf("expected ==, !=, in, not in, contains, starts with or ends with after %q, found %s", word.text, p.tok)
		return allNode{}
	}
}

func (p *parser) call(name token) node {
	p.next()
	switch name.text {
	case "all":
		p.expect(")")
		return allNode{}
	case "has":
		key := p.tok
		if key.kind != tokWord {
			p.failf("expected a label in has(...), found %s", p.tok)
			return allNode{}
		}
		p.next()
		p.expect(")")
		return hasNode{key.text}
	default:
		p.failAt(name.at, "there is no function %s(); there are all() and has(...)", name.text)
		return allNode{}
	}
}

// keyword passes over the word and reports whether it was there.
func (p *parser) keyword(word string) bool {
	if p.tok.kind != tokWord || p.tok.text != word {
		return false
	}
	p.next()
	return true
}

func (p *parser) with() {
	if !p.keyword("with") {
		p.failf("expected \"with\", found %s", p.tok)
	}
}

func (p *parser) value() string {
	if p.tok.kind != tokValue {
		p.failf("expected a value in quotes, found %s", p.tok)
		return ""
	}
	v := p.tok.text
	p.next()
	return v
}

func (p *parser) set() []string {
	p.expect("{")
	values := []string{}
	for !p.is("}") && p.err == nil {
		values = append(values, p.value())
		if !p.is(",") {
			break
		}
		p.next()
		if p.is("}") {
			p.failf("expected a value in quotes, found %s", p.tok)
		}
	}
	p.expect("}")
	slices.Sort(values)
	return slices.Compact(values)
}
