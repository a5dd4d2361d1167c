package lab

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

// printer writes for a person at a terminal, in color where that is wanted.
type printer struct {
	w     io.Writer
	color bool
}

// newPrinter uses colors if w is a terminal and neither the flag nor the
// environment (NO_COLOR) says otherwise.
func newPrinter(w io.Writer, noColor bool) *printer {
	f, ok := w.(*os.File)
	return &printer{w, ok && term.IsTerminal(int(f.Fd())) && !noColor && os.Getenv("NO_COLOR") == ""}
}

// The colors used (ECMA-48, SGR).
const (
	bold  = "1"
	red   = "31"
	green = "32"
	dim   = "2"
)

func (p *printer) paint(color, s string) string {
	if !p.color {
		return s
	}
	return "\x1b[" + color + "m" + s + "\x1b[0m"
}

// title begins a part of the story.
func (p *printer) title(n int, s string) {
	fmt.Fprintf(p.w, "\n%s\n", p.paint(bold, fmt.Sprintf("%d. %s", n, s)))
}

// line prints an indented line.
func (p *printer) line(format string, args ...any) {
	fmt.Fprintf(p.w, "   "+format+"\n", args...)
}

// verdict prints whether an expectation held.
func (p *printer) verdict(ok bool, text string) {
	mark := p.paint(green, "ok  ")
	if !ok {
		mark = p.paint(red, "FAIL")
	}
	p.line("%s %s", mark, text)
}

// output prints what a command printed, below the command.
func (p *printer) output(command, text string) {
	p.line("%s", p.paint(dim, "# "+command))
	for line := range strings.Lines(strings.TrimRight(text, "\n")) {
		p.line("%s", strings.TrimRight(line, "\n"))
	}
}

// maxMatrix is how many pods a matrix is printed for in full.
const maxMatrix = 12

// matrix prints who reaches whom. Round trips are in milliseconds.
func (p *printer) matrix(m *Matrix) {
	failed := len(m.Failed())
	summary := fmt.Sprintf("%s: %d of %d pings answered", m.Family, m.Pairs()-failed, m.Pairs())
	if len(m.Pods) > maxMatrix {
		p.line("%s", summary)
		return
	}
	p.line("%s%s", p.paint(bold, fmt.Sprintf("%-6s", m.Family)), columns(m.Pods))
	for i, row := range m.Cells {
		var b strings.Builder
		for j, c := range row {
			cell := fmt.Sprintf("%6s", "·")
			switch {
			case i == j:
			case c.OK:
				cell = p.paint(green, fmt.Sprintf("%6.2f", float64(c.RTT)/float64(time.Millisecond)))
			default:
				cell = p.paint(red, fmt.Sprintf("%6s", "✗"))
			}
			b.WriteString(cell)
		}
		p.line("%-6s%s", m.Pods[i], b.String())
	}
	p.line("%s", p.paint(dim, summary+" (round trip in ms)"))
}

func columns(names []string) string {
	var b strings.Builder
	for _, n := range names {
		fmt.Fprintf(&b, "%6s", n)
	}
	return b.String()
}

// since rounds the time that has passed to what a person wants to read.
func since(t time.Time) time.Duration { return roundTime(time.Since(t)) }

func roundTime(d time.Duration) time.Duration {
	if d >= time.Second {
		return d.Round(10 * time.Millisecond)
	}
	return d.Round(time.Millisecond)
}

// count is "1 node" or "3 nodes".
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
