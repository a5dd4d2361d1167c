package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"caracal.dev/caracal/bench/stand"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := bench(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "reflector:", err)
		stop()
		os.Exit(1)
	}
}

func bench(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("reflector", flag.ExitOnError)
	clients := flags.Int("clients", 1000, "how many clients the reflector has")
	routes := flags.Int("routes", 20, "how many /32 routes each announces")
	rounds := flags.Int("rounds", 1, "how often each daemon is measured, in turns")
	binary := flags.String("caracald", "bin/caracald", "the caracald to measure; empty for BIRD alone")
	flags.Parse(args)

	if os.Geteuid() != 0 {
		return fmt.Errorf("needs root to make network namespaces; run it with sudo")
	}
	if *clients < 2 {
		return fmt.Errorf("--clients %d: a reflector needs at least 2", *clients)
	}
	shares, err := stand.Split(*clients**routes, *clients)
	if err != nil {
		return err
	}
	subjects := []stand.Subject{stand.BIRD{Reflect: true}}
	if *binary != "" {
		path, err := filepath.Abs(*binary)
		if err != nil {
			return err
		}
		subjects = append(subjects, stand.Caracald{Binary: path, Reflect: true})
	}
	versions, err := stand.Versions(ctx, subjects)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%d clients with %d routes each; %s; %s\n\n", *clients, *routes, stand.Machine(), strings.Join(versions, "; "))
	fmt.Fprint(out, heading)
	for i := range *rounds {
		for _, s := range subjects {
			r, err := run(ctx, s, shares)
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
