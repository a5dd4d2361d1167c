package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	pb "caracal.dev/caracal/proto"
)

func renderConfigure(w io.Writer, now time.Time, r *pb.ConfigureReply, check bool) {
	version := fmt.Sprintf("generation %d, digest %s", r.Generation, orDash(short(r.Digest)))
	problems := notHeld(r)
	switch {
	case len(r.Changes) == 0 && len(r.Held) > 0:
		fmt.Fprintf(w, "nothing changes but what is held; %s\n", version)
	case len(r.Changes) == 0 && len(problems) > 0:
		fmt.Fprintf(w, "nothing changes of what can be taken; %s\n", version)
	case len(r.Changes) == 0:
		fmt.Fprintf(w, "nothing changes; %s\n", version)
	case check:
		fmt.Fprintln(w, "would change (nothing has been applied):")
	case r.Applied:
		fmt.Fprintf(w, "applied; %s:\n", version)
	default:
		fmt.Fprintln(w, "not applied:")
	}
	for _, c := range r.Changes {
		fmt.Fprintf(w, "  %s\n", c)
	}
	renderSessions(w, r)
	if r.Restart != "" {
		fmt.Fprintf(w, "caracald re-executes itself, and routes stay: %s\n", r.Restart)
	}
	if len(r.Held) > 0 {
		fmt.Fprintln(w, "held, as so much is rarely removed on purpose; if it is meant: caracal configure confirm")
		for _, h := range r.Held {
			fmt.Fprintf(w, "  %s\n", h)
		}
	}
	if len(problems) > 0 {
		renderProblems(w, now, problems)
	}
}

// renderSessions says what becomes of sessions.
func renderSessions(w io.Writer, r *pb.ConfigureReply) {
	if len(r.Resets) > 0 {
		fmt.Fprintf(w, "%s:\n", plural(len(r.Resets), "session resets", "sessions reset"))
		for _, reset := range r.Resets {
			fmt.Fprintf(w, "  %s: %s\n", reset.Neighbor, reset.Reason)
		}
	}
	var parts []string
	if n := len(r.Ends); n > 0 {
		parts = append(parts, plural(n, "session ends", "sessions end")+": "+first(r.Ends, 10, ", "))
	}
	if n := len(r.Starts); n > 0 {
		parts = append(parts, plural(n, "session starts", "sessions start")+": "+first(r.Starts, 10, ", "))
	}
	if len(parts) > 0 {
		fmt.Fprintln(w, strings.Join(parts, "; "))
	}
}

// notHeld are the problems without those whose text is under Held already.
func notHeld(r *pb.ConfigureReply) []*pb.Problem {
	return slices.DeleteFunc(slices.Clone(r.Problems), func(p *pb.Problem) bool {
		return slices.Contains(r.Held, p.Message)
	})
}

// configureCode is [ExitFailed] if something was not taken.
func configureCode(r *pb.ConfigureReply) int {
	for _, p := range r.Problems {
		if p.Severity != "warning" {
			return ExitFailed
		}
	}
	if len(r.Held) > 0 {
		return ExitFailed
	}
	return ExitOK
}

// renderCleanupList prints what would be deleted.
func renderCleanupList(w io.Writer, r *pb.CleanupReply) {
	for _, item := range r.Items {
		fmt.Fprintln(w, item)
	}
	if more := int(r.Total) - len(r.Items); more > 0 {
		fmt.Fprintf(w, "and %d more\n", more)
	}
}

func renderCleanupDone(w io.Writer, r *pb.CleanupReply) {
	const most = 20 // without the right to delete, all of them fail
	fmt.Fprintf(w, "%s deleted\n", plural(int(r.Deleted), "item", "items"))
	for _, f := range r.Failed[:min(most, len(r.Failed))] {
		fmt.Fprintf(w, "failed: %s\n", f)
	}
	if more := len(r.Failed) - most; more > 0 {
		fmt.Fprintf(w, "and %d more failed\n", more)
	}
}
