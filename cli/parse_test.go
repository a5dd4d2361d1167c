package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
)

func testGrammar() *Word {
	return Grammar(External{Name: "lab", Help: "a lab", Run: func(context.Context, []string, io.Writer, io.Writer) int { return 0 }})
}

// commandText is a command in one line, to compare.
func commandText(c Command) string {
	out := c.Name
	for _, k := range slices.Sorted(maps.Keys(c.Args)) {
		out += fmt.Sprintf(" %s=%s", k, c.Args[k])
	}
	for _, k := range slices.Sorted(maps.Keys(c.Lists)) {
		out += fmt.Sprintf(" %s=%s", k, c.Lists[k])
	}
	if c.Rest != nil {
		out += fmt.Sprintf(" %q", c.Rest)
	}
	return out
}

func TestParse(t *testing.T) {
	root := testGrammar()
	for _, tc := range []struct{ line, want string }{
		{"show status", "show status"},
		{"sh st", "show status"},
		{"show protocols", "show protocols"},
		{"sh pro all", "show protocols all=all"},
		{"sh neighbors mesh/b", "show protocols name=mesh/b"},
		{"sh ne mesh/b all", "show protocols all=all name=mesh/b"},
		{"sh pro all mesh/b", "show protocols all=all name=mesh/b"},
		{"sh ro", "show route"},
		{"show route 10.64.1.0/26 all", "show route all=all prefix=10.64.1.0/26"},
		{"show route 10.64.1.7", "show route prefix=10.64.1.7/32"},
		{"show route 2001:db8::/64", "show route prefix=2001:db8::/64"},
		{"show route ::ffff:10.0.0.1", "show route prefix=10.0.0.1/32"},
		{"show route for 10.64.1.7 all", "show route all=all for=10.64.1.7"},
		{"show route all for 10.64.1.7", "show route all=all for=10.64.1.7"},
		{"show route a protocol mesh/b", "show route all=all neighbor=mesh/b"},
		{"show route table adj-rib-in", "show route table=adj-rib-in"},
		{"show route table adj-rib-in all", "show route all=all table=adj-rib-in"},
		{"show route table adj-rib-in mesh/b all", "show route all=all neighbor=mesh/b table=adj-rib-in"},
		{"sh ro ta adj-rib-o peer/tor@192.0.2.1 for 10.0.0.1", "show route for=10.0.0.1 neighbor=peer/tor@192.0.2.1 table=adj-rib-out"},
		{"show route table loc", "show route table=loc-rib"},
		{"sh fib", "show fib"},
		{"sh in", "show interfaces"},
		{"sh w", "show workloads"},
		{"sh no", "show nodes"},
		{"sh ip", "show ipam"},
		{"sh ipam b", "show ipam blocks"},
		{"sh ipam a 10.64.0.3/32", "show ipam address address=10.64.0.3"},
		{"show ipam address ::ffff:10.64.0.3", "show ipam address address=10.64.0.3"},
		{"ch ipam", "check ipam"},
		{"release address 10.64.0.3", "release address address=10.64.0.3"},
		{"release a 2001:db8::3 --force", "release address address=2001:db8::3 force=--force"},
		{"attach --netns /run/netns/box", "attach netns=/run/netns/box"},
		{"at --pid 4711 --name box --label app=web --label tier=front --ip 10.0.0.1 --ip fd00::1", "attach name=box pid=4711 ip=[10.0.0.1 fd00::1] label=[app=web tier=front]"},
		{"attach --ip 10.0.0.1/32 --ifname net1 --mtu 1400 --namespace prod --netns x", "attach ifname=net1 mtu=1400 namespace=prod netns=x ip=[10.0.0.1]"},
		{"detach box", "detach name=box"},
		{"e mesh/b", "enable name=mesh/b"},
		{"disable mesh/b", "disable name=mesh/b"},
		{"rest mesh/b", "restart name=mesh/b"},
		{"rel in mesh/b", "reload-in name=mesh/b"},
		{"reload o mesh/b", "reload-out name=mesh/b"},
		{"conf", "configure"},
		{"conf check", "configure mode=check"},
		{"conf confirm", "configure mode=confirm"},
		{"conf check --from /etc/caracal.new", "configure dir=/etc/caracal.new mode=check"},
		{"mon", "monitor"},
		{"mon ro se", "monitor route=route session=session"},
		{"cleanup", "cleanup"},
		{"cleanup --yes", "cleanup yes=--yes"},
		{"cleanup --yes --stay", "cleanup stay=--stay yes=--yes"},
		{"completion bash", "completion shell=bash"},
		{"version", "version"},
		{"h", "help"},
		{"lab", "lab"},
		{"lab up --nodes 3 ? -o json", `lab ["up" "--nodes" "3" "?" "-o" "json"]`},
	} {
		cmd, err := Parse(root, Split(tc.line))
		if err != nil {
			t.Errorf("%s: %v", tc.line, err)
			continue
		}
		if got := commandText(cmd); got != tc.want {
			t.Errorf("%s: got %s, want %s", tc.line, got, tc.want)
		}
	}
}

