package cli

// suggestion is ", did you mean status?"-like text for a word that fits nothing;
// empty if no keyword is near it. At the beginning of a line the words of show
// count too, as "route" is meant to be "show route".
func (c *cursor) suggestion(follow []*Word, text string) string {
	best, name := 3, ""
	for _, w := range follow {
		if w.Arg != NoArg {
			continue
		}
		if d := distance(text, w.Name); d < best && d <= allowed(w.Name) {
			best, name = d, w.Name
		}
	}
	if len(c.words) == 0 {
		for _, w := range showWords() {
			if d := distance(text, w.Name); d < best && d <= allowed(w.Name) {
				best, name = d, "show "+w.Name
			}
		}
	}
	if name == "" {
		return ""
	}
	return "; did you mean " + name + "?"
}

// allowed is how many slips a word is still known by.
func allowed(word string) int {
	if len(word) < 5 {
		return 1
	}
	return 2
}

// distance counts the letters that were left out, added, changed or swapped with
// their neighbor (optimal string alignment).
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
