package cli

import (
	"fmt"
	"io"
	"math"
	"time"

	pb "caracal.dev/caracal/proto"
)

func renderIPAM(w io.Writer, m *pb.IPAMUse) {
	fmt.Fprintln(w, modeText(m.Mode))
	if len(m.Pools) == 0 {
		fmt.Fprintln(w, noAddresses(m.Mode))
		return
	}
	fmt.Fprintln(w)
	g := newGrid("POOL", "RANGE", ">BLOCKS", ">SIZE", ">IN USE", ">%", ">COOLING", ">RESERVED", "INFO")
	for _, p := range m.Pools {
		info := poolInfo(p, m.Mode)
		g.add(orDash(p.Name), orDash(p.Cidr), p.Blocks, amount(p.Size), p.Allocated, share(p.Allocated, p.Size), p.Cooling, p.Reserved, info)
	}
	g.print(w)
}

// poolInfo says what keeps a pool from giving addresses; empty if nothing does.
func poolInfo(p *pb.PoolUse, mode string) string {
	free := p.Size - float64(p.Allocated) - float64(p.Reserved)
	switch {
	case p.Disabled:
		return "disabled: gives no new addresses"
	case p.Blocks == 0 && mode == "blocks":
		return "" // it claims one when it needs it
	case p.Blocks == 0:
		return "this node has no block of it"
	case free <= 0:
		return "no address is left"
	case free <= float64(p.Cooling):
		return "no address is left until some have cooled"
	}
	return ""
}

// noAddresses is for a node that can give none.
func noAddresses(mode string) string {
	if mode == "blocks" {
		return "this node has no addresses to give: no IPPool selects it"
	}
	return "this node has no addresses to give: its NodeConfig has no blocks and no podCIDRs"
}

func modeText(mode string) string {
	switch mode {
	case "podCIDR":
		return "mode podCIDR: addresses come from the blocks and podCIDRs of this node's NodeConfig"
	case "blocks":
		return "mode blocks: this node claims blocks of the pools as it needs them"
	}
	return "mode " + orDash(mode)
}

func renderBlocks(w io.Writer, m *pb.IPAMUse) {
	fmt.Fprintln(w, modeText(m.Mode))
	if len(m.Blocks) == 0 {
		if m.Mode == "blocks" {
			fmt.Fprintln(w, "this node has no block yet; it claims one when it needs an address")
		} else {
			fmt.Fprintln(w, noAddresses(m.Mode))
		}
		return
	}
	fmt.Fprintln(w)
	g := newGrid("BLOCK", "POOL", "NODE", "AFFINITY", ">SIZE", ">IN USE", ">%", ">COOLING", ">RESERVED", ">BORROWED")
	for _, b := range m.Blocks {
		g.add(b.Cidr, orDash(b.Pool), orDash(b.Node), orDash(b.Affinity), amount(b.Size), b.Allocated, share(b.Allocated, b.Size), b.Cooling, b.Reserved, b.Borrowed)
	}
	g.print(w)
}

// amount prints a number of addresses; those of an IPv6 range can be too many
// for digits.
func amount(n float64) string {
	if n < 1e9 {
		return fmt.Sprintf("%.0f", n)
	}
	return fmt.Sprintf("%.1e", n)
}

// share is how much of a size is in use in percent. Only none is 0, and only all
// is 100: whether there is one left is what matters.
func share(used uint64, size float64) string {
	switch {
	case size <= 0:
		return "-"
	case used == 0:
		return "0"
	case float64(used) >= size:
		return "100"
	}
	percent := float64(used) / size * 100
	if percent < 1 {
		return "<1"
	}
	return fmt.Sprintf("%.0f", min(math.Round(percent), 99))
}

func renderAddress(w io.Writer, now time.Time, a *pb.Address) {
	fmt.Fprintf(w, "%s: %s\n\n", a.Address, stateText(a.State))
	g := &grid{right: make([]bool, 3)}
	row := func(name, value string) {
		if value != "" {
			g.add("", name, value)
		}
	}
	row("Pool", a.Pool)
	row("Block", a.Block)
	row("Workload", a.Workload)
	row("From", ownerText(a.Kind))
	row("Container", a.ContainerId)
	row("Interface", a.Ifname)
	row("Namespace", a.Netns)
	row("Host's end", a.HostInterface)
	row("Node", a.Node)
	row("Handle", a.Handle)
	if a.Since != nil {
		row("Since", fmt.Sprintf("%s, %s ago", a.Since.AsTime().In(now.Location()).Format("2006-01-02 15:04:05"), age(now, a.Since)))
	}
	if a.Note != "" {
		g.addWrapped([]any{"", "Note"}, wrap(a.Note, 90))
	}
	g.print(w)
}

func stateText(state string) string {
	switch state {
	case "allocated":
		return "in use"
	case "reserved":
		return "reserved: given only to who asks for it by name"
	case "cooling":
		return "cooling: it was released a short time ago, and rests; this is who had it"
	case "damaged":
		return "given to nobody: the record of its block cannot be read"
	case "outside":
		return "this node does not give it"
	}
	return orDash(state)
}

func ownerText(kind string) string {
	switch kind {
	case "cni":
		return "cni: a container runtime asked for it"
	case "attach":
		return "attach: caracal attach asked for it"
	}
	return kind
}

func renderCheckIPAM(w io.Writer, c *pb.IPAMCheck) {
	counts := fmt.Sprintf("%s in use, %s", plural(int(c.Allocated), "address", "addresses"), plural(int(c.Endpoints), "endpoint", "endpoints"))
	if len(c.Problems) == 0 {
		fmt.Fprintf(w, "%s: all is well\n", counts)
		return
	}
	fmt.Fprintf(w, "%s: %s\n\n", counts, plural(len(c.Problems), "problem", "problems"))
	for _, p := range c.Problems {
		fmt.Fprintf(w, "  %s\n", subject(p))
		for _, line := range wrap(orDash(p.Problem), 90) {
			fmt.Fprintf(w, "      %s\n", line)
		}
		for i, line := range wrap(p.Advice, 83) {
			lead := "       "
			if i == 0 {
				lead = "to do: "
			}
			fmt.Fprintf(w, "      %s%s\n", lead, line)
		}
	}
}

// subject is what a problem is about.
func subject(p *pb.IPAMProblem) string {
	switch {
	case p.Address != "" && p.Handle != "":
		return p.Address + " of " + p.Handle
	case p.Address+p.Handle != "":
		return p.Address + p.Handle
	}
	return "the records"
}
