package cli

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/timestamppb"
)

// grid prints rows in columns two blanks apart. The last column is as wide as it
// wants to be; nothing is cut.
type grid struct {
	// right says which columns are numbers.
	right []bool
	rows  [][]string
}

// newGrid begins with the header; a name that begins with ">" is of a column of
// numbers.
func newGrid(header ...string) *grid {
	g := &grid{right: make([]bool, len(header))}
	row := make([]string, len(header))
	for i, h := range header {
		row[i], g.right[i] = strings.CutPrefix(h, ">")
	}
	g.rows = append(g.rows, row)
	return g
}

// add adds a row of cells printed as by fmt.Sprint.
func (g *grid) add(cells ...any) {
	row := make([]string, len(cells))
	for i, c := range cells {
		row[i] = fmt.Sprint(c)
	}
	g.rows = append(g.rows, row)
}

func (g *grid) print(w io.Writer) {
	width := make([]int, len(g.right))
	for _, row := range g.rows {
		for i, cell := range row {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	var line strings.Builder
	for _, row := range g.rows {
		line.Reset()
		for i, cell := range row {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell))
			if i > 0 {
				line.WriteString("  ")
			}
			if g.right[i] {
				line.WriteString(pad + cell)
			} else {
				line.WriteString(cell + pad)
			}
		}
		fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
	}
}

// addWrapped adds a row whose last cells are lists of parts, one below the other.
func (g *grid) addWrapped(first []any, rest ...[]string) {
	n := 1
	for _, parts := range rest {
		n = max(n, len(parts))
	}
	for i := range n {
		row := make([]any, 0, len(g.right))
		for _, cell := range first {
			if i > 0 {
				cell = ""
			}
			row = append(row, cell)
		}
		for _, parts := range rest {
			cell := ""
			if i < len(parts) {
				cell = parts[i]
			}
			row = append(row, cell)
		}
		g.add(row...)
	}
}

// wrap cuts text at blanks into lines of at most width characters; a longer word
// has a line of its own.
func wrap(text string, width int) []string {
	var lines []string
	for _, word := range strings.Fields(text) {
		last := len(lines) - 1
		if last < 0 || utf8.RuneCountInString(lines[last])+1+utf8.RuneCountInString(word) > width {
			lines = append(lines, word)
		} else {
			lines[last] += " " + word
		}
	}
	return lines
}

// age is the time from t to now with two units: "2m13s", "3d04h". "-" if t is
// not known.
func age(now time.Time, t *timestamppb.Timestamp) string {
	if t == nil {
		return "-"
	}
	return duration(now.Sub(t.AsTime()))
}

// until is the time from now to t.
func until(now time.Time, t *timestamppb.Timestamp) string {
	return duration(t.AsTime().Sub(now))
}

func duration(d time.Duration) string {
	s := int(max(d, 0) / time.Second)
	switch {
	case s < 60:
		return fmt.Sprintf("%ds", s)
	case s < 3600:
		return fmt.Sprintf("%dm%02ds", s/60, s%60)
	case s < 86400:
		return fmt.Sprintf("%dh%02dm", s/3600, s/60%60)
	}
	return fmt.Sprintf("%dd%02dh", s/86400, s/3600%24)
}

// orDash is "-" for an empty cell, so that columns can be counted.
func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// plural counts things: "1 path", "2 paths".
func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
