package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// question turns the ways to ask for help into the one that [Parse] knows, or
// for an [External] into --help: "help show" is "show ?", and "help route" is
// "show route ?".
func (s *session) question(words []string) []string {
	if len(words) > 1 && words[0] != "" && strings.HasPrefix("help", words[0]) {
		words = slices.Clone(words[1:])
		if last := len(words) - 1; !strings.HasSuffix(words[last], "?") {
			words = append(words, "?")
		}
		if !isExternal(words[0], s.opts.Commands) {
			_, err := Parse(s.root, words)
			shown := append([]string{"show"}, words...)
			if _, other := Parse(s.root, shown); err != nil && other == nil {
				return shown
			}
		}
	}
	// Further on a "?" may be for a program that lab exec runs.
	if last := len(words) - 1; last > 0 && last < 3 && words[last] == "?" && isExternal(words[0], s.opts.Commands) {
		return append(slices.Clone(words[:last]), "--help")
	}
	return words
}

func printCandidates(w io.Writer, cands []Candidate) {
	g := &grid{right: make([]bool, 3)}
	for _, c := range cands {
		g.add("", c.Name, c.Help)
	}
	g.print(w)
}

func (s *session) help(w io.Writer) {
	fmt.Fprint(w, `caracal talks to caracald, the BGP routing daemon of this host.

  caracal [FLAGS] COMMAND     run one command
  caracal [FLAGS]             a shell; with input from a pipe, a command a line
  caracal help COMMAND        what can follow, as does COMMAND ? (quote the ? if
                              files match it)

Words may be shortened where only one fits: caracal sh ro. Not shortened are
disable, detach, release, drain, undrain, cleanup, confirm, and the commands that
other programs bring. A neighbor may be called by its node, peer or address:
caracal disable b for mesh/b.

commands:
`)
	printCandidates(w, start(s.root).candidates(""))
	fmt.Fprintf(w, `
flags, anywhere on the line:
  -o, --output table|json|yaml  how to print (table)
  --socket PATH                 the daemon's socket (%s, or $CARACAL_SOCKET)
  --timeout TIME                how long the daemon may take to answer (%v)
  -h, --help                    this, or after words what can follow them
  --version                     the same as the command version

exit codes:
  0 done    1 failed, or not found    2 not understood
  3 the daemon cannot be reached      4 the daemon did not answer in time
`, DefaultSocket, DefaultTimeout)
}
