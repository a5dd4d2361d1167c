package torconfig

import (
	"fmt"
	"strings"
	"time"
)

// renderBIRD writes for BIRD 2, as a file to be included.
func renderBIRD(c Config) string {
	p := &page{comment: "#"}
	p.header(c)
	p.note("to be included in a bird.conf with the router id, the protocols device and kernel, and what else the switch does")
	p.line("")
	for _, g := range c.Groups {
		if s := g.Settings; s.Multiplier > 0 {
			p.line("protocol bfd %s {", symbol(g.Name+"-bfd"))
			p.line("\tinterface \"*\" { %s; };", birdBFD(s))
			p.line("}\n")
			break // one serves all, and each session has its own figures
		}
	}
	for _, g := range c.Groups {
		birdGroup(p, c, g)
	}
	return p.String()
}

func birdBFD(s Settings) string {
	return fmt.Sprintf("min tx interval %d ms; min rx interval %d ms; multiplier %d",
		whole(s.Transmit, time.Millisecond), whole(s.Receive, time.Millisecond), s.Multiplier)
}

func birdGroup(p *page, c Config, g Group) {
	s := g.Settings
	p.line("template bgp %s {", symbol(g.Name))
	local := ""
	if c.Addr.IsValid() {
		local = c.Addr.String() + " "
	}
	p.line("\tlocal %sas %d;", local, c.ASN)
	p.line("\thold time %d; keepalive time %d;", whole(s.Hold, time.Second), whole(s.Keepalive, time.Second))
	if s.Secret != "" {
		p.line("\tpassword \"%s\";", Placeholder)
	}
	switch {
	case s.TTLSecurity > 1:
		p.line("\tmultihop %d; ttl security on;", s.TTLSecurity)
	case s.TTLSecurity == 1:
		p.line("\tdirect; ttl security on;")
	case s.Multihop:
		p.line("\tmultihop;")
	case s.Direct:
		p.line("\tdirect;")
	}
	switch {
	case s.Multiplier > 0 && !s.Direct && !c.Addr.IsValid():
		p.note("BFD over several hops needs the switch's own address: write local ADDRESS as %d above, and bfd { %s; };", c.ASN, birdBFD(s))
	case s.Multiplier > 0:
		p.line("\tbfd { %s; };", birdBFD(s))
	}
	if s.GracefulRestart {
		p.line("\tgraceful restart on;")
	}
	if s.LongLived > 0 {
		p.line("\tlong lived graceful restart on; long lived stale time %d;", whole(s.LongLived, time.Second))
	}
	if s.Internal {
		p.line("\trr client;")
	}
	for _, v6 := range s.families() {
		p.line("\t%s {", familyName(v6))
		p.line("\t\timport none; import limit %d action restart;", g.Limit(v6))
		p.line("\t\texport %s;", birdWhere(family(g.Out, v6)))
		if s.ExtendedNextHop && !v6 {
			p.line("\t\textended next hop on;")
		}
		switch {
		case s.AddPathTX && s.AddPathRX:
			p.line("\t\tadd paths on;")
		case s.AddPathTX:
			p.line("\t\tadd paths tx;")
		case s.AddPathRX:
			p.line("\t\tadd paths rx;")
		}
		p.line("\t};")
	}
	p.line("}\n")
	for _, n := range g.Neighbors {
		birdNeighbor(p, g, n)
	}
}

func birdNeighbor(p *page, g Group, n Neighbor) {
	p.line("protocol bgp %s from %s {", symbol(g.Name+"-"+n.Node), symbol(g.Name))
	p.line("\tdescription \"node %s\";", n.Node)
	port := ""
	if n.Port != 179 && n.Port != 0 {
		port = fmt.Sprintf(" port %d", n.Port)
	}
	if n.Unnumbered() {
		// BIRD takes whoever calls on that port from a link-local address; it
		// does not call itself.
		p.line("\tneighbor range fe80::/10%s as %d;", port, g.Settings.ASN)
		p.line("\tinterface \"%s\";", n.portName())
		p.line("\tdynamic name \"%s\";", strings.ReplaceAll("caracal_"+n.Node+"_", "-", "_"))
	} else {
		p.line("\tneighbor %s%s as %d;", n.Addr, port, g.Settings.ASN)
	}
	for _, v6 := range g.Settings.families() {
		p.line("\t%s { import %s; };", familyName(v6), birdWhere(n.in(v6)))
	}
	p.line("}\n")
}

// birdWhere is the filter that lets a list through.
func birdWhere(list []Permit) string {
	if len(list) == 0 {
		return "none"
	}
	var parts []string
	for _, e := range list {
		text := e.Prefix.String()
		if e.Min != e.Prefix.Bits() || e.Max != e.Min {
			text += fmt.Sprintf("{%d,%d}", e.Min, e.Max)
		}
		parts = append(parts, text)
	}
	return "where net ~ [ " + strings.Join(parts, ", ") + " ]"
}

// symbol quotes a name, which BIRD wants if it has a dash or a dot in it.
func symbol(name string) string { return "'" + name + "'" }
