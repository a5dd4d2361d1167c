// Package dashes shows the flags of package flag as people write them: with two
// dashes.
package dashes

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"regexp"
	"strings"
)

// single is the one dash before a flag's name in the errors of package flag.
var single = regexp.MustCompile(`(^|[ :])-([A-Za-z])`)

// Error is an error of [flag.FlagSet.Parse] with two dashes; flag.ErrHelp and
// nil stay what they are.
func Error(err error) error {
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return err
	}
	text := err.Error()
	if name, unknown := strings.CutPrefix(text, "flag provided but not defined: -"); unknown {
		return fmt.Errorf("there is no flag --%s", strings.TrimPrefix(name, "-"))
	}
	// The rest may quote what was given, which stays as it was.
	if before, after, ok := strings.Cut(text, " for flag -"); ok {
		return fmt.Errorf("%s for flag --%s", before, after)
	}
	return errors.New(single.ReplaceAllString(text, "$1--$2"))
}

// Print lists the flags of a set, one a line.
func Print(w io.Writer, fs *flag.FlagSet) {
	fmt.Fprintf(w, "flags of %s:\n", fs.Name())
	fs.VisitAll(func(f *flag.Flag) {
		value, text := flag.UnquoteUsage(f)
		if f.DefValue != "" && f.DefValue != "false" {
			text += " (" + f.DefValue + ")"
		}
		fmt.Fprintf(w, "  %-18s %s\n", strings.TrimSpace("--"+f.Name+" "+strings.ToUpper(value)), text)
	})
}
