package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	pb "caracal.dev/caracal/proto"
)

// mostDown is how many neighbors that are not established status names.
const mostDown = 5

// renderStatus prints the daemon in one page. The first line says whether all is
// well and, if not, why; what it says is not said again. What is wrong in detail
// is at the end, where the eye is. neighbors may be nil, if they are not known.
func renderStatus(w io.Writer, now time.Time, st *pb.Status, neighbors *pb.NeighborList) {
	head := headline(now, st)
	fmt.Fprintf(w, "%s: %s\n\n", st.Node, head)
	c := counted(st)
	g := &grid{right: make([]bool, 3)}
	if text := drainedText(now, st.Drain); text != "" {
		g.addWrapped([]any{"", "Drained"}, wrap(text, 90))
	}
	g.add("", "BGP", fmt.Sprintf("AS %d, router ID %s", st.Asn, orDash(st.RouterId)))
	g.add("", "Neighbors", neighborsText(c, neighbors))
	g.add("", "Synced", factText(st.Synced, head))
	g.add("", "Converged", factText(st.Converged, head))
	g.add("", "Complete", factText(st.Complete, head))
	g.add("", "Routes", fmt.Sprintf("%s, %s, %d refused; %d announced",
		plural(int(c.Prefixes), "prefix", "prefixes"), plural(int(c.Paths), "path", "paths"), c.Refused, c.Originated))
	g.add("", "Kernel", kernelText(c))
	if st.Policy != nil {
		g.addWrapped([]any{"", "Policy"}, wrap(policyText(now, st.Policy), 90))
	}
	if st.PodMtu != 0 {
		g.add("", "Pod MTU", mtuText(st.PodMtu))
	}
	g.add("", "Audit", auditText(now, c))
	g.add("", "Cluster", fmt.Sprintf("%s, %s, %s, %s (%d here)",
		plural(int(c.Nodes), "node", "nodes"), plural(int(c.Pools), "pool", "pools"),
		plural(int(c.Blocks), "block", "blocks"), plural(int(c.Workloads), "workload", "workloads"), c.LocalWorkloads))
	g.add("", "Configuration", configText(now, st))
	g.add("", "Version", fmt.Sprintf("%s, pid %d", orDash(st.Version), st.Pid))
	g.print(w)
	renderDown(w, now, neighbors)
	if more := newProblems(st, head); len(more) > 0 {
		fmt.Fprintln(w)
		renderProblems(w, now, more)
	}
}

func counted(st *pb.Status) *pb.Counts {
	if st.Counts == nil {
		return &pb.Counts{}
	}
	return st.Counts
}

// headline says whether it is well: ready or why not, and what else is amiss.
func headline(now time.Time, st *pb.Status) string {
	run := ""
	if st.Started != nil {
		run = ", running " + age(now, st.Started)
	}
	if !st.Ready.GetHolds() {
		return "not ready" + run + ": " + orDash(st.Ready.GetReason())
	}
	c := counted(st)
	var amiss []string
	if c.Established < c.Neighbors {
		amiss = append(amiss, fmt.Sprintf("%d of %s not established", c.Neighbors-c.Established, plural(int(c.Neighbors), "neighbor", "neighbors")))
	}
	if c.FibFailed > 0 {
		amiss = append(amiss, plural(int(c.FibFailed), "route", "routes")+" failed")
	}
	if st.Drain.GetStage() != "" {
		amiss = append(amiss, "drained")
	}
	if n := len(newProblems(st, "")); n > 0 {
		amiss = append(amiss, plural(n, "problem", "problems"))
	}
	if len(amiss) == 0 {
		return "ready" + run
	}
	return "ready" + run + ", but " + strings.Join(amiss, ", ")
}

func neighborsText(c *pb.Counts, neighbors *pb.NeighborList) string {
	s := fmt.Sprintf("%d of %d established", c.Established, c.Neighbors)
	var not []string
	for _, n := range neighbors.GetNeighbors() {
		if n.State != established {
			not = append(not, n.Name+" "+n.State)
		}
	}
	if len(not) > 0 {
		s += "; not: " + first(not, mostDown, ", ")
	}
	return s
}

// renderDown says of the first neighbors that are not established why.
func renderDown(w io.Writer, now time.Time, neighbors *pb.NeighborList) {
	g := &grid{right: make([]bool, 3)}
	said := 0
	for _, n := range neighbors.GetNeighbors() {
		why := neighborInfo(now, n)
		if n.State == established || why == "" || said == mostDown {
			continue
		}
		said++
		g.addWrapped([]any{"", n.Name}, wrap(why, 90))
	}
	if said > 0 {
		fmt.Fprintln(w, "\nnot established:")
		g.print(w)
	}
}

// factText leaves out the reason if head gave it.
func factText(f *pb.Fact, head string) string {
	switch {
	case f.GetReason() == "":
		return yesNo(f.GetHolds())
	case f.GetHolds():
		return "yes (" + f.Reason + ")"
	}
	for part := range strings.SplitSeq(f.Reason, "; ") {
		if !strings.Contains(head, part) {
			return "no: " + f.Reason
		}
	}
	return "no"
}

// newProblems are those of a status that head does not say and that were not
// there before in the same words.
func newProblems(st *pb.Status, head string) []*pb.Problem {
	seen := map[string]bool{}
	var out []*pb.Problem
	for _, p := range st.Problems {
		text := problemText(p)
		if seen[text] || head != "" && strings.Contains(head, p.Message) {
			continue
		}
		seen[text] = true
		out = append(out, p)
	}
	return out
}

func kernelText(c *pb.Counts) string {
	s := fmt.Sprintf("%d of %s installed", c.FibInstalled, plural(int(c.FibWanted), "route", "routes"))
	if c.FibFailed > 0 {
		s += fmt.Sprintf(", %d failed (caracal show fib)", c.FibFailed)
	}
	if c.FibStale > 0 {
		s += fmt.Sprintf(", %d kept from before the start", c.FibStale)
	}
	return s
}

func auditText(now time.Time, c *pb.Counts) string {
	when := "none yet"
	if c.LastAudit != nil {
		when = age(now, c.LastAudit) + " ago"
	}
	return fmt.Sprintf("%s, drift repaired: %d", when, c.DriftRepaired)
}

func configText(now time.Time, st *pb.Status) string {
	s := orDash(st.ConfigSource)
	if st.Configured != nil {
		s += ", read " + age(now, st.Configured) + " ago"
	}
	return s + fmt.Sprintf(", generation %d, digest %s", st.Generation, orDash(short(st.Digest)))
}

// short is enough of a digest to compare hosts by; JSON has all of it.
func short(digest string) string {
	if len(digest) > 12 {
		return digest[:12]
	}
	return digest
}

func renderProblems(w io.Writer, now time.Time, problems []*pb.Problem) {
	fmt.Fprintf(w, "%s:\n", plural(len(problems), "problem", "problems"))
	for _, p := range problems {
		fmt.Fprintf(w, "  %-8s %s", p.Severity, problemText(p))
		if p.Since != nil {
			fmt.Fprintf(w, " (%s ago)", age(now, p.Since))
		}
		fmt.Fprintln(w)
	}
}

// problemText says where only what the message does not say itself.
func problemText(p *pb.Problem) string {
	var where []string
	for _, s := range []string{p.Source, strings.TrimSpace(p.Kind + " " + p.Name)} {
		if s != "" && !strings.Contains(p.Message, s) {
			where = append(where, s)
		}
	}
	return strings.Join(append(where, p.Message), ": ")
}
