package main

import (
	"context"
	"flag"
	"fmt"
	"io"

	"caracal.dev/caracal/bench/stand"
)

func main() { stand.Main("reflector", bench) }

func bench(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("reflector", flag.ExitOnError)
	clients := flags.Int("clients", 1000, "how many clients the reflector has")
	routes := flags.Int("routes", 20, "how many /32 routes each announces")
	rounds := flags.Int("rounds", 1, "how often each daemon is measured, in turns")
	binary := flags.String("caracald", "bin/caracald", "the caracald to measure; empty for BIRD alone")
	keep := flags.Bool("keep", false, "withdraw nothing at the end, which takes longest with many clients")
	flags.Parse(args)

	if *clients < 2 {
		return fmt.Errorf("--clients %d: a reflector needs at least 2", *clients)
	}
	shares, err := stand.Split(*clients**routes, *clients)
	if err != nil {
		return err
	}
	subjects, versions, err := stand.Subjects(ctx, stand.BIRD{Reflect: true}, stand.Caracald{Binary: *binary, Reflect: true})
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%d clients with %d routes each; %s; %s\n\n", *clients, *routes, stand.Machine(), versions)
	fmt.Fprint(out, heading)
	for i := range *rounds {
		for _, s := range subjects {
			r, err := run(ctx, s, shares, *keep)
			if err != nil {
				return fmt.Errorf("round %d: %s: %w", i+1, s.Name(), err)
			}
			report(out, s.Name(), i+1, r)
		}
	}
	return nil
}

const heading = `| daemon | round | sessions up | all to all | CPU | one route to all, median | withdraw all | CPU | RSS | peak RSS |
|---|---|---|---|---|---|---|---|---|---|
`

func report(out io.Writer, name string, round int, r result) {
	fmt.Fprintf(out, "| %s | %d | %.2f s | %.2f s | %.2f s | %.1f ms | %.2f s | %.2f s | %d MB | %d MB |\n", name, round,
		r.up.Seconds(), r.reflected.Seconds(), r.reflectedCPU.Seconds(), float64(r.one.Microseconds())/1000,
		r.withdrawn.Seconds(), r.withdrawnCPU.Seconds(), r.rss>>20, r.peak>>20)
}
