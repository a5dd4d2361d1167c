package torconfig

import "time"

// renderFRR writes for FRR's vtysh, integrated configuration (frr.conf).
func renderFRR(c Config) string {
	p := &page{comment: "!"}
	p.header(c)
	p.line("!")
	for _, g := range c.Groups {
		frrLists(p, g)
	}
	for _, g := range c.Groups {
		if s := g.Settings; s.Multiplier > 0 {
			p.line("bfd")
			p.line(" profile %s", g.Name)
			p.line("  detect-multiplier %d", s.Multiplier)
			p.line("  transmit-interval %d", whole(s.Transmit, time.Millisecond))
			p.line("  receive-interval %d", whole(s.Receive, time.Millisecond))
			p.line(" exit\nexit\n!")
		}
	}
	p.line("router bgp %d", c.ASN)
	p.line(" no bgp default ipv4-unicast")
	for _, g := range c.Groups {
		frrGroup(p, g)
	}
	for _, v6 := range []bool{false, true} {
		frrFamily(p, c, v6)
	}
	p.line("exit")
	return p.String()
}

// frrLists writes the prefix lists of a group.
func frrLists(p *page, g Group) {
	for _, v6 := range g.Settings.families() {
		for _, n := range g.Neighbors {
			frrList(p, listName("caracal-"+n.Node, v6), n.in(v6), v6)
		}
		frrList(p, listName(g.Name+"-out", v6), family(g.Out, v6), v6)
	}
	p.line("!")
}

func frrList(p *page, name string, list []Permit, v6 bool) {
	word := "ip"
	if v6 {
		word = "ipv6"
	}
	for i, e := range list {
		p.line("%s prefix-list %s seq %d permit %s%s", word, name, 5*(i+1), e.Prefix, e.bits())
	}
	if len(list) == 0 {
		// A list that does not exist would let everything through.
		p.line("%s prefix-list %s seq 5 deny any", word, name)
	}
}

func frrGroup(p *page, g Group) {
	s := g.Settings
	say := func(format string, args ...any) { p.line(" neighbor "+g.Name+" "+format, args...) }
	say("peer-group")
	say("remote-as %d", s.ASN)
	if s.Secret != "" {
		say("password %s", Placeholder)
	}
	say("timers %d %d", whole(s.Keepalive, time.Second), whole(s.Hold, time.Second))
	if s.Multiplier > 0 {
		say("bfd")
		say("bfd profile %s", g.Name)
	}
	switch {
	case s.TTLSecurity > 0:
		say("ttl-security hops %d", s.TTLSecurity)
	case s.Multihop && !s.Internal:
		say("ebgp-multihop")
	}
	if s.GracefulRestart {
		say("graceful-restart")
	}
	if s.ExtendedNextHop {
		say("capability extended-nexthop")
	}
	if s.LongLived > 0 {
		p.line(" bgp long-lived-graceful-restart stale-time %d", whole(s.LongLived, time.Second))
	}
	for _, n := range g.Neighbors {
		if n.Unnumbered() {
			p.line(" neighbor %s interface peer-group %s", n.portName(), g.Name)
		} else {
			p.line(" neighbor %s peer-group %s", n.Addr, g.Name)
		}
		p.line(" neighbor %s description node %s", frrNeighbor(n), n.Node)
		if n.Port != 179 && n.Port != 0 {
			p.line(" neighbor %s port %d", frrNeighbor(n), n.Port)
		}
	}
}

func frrNeighbor(n Neighbor) string {
	if n.Unnumbered() {
		return n.portName()
	}
	return n.Addr.String()
}

func frrFamily(p *page, c Config, v6 bool) {
	begun := false
	for _, g := range c.Groups {
		s := g.Settings
		if v6 && !s.IPv6 || !v6 && !s.IPv4 {
			continue
		}
		if !begun {
			p.line(" address-family %s unicast", familyName(v6))
			begun = true
		}
		say := func(format string, args ...any) { p.line("  neighbor "+g.Name+" "+format, args...) }
		say("activate")
		if s.Internal {
			say("route-reflector-client")
		}
		if s.AddPathTX {
			say("addpath-tx-all-paths")
		}
		say("maximum-prefix %d", g.Limit(v6))
		say("prefix-list %s out", listName(g.Name+"-out", v6))
		for _, n := range g.Neighbors {
			p.line("  neighbor %s prefix-list %s in", frrNeighbor(n), listName("caracal-"+n.Node, v6))
		}
	}
	if begun {
		p.line(" exit-address-family")
	}
}
