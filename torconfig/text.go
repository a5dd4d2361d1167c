package torconfig

import (
	"fmt"
	"strings"
)

// page collects the lines of an output. comment is how a line of comment begins.
type page struct {
	strings.Builder
	comment string
}

func (p *page) line(format string, args ...any) {
	fmt.Fprintf(p, format+"\n", args...)
}

func (p *page) note(format string, args ...any) {
	p.line("%s %s", p.comment, fmt.Sprintf(format, args...))
}

// header says what the text is and what is to be replaced in it.
func (p *page) header(c Config) {
	plural := ""
	if len(c.Peers) > 1 {
		plural = "s"
	}
	what := "the switch"
	if c.Addr.IsValid() {
		what += " " + c.Addr.String()
	}
	p.note("%s (AS %d), by BGPPeer%s %s of the nodes %s", what, c.ASN, plural, strings.Join(c.Peers, ", "), strings.Join(c.nodes(), ", "))
	p.note("written by caracal show tor-config from configuration %d (%s); write it", c.Generation, c.Digest)
	p.note("anew when nodes get other blocks: the prefix lists are exactly what they announce")
	secrets := map[string]bool{}
	for _, g := range c.Groups {
		if from := g.Settings.Secret; from != "" && !secrets[from] {
			secrets[from] = true
			p.note("replace %s by what the nodes have in %s", Placeholder, from)
		}
	}
	for _, n := range c.Notes {
		p.note("%s", n)
	}
}

// nodes are the names of all neighbors, in order.
func (c Config) nodes() []string {
	var names []string
	for _, g := range c.Groups {
		for _, n := range g.Neighbors {
			names = append(names, n.Node)
		}
	}
	return names
}

// bits writes the lengths of an entry as FRR and EOS do: " ge 27 le 32", or
// nothing for exactly its own.
func (e Permit) bits() string {
	var s string
	if e.Min > e.Prefix.Bits() {
		s += fmt.Sprintf(" ge %d", e.Min)
	}
	if e.Max > e.Prefix.Bits() && (e.Min == e.Prefix.Bits() || e.Max < e.Prefix.Addr().BitLen()) {
		s += fmt.Sprintf(" le %d", e.Max)
	}
	return s
}

// listName names the prefix list of a neighbor or group.
func listName(of string, v6 bool) string {
	if v6 {
		return of + "-v6"
	}
	return of + "-v4"
}
