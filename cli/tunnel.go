package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	pb "caracal.dev/caracal/proto"
)

func (c *client) tunnels() pb.TunnelsClient { return pb.NewTunnelsClient(c.conn) }

// checkWords are what can follow check.
func checkWords() []*Word {
	return []*Word{
		{Name: "tunnel", Help: "whether full packets of the tunnel get to a node, by probes", Next: []*Word{
			{Name: "NODE", Help: "for example b", Arg: ArgName, Key: "node", Runs: "check tunnel"},
		}},
		{Name: "ipam", Help: "whether each address in use belongs to a container that is there", Runs: "check ipam"},
	}
}

// checkTunnel also exits with 1 if something is wrong with the way.
func (s *session) checkTunnel(ctx context.Context, cmd Command, w io.Writer) error {
	m, err := call(ctx, s.client, s.client.tunnels().CheckTunnel, &pb.CheckTunnelRequest{Node: cmd.Args["node"]})
	if err != nil {
		return err
	}
	err = s.print(w, m, func() { renderCheckTunnel(w, m) })
	if !m.Good {
		err = errors.Join(err, exitCode(ExitFailed))
	}
	return err
}

func renderCheckTunnel(w io.Writer, c *pb.TunnelCheck) {
	verdict := "good"
	if !c.Good {
		verdict = "not good"
	}
	fmt.Fprintf(w, "%s: %s\n\n", c.Node, verdict)
	g := &grid{right: make([]bool, 3)}
	g.add("", "Address", c.Address)
	g.add("", "From", orDash(c.Source))
	g.add("", "Path MTU", mtuText(c.PathMtu))
	g.add("", "Needed", mtuText(c.NeededMtu))
	if c.LimitedBy != "" {
		g.add("", "Limited by", c.LimitedBy)
	}
	g.add("", "Round trip", millis(c.RttMs))
	for _, a := range c.Advice {
		g.addWrapped([]any{"", "Wrong"}, wrap(a, 90))
	}
	g.print(w)
}

func mtuText(n uint32) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprintf("%d bytes", n)
}

func renderTunnel(w io.Writer, t *pb.Tunnel) {
	g := &grid{right: make([]bool, 3)}
	g.add("", "Device", t.Device+", "+deviceText(t))
	g.add("", "Address", orDash(t.Address))
	mtu := mtuText(t.Mtu)
	if t.WantedMtu != 0 && t.WantedMtu != t.Mtu {
		mtu += fmt.Sprintf(", to be %d", t.WantedMtu)
	}
	g.add("", "MTU", mtu)
	if t.Uplink != "" {
		g.add("", "Follows", fmt.Sprintf("%s, %s", t.Uplink, mtuText(t.UplinkMtu)))
	}
	g.add("", "Pod MTU", mtuText(t.PodMtu))
	g.add("", "Received", countersText(t.Received))
	g.add("", "Sent", countersText(t.Sent))
	if t.Problem != "" {
		g.addWrapped([]any{"", "Problem"}, wrap(t.Problem, 90))
	}
	g.print(w)
	if len(t.Pools) > 0 {
		fmt.Fprintln(w)
		g := newGrid("POOL", "RANGE", "IPIPMODE")
		for _, p := range t.Pools {
			g.add(p.Name, p.Cidr, orDash(p.Mode))
		}
		g.print(w)
	}
	if len(t.Nodes) > 0 {
		fmt.Fprintln(w)
		g := newGrid("NODE", "ADDRESS", "ITS TUNNEL", ">TUNNELED", ">DIRECT", "INFO")
		for _, n := range t.Nodes {
			info := ""
			if n.Failed > 0 {
				info = plural(int(n.Failed), "route", "routes") + " not installed (caracal show fib)"
			}
			g.add(n.Node, n.Address, orDash(n.TunnelAddress), n.Tunneled, n.Direct, info)
		}
		g.print(w)
	}
}

func deviceText(t *pb.Tunnel) string {
	switch {
	case !t.Present && t.Wanted:
		return "wanted, but the kernel does not have it"
	case !t.Present:
		return "not wanted, and the kernel does not have it"
	case t.Up && !t.Wanted:
		return "up, but nobody here asks for it"
	case t.Up:
		return "up"
	case t.Wanted:
		return "down, but wanted"
	}
	return "down, not wanted"
}

func countersText(c *pb.TunnelCounters) string {
	text := fmt.Sprintf("%d packets, %d bytes", c.GetPackets(), c.GetBytes())
	if c.GetErrors()+c.GetDropped() > 0 {
		text += fmt.Sprintf(", %d errors, %d dropped", c.GetErrors(), c.GetDropped())
	}
	return text
}
