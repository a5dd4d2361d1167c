package cli

import (
	"strings"
	"testing"
)

// TestDrain: what the commands ask for, and what they say.
func TestDrain(t *testing.T) {
	for _, tc := range []struct {
		line    string
		code    int
		history string
		want    []string
	}{
		{"undrain", ExitOK, "undrain", []string{"it was not drained\n"}},
		{"drain", ExitOK, "drain 0 false", []string{"services and transit are the last choice\nservices and transit are withdrawn; 14 workloads still here, their routes kept; --force withdraws them\n"}},
		{"drain --timeout 30s", ExitOK, "drain 30 false", nil},
		{"drain --timeout=1m30s", ExitOK, "drain 90 false", nil},
		{"drain --timeout 0s --force", ExitFailed, "drain 0.001 true", []string{"drained\n", "the speaker is gone; it is tried again"}},
		{"-o json drain", ExitOK, "drain 0 false", []string{`"workloads": 14`}},
		{"--timeout 3s drain --force", ExitFailed, "drain 0 true", nil},
		{"drai", ExitUsage, "", []string{"must not be shortened: write drain"}},
		{"undr", ExitUsage, "", []string{"must not be shortened: write undrain"}},
		{"drain --timeout soon", ExitUsage, "", []string{`"soon" is not a time such as 30s`}},
		{"drain --timeout", ExitUsage, "", []string{"more must follow"}},
		{"drain --forc", ExitUsage, "", []string{"must not be shortened: write --force"}},
	} {
		d := &fakeDaemon{}
		code, out, errs := runWith(t, testOptions(""), append([]string{"--socket", serve(t, d)}, strings.Fields(tc.line)...)...)
		if code != tc.code || d.history() != tc.history {
			t.Errorf("%s: code %d, %q\n%s%s", tc.line, code, d.history(), out, errs)
		}
		for _, w := range tc.want {
			if !strings.Contains(out+errs, w) {
				t.Errorf("%s: %q is not in\n%s%s", tc.line, w, out, errs)
			}
		}
	}
	d := &fakeDaemon{}
	o := testOptions("drain\nundrain\n")
	if _, out, _ := runWith(t, o, "--socket", serve(t, d)); !strings.HasSuffix(out, "in service again; it was drained for 2m00s\n") {
		t.Errorf("got %q", out)
	}
}

// TestTorConfig: the options go to the daemon, a selector as one word.
func TestTorConfig(t *testing.T) {
	for _, tc := range []struct {
		args    []string
		code    int
		history string
		want    string
	}{
		{[]string{"show", "tor-config", "--node", "a", "--format", "frr"}, ExitOK, "tor-config node=a selector= peer= format=frr as=0", "router bgp 65001\n"},
		{[]string{"show", "tor", "--format=bird", "--selector", "rack == 'r1'", "--peer=tor", "--as", "65001"}, ExitOK,
			"tor-config node= selector=rack == 'r1' peer=tor format=bird as=65001", ""},
		{[]string{"show", "tor-config", "--node", "a"}, ExitUsage, "", "--format frr, bird or eos"},
		{[]string{"show", "tor-config", "--format", "eos"}, ExitUsage, "", "say for which nodes"},
		{[]string{"show", "tor-config", "--format", "ios"}, ExitUsage, "", `"ios" cannot follow`},
		{[]string{"show", "tor-config", "--node", "a", "--selector", "all()"}, ExitUsage, "", "there is no flag --selector"},
		{[]string{"show", "tor-config", "--as", "x"}, ExitUsage, "", `"x" is not an AS number`},
	} {
		d := &fakeDaemon{}
		code, out, errs := runWith(t, testOptions(""), append([]string{"--socket", serve(t, d)}, tc.args...)...)
		if code != tc.code || d.history() != tc.history || !strings.Contains(out+errs, tc.want) {
			t.Errorf("%q: code %d, %q\n%s%s", tc.args, code, d.history(), out, errs)
		}
	}
	d := &fakeDaemon{}
	runWith(t, testOptions(`show tor-config --selector "rack == 'r1'" --format eos # the switch`+"\n"), "--socket", serve(t, d))
	if got, want := d.history(), "tor-config node= selector=rack == 'r1' peer= format=eos as=0"; got != want {
		t.Errorf("from the shell: %q, want %q", got, want)
	}
}

// TestShowPeering: tables of what is about neighbors beside their routes.
func TestShowPeering(t *testing.T) {
	d := &fakeDaemon{}
	socket := serve(t, d)
	for line, want := range map[string]string{
		"show bfd":               "peer/tor@192.0.2.250",
		"show filters services":  "services: for",
		"show bfd -o json":       `"detectionMs": 450`,
		"show filters -o json":   `"operations": [`,
		"show protocols all":     "Protection",
		"show protocols tor all": "no MD5, no GTSM",
	} {
		if code, out, errs := runWith(t, testOptions(""), append([]string{"--socket", socket}, strings.Fields(line)...)...); code != ExitOK || !strings.Contains(out, want) {
			t.Errorf("%s: code %d\n%s%s", line, code, out, errs)
		}
	}
	if got := d.history(); !strings.Contains(got, "filters services") {
		t.Errorf("asked %q", got)
	}
}

func TestSplit(t *testing.T) {
	for line, want := range map[string]string{
		"": "", "  a  b ": "a|b", `a "b c" d`: "a|b c|d", `--x="1 2" #c`: "--x=1 2", "a#b #c d": "a#b", `""`: "", `"#a" b`: "#a|b", `a "b`: "a|b",
	} {
		if got := strings.Join(Split(line), "|"); got != want {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
}
