package cli

import "strings"

// Complete returns what the last of words, which may be empty, can become.
// known is asked for the names of a kind only where one can come, and may be nil.
func Complete(root *Word, words []string, known func(Arg) []Candidate) []Candidate {
	if len(words) == 0 {
		words = []string{""}
	}
	if len(words) > 1 && words[0] == "help" {
		words = words[1:]
	}
	c := start(root)
	last := len(words) - 1
	for _, text := range words[:last] {
		if c.step(text) != nil {
			return nil
		}
	}
	begun := words[last]
	var out []Candidate
	for _, cand := range c.candidates(begun) {
		switch {
		case cand.Arg == NoArg:
			out = append(out, cand)
		case cand.Arg.listed() && known != nil:
			for _, name := range known(cand.Arg) {
				if strings.HasPrefix(name.Name, begun) {
					out = append(out, name)
				}
			}
		}
	}
	return out
}

// commonPrefix is the longest text that all candidates begin with.
func commonPrefix(cands []Candidate) string {
	if len(cands) == 0 {
		return ""
	}
	p := cands[0].Name
	for _, c := range cands[1:] {
		for !strings.HasPrefix(c.Name, p) {
			p = p[:len(p)-1]
		}
	}
	return p
}
