package felix

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"caracal.dev/caracal"
)

// TestRules compares what one rule of a policy becomes, with names of sets replaced
// by what is in them.
func TestRules(t *testing.T) {
	tcp := func(from, to uint16) caracal.PolicyPort {
		return caracal.PolicyPort{Protocol: "TCP", Port: from, EndPort: to}
	}
	named := func(name, proto string) caracal.PolicyPort {
		return caracal.PolicyPort{Protocol: proto, Name: name}
	}
	type ports = []caracal.PolicyPort
	type peers = []caracal.PolicyPeer
	var many, odd ports
	for i := range uint16(17) {
		many = append(many, tcp(80+2*i, 80+2*i))
		odd = append(odd, tcp(80+3*i, 81+3*i))
	}
	web := caracal.PolicyPeer{Pods: labels("app", "web")}
	prod := caracal.PolicyPeer{Namespaces: labels("env", "prod")}
	for _, c := range []struct {
		name  string
		peers peers
		ports ports
		in    string
		out   string
	}{
		{"all", nil, nil, "-j ACCEPT", "-g caracal-to"},
		{"a peer", peers{web}, nil,
			"-m set --match-set <workloads with app=web of namespace default> src -j ACCEPT",
			"-m set --match-set <workloads with app=web of namespace default> dst -g caracal-to"},
		{"two that are one", peers{web, web}, nil,
			"-m set --match-set <workloads with app=web of namespace default> src -j ACCEPT",
			"-m set --match-set <workloads with app=web of namespace default> dst -g caracal-to"},
		{"namespaces, and all", peers{prod, {Namespaces: labels()}}, ports{{Protocol: "UDP"}},
			"-p udp -m set --match-set <workloads of namespaces with env=prod> src -j ACCEPT\n-p udp -m set --match-set <workloads of all namespaces> src -j ACCEPT",
			"-p udp -m set --match-set <workloads of namespaces with env=prod> dst -g caracal-to\n-p udp -m set --match-set <workloads of all namespaces> dst -g caracal-to"},
		{"nobody", peers{{}}, nil, "", ""},
		{"both kinds at once", peers{{Pods: labels(), Net: netip.MustParsePrefix("10.0.0.0/8")}}, nil, "", ""},
		{"another family", peers{block("fd00::/8")}, nil, "", ""},
		{"ranges", peers{block("10.1.2.3/8"), block("192.0.2.0/24")}, ports{tcp(80, 80)},
			"-p tcp --dport 80 -s 10.0.0.0/8 -j ACCEPT\n-p tcp --dport 80 -s 192.0.2.0/24 -j ACCEPT",
			"-p tcp --dport 80 -d 10.0.0.0/8 -g caracal-to\n-p tcp --dport 80 -d 192.0.2.0/24 -g caracal-to"},
		{"everything is a range", peers{web, block("0.0.0.0/0")}, nil, "-j ACCEPT", "-g caracal-to"},
		{"ranges in one another", peers{block("10.0.0.0/8"), block("10.1.0.0/16")}, nil, "-s 10.0.0.0/8 -j ACCEPT", "-d 10.0.0.0/8 -g caracal-to"},
		{"an exception", peers{block("10.0.0.0/8", "10.1.0.0/16")}, nil,
			"-m set --match-set <ranges of addresses with their exceptions> src -j ACCEPT",
			"-m set --match-set <ranges of addresses with their exceptions> dst -g caracal-to"},
		{"an exception that another range has", peers{block("10.0.0.0/8", "10.1.0.0/16"), block("10.0.0.0/8")}, nil, "-s 10.0.0.0/8 -j ACCEPT", "-d 10.0.0.0/8 -g caracal-to"},
		{"nothing but exceptions", peers{block("10.0.0.0/8", "10.0.0.0/8")}, nil, "", ""},
		{"many ranges", peers{block("10.1.0.0/16"), block("10.3.0.0/16"), block("10.5.0.0/16"), block("10.7.0.0/16"), block("10.9.0.0/16")}, nil,
			"-m set --match-set <ranges of addresses with their exceptions> src -j ACCEPT",
			"-m set --match-set <ranges of addresses with their exceptions> dst -g caracal-to"},
		{"ports", nil, ports{tcp(443, 443), tcp(80, 80), tcp(81, 0), tcp(8000, 8080), {Protocol: "SCTP", Port: 7, EndPort: 7}},
			"-p tcp -m multiport --dports 80:81,443,8000:8080 -j ACCEPT\n-p sctp --dport 7 -j ACCEPT",
			"-p tcp -m multiport --dports 80:81,443,8000:8080 -g caracal-to\n-p sctp --dport 7 -g caracal-to"},
		{"a range of ports", nil, ports{tcp(1, 65535)}, "-p tcp --dport 1:65535 -j ACCEPT", "-p tcp --dport 1:65535 -g caracal-to"},
		{"more than 15 ports", nil, many,
			"-p tcp -m multiport --dports 80,82,84,86,88,90,92,94,96,98,100,102,104,106,108 -j ACCEPT\n-p tcp -m multiport --dports 110,112 -j ACCEPT",
			"-p tcp -m multiport --dports 80,82,84,86,88,90,92,94,96,98,100,102,104,106,108 -g caracal-to\n-p tcp -m multiport --dports 110,112 -g caracal-to"},
		{"ranges take two", nil, odd[:8],
			"-p tcp -m multiport --dports 80:81,83:84,86:87,89:90,92:93,95:96,98:99 -j ACCEPT\n-p tcp --dport 101:102 -j ACCEPT",
			"-p tcp -m multiport --dports 80:81,83:84,86:87,89:90,92:93,95:96,98:99 -g caracal-to\n-p tcp --dport 101:102 -g caracal-to"},
		{"all ports beside one", nil, ports{tcp(80, 80), {Protocol: "TCP"}, named("http", "TCP")}, "-p tcp -j ACCEPT", "-p tcp -g caracal-to"},
		{"no such protocol, no such range", nil, ports{{Protocol: "ICMP", Port: 1}, tcp(80, 79), {Protocol: "TCP", EndPort: 9}}, "", ""},
		{"a name", nil, ports{named("http", "TCP")},
			"-p tcp -m set --match-set <ports http/tcp of workloads of this node> dst,dst -j ACCEPT",
			"-p tcp -m set --match-set <ports http/tcp of workloads of all namespaces> dst,dst -g caracal-to"},
		{"a name of a peer", peers{web}, ports{named("dns", "UDP"), tcp(80, 80)},
			"-p tcp --dport 80 -m set --match-set <workloads with app=web of namespace default> src -j ACCEPT\n" +
				"-p udp -m set --match-set <workloads with app=web of namespace default> src -m set --match-set <ports dns/udp of workloads of this node> dst,dst -j ACCEPT",
			"-p tcp --dport 80 -m set --match-set <workloads with app=web of namespace default> dst -g caracal-to\n" +
				"-p udp -m set --match-set <ports dns/udp of workloads with app=web of namespace default> dst,dst -g caracal-to"},
		{"a name in a range", peers{block("10.0.0.0/8")}, ports{named("http", "SCTP")},
			"-p sctp -s 10.0.0.0/8 -m set --match-set <ports http/sctp of workloads of this node> dst,dst -j ACCEPT",
			"-p sctp -d 10.0.0.0/8 -m set --match-set <ports http/sctp of workloads of all namespaces> dst,dst -g caracal-to"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := onWeb("p", func(p *caracal.Policy) {
				p.Egress = true
				p.IngressRules = []caracal.PolicyRule{{Peers: c.peers, Ports: c.ports}}
				p.EgressRules = p.IngressRules
			})
			com := NewCompiler()
			com.Update(Input{Snapshot: explainWorld(p)})
			for b, want := range []string{c.in, c.out} {
				chain := com.policies[p.Key()].chain(bound(b))
				rules, made := com.chains[ChainKey{IPv4, FilterTable, chain}]
				if !made {
					t.Fatal("the policy has no chain")
				}
				var got []string
				for _, r := range rules {
					spec := r.Spec
					for name := range com.sets {
						spec = strings.ReplaceAll(spec, name, "<"+com.SetAbout(name)+">")
					}
					got = append(got, spec)
					if about := RuleAbout("default/p", b == 0, 0); r.About != about {
						t.Errorf("rule about %q, want %q", r.About, about)
					}
				}
				if text := strings.Join(got, "\n"); text != want {
					t.Errorf("%s:\n%s\nwant\n%s", direction(b == 0), text, want)
				}
				if key, ok := com.PolicyOf(chain); !ok || key != p.Key() {
					t.Errorf("the chain is said to be of policy %q", key)
				}
			}
		})
	}
}

