package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	pb "caracal.dev/caracal/proto"
)

// renderFIB prints sorted routes, one line for each way out.
func renderFIB(w io.Writer, now time.Time, list *pb.FIBList) {
	if len(list.Entries) == 0 {
		fmt.Fprintln(w, "no routes")
		return
	}
	g := newGrid("PREFIX", "WAY", "FOR", ">SINCE", "STATE")
	for _, e := range list.Entries {
		ways := fibWays(e)
		g.add(e.Prefix, ways[0], fibFor(e), age(now, e.Since), fibState(e))
		for _, way := range ways[1:] {
			g.add("", way, "", "", "")
		}
	}
	g.print(w)
	fmt.Fprintf(w, "\n%s\n", fibSummary(list))
}

func fibWays(e *pb.FIBEntry) []string {
	switch {
	case e.Type == "blackhole" || e.Type == "unreachable":
		return []string{e.Type}
	case len(e.Hops) == 0: // it is not in the kernel
		return []string{"-"}
	}
	ways := make([]string, len(e.Hops))
	for i, h := range e.Hops {
		ways[i] = hopText(h)
	}
	return ways
}

func fibFor(e *pb.FIBEntry) string {
	if len(e.Neighbors) > 0 {
		return strings.Join(e.Neighbors, ",")
	}
	switch {
	case e.State == "stale":
		return "from before the start"
	case e.Source == "" || e.Source == "bgp": // whose path it was has gone
		return "-"
	}
	return "local " + e.Source
}

func fibState(e *pb.FIBEntry) string {
	if e.Reason == "" {
		return e.State
	}
	return e.State + ": " + e.Reason
}

// fibSummary counts by state, and names the mark of the routes, which is nearly
// always one.
func fibSummary(list *pb.FIBList) string {
	states := map[string]int{}
	var marks []string
	for _, e := range list.Entries {
		states[e.State]++
		m := fmt.Sprintf("table %d protocol %d metric %d", e.Table, e.Protocol, e.Metric)
		if !slices.Contains(marks, m) {
			marks = append(marks, m)
		}
	}
	slices.Sort(marks)
	var parts []string
	for _, s := range []string{"installed", "pending", "failed", "conflict", "stale"} {
		if states[s] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", states[s], s))
		}
	}
	return fmt.Sprintf("%s: %s (%s)", plural(len(list.Entries), "route", "routes"), strings.Join(parts, ", "), strings.Join(marks, "; "))
}
