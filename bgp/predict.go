package bgp

// Reset is a session that [Speaker.Apply] would drop to take a change.
type Reset struct {
	Neighbor string
	// Fields are what of it only a new session can take, in a BGPPeer's words.
	Fields []string
}

// Resets says which sessions [Speaker.Apply] would drop to get from one
// configuration to another, in order; those that are removed are not among them.
func Resets(have, want Config) []Reset {
	from := map[string]Neighbor{}
	for _, n := range have.Neighbors {
		from[n.Name] = n
	}
	var d delta
	d.neighbors(from, want.Neighbors)
	for _, r := range d.rename {
		from[r.to] = r.was
	}
	var list []Reset
	for _, n := range d.reset {
		list = append(list, Reset{n.Name, resetFields(from[n.Name], n)})
	}
	return list
}

// Changed says which sessions would begin, end, or go on under another name, by
// old and new name.
func Changed(have, want Config) (begin, end []string, renamed map[string]string) {
	from := map[string]Neighbor{}
	for _, n := range have.Neighbors {
		from[n.Name] = n
	}
	var d delta
	d.neighbors(from, want.Neighbors)
	for _, n := range d.add {
		begin = append(begin, n.Name)
	}
	for _, n := range d.remove {
		end = append(end, n.Name)
	}
	renamed = map[string]string{}
	for _, r := range d.rename {
		renamed[r.was.Name] = r.to
	}
	return begin, end, renamed
}

// WhyRestart says in words what of Global differs, so that the process must
// start anew to take it; empty if nothing does.
func WhyRestart(have, want Global) string { return whyRestart(have, want) }
