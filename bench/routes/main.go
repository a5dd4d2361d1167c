package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := bench(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "routes:", err)
		stop()
		os.Exit(1)
	}
}

func bench(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("routes", flag.ExitOnError)
	routes := flags.Int("routes", 100_000, "how many /32 routes in all")
	peers := flags.Int("peers", 1, "how many peers announce them, an equal share each")
	rounds := flags.Int("rounds", 5, "how often each daemon is measured, in turns")
	single := flags.Int("single", 200, "how many routes are announced singly, for their latency; 0 for none")
	binary := flags.String("caracald", "bin/caracald", "the caracald to measure; empty for BIRD alone")
	flags.Parse(args)

	if os.Geteuid() != 0 {
		return fmt.Errorf("needs root to make network namespaces; run it with sudo")
	}
	shares, err := split(*routes, *peers)
	if err != nil {
		return err
	}
	subjects := []subject{bird{}}
	if *binary != "" {
		path, err := filepath.Abs(*binary)
		if err != nil {
			return err
		}
		subjects = append(subjects, caracald{path})
	}

	var names, versions []string
	for _, s := range subjects {
		names = append(names, s.name())
		// Both print it on one line or the other of the two outputs.
		v, err := exec.CommandContext(ctx, s.program(), "--version").CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s --version: %w: %s", s.program(), err, v)
		}
		versions = append(versions, strings.TrimSpace(string(v)))
	}
	got := make(map[string][]result)
	for i := range *rounds {
		for _, s := range subjects {
			r, err := run(ctx, s, shares, *single)
			if err != nil {
				return fmt.Errorf("round %d: %w", i+1, err)
			}
			got[s.name()] = append(got[s.name()], r)
			fmt.Fprintf(os.Stderr, "round %d of %d: %s %v\n", i+1, *rounds, s.name(), r.announce.wall)
		}
	}
	fmt.Fprintf(out, "%s; %s; %s\n\n", what(shares), machine(), strings.Join(versions, "; "))
	report(out, names, got)
	return nil
}
