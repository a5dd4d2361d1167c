package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	pb "caracal.dev/caracal/proto"
)

const (
	// retryEvery is how often monitor looks whether the daemon is back.
	retryEvery = 100 * time.Millisecond
	// briefly is what a stream must last for the next break to count as new: a
	// daemon that ends each at once is not waited for without end.
	briefly = time.Second
)

// monitorKinds are the words of monitor in the order of the grammar.
func monitorKinds(cmd Command) []string {
	var kinds []string
	for _, k := range monitorWords() {
		if cmd.Args[k.Key] != "" {
			kinds = append(kinds, k.Key)
		}
	}
	return kinds
}

// monitor runs until Ctrl-C, which is a success. A daemon that goes is waited
// for as long as for an answer: one that starts itself anew is back in a moment.
func (s *session) monitor(ctx context.Context, cmd Command, w io.Writer) error {
	req := &pb.MonitorRequest{Kinds: monitorKinds(cmd)}
	lines := &eventLines{loc: s.opts.Now().Location()}
	var gone, began time.Time // when the daemon went; when this stream began
	for {
		began = time.Time{}
		opened := func() {
			began = time.Now()
			if !gone.IsZero() {
				s.say("caracald is back; what happened meanwhile is not shown")
			}
		}
		err := receive(ctx, s.client, opened, s.client.show().Monitor, req, func(m *pb.EventList) error {
			if err := s.printEvents(w, lines, m); err != nil {
				return err
			}
			return flush(w)
		})
		if ctx.Err() != nil {
			return nil
		}
		if err == nil {
			err = failf(ExitNoDaemon, "caracald ended the monitoring")
		}
		lasted := !began.IsZero()
		if !noDaemon(err) || !lasted && gone.IsZero() {
			return err
		}
		if lasted && (gone.IsZero() || time.Since(began) > briefly) {
			gone = time.Now()
			s.say(fmt.Sprintf("%v; waiting up to %v for it to come back (Ctrl-C ends)", err, s.flags.timeout))
		}
		if time.Since(gone) > s.flags.timeout {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(retryEvery):
			s.client.conn.ResetConnectBackoff()
		}
	}
}

// say tells the person something that is no answer.
func (s *session) say(text string) { fmt.Fprintf(s.opts.Stderr, "%s%s\n", s.prefix, text) }

func (s *session) printEvents(w io.Writer, lines *eventLines, m *pb.EventList) error {
	if s.flags.format == Table {
		for _, e := range m.Events {
			fmt.Fprintln(w, lines.text(e))
		}
		if m.Dropped > 0 {
			fmt.Fprintf(w, "%*s %s lost here: this terminal was slower than caracald\n", len(eventTime), "",
				plural(int(m.Dropped), "event was", "events were"))
		}
		return nil
	}
	for _, e := range m.Events {
		if err := printEvent(w, s.flags.format, e); err != nil {
			return err
		}
	}
	if m.Dropped > 0 {
		return printEvent(w, s.flags.format, &pb.EventList{Dropped: m.Dropped})
	}
	return nil
}

// eventTime has the date, as a monitor may run overnight.
const eventTime = "2006-01-02 15:04:05.000"

// eventLines makes a line of each event, in columns that grow with what comes.
type eventLines struct {
	loc   *time.Location
	width [4]int
}

func (l *eventLines) text(e *pb.Event) string {
	least := [4]int{len("session"), len("Established"), len("mesh/x"), len("fd00:64:0:1::/122")}
	var line strings.Builder
	line.WriteString(e.At.AsTime().In(l.loc).Format(eventTime))
	for i, cell := range []string{e.Kind, e.Action, e.Neighbor, e.Prefix} {
		l.width[i] = max(l.width[i], least[i], len(cell))
		fmt.Fprintf(&line, " %-*s", l.width[i], cell)
	}
	line.WriteString(" " + eventDetail(e))
	return strings.TrimRight(line.String(), " ")
}

// eventDetail leaves out the prefix that a route of the kernel begins with.
func eventDetail(e *pb.Event) string {
	if e.Kind != "fib" || e.Prefix == "" {
		return e.Detail
	}
	return strings.TrimSpace(strings.Replace(" "+e.Detail+" ", " "+e.Prefix+" ", " ", 1))
}
