package policy

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// usualPorts are tried in each case; a case may add others.
const usualPorts = "tcp/80 tcp/81 tcp/8080 udp/53 udp/80 sctp/80 sctp/8080"

// A policyCase is one row of the table: what is told to felix, and what follows.
type policyCase struct {
	name string
	// says is the sentence of the API that the case is about, in short, with the
	// field it stands at.
	says     string
	policies []*netpol
	// change is what differs from [base] besides.
	change func(*cluster)
	// ports are tried besides the usual ones.
	ports string
	// want is what follows, by hand; see [expectations].
	want string
	// then are changes that come after, in their order.
	then []turn
}

// A turn is a change of a running cluster.
type turn struct {
	change func(*cluster)
	want   string
}

// turns returns the clusters of a case, each with the expectations it is held to.
func (c policyCase) turns() (out []*cluster, want []expectations) {
	k := base()
	k.policies = c.policies
	if c.change != nil {
		c.change(k)
	}
	out, want = append(out, k), append(want, parseExpectations(c.want))
	for _, next := range c.then {
		k = k.clone()
		next.change(k)
		out, want = append(out, k), append(want, parseExpectations(next.want))
	}
	return out, want
}

func (c policyCase) allPorts() []port { return parsePorts(usualPorts + " " + c.ports) }

// expectations are lines such as
//
//   - x/b,y/* > x/a tcp/80 udp/*
//   - * > x/a *
//
// of which the first that names a probe says whether it is allowed; "v4" or "v6"
// at the end is for one family. Traffic between a pod and its own node is allowed
// before all lines. What no line names is left to the evaluator.
type expectations []expectation

type expectation struct {
	allowed  bool
	from, to []string
	ports    []string
	families []string
}

func parseExpectations(text string) (out expectations) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		e := expectation{allowed: f[0] == "+", from: strings.Split(f[1], ","), to: strings.Split(f[3], ",")}
		if f[2] != ">" || f[0] != "+" && f[0] != "-" || len(f) < 5 {
			panic("bad expectation " + line)
		}
		for _, word := range f[4:] {
			if word == "v4" || word == "v6" {
				e.families = append(e.families, word)
			} else {
				e.ports = append(e.ports, word)
			}
		}
		out = append(out, e)
	}
	return out
}

// of returns what the lines say of a probe; known is false if none names it.
func (list expectations) of(p *probe) (allowed, known bool) {
	if p.from.name == p.to.node || p.to.name == p.from.node {
		return true, true
	}
	family := map[bool]string{false: "v4", true: "v6"}[p.v6]
	for _, e := range list {
		if anyMatch(e.from, p.from.name) && anyMatch(e.to, p.to.name) && anyMatch(e.ports, p.port.String()) &&
			(len(e.families) == 0 || slices.Contains(e.families, family)) {
			return e.allowed, true
		}
	}
	return false, false
}

func anyMatch(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		ok, err := path.Match(pattern, name)
		if err != nil {
			panic(fmt.Sprintf("pattern %s: %v", pattern, err))
		}
		return ok || pattern == "*"
	})
}

// policies lists policies.
func policies(list ...*netpol) []*netpol { return list }

// unclear reports whether the API says nothing of a probe: one end is a place
// whose pod is gone. (Its interface is closed, but to the node itself.)
func (c *cluster) unclear(p *probe) bool {
	for _, e := range []*endpoint{p.from, p.to} {
		if e.node != "" && !slices.ContainsFunc(c.pods, func(q *pod) bool { return q.key() == e.name }) {
			return true
		}
	}
	return false
}