func TestAbout(t *testing.T) {
	if got := RuleAbout("default/web", true, 3); got != "default/web ingress 3" {
		t.Errorf("about %q", got)
	}
	long := "default/" + strings.Repeat("x", 300)
	a, b := RuleAbout(long+"a", false, 10), RuleAbout(long+"b", false, 10)
	if len(a) != aboutLength || !strings.HasSuffix(a, " egress 10") || a == b {
		t.Errorf("about a long name: %q and %q", a, b)
	}
	if got := RuleAbout("a b/\"c'\nü", true, 0); got != "a_b/_c___ ingress 0" {
		t.Errorf("about a name that is none: %q", got)
	}
}

// TestNamesLast holds the names: a daemon that starts again must find its own.
func TestNamesLast(t *testing.T) {
	if got := hashName("pi", "default/web"); got != "caracal-pi-q5wm7iubu5xlknhy" {
		t.Errorf("the chain of default/web is %s", got)
	}
	seen := map[string]bool{}
	for _, parts := range [][]string{{"a", "b"}, {"ab"}, {"a", "b", ""}, {"", "ab"}, {"1:a"}} {
		seen[hash(parts...)] = true
	}
	if len(seen) != 5 {
		t.Error("two meanings have one hash")
	}
	if selectorKey(*labels("a", "b")) == selectorKey(*labels("a", "c")) || selectorKey(*labels()) != "" {
		t.Error("keys of selectors are not what they should be")
	}
}