func TestParseErrors(t *testing.T) {
	root := testGrammar()
	for _, tc := range []struct{ line, want, can string }{
		{"", "a command is missing", "show check explain enable disable restart reload configure monitor attach detach release cleanup drain undrain completion version help lab"},
		{"frob", `there is no command "frob"`, "show check explain enable disable restart reload configure monitor attach detach release cleanup drain undrain completion version help lab"},
		{"show", `more must follow "show"`, "status protocols neighbors bfd filters tor-config route fib tunnels interfaces workloads services policy sets endpoint ipam nodes"},
		{"shwo status", `there is no command "shwo"; did you mean show?`, "show check explain enable disable restart reload configure monitor attach detach release cleanup drain undrain completion version help lab"},
		{"route", `there is no command "route"; did you mean show route?`, "show check explain enable disable restart reload configure monitor attach detach release cleanup drain undrain completion version help lab"},
		{"show route protcol mesh/b", `"protcol" is not an IP prefix such as 10.64.1.0/26; did you mean protocol?`, "PREFIX for all protocol table"},
		{"show route for 10.64.1.0/26", "10.64.1.0/26 is a prefix: show route 10.64.1.0/26 asks for exactly that, show route for 10.64.1.0 for the route that packets take", ""},
		{"sh n", `"n" could be neighbors or nodes`, "neighbors nodes"},
		{"c", `"c" could be check, configure, cleanup or completion`, "check configure cleanup completion"},
		{"re mesh/b", `"re" could be restart, reload or release`, "restart reload release"},
		{"rele address 10.0.0.1", `"rele" must not be shortened: write release`, ""},
		{"show ipam address 10.0.0.0/24", "10.0.0.0/24 is a prefix; give one address of it", ""},
		{"release address web", `"web" is not an IP address`, "ADDRESS"},
		{"release address 10.0.0.1 --for", `"--for" must not be shortened: write --force`, ""},
		{"attach --netns x --pid 1", "there is no flag --pid; see caracal help", ""},
		{"attach --mtu much", `"much" is not a whole number above 0`, "BYTES"},
		{"attach --label web", `"web" is not KEY=VALUE`, "KEY=VALUE"},
		{"attach --label", `more must follow "attach --label"`, "KEY=VALUE"},
		{"det box", `"det" must not be shortened: write detach`, ""},
		{"cl", `"cl" must not be shortened: write cleanup`, ""},
		{"dis mesh/b", `"dis" must not be shortened: write disable`, ""},
		{"la up", `"la" must not be shortened: write lab`, ""},
		{"conf confi", `"confi" must not be shortened: write confirm`, ""},
		{"conf check confirm", `"confirm" cannot follow "configure check"`, "--from"},
		{"cleanup --y", `"--y" must not be shortened: write --yes`, ""},
		{"show status now", `nothing can follow "show status", so not "now"`, ""},
		{"disable", `more must follow "disable"`, "NAME"},
		{"disable --all", "there is no flag --all; see caracal help", ""},
		{"show route foo", `"foo" is not an IP prefix such as 10.64.1.0/26; did you mean for?`, "PREFIX for all protocol table"},
		{"show route 10.0.0.0/33", `"10.0.0.0/33" is not an IP prefix such as 10.64.1.0/26`, ""},
		{"show route 10.0.0.1/8", "10.0.0.1/8 has bits set beyond its length: 10.0.0.0/8 is the prefix, or ask for 10.0.0.1", ""},
		{"show route fe80::1%eth0", `"fe80::1%eth0" is not an IP prefix such as 10.64.1.0/26`, ""},
		{"show route for x", `"x" is not an IP address`, "ADDRESS"},
		{"show route 10.0.0.0/8 for 10.0.0.1", `"for" cannot follow "show route 10.0.0.0/8"`, "all protocol table"},
		{"show route all all", `"all" is not an IP prefix such as 10.64.1.0/26`, "PREFIX for protocol table"},
		{"show route table fib", `"fib" cannot follow "show route table"`, "adj-rib-in loc-rib adj-rib-out"},
		{"show route table adj-rib", `"adj-rib" could be adj-rib-in or adj-rib-out`, "adj-rib-in adj-rib-out"},
		{"show route table adj-rib-out", `more must follow "show route table adj-rib-out"`, "NAME"},
		{"show route protocol b table loc-rib", `"table" is not an IP prefix such as 10.64.1.0/26`, "PREFIX for all"},
	} {
		_, err := Parse(root, Split(tc.line))
		var usage *UsageError
		if !errors.As(err, &usage) {
			t.Errorf("%s: got %v", tc.line, err)
			continue
		}
		var can []string
		for _, c := range usage.Can {
			can = append(can, c.Name)
		}
		if usage.Reason != tc.want || strings.Join(can, " ") != tc.can {
			t.Errorf("%s:\n got %s | %s\nwant %s | %s", tc.line, usage.Reason, strings.Join(can, " "), tc.want, tc.can)
		}
	}
}

func names(cands []Candidate) string {
	var out []string
	for _, c := range cands {
		out = append(out, c.Name)
	}
	return strings.Join(out, " ")
}

