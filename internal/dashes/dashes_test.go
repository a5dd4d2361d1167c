package dashes

import (
	"errors"
	"flag"
	"io"
	"strings"
	"testing"
)

func set() *flag.FlagSet {
	fs := flag.NewFlagSet("x", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Int("nodes", 3, "how many")
	fs.Bool("all", false, "each")
	fs.String("out", "", "`path` to write")
	return fs
}

func TestError(t *testing.T) {
	for args, want := range map[string]string{
		"--wings":      "there is no flag --wings",
		"-wings":       "there is no flag --wings",
		"--nodes -x":   `invalid value "-x" for flag --nodes: parse error`,
		"--nodes":      "flag needs an argument: --nodes",
		"--all=perhap": `invalid boolean value "perhap" for --all: parse error`,
		"---":          "bad flag syntax: ---",
	} {
		if err := Error(set().Parse(strings.Fields(args))); err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %s", args, err, want)
		}
	}
	if err := Error(set().Parse([]string{"-h"})); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("-h: %v", err)
	}
	if err := Error(set().Parse([]string{"--nodes=4"})); err != nil {
		t.Error(err)
	}
}

func TestPrint(t *testing.T) {
	var out strings.Builder
	Print(&out, set())
	want := "flags of x:\n  --all              each\n  --nodes INT        how many (3)\n  --out PATH         path to write\n"
	if out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}