func TestTree(t *testing.T) {
	grow := func(depth int, names ...string) (rules []Rule, chains map[string][]Rule) {
		slices.Sort(names)
		tr := tree{flag: "-i", chain: "c-", step: "-g ", depth: depth, end: []Rule{ruleDrop}, leaf: func(n string) Rule { return Rule{"-i " + n + " -g leaf", n} }}
		rules = tr.grow(names, 0)
		return rules, tr.chains
	}
	var names []string
	for i := range 250 {
		names = append(names, caracal.HostInterface(string(rune('a'+i)), "eth0"))
	}
	if rules, chains := grow(2, names[:16]...); len(rules) != 17 || chains != nil {
		t.Errorf("16 interfaces take %d rules and %d chains", len(rules), len(chains))
	}
	rules, chains := grow(2, names...)
	if len(rules) != 17 || rules[0].Spec != "-i car0+ -g c-car0" || rules[16] != ruleDrop {
		t.Errorf("the root of 250 interfaces is %v", rules)
	}
	for name, rules := range chains {
		if len(rules) > 17 || rules[len(rules)-1] != ruleDrop {
			t.Errorf("chain %s has %d rules", name, len(rules))
		}
	}
	// A name that others begin with, and a list where the tree may not go deeper.
	names = []string{"v", "v1"}
	for i := range 40 {
		names = append(names, "v1x"+string(rune('A'+i)))
	}
	rules, chains = grow(1, names...)
	if len(rules) != 3 || rules[0].Spec != "-i v -g leaf" || rules[1].Spec != "-i v1+ -g c-v1" || len(chains["c-v1"]) != 42 {
		t.Errorf("the root is %v, below is %v", rules, chains)
	}
}
