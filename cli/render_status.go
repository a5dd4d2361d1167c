package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	pb "caracal.dev/caracal/proto"
)

// renderStatus prints the daemon in one page, what is wrong at the end, where
// the eye is.
func renderStatus(w io.Writer, now time.Time, st *pb.Status) {
	fmt.Fprintf(w, "%s: %s\n\n", st.Node, headline(now, st))
	c := st.Counts
	if c == nil {
		c = &pb.Counts{}
	}
	g := &grid{right: make([]bool, 3)}
	g.add("", "BGP", fmt.Sprintf("AS %d, router ID %s", st.Asn, orDash(st.RouterId)))
	g.add("", "Neighbors", fmt.Sprintf("%d of %d established", c.Established, c.Neighbors))
	g.add("", "Synced", factText(st.Synced))
	g.add("", "Converged", factText(st.Converged))
	g.add("", "Complete", factText(st.Complete))
	g.add("", "Routes", fmt.Sprintf("%s, %s, %d refused; %d announced",
		plural(int(c.Prefixes), "prefix", "prefixes"), plural(int(c.Paths), "path", "paths"), c.Refused, c.Originated))
	g.add("", "Kernel", kernelText(c))
	g.add("", "Audit", auditText(now, c))
	g.add("", "Cluster", fmt.Sprintf("%s, %s, %s, %s (%d here)",
		plural(int(c.Nodes), "node", "nodes"), plural(int(c.Pools), "pool", "pools"),
		plural(int(c.Blocks), "block", "blocks"), plural(int(c.Workloads), "workload", "workloads"), c.LocalWorkloads))
	g.add("", "Configuration", configText(now, st))
	g.add("", "Version", fmt.Sprintf("%s, pid %d", orDash(st.Version), st.Pid))
	g.print(w)
	if len(st.Problems) > 0 {
		fmt.Fprintln(w)
		renderProblems(w, now, st.Problems)
	}
}

func headline(now time.Time, st *pb.Status) string {
	run := ""
	if st.Started != nil {
		run = ", running " + age(now, st.Started)
	}
	if st.Ready.GetHolds() {
		return "ready" + run
	}
	return "not ready" + run + ": " + orDash(st.Ready.GetReason())
}

func factText(f *pb.Fact) string {
	switch {
	case f.GetReason() == "":
		return yesNo(f.GetHolds())
	case f.GetHolds():
		return "yes (" + f.Reason + ")"
	}
	return "no: " + f.Reason
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
