package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	pb "caracal.dev/caracal/proto"
)

func (c *client) policies() pb.PoliciesClient { return pb.NewPoliciesClient(c.conn) }

func explainWords() []*Word {
	value := func(name, help string, arg Arg, key string) []*Word {
		return []*Word{{Name: name, Help: help, Arg: arg, Key: key}}
	}
	return []*Word{{Name: "policy", Help: "whether a connection is allowed, and by what", Runs: "explain policy", Options: []*Word{
		{Name: "--from", Help: "who opens it", Exact: true, Next: value("POD", "for example default/web, or an address", ArgPod, "from")},
		{Name: "--to", Help: "to whom", Exact: true, Next: value("POD", "for example prod/db, or an address", ArgPod, "to")},
		{Name: "--port", Help: "of the destination, with its protocol", Exact: true, Next: value("PORT", "for example 80/tcp, 53/udp or icmp", ArgPort, "port")},
	}}}
}

func policyOptions() []*Word {
	return []*Word{{Name: "NAME", Help: "only this one, with its rules, chains and counters", Arg: ArgName, Key: "name"}}
}

func setOptions() []*Word {
	return []*Word{{Name: "NAME", Help: "only this one, with its members", Arg: ArgName, Key: "name"}}
}

func endpointWords() []*Word {
	return []*Word{{Name: "POD", Help: "for example default/web, or its address or interface", Arg: ArgPod, Key: "name", Runs: "show endpoint"}}
}

// protocols without ports that --port takes as they are.
var portless = []string{"icmp", "icmpv6", "ipip"}

// checkPort reads a port with its protocol; without one it is TCP's.
func checkPort(text string) (port uint32, protocol string, err error) {
	text = strings.ToLower(text)
	if slices.Contains(portless, text) {
		return 0, text, nil
	}
	number, protocol, ok := strings.Cut(text, "/")
	if !ok {
		protocol = "tcp"
	}
	n, err := strconv.ParseUint(number, 10, 16)
	if err != nil || n == 0 || !slices.Contains([]string{"tcp", "udp", "sctp"}, protocol) {
		return 0, "", fmt.Errorf("%q is not a port such as 80/tcp, 53/udp or 7/sctp, nor icmp, icmpv6 or ipip", text)
	}
	return uint32(n), protocol, nil
}

// policies runs the commands that are about policies.
func (s *session) policies(ctx context.Context, cmd Command, w io.Writer) error {
	p, now := s.client.policies(), s.opts.Now()
	name := cmd.Args["name"]
	switch cmd.Name {
	case "show policy":
		return get(ctx, s, w, p.ListPolicies, &pb.PoliciesRequest{Name: name}, func(m *pb.PolicyList) { renderPolicies(w, now, m, name != "") })
	case "show sets":
		return get(ctx, s, w, p.ListSets, &pb.SetsRequest{Name: name}, func(m *pb.SetList) { renderSets(w, m, name != "") })
	case "show endpoint":
		return get(ctx, s, w, p.GetPolicyEndpoint, &pb.PolicyEndpointRequest{Name: name}, func(m *pb.PolicyEndpoint) { renderEndpoint(w, now, m) })
	}
	return s.explainPolicy(ctx, cmd, w)
}

// explainPolicy also exits with 1 if the connection is denied.
func (s *session) explainPolicy(ctx context.Context, cmd Command, w io.Writer) error {
	req := &pb.ExplainPolicyRequest{From: cmd.Args["from"], To: cmd.Args["to"]}
	if req.From == "" || req.To == "" || cmd.Args["port"] == "" {
		return failf(ExitUsage, "say which connection: explain policy --from POD|ADDRESS --to POD|ADDRESS --port 80/tcp")
	}
	var err error
	if req.Port, req.Protocol, err = checkPort(cmd.Args["port"]); err != nil {
		return err
	}
	m, err := call(ctx, s.client, s.client.policies().ExplainPolicy, req)
	if err != nil {
		return err
	}
	err = s.print(w, m, func() { renderVerdict(w, m) })
	if !m.Allowed {
		err = errors.Join(err, exitCode(ExitFailed))
	}
	return err
}

func renderVerdict(w io.Writer, m *pb.PolicyVerdict) {
	verdict := "denied"
	if m.Allowed {
		verdict = "allowed"
	}
	port := m.Protocol
	if m.Port != 0 {
		port = fmt.Sprintf("%d/%s", m.Port, m.Protocol)
	}
	fmt.Fprintf(w, "%s: %s to %s, %s\n\n", verdict, endText(m.From, m.FromAddress), endText(m.To, m.ToAddress), port)
	g := &grid{right: make([]bool, 3)}
	if m.Why != "" && m.Why != m.Egress.GetWhy() && m.Why != m.Ingress.GetWhy() {
		g.addWrapped([]any{"", "Why"}, wrap(m.Why, 90))
	}
	addSide(g, "Egress", m.Egress)
	addSide(g, "Ingress", m.Ingress)
	g.print(w)
}

func endText(name, addr string) string {
	switch {
	case name == "":
		return orDash(addr)
	case addr == "":
		return name
	}
	return name + " (" + addr + ")"
}

func addSide(g *grid, name string, s *pb.PolicySide) {
	if s == nil {
		return
	}
	verdict := "denied"
	if s.Allowed {
		verdict = "allowed"
	}
	g.add("", name, verdict)
	g.addWrapped([]any{"", ""}, wrap(s.Why, 90))
	switch {
	case s.Counted:
		g.add("", "", fmt.Sprintf("its rule has counted %s, %d bytes", plural64(s.Packets, "packet", "packets"), s.Bytes))
	case s.Isolated && s.Node != "":
		g.add("", "", "enforced on node "+s.Node)
	}
}

