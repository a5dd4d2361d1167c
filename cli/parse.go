package cli

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Command is a line that has been understood.
type Command struct {
	// Name is the command's: "show route".
	Name string
	// Args are the words that were stored, by their Key.
	Args map[string]string
	// Lists are the words of arguments that may come again, by their Key.
	Lists map[string][]string
	// Rest are the arguments of help or of an [External], as they were given.
	Rest []string
	// Help is set where `?` was asked for instead: what can follow.
	Help []Candidate
}

// Candidate is a word that can come next.
type Candidate struct {
	Name, Help string
	Arg        Arg
}

// UsageError is a line that was not understood.
type UsageError struct {
	// Before is what was understood, in full words.
	Before string
	// Reason is what is wrong with the next word.
	Reason string
	// Can are the words that could have come instead, where that helps.
	Can []Candidate
}

// Error implements error, in one line.
func (e *UsageError) Error() string { return e.Reason }

// cursor is a place in the grammar: after some words.
type cursor struct {
	at      *Word
	options []*Word // of the command, those not used yet
	words   []string
	cmd     Command
}

func start(root *Word) *cursor {
	return &cursor{at: root, cmd: Command{Args: map[string]string{}}}
}

// follow are the words that can come next.
func (c *cursor) follow() []*Word {
	if len(c.at.Next) > 0 && !c.at.Maybe {
		return c.at.Next
	}
	return slices.Concat(c.at.Next, c.options)
}

// complete reports whether a command can end here.
func (c *cursor) complete() bool {
	return c.cmd.Name != "" && (len(c.at.Next) == 0 || c.at.Maybe)
}

// take goes on to w, which was written as text.
func (c *cursor) take(w *Word, text string) {
	if slices.Contains(c.options, w) {
		c.options = slices.DeleteFunc(slices.Clone(c.options), func(o *Word) bool {
			return o == w && !w.Many || o.Group != "" && o.Group == w.Group
		})
	}
	if w.Options != nil {
		c.options = w.Options
	}
	if w.Runs != "" {
		c.cmd.Name = w.Runs
	}
	if w.Arg == NoArg {
		text = w.Name
	}
	switch {
	case w.Key == "":
	case w.Many:
		if c.cmd.Lists == nil {
			c.cmd.Lists = map[string][]string{}
		}
		c.cmd.Lists[w.Key] = append(c.cmd.Lists[w.Key], text)
	default:
		c.cmd.Args[w.Key] = text
	}
	c.at = w
	c.words = append(c.words, text)
}

// candidates are what can come next and begins with prefix; arguments always
// do.
func (c *cursor) candidates(prefix string) []Candidate {
	var out []Candidate
	for _, w := range c.follow() {
		if w.Arg != NoArg || strings.HasPrefix(w.Name, prefix) {
			out = append(out, Candidate{Name: w.Name, Help: w.Help, Arg: w.Arg})
		}
	}
	return out
}

func (c *cursor) fail(format string, args ...any) *UsageError {
	return &UsageError{Before: strings.Join(c.words, " "), Reason: fmt.Sprintf(format, args...), Can: c.candidates("")}
}

// step understands one word.
func (c *cursor) step(text string) *UsageError {
	follow := c.follow()
	if len(follow) == 0 {
		return c.fail("nothing can follow %q, so not %q", strings.Join(c.words, " "), text)
	}
	w, err := c.keyword(follow, text)
	if err != nil {
		return err
	}
	if w == nil {
		w, text, err = c.argument(follow, text)
	}
	if err != nil {
		return err
	}
	c.take(w, text)
	return nil
}

// keyword finds the keyword that text is or begins; nil if there is none.
func (c *cursor) keyword(follow []*Word, text string) (*Word, *UsageError) {
	var match []*Word
	for _, w := range follow {
		if w.Arg != NoArg || !strings.HasPrefix(w.Name, text) || text == "" {
			continue
		}
		if w.Name == text {
			return w, nil
		}
		match = append(match, w)
	}
	// What cannot be shortened is not meant by less than its whole name.
	if short := slices.DeleteFunc(slices.Clone(match), func(w *Word) bool { return w.Exact }); len(short) == 1 {
		match = short
	}
	switch {
	case len(match) == 0:
		return nil, nil
	case len(match) > 1:
		names := make([]string, len(match))
		for i, w := range match {
			names[i] = w.Name
		}
		err := c.fail("%q could be %s", text, either(names))
		err.Can = slices.DeleteFunc(err.Can, func(can Candidate) bool { return !slices.Contains(names, can.Name) })
		return nil, err
	case match[0].Exact:
		err := c.fail("%q must not be shortened: write %s", text, match[0].Name)
		err.Can = nil
		return nil, err
	}
	return match[0], nil
}

// argument finds the argument that text is.
func (c *cursor) argument(follow []*Word, text string) (*Word, string, *UsageError) {
	if strings.HasPrefix(text, "-") {
		err := c.fail("there is no flag %s; see caracal help", text)
		err.Can = nil
		return nil, "", err
	}
	var reason error
	for _, w := range follow {
		if w.Arg == NoArg {
			continue
		}
		got, err := w.Arg.check(text)
		if err == nil {
			return w, got, nil
		}
		reason = err
	}
	switch {
	case reason != nil:
		err := c.fail("%v%s", reason, c.suggestion(follow, text))
		if strings.ContainsAny(text, "/:.") { // an attempt at the argument, not at a keyword
			err.Can = nil
		}
		return nil, "", err
	case len(c.words) == 0:
		return nil, "", c.fail("there is no command %q%s", text, c.suggestion(follow, text))
	}
	return nil, "", c.fail("%q cannot follow %q%s", text, strings.Join(c.words, " "), c.suggestion(follow, text))
}