func TestQuestionMark(t *testing.T) {
	root := testGrammar()
	for _, tc := range []struct{ line, want string }{
		{"?", "show check explain enable disable restart reload configure monitor attach detach release cleanup drain undrain completion version help lab"},
		{"sh ?", "status protocols neighbors bfd filters tor-config route fib tunnels interfaces workloads services policy sets endpoint ipam nodes"},
		{"sh n?", "neighbors nodes"},
		{"sh ro ?", "PREFIX for all protocol table <Enter>"},
		{"sh ro all table adj-rib-in ?", "NAME PREFIX for <Enter>"},
		{"sh st ?", "<Enter>"},
		{"configure c?", "check confirm"},
		{"disable ?", "NAME"},
	} {
		cmd, err := Parse(root, Split(tc.line))
		if err != nil || names(cmd.Help) != tc.want {
			t.Errorf("%s: got %q, %v, want %q", tc.line, names(cmd.Help), err, tc.want)
		}
		for _, c := range cmd.Help {
			if c.Help == "" {
				t.Errorf("%s: %s has no line of help", tc.line, c.Name)
			}
		}
	}
}

func TestComplete(t *testing.T) {
	root := testGrammar()
	asked := false
	known := func(a Arg) []Candidate {
		asked = true
		if a == ArgHost {
			return []Candidate{{Name: "10.64.0.3"}, {Name: "2001:db8::3"}}
		}
		return []Candidate{{Name: "mesh/b"}, {Name: "mesh/c"}, {Name: "peer/tor@192.0.2.1"}}
	}
	for _, tc := range []struct {
		words string // blanks at the end count
		want  string
		asks  bool
	}{
		{"", "show check explain enable disable restart reload configure monitor attach detach release cleanup drain undrain completion version help lab", false},
		{"dis", "disable", false},
		{"sh ", "status protocols neighbors bfd filters tor-config route fib tunnels interfaces workloads services policy sets endpoint ipam nodes", false},
		{"show n", "neighbors nodes", false},
		{"disable ", "mesh/b mesh/c peer/tor@192.0.2.1", true},
		{"disable mesh/", "mesh/b mesh/c", true},
		{"show protocols p", "peer/tor@192.0.2.1", true},
		{"show protocols ", "all mesh/b mesh/c peer/tor@192.0.2.1", true},
		{"show ipam ", "blocks address", false},
		{"show ipam address ", "10.64.0.3 2001:db8::3", true},
		{"attach --label app=web --l", "--label", false},
		{"release address 2", "2001:db8::3", true},
		{"show route ", "for all protocol table", false},
		{"show route all ", "for protocol table", false},
		{"show bogus ", "", false},
		{"show status ", "", false},
		{"cleanup -", "--yes --stay", false},
	} {
		asked = false
		if got := names(Complete(root, cut(tc.words), known)); got != tc.want || asked != tc.asks {
			t.Errorf("%q: got %q, asked %v, want %q, %v", tc.words, got, asked, tc.want, tc.asks)
		}
	}
}

// TestGrammarIsWhole: every command of the grammar is carried out somewhere, no
// two words that can stand at one place are the same, and each has a help line
// that fits.
func TestGrammarIsWhole(t *testing.T) {
	s, _, _ := testSession(t, nil)
	var walk func(w *Word, path string)
	walk = func(w *Word, path string) {
		seen := map[string]bool{}
		for _, next := range slices.Concat(w.Next, w.Options) {
			at := strings.TrimSpace(path + " " + next.Name)
			if seen[next.Name] || next.Help == "" || len(next.Help) > 70 || strings.HasSuffix(next.Help, ".") {
				t.Errorf("%s: twice, or a help line that does not fit: %q", at, next.Help)
			}
			seen[next.Name] = true
			if next.Runs != "" {
				err := s.execute(t.Context(), Command{Name: next.Runs, Args: map[string]string{}}, io.Discard)
				if err != nil && strings.Contains(err.Error(), "a bug") {
					t.Errorf("%s: %v", at, err)
				}
			}
			walk(next, at)
		}
	}
	walk(Grammar(), "")
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"show route 10.0.0.0/8 all", "sh ?", "conf check", "cleanup --yes", "show route table adj-rib-out a for ::1", "lab x ?", "disable \x00",
		"attach --pid 1 --name a --label a=b --label c=d --ip 10.0.0.1/32", "release address ::1 --force", "sh ipam a ?"} {
		f.Add(seed)
	}
	root := testGrammar()
	f.Fuzz(func(t *testing.T, line string) {
		cmd, err := Parse(root, Split(line))
		switch {
		case err != nil:
			var usage *UsageError
			if !errors.As(err, &usage) || usage.Reason == "" {
				t.Errorf("%q: %v", line, err)
			}
		case cmd.Name == "" && cmd.Help == nil && !strings.Contains(line, "?"):
			t.Errorf("%q is neither a command nor an error", line)
		}
		// What completion offers for a word is understood, or begins what is.
		words := cut(line)
		for _, c := range Complete(root, words, nil) {
			if !strings.HasPrefix(c.Name, words[len(words)-1]) {
				t.Errorf("%q completes to %q", line, c.Name)
			}
		}
	})
}
