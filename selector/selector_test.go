package selector

import (
	"errors"
	"strings"
	"testing"
)

func TestMatches(t *testing.T) {
	labels := map[string]string{"rack": "r1", "zone": "eu-west", "kubernetes.io/os": "linux", "empty": "", "in": "x", "all": "y"}
	for sel, want := range map[string]bool{
		"":                                  true,
		"  ":                                true,
		"all()":                             true,
		"!all()":                            false,
		"has(rack)":                         true,
		"has( rack )":                       true,
		"!has(rack)":                        false,
		"has(gone)":                         false,
		"has(empty)":                        true,
		"rack == 'r1'":                      true,
		`rack == "r1"`:                      true,
		"rack=='r1'":                        true,
		"rack == 'R1'":                      false,
		"rack != 'r1'":                      false,
		"rack != 'r2'":                      true,
		"gone == ''":                        false,
		"gone != 'a'":                       true,
		"empty == ''":                       true,
		"rack in {'r1', 'r2'}":              true,
		"rack in {'r3'}":                    false,
		"rack in {}":                        false,
		"rack not in {'r3'}":                true,
		"rack not in {'r1'}":                false,
		"gone in {'a'}":                     false,
		"gone not in {'a'}":                 true,
		"zone contains 'u-w'":               true,
		"zone contains 'x'":                 false,
		"zone starts with 'eu-'":            true,
		"zone starts with 'west'":           false,
		"zone ends with 'west'":             true,
		"zone ends with 'eu'":               false,
		"gone contains ''":                  false,
		"kubernetes.io/os == 'linux'":       true,
		"rack == 'r1' && zone == 'x'":       false,
		"rack == 'r1' || zone == 'x'":       true,
		"!(rack == 'r1') || has(zone)":      true,
		"!has(rack) && has(zone) || all()":  true,
		"!has(rack) && (has(zone)||all())":  false,
		"!!has(rack)":                       true,
		"in == 'x'":                         true,
		"in in {'x'}":                       true,
		"all == 'y'":                        true,
		"rack == 'r1' && \n\t(has ( zone))": true,
	} {
		s, err := Parse(sel)
		if err != nil {
			t.Errorf("Parse(%q): %v", sel, err)
			continue
		}
		if got := s.Matches(labels); got != want {
			t.Errorf("%q matches: got %v, want %v", sel, got, want)
		}
	}
	if !new(Selector).Matches(nil) || new(Selector).String() != "all()" {
		t.Error("the zero Selector does not select everything")
	}
}

func TestCanonical(t *testing.T) {
	for sel, want := range map[string]string{
		"":                                    "all()",
		`a=="b"`:                              "a == 'b'",
		`a == "it's"`:                         `a == "it's"`,
		"a in {'z','b','b'}":                  "a in {'b', 'z'}",
		"a not in {}":                         "a not in {}",
		"((has(a)))":                          "has(a)",
		"(has(a) && has(b)) && has(c)":        "has(a) && has(b) && has(c)",
		"has(a) && has(b) || has(c)":          "has(a) && has(b) || has(c)",
		"has(a) && (has(b) || has(c))":        "has(a) && (has(b) || has(c))",
		"!(a == 'b')":                         "!(a == 'b')",
		"!(has(a)||has(b))":                   "!(has(a) || has(b))",
		"! ! has(a)":                          "!!has(a)",
		"a starts with 'x' || a ends with ''": "a starts with 'x' || a ends with ''",
	} {
		s, err := Parse(sel)
		if err != nil {
			t.Errorf("Parse(%q): %v", sel, err)
		} else if got := s.String(); got != want {
			t.Errorf("%q: canonical form %q, want %q", sel, got, want)
		}
	}
}

func TestErrors(t *testing.T) {
	for sel, want := range map[string]string{
		"rack":                     `column 5: expected ==, !=, in, not in, contains, starts with or ends with after "rack", found the end`,
		"rack = 'a'":               `column 6: unexpected character '='; write ==`,
		"rack == a":                `column 9: expected a value in quotes, found "a"`,
		"rack == 'a":               `column 9: the quote ' is not closed`,
		"rack == 'a' zone":         `column 13: expected && or || or the end, found "zone"`,
		"has()":                    `column 5: expected a label in has(...), found ")"`,
		"has(a":                    `column 6: expected ")", found the end`,
		"global()":                 `column 1: there is no function global(); there are all() and has(...)`,
		"(all()":                   `column 7: expected ")", found the end`,
		"a in 'b'":                 `column 6: expected "{", found 'b'`,
		"a in {'b',}":              `column 11: expected a value in quotes, found "}"`,
		"a not 'b'":                `column 7: expected "in" after "not", found 'b'`,
		"a starts 'b'":             `column 10: expected "with", found 'b'`,
		"&& has(a)":                `column 1: expected a label, has(...), all(), ! or (, found "&&"`,
		"has(a) &&":                `column 10: expected a label, has(...), all(), ! or (, found the end`,
		"a == 'é' && ö":            `column 13: unexpected character 'ö'`,
		strings.Repeat("(", 100):   `column 65: more than 64 levels of parentheses or !`,
		strings.Repeat("a", 1<<15): `column 1: the selector is longer than 16384 bytes`,
	} {
		_, err := Parse(sel)
		if err == nil || err.Error() != want {
			t.Errorf("Parse(%.40q): got %v, want %s", sel, err, want)
		}
		if pe, ok := errors.AsType[*ParseError](err); !ok || pe.Column < 1 {
			t.Errorf("Parse(%.40q): no column", sel)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"", "all()", "a == 'b' && !has(c) || d in {'e', \"f\"}", "!(a not in {})", "a starts with '", "((a"} {
		f.Add(s)
	}
	probe := []map[string]string{nil, {"a": "b"}, {"a": "", "c": "d"}, {"d": "e"}}
	f.Fuzz(func(t *testing.T, in string) {
		s, err := Parse(in)
		if err != nil {
			if pe, ok := errors.AsType[*ParseError](err); !ok || pe.Column < 1 || pe.Column > len(in)+1 {
				t.Fatalf("bad error %#v", err)
			}
			return
		}
		again, err := Parse(s.String())
		if err != nil {
			t.Fatalf("canonical form %q of %q: %v", s.String(), in, err)
		}
		if again.String() != s.String() {
			t.Fatalf("canonical form %q of %q parses to %q", s.String(), in, again.String())
		}
		for _, l := range probe {
			if s.Matches(l) != again.Matches(l) {
				t.Fatalf("%q and its canonical form %q differ on %v", in, s.String(), l)
			}
		}
	})
}
