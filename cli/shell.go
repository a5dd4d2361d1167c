package cli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"

	pb "caracal.dev/caracal/proto"
)

const prompt = "caracal> "

// shell reads commands line by line, from a person or from a pipe.
func (s *session) shell(ctx context.Context) int {
	in, ok := s.opts.Stdin.(*os.File)
	if !ok || !s.terminal {
		return s.script(ctx)
	}
	s.prefix = ""
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(ended)
	s.greet(ctx)
	t := newTerminal(s, in)
	for {
		line, err := t.readLine(ctx, ended)
		if killed, ok := errors.AsType[*killedError](err); ok {
			return 128 + int(killed.signal) // as of a program that the signal killed
		}
		if errors.Is(err, io.EOF) {
			fmt.Fprintln(s.opts.Stdout)
			return ExitOK
		}
		if err != nil {
			return s.report(err)
		}
		// The code of a line counts for nothing: a person has seen the error.
		if _, quit := s.shellLine(ctx, line); quit {
			return ExitOK
		}
	}
}

// script runs all lines, also after one that failed, and returns the first
// failure.
func (s *session) script(ctx context.Context) int {
	lines := bufio.NewScanner(s.opts.Stdin)
	first := ExitOK
	for lines.Scan() {
		code, quit := s.shellLine(ctx, lines.Text())
		if first == ExitOK {
			first = code
		}
		if quit || ctx.Err() != nil {
			return first
		}
	}
	if err := lines.Err(); err != nil && first == ExitOK {
		return s.report(failf(ExitFailed, "read the commands: %v", err))
	}
	return first
}

// shellLine runs one line of a shell. Only the format can be chosen for a single
// line.
func (s *session) shellLine(ctx context.Context, line string) (code int, quit bool) {
	words := Split(line)
	if len(words) == 0 {
		return ExitOK, false
	}
	if w := words[0]; len(words) == 1 && (w == "quit" || w == "exit" || w == "q") {
		return ExitOK, true
	}
	saved := s.flags
	defer func() { s.flags = saved }()
	words, err := s.flags.takeFlags(words, s.opts.Commands)
	switch {
	case err != nil:
		return s.report(failf(ExitUsage, "%v", err)), false
	case s.flags.socket != saved.socket || s.flags.timeout != saved.timeout:
		return s.report(failf(ExitUsage, "--socket and --timeout are given when the shell is started")), false
	case s.flags.help:
		words = append(words, "?")
	}
	if len(words) == 0 {
		return ExitOK, false
	}
	return s.report(s.line(ctx, words)), false
}

// greet says whom one talks to, or that there is nobody: the shell is of use
// all the same.
func (s *session) greet(ctx context.Context) {
	st, err := call(ctx, s.client, s.client.show().GetStatus, &pb.StatusRequest{})
	if err != nil {
		s.report(err)
	} else {
		fmt.Fprintf(s.opts.Stdout, "caracald %s on %s: %s\n", st.Version, st.Node, headline(s.opts.Now(), st))
	}
	fmt.Fprintln(s.opts.Stdout, "? shows what can follow, Tab completes, exit, quit or Ctrl-D leaves")
}

// terminal is the line editor with our grammar in it.
type terminal struct {
	in      *os.File
	editor  *term.Terminal
	session *session
	ctx     context.Context // of the line being edited, for Tab
}

func newTerminal(s *session, in *os.File) *terminal {
	t := &terminal{in: in, session: s}
	t.editor = term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{&keys{r: in}, s.opts.Stdout}, prompt)
	t.editor.AutoCompleteCallback = t.key
	t.editor.History = openHistory(historyPath(s.opts.Env))
	return t
}

// readLine edits one line. The terminal is raw only meanwhile, so that Ctrl-C
// reaches a running command as a signal.
func (t *terminal) readLine(ctx context.Context, ended <-chan os.Signal) (string, error) {
	t.ctx = ctx
	fd := int(t.in.Fd())
	state, err := term.MakeRaw(fd)
	if err != nil {
		return "", fmt.Errorf("prepare the terminal: %w", err)
	}
	defer term.Restore(fd, state)
	if w, h, err := term.GetSize(fd); err == nil && w > 0 && h > 0 {
		t.editor.SetSize(w, h)
	}
	type read struct {
		line string
		err  error
	}
	done := make(chan read, 1)
	go func() {
		line, err := t.editor.ReadLine()
		done <- read{line, err}
	}()
	select {
	case r := <-done:
		if errors.Is(r.err, term.ErrPasteIndicator) {
			r.err = nil
		}
		return r.line, r.err
	case sig := <-ended: // the program ends, and with it the read that still waits
		fmt.Fprint(t.session.opts.Stdout, "\r\n")
		number, _ := sig.(syscall.Signal)
		return "", &killedError{number}
	}
}

// killedError is the end of the shell by a signal.
type killedError struct{ signal syscall.Signal }

// Error implements error.
func (e *killedError) Error() string { return e.signal.String() }

// key is called for each key; it takes Tab and "?".
func (t *terminal) key(line string, pos int, key rune) (string, int, bool) {
	switch key {
	case '?':
		t.explain(line[:pos])
		return line, pos, true
	case '\t':
		done := t.complete(line[:pos])
		return done + line[pos:], len(done), true
	}
	return "", 0, false
}

// cut splits a line for completion: the last word is what has been begun.
func cut(line string) []string {
	words := strings.Fields(line)
	last, _ := utf8.DecodeLastRuneInString(line)
	if len(words) == 0 || unicode.IsSpace(last) {
		words = append(words, "")
	}
	return words
}

// explain prints what can follow.
func (t *terminal) explain(line string) {
	words := cut(line)
	words[len(words)-1] += "?"
	var out bytes.Buffer
	cmd, err := Parse(t.session.root, t.session.question(words))
	switch {
	case err != nil:
		fmt.Fprintln(&out, err)
	case cmd.Help == nil:
		fmt.Fprintf(&out, "%s takes its own words: %s --help\n", cmd.Name, cmd.Name)
	default:
		printCandidates(&out, t.session.withNames(t.ctx, cmd.Help))
	}
	t.editor.Write(out.Bytes())
}

// complete returns line with its last word completed as far as it goes, and
// prints the choice where there is one.
func (t *terminal) complete(line string) string {
	words := cut(line)
	begun := words[len(words)-1]
	cands := Complete(t.session.root, words, func(a Arg) []Candidate { return t.session.known(t.ctx, a) })
	base := strings.TrimSuffix(line, begun)
	switch more := commonPrefix(cands); {
	case len(cands) == 0:
		return line
	case len(cands) == 1:
		return base + more + " "
	case len(more) > len(begun):
		return base + more
	}
	var out bytes.Buffer
	printCandidates(&out, cands)
	t.editor.Write(out.Bytes())
	return line
}

// keys turns Ctrl-C, which the editor takes for the end of input, into "to the
// end, and delete to the beginning".
type keys struct{ r io.Reader }

const (
	ctrlC = 3
	ctrlE = 5
	ctrlU = 21
)

func (k *keys) Read(p []byte) (int, error) {
	// Half of p is left for what Ctrl-C becomes.
	n, err := k.r.Read(p[:max(len(p)/2, 1)])
	if len(p) < 2 || !bytes.ContainsRune(p[:n], ctrlC) {
		return n, err
	}
	return copy(p, bytes.ReplaceAll(p[:n], []byte{ctrlC}, []byte{ctrlE, ctrlU})), err
}
