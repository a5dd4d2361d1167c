package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
)

// historySize is how many lines are kept.
const historySize = 500

// history is what was entered before, newest last, kept in a file that only
// its owner may read. It implements term.History. A file that cannot be written
// costs only the memory of other runs.
type history struct {
	path  string // empty: not kept
	lines []string
}

// historyPath is where the XDG base directory specification puts state; empty
// without a home.
func historyPath(env func(string) string) string {
	if dir := env("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "caracal", "history")
	}
	if home := env("HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, ".local", "state", "caracal", "history")
	}
	return ""
}

func openHistory(path string) *history {
	h := &history{path: path}
	if path == "" {
		return h
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return h
	}
	for line := range bytes.Lines(text) {
		h.keep(strings.TrimSpace(string(line)))
	}
	return h
}

// keep adds a line in memory, unless it repeats the last.
func (h *history) keep(line string) bool {
	if line == "" || len(h.lines) > 0 && h.lines[len(h.lines)-1] == line {
		return false
	}
	h.lines = append(h.lines, line)
	if n := len(h.lines) - historySize; n > 0 {
		h.lines = h.lines[n:]
	}
	return true
}

// Add implements term.History.
func (h *history) Add(line string) {
	if !h.keep(strings.TrimSpace(line)) || h.path == "" {
		return
	}
	if err := os.MkdirAll(filepath.Dir(h.path), 0o700); err != nil {
		return
	}
	// Written whole and renamed: another shell may be reading.
	tmp, err := os.CreateTemp(filepath.Dir(h.path), ".history-*") // 0600
	if err != nil {
		return
	}
	_, err = tmp.WriteString(strings.Join(h.lines, "\n") + "\n")
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp.Name(), h.path)
	}
	if err != nil {
		os.Remove(tmp.Name())
	}
}

// Len implements term.History.
func (h *history) Len() int { return len(h.lines) }

// At implements term.History; 0 is the newest.
func (h *history) At(i int) string { return h.lines[len(h.lines)-1-i] }
