package torconfig

import "time"

// renderEOS writes for Arista EOS.
func renderEOS(c Config) string {
	p := &page{comment: "!"}
	p.header(c)
	p.line("!")
	for _, g := range c.Groups {
		for _, v6 := range g.Settings.families() {
			for _, n := range g.Neighbors {
				eosList(p, listName("caracal-"+n.Node, v6), n.in(v6), v6)
			}
			eosList(p, listName(g.Name+"-out", v6), family(g.Out, v6), v6)
		}
	}
	p.line("router bgp %d", c.ASN)
	for _, g := range c.Groups {
		eosGroup(p, g)
	}
	for _, v6 := range []bool{false, true} {
		eosFamily(p, c, v6)
	}
	return p.String()
}

func eosList(p *page, name string, list []Permit, v6 bool) {
	word, any := "ip", "0.0.0.0/0 le 32"
	if v6 {
		word, any = "ipv6", "::/0 le 128"
	}
	p.line("%s prefix-list %s", word, name)
	for i, e := range list {
		p.line("   seq %d permit %s%s", 10*(i+1), e.Prefix, e.bits())
	}
	if len(list) == 0 {
		p.line("   seq 10 deny %s", any)
	}
	p.line("!")
}

func eosGroup(p *page, g Group) {
	s := g.Settings
	say := func(format string, args ...any) { p.line("   neighbor "+g.Name+" "+format, args...) }
	say("peer group")
	say("remote-as %d", s.ASN)
	if s.Secret != "" {
		say("password 0 %s", Placeholder)
	}
	say("timers %d %d", whole(s.Keepalive, time.Second), whole(s.Hold, time.Second))
	if s.Multiplier > 0 {
		say("bfd")
		say("bfd interval %d min-rx %d multiplier %d", whole(s.Transmit, time.Millisecond), whole(s.Receive, time.Millisecond), s.Multiplier)
	}
	switch {
	case s.TTLSecurity > 0:
		say("ttl maximum-hops %d", s.TTLSecurity)
	case s.Multihop && !s.Internal:
		say("ebgp-multihop")
	}
	if s.GracefulRestart {
		say("graceful-restart")
	}
	if s.LongLived > 0 {
		p.note("the nodes keep routes for %v after that (RFC 9494); see graceful-restart-helper long-lived", s.LongLived)
	}
	if s.Internal {
		say("route-reflector-client")
	}
	say("maximum-routes %d", max(g.Limit(false), g.Limit(true)))
	for _, n := range g.Neighbors {
		if n.Unnumbered() {
			p.line("   neighbor interface %s peer-group %s remote-as %d", n.portName(), g.Name, s.ASN)
			continue
		}
		p.line("   neighbor %s peer group %s", n.Addr, g.Name)
		p.line("   neighbor %s description node %s", n.Addr, n.Node)
		if n.Port != 179 && n.Port != 0 {
			p.line("   neighbor %s transport remote-port %d", n.Addr, n.Port)
		}
	}
}

func eosFamily(p *page, c Config, v6 bool) {
	begun := false
	for _, g := range c.Groups {
		s := g.Settings
		if v6 && !s.IPv6 || !v6 && !s.IPv4 {
			continue
		}
		if !begun {
			p.line("   !\n   address-family %s", familyName(v6))
			begun = true
		}
		say := func(format string, args ...any) { p.line("      neighbor "+g.Name+" "+format, args...) }
		say("activate")
		if s.ExtendedNextHop && !v6 {
			say("next-hop address-family ipv6 originate")
		}
		if s.AddPathTX {
			say("additional-paths send any")
		}
		if s.AddPathRX {
			say("additional-paths receive")
		}
		say("prefix-list %s out", listName(g.Name+"-out", v6))
		for _, n := range g.Neighbors {
			name := n.portName()
			if !n.Unnumbered() {
				name = n.Addr.String()
			} else {
				name = "interface " + name
			}
			p.line("      neighbor %s prefix-list %s in", name, listName("caracal-"+n.Node, v6))
		}
	}
}
