package cli

import "strings"

// Complete returns what the last of words, which may be empty, can become.
// neighbors is asked for names only where one can come; it may be nil.
func Complete(root *Word, words []string, neighbors func() []string) []Candidate {
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
		case cand.Arg == ArgNeighbor && neighbors != nil:
			for _, name := range neighbors() {
				if strings.HasPrefix(name, begun) {
					out = append(out, Candidate{Name: name, Help: "neighbor", Arg: ArgNeighbor})
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
