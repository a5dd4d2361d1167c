package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"
)

// session is one run of the program: one command, or a shell of many.
type session struct {
	opts   Options
	root   *Word
	flags  flags
	client *client
	// prefix begins an error: "caracal: " unless in the interactive shell.
	prefix string
	// terminal says that there is a person to ask.
	terminal bool
}

// Run is the whole program: args are the command line without its first word.
// It returns the exit code. Without a command it is a shell. Signals are taken
// for the time of each command, so that Ctrl-C ends a command, not the shell.
func Run(ctx context.Context, args []string, opts Options) int {
	if opts.Env == nil {
		opts.Env = func(string) string { return "" }
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	s := &session{opts: opts, root: Grammar(opts.Commands...), flags: defaultFlags(opts.Env), prefix: "caracal: "}
	s.terminal = isTerminal(opts.Stdin)
	if len(args) > 0 && args[0] == completeWord {
		return s.completeForShell(ctx, args[1:])
	}
	words, err := s.flags.takeFlags(args, opts.Commands)
	if err != nil {
		return s.report(failf(ExitUsage, "%v; see caracal help", err))
	}
	if s.client, err = newClient(s.flags.socket, s.flags.timeout); err != nil {
		return s.report(err)
	}
	defer s.client.close()
	switch {
	case s.flags.version:
		words = []string{"version"}
	case s.flags.help && len(words) == 0:
		words = []string{"help"}
	case s.flags.help:
		words = append(words, "?")
	case len(words) == 0:
		return s.shell(ctx)
	}
	return s.report(s.line(ctx, words))
}

func isTerminal(r io.Reader) bool {
	f, ok := r.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// line runs one line. Its error has been a message to nobody yet; see report.
func (s *session) line(ctx context.Context, words []string) error {
	cmd, err := Parse(s.root, s.question(words))
	if err != nil {
		return err
	}
	if cmd.Help != nil {
		printCandidates(s.opts.Stdout, s.withNames(ctx, cmd.Help))
		return nil
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	if i := slices.IndexFunc(s.opts.Commands, func(x External) bool { return x.Name == cmd.Name }); i >= 0 {
		return exitCode(s.opts.Commands[i].Run(ctx, cmd.Rest, s.opts.Stdout, s.opts.Stderr))
	}
	out := bufio.NewWriterSize(s.opts.Stdout, 64<<10)
	err = s.execute(ctx, cmd, out)
	return errors.Join(err, out.Flush())
}

// exitCode is an error without a message of its own: who failed has said why.
func exitCode(code int) error {
	if code == ExitOK {
		return nil
	}
	return &failure{code: code}
}

// report prints an error and returns the exit code that belongs to it.
func (s *session) report(err error) int {
	if err == nil {
		return ExitOK
	}
	var usage *UsageError
	if errors.As(err, &usage) {
		fmt.Fprintf(s.opts.Stderr, "%s%s\n", s.prefix, usage.Reason)
		if len(usage.Can) > 0 {
			if usage.Before == "" {
				fmt.Fprintln(s.opts.Stderr, "commands:")
			} else {
				fmt.Fprintf(s.opts.Stderr, "after %q can follow:\n", usage.Before)
			}
			printCandidates(s.opts.Stderr, usage.Can)
		}
		return ExitUsage
	}
	code := ExitFailed
	var f *failure
	if errors.As(err, &f) {
		code = f.code
	}
	if msg := err.Error(); msg != "" {
		fmt.Fprintf(s.opts.Stderr, "%s%s\n", s.prefix, strings.TrimRight(msg, "\n"))
	}
	return code
}
