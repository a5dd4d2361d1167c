package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"

	"caracal.dev/caracal/bench/stand"
)

func main() { stand.Main("routes", bench) }

func bench(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("routes", flag.ExitOnError)
	routes := flags.Int("routes", 100_000, "how many /32 routes in all")
	peers := flags.Int("peers", 1, "how many peers announce them, an equal share each")
	rounds := flags.Int("rounds", 5, "how often each daemon is measured, in turns")
	single := flags.Int("single", 200, "how many routes are announced singly, for their latency; 0 for none")
	changes := flags.Int("changes", 0, "measure this many changes one by one instead, in tables of each size of --tables")
	tables := flags.String("tables", "100,100000", "sizes of the tables for --changes")
	audit := flags.Duration("audit", 0, "have caracald compare all routes with the kernel that often, in whole seconds; 0 for its default")
	binary := flags.String("caracald", "bin/caracald", "the caracald to measure; empty for BIRD alone")
	flags.Parse(args)

	shares, err := stand.Split(*routes, *peers)
	if err != nil {
		return err
	}
	subjects, versions, err := stand.Subjects(ctx, stand.BIRD{}, stand.Caracald{Binary: *binary, Audit: *audit})
	if err != nil {
		return err
	}

	var names []string
	for _, s := range subjects {
		names = append(names, s.Name())
	}
	if *changes > 0 {
		sizes, err := tableSizes(*tables)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%d single changes, %v apart; %s; %s\n\n", *changes, changeEvery, stand.Machine(), versions)
		return compareChanges(ctx, out, subjects, sizes, *changes, *rounds)
	}
	got := make(map[string][]result)
	for i := range *rounds {
		for _, s := range subjects {
			r, err := run(ctx, s, shares, *single)
			if err != nil {
				return fmt.Errorf("round %d: %w", i+1, err)
			}
			got[s.Name()] = append(got[s.Name()], r)
			fmt.Fprintf(os.Stderr, "round %d of %d: %s %v\n", i+1, *rounds, s.Name(), r.announce.wall)
		}
	}
	fmt.Fprintf(out, "%s; %s; %s\n\n", what(shares), stand.Machine(), versions)
	report(out, names, got)
	return nil
}