func plural64(n uint64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// policyText is the state of the rules in a line.
func policyText(now time.Time, p *pb.PolicyStatus) string {
	switch {
	case p.Off && p.Waiting != "":
		return p.Waiting
	case p.Off:
		return "disabled: nobody is isolated"
	case p.Since == nil && p.Problem != "":
		return "not in force: " + p.Problem
	case p.Since == nil:
		return "not in force: " + orDash(p.Waiting)
	}
	s := fmt.Sprintf("%s, %s, %s with %s (iptables-%s); %d of %s isolated for ingress, %d for egress",
		plural(int(p.Chains), "chain", "chains"), plural(int(p.Rules), "rule", "rules"), plural(int(p.Sets), "set", "sets"),
		plural(int(p.Members), "member", "members"), orDash(p.Backend), p.Ingress, plural(int(p.Endpoints), "workload", "workloads"), p.Egress)
	if p.Repaired > 0 {
		s += fmt.Sprintf("; repaired: %d, last %s ago", p.Repaired, age(now, p.RepairedAt))
	}
	if p.Problem != "" {
		s += fmt.Sprintf("; not up to date for %s: %s", age(now, p.FailingSince), p.Problem)
	}
	return s
}

func renderPolicies(w io.Writer, now time.Time, m *pb.PolicyList, whole bool) {
	if m.Status != nil {
		fmt.Fprintln(w, policyText(now, m.Status))
	}
	if len(m.Policies) == 0 {
		fmt.Fprintln(w, "there are no NetworkPolicies")
		return
	}
	if whole {
		for _, p := range m.Policies {
			fmt.Fprintln(w)
			renderPolicy(w, p)
		}
		return
	}
	fmt.Fprintln(w)
	g := newGrid("NAMESPACE", "NAME", "TYPES", "PODS", ">HERE", "INFO")
	for _, p := range m.Policies {
		info := ""
		if p.Invalid != "" {
			info = "rejected, so it allows nothing: " + p.Invalid
		}
		g.add(p.Namespace, p.Name, orDash(strings.Join(p.Types, ",")), orDash(p.Pods), len(p.Selected), info)
	}
	g.print(w)
}

func renderPolicy(w io.Writer, p *pb.Policy) {
	fmt.Fprintf(w, "%s/%s\n", p.Namespace, p.Name)
	g := &grid{right: make([]bool, 3)}
	g.add("", "Source", orDash(p.Source))
	g.add("", "Types", orDash(strings.Join(p.Types, ", ")))
	g.add("", "Pods", orDash(p.Pods))
	if p.Invalid != "" {
		g.addWrapped([]any{"", "Rejected"}, wrap(p.Invalid+"; it isolates in both directions and allows nothing", 90))
	}
	here := "none: it is not active on this node"
	if len(p.Selected) > 0 {
		here = first(p.Selected, 20, ", ")
	}
	g.addWrapped([]any{"", "Isolates here"}, wrap(here, 90))
	if len(p.Chains) > 0 {
		g.add("", "Chains", strings.Join(p.Chains, ", "))
	}
	g.print(w)
	if len(p.Rules) == 0 {
		fmt.Fprintln(w, "  no rules: it allows nothing")
		return
	}
	rules := newGrid("  RULE", "PEERS", "PORTS", ">PACKETS", ">BYTES")
	for _, r := range p.Rules {
		packets, bytes := "-", "-"
		if r.Counted {
			packets, bytes = fmt.Sprint(r.Packets), fmt.Sprint(r.Bytes)
		}
		rules.add(fmt.Sprintf("  %s %d", r.Direction, r.Index), orDash(r.Peers), orDash(r.Ports), packets, bytes)
	}
	rules.print(w)
}

func renderSets(w io.Writer, m *pb.SetList, whole bool) {
	if len(m.Sets) == 0 {
		fmt.Fprintln(w, "there are no sets")
		return
	}
	g := newGrid("NAME", "TYPE", "FAMILY", ">MEMBERS", "WHAT")
	for _, s := range m.Sets {
		g.add(s.Name, s.Type, s.Family, s.Size, s.About)
	}
	g.print(w)
	if !whole {
		return
	}
	for _, s := range m.Sets {
		fmt.Fprintln(w)
		for _, member := range s.Members {
			fmt.Fprintln(w, "  "+member)
		}
		if more := int(s.Size) - len(s.Members); more > 0 {
			fmt.Fprintf(w, "  … and %d more: ipset list %s\n", more, s.Name)
		}
	}
}

func renderEndpoint(w io.Writer, now time.Time, e *pb.PolicyEndpoint) {
	state := "in force"
	if !e.InForce {
		state = "not in force"
	}
	fmt.Fprintf(w, "%s: rules %s\n\n", e.Workload, state)
	g := &grid{right: make([]bool, 3)}
	g.add("", "Interface", orDash(e.Interface))
	g.add("", "Addresses", orDash(strings.Join(e.Addresses, ", ")))
	g.addWrapped([]any{"", "Ingress"}, wrap(isolatedText(e.Ingress), 90))
	g.addWrapped([]any{"", "Egress"}, wrap(isolatedText(e.Egress), 90))
	if e.InForce && e.Since != nil {
		g.add("", "In force", "since "+age(now, e.Since)+" ago")
	}
	if e.Why != "" {
		g.addWrapped([]any{"", "Wrong"}, wrap(e.Why, 90))
	}
	g.print(w)
}

func isolatedText(policies []string) string {
	if len(policies) == 0 {
		return "not isolated"
	}
	return "isolated by " + strings.Join(policies, ", ")
}
