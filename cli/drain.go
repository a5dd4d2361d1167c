package cli

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	pb "caracal.dev/caracal/proto"
)

// usualDrain is how long a drain waits unless it is told.
const usualDrain = 10 * time.Second

// drain asks for a drain and prints how far it gets, a line for each step. The
// drain goes on when this program is interrupted.
func (s *session) drain(ctx context.Context, cmd Command, w io.Writer) error {
	req := &pb.DrainRequest{Force: cmd.Args["force"] != ""}
	wait := usualDrain
	if text := cmd.Args["wait"]; text != "" {
		var err error
		if wait, err = time.ParseDuration(text); err != nil {
			return err
		}
		// 0 would be the daemon's own idea.
		req.WaitSeconds = float32(max(wait, time.Millisecond).Seconds())
	}
	// Between two steps the daemon waits, and may then take its time to answer.
	s.client.timeout += wait
	defer func() { s.client.timeout -= wait }()
	var last *pb.DrainState
	said := ""
	err := receive(ctx, s.client, nil, s.client.command().Drain, req, func(m *pb.DrainState) error {
		last = m
		if s.flags.format != Table || m.Message == said {
			return nil
		}
		said = m.Message
		fmt.Fprintln(w, m.Message)
		return flush(w)
	})
	if last != nil && s.flags.format != Table {
		if err := printMessage(w, s.flags.format, last); err != nil {
			return err
		}
	}
	if err == nil && last.GetProblem() != "" {
		err = failf(ExitFailed, "%s; it is tried again", last.Problem)
	}
	return err
}

func (s *session) undrain(ctx context.Context, w io.Writer) error {
	return get(ctx, s, w, s.client.command().Undrain, &pb.UndrainRequest{}, func(m *pb.DrainState) {
		if m.Stage == "" {
			fmt.Fprintln(w, "it was not drained")
		} else {
			fmt.Fprintf(w, "in service again; it was drained for %s\n", age(s.opts.Now(), m.Since))
		}
	})
}

// renderDrained says above other things that the node is drained.
func renderDrained(w io.Writer, now time.Time, d *pb.DrainState) {
	if d.GetStage() != "" {
		fmt.Fprintf(w, "drained %s\n\n", drainedText(now, d))
	}
}

// drainedText is empty for a node that serves.
func drainedText(now time.Time, d *pb.DrainState) string {
	if d.GetStage() == "" {
		return ""
	}
	text := fmt.Sprintf("for %s: %s", age(now, d.Since), d.Message)
	if d.Problem != "" {
		text += "; " + d.Problem
	}
	return text
}

// torConfig prints the configuration of a switch.
func (s *session) torConfig(ctx context.Context, cmd Command, w io.Writer) error {
	req := &pb.TorConfigRequest{Node: cmd.Args["node"], Selector: cmd.Args["selector"], Peer: cmd.Args["peer"], Format: cmd.Args["format"]}
	switch {
	case req.Node+req.Selector == "":
		return failf(ExitUsage, "say for which nodes: show tor-config --node NAME or --selector SELECTOR")
	case req.Format == "":
		return failf(ExitUsage, "say in which language: --format frr, bird or eos")
	}
	if text := cmd.Args["as"]; text != "" {
		asn, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			return err
		}
		req.Asn = uint32(asn)
	}
	return get(ctx, s, w, s.client.peering().GetTorConfig, req, func(m *pb.TorConfig) { fmt.Fprint(w, m.Text) })
}
