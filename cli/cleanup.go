package cli

import (
	"context"
	"fmt"
	"io"
	"strings"

	pb "caracal.dev/caracal/proto"
)

// cleanupAndStay is cleanup, which with --stay does not end once it is done: kubelet
// starts what ends in the Pod of a DaemonSet again and again.
func (s *session) cleanupAndStay(ctx context.Context, cmd Command, w io.Writer) error {
	err := s.cleanup(ctx, cmd, w)
	if err != nil || cmd.Args["stay"] == "" {
		return err
	}
	if err := flush(w); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// cleanup lists what of ours is in the kernel, asks, and deletes it: through
// the daemon if there is one, otherwise by itself.
func (s *session) cleanup(ctx context.Context, cmd Command, w io.Writer) error {
	do := func(yes bool) (*pb.CleanupReply, error) {
		m, err := call(ctx, s.client, s.client.command().Cleanup, &pb.CleanupRequest{Yes: yes})
		if noDaemon(err) && s.opts.Cleanup != nil {
			return s.opts.Cleanup(ctx, yes)
		}
		return m, err
	}
	yes := cmd.Args["yes"] != ""
	found, err := do(false)
	if err != nil {
		return err
	}
	if found.Total == 0 || s.flags.format != Table && !yes {
		return s.print(w, found, func() { fmt.Fprintln(w, "nothing of ours is in the kernel") })
	}
	if s.flags.format == Table {
		renderCleanupList(w, found)
	}
	if found.Blocked != "" {
		return failf(ExitFailed, "nothing was deleted: %s", found.Blocked)
	}
	if !yes {
		if yes, err = s.ask(w, fmt.Sprintf("Delete %s?", plural(int(found.Total), "item", "items"))); err != nil {
			return err
		}
	}
	if !yes {
		return failf(ExitFailed, "nothing was deleted")
	}
	done, err := do(true)
	if err != nil {
		return err
	}
	err = s.print(w, done, func() { renderCleanupDone(w, done) })
	if err == nil && len(done.Failed) > 0 {
		err = exitCode(ExitFailed)
	}
	return err
}

// ask puts a question to the person at the terminal; only "y" and "yes" are
// yes.
func (s *session) ask(w io.Writer, question string) (bool, error) {
	if !s.terminal {
		if err := flush(w); err != nil {
			return false, err
		}
		return false, failf(ExitUsage, "nobody is there to ask: %s To delete without asking: cleanup --yes", question)
	}
	fmt.Fprintf(w, "%s [y/N] ", question)
	if err := flush(w); err != nil {
		return false, err
	}
	answer := strings.ToLower(strings.TrimSpace(readLine(s.opts.Stdin)))
	return answer == "y" || answer == "yes", nil
}

// readLine reads no further than the end of the line, as what follows is not
// for the question.
func readLine(r io.Reader) string {
	var line []byte
	for b := make([]byte, 1); len(line) < 1024; {
		n, err := r.Read(b)
		if n == 0 && err != nil || b[0] == '\n' {
			break
		}
		if n > 0 {
			line = append(line, b[0])
		}
	}
	return string(line)
}
