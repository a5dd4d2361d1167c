package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"time"

	"caracal.dev/caracal/bench/stand"
)

func main() { stand.Main("mesh", bench) }

func bench(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("mesh", flag.ExitOnError)
	peers := flags.Int("peers", 200, "how many peers the mesh has")
	routes := flags.Int("routes", 50, "how many /32 routes each announces")
	rest := flags.Duration("rest", 150*time.Second, "how long the daemon is watched at rest; keepalives come every 30 s, and Go collects its garbage every 2 minutes at the latest")
	settle := flags.Duration("settle", 5*time.Second, "how long it has to finish what it put off")
	rounds := flags.Int("rounds", 1, "how often each daemon is measured, in turns")
	binary := flags.String("caracald", "bin/caracald", "the caracald to measure; empty for BIRD alone")
	flags.Parse(args)

	shares, err := stand.Split(*peers**routes, *peers)
	if err != nil {
		return err
	}
	subjects, versions, err := stand.Subjects(ctx, stand.BIRD{}, stand.Caracald{Binary: *binary})
	if err != nil {
		return err
	}
	var rows []row
	for i := range *rounds {
		for _, s := range subjects {
			r, err := run(ctx, s, shares, times{*settle, *rest})
			if err != nil {
				return fmt.Errorf("round %d: %s: %w", i+1, s.Name(), err)
			}
			rows = append(rows, row{s.Name(), i + 1, r})
		}
	}
	fmt.Fprintf(out, "%d peers with %d routes each, %v at rest; %s; %s\n\n", *peers, *routes, *rest, stand.Machine(), versions)
	report(out, rows, *peers)
	return nil
}

// row is a line of the table.
type row struct {
	name  string
	round int
	result
}

func report(out io.Writer, rows []row, peers int) {
	fmt.Fprintln(out, "| daemon | round | sessions up | routes in the kernel | CPU until then | CPU at rest | RSS without peers | RSS at rest | for each peer | peak RSS |")
	fmt.Fprintln(out, "|---|---|---|---|---|---|---|---|---|---|")
	for _, r := range rows {
		fmt.Fprintf(out, "| %s | %d | %.2f s | %.2f s | %.2f s | %.2f %% | %d MB | %d MB | %d kB | %d MB |\n", r.name, r.round,
			r.up.Seconds(), r.converged.Seconds(), r.cpu.Seconds(), 100*r.atRest,
			r.bare>>20, r.resident>>20, (r.resident-r.bare)/peers>>10, r.peak>>20)
	}
}