// check returns text in its canonical form, or what is wrong with it.
func (a Arg) check(text string) (string, error) {
	switch a {
	case ArgPrefix:
		return checkPrefix(text)
	case ArgAddress:
		ip, err := netip.ParseAddr(text)
		if p, err := netip.ParsePrefix(text); err == nil {
			return "", fmt.Errorf("%s is a prefix: show route %s asks for exactly that, show route for %s for the route that packets take", p, p.Masked(), p.Addr())
		}
		if err != nil || ip.Zone() != "" {
			return "", fmt.Errorf("%q is not an IP address", text)
		}
		return ip.Unmap().String(), nil
	case ArgHost:
		return checkHost(text)
	case ArgCount:
		if n, err := strconv.ParseUint(text, 10, 31); err != nil || n == 0 {
			return "", fmt.Errorf("%q is not a whole number above 0", text)
		}
	case ArgLabel:
		if k, _, ok := strings.Cut(text, "="); !ok || k == "" {
			return "", fmt.Errorf("%q is not KEY=VALUE", text)
		}
	case ArgNeighbor:
		if text == "" {
			return "", fmt.Errorf("%q is not the name of a neighbor", text)
		}
	case ArgPort:
		_, _, err := checkPort(text)
		return text, err
	case ArgName, ArgAttached, ArgPod:
		if text == "" {
			return "", errors.New("a name must not be empty")
		}
	case ArgTime:
		if d, err := time.ParseDuration(text); err != nil || d < 0 {
			return "", fmt.Errorf("%q is not a time such as 30s", text)
		}
	case ArgNumber:
		if n, err := strconv.ParseUint(text, 10, 32); err != nil || n == 0 {
			return "", fmt.Errorf("%q is not an AS number", text)
		}
	}
	return text, nil
}

func checkPrefix(text string) (string, error) {
	if ip, err := netip.ParseAddr(text); err == nil && ip.Zone() == "" {
		ip = ip.Unmap()
		return netip.PrefixFrom(ip, ip.BitLen()).String(), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return "", fmt.Errorf("%q is not an IP prefix such as 10.64.1.0/26", text)
	}
	if m := p.Masked(); m != p {
		return "", fmt.Errorf("%s has bits set beyond its length: %s is the prefix, or ask for %s", p, m, p.Addr())
	}
	return p.String(), nil
}

// checkHost takes an address as people copy it: plain, or as its host route.
func checkHost(text string) (string, error) {
	ip, err := netip.ParseAddr(text)
	if p, perr := netip.ParsePrefix(text); perr == nil {
		if !p.IsSingleIP() {
			return "", fmt.Errorf("%s is a prefix; give one address of it", p)
		}
		ip, err = p.Addr(), nil
	}
	if err != nil || ip.Zone() != "" {
		return "", fmt.Errorf("%q is not an IP address", text)
	}
	return ip.Unmap().String(), nil
}

// either joins names as a person would.
func either(names []string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " or " + names[last]
}

// Parse understands the words of one line. A word that is, or ends with, "?"
// asks what can come there. The error is a [*UsageError].
func Parse(root *Word, words []string) (Command, error) {
	c := start(root)
	for i, text := range words {
		if c.at.Runs != "" && len(c.at.Next) == 1 && c.at.Next[0].Arg == ArgRest {
			c.cmd.Rest = words[i:]
			return c.cmd, nil
		}
		if begun, asked := strings.CutSuffix(text, "?"); asked {
			if help := c.help(begun); len(help) > 0 {
				return Command{Help: help}, nil
			}
			return Command{}, c.fail("nothing that begins with %q can come there", begun)
		}
		if err := c.step(text); err != nil {
			return Command{}, err
		}
	}
	switch {
	case c.complete():
		return c.cmd, nil
	case len(c.words) == 0:
		return Command{}, c.fail("a command is missing")
	}
	return Command{}, c.fail("more must follow %q", strings.Join(c.words, " "))
}

// help is what `?` shows after the words so far.
func (c *cursor) help(begun string) []Candidate {
	out := c.candidates(begun)
	if begun == "" && c.complete() {
		out = append(out, Candidate{Name: "<Enter>", Help: "run it"})
	}
	return out
}

// Split cuts a line into words. Double quotes keep blanks within a word, as a
// selector has them. What follows a # at the beginning of a word is a comment.
func Split(line string) []string {
	var words []string
	var word strings.Builder
	begun, quoted := false, false
	end := func() {
		if begun {
			words = append(words, word.String())
		}
		word.Reset()
		begun = false
	}
	for _, r := range line {
		switch {
		case r == '"':
			quoted, begun = !quoted, true
		case !quoted && unicode.IsSpace(r):
			end()
		case !quoted && !begun && r == '#':
			return words
		default:
			word.WriteRune(r)
			begun = true
		}
	}
	end()
	return words
}
