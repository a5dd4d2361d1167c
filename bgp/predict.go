package bgp

// Resets returns the names of the neighbors whose sessions [Speaker.Apply]
// would drop to get from one configuration to another, in order; those that
// are removed are not among them.
func Resets(have, want Config) []string {
	from := applied{neighbors: map[string]Neighbor{}}
	for _, n := range have.Neighbors {
		from.neighbors[n.Name] = n
	}
	var names []string
	for _, n := range diff(from, want).reset {
		names = append(names, n.Name)
	}
	return names
}

// WhyRestart says in words what of Global differs, so that the process must
// start anew to take it; empty if nothing does.
func WhyRestart(have, want Global) string { return whyRestart(have, want) }
