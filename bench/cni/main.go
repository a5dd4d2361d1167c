package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"caracal.dev/caracal/bench/stand"
)

func main() { stand.Main("cni", bench) }

// options are what is measured.
type options struct {
	caracald, plugin string
	pods             []int // sizes of the node, ascending
	adds             int   // one after another
	parallel, bursts int   // at once, and how often
	ipv6             bool
}

func bench(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("cni", flag.ExitOnError)
	pods := flags.String("pods", "10,250", "how many containers the node has meanwhile, ascending")
	adds := flags.Int("adds", 100, "how many ADDs are timed one after another")
	parallel := flags.Int("parallel", 100, "how many ADDs are timed at once")
	bursts := flags.Int("bursts", 3, "how often that is done")
	rounds := flags.Int("rounds", 1, "how often all is done anew")
	ipv6 := flags.Bool("ipv6", false, "an IPv6 address too, without duplicate address detection in the container: ptp waits for its end, up to two seconds")
	caracald := flags.String("caracald", "bin/caracald", "the caracald to measure")
	plugin := flags.String("plugin", "", "its plugin; caracal-cni beside caracald if empty")
	flags.Parse(args)

	if os.Geteuid() != 0 {
		return errors.New("needs root to make network namespaces; run it with sudo")
	}
	if *plugin == "" {
		*plugin = filepath.Join(filepath.Dir(*caracald), "caracal-cni")
	}
	o := options{adds: *adds, parallel: *parallel, bursts: *bursts, ipv6: *ipv6}
	for _, text := range strings.Split(*pods, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return fmt.Errorf("--pods %s: %q is no number", *pods, text)
		}
		o.pods = append(o.pods, n)
	}
	var err error
	for _, p := range []struct {
		path string
		to   *string
	}{{*caracald, &o.caracald}, {*plugin, &o.plugin}} {
		if *p.to, err = filepath.Abs(p.path); err != nil {
			return err
		}
		if _, err := os.Stat(*p.to); err != nil {
			return fmt.Errorf("%w; build the programs first: make build", err)
		}
	}
	var rows []row
	var taken []adoption
	for i := range *rounds {
		r, a, err := run(ctx, []subject{reference{}, caracal{}}, o)
		if err != nil {
			return fmt.Errorf("round %d: %w", i+1, err)
		}
		for _, r := range r {
			r.round = i + 1
			rows = append(rows, r)
		}
		taken = append(taken, a...)
	}
	families := "IPv4"
	if o.ipv6 {
		families = "IPv4 and IPv6"
	}
	fmt.Fprintf(out, "%d ADDs one after another, %d times %d at once, %s; %s\n\n", o.adds, o.bursts, o.parallel, families, stand.Machine())
	report(out, rows, o.parallel)
	reportAdoptions(out, taken)
	return nil
}

func report(out io.Writer, rows []row, parallel int) {
	fmt.Fprintf(out, "| plugin | round | containers | ADD alone, p50 | p99 | CPU, p50 | %d at once, p50 | p99 | all done |\n", parallel)
	fmt.Fprintln(out, "|---|---|---|---|---|---|---|---|---|")
	ms := func(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond)) }
	for _, r := range rows {
		fmt.Fprintf(out, "| %s | %d | %d | %s | %s | %s | %s | %s | %s |\n", r.name, r.round, r.pods,
			ms(quantile(r.alone, 50)), ms(quantile(r.alone, 99)), ms(quantile(r.cpu, 50)),
			ms(quantile(r.together, 50)), ms(quantile(r.together, 99)), ms(quantile(r.done, 50)))
	}
}

func reportAdoptions(out io.Writer, list []adoption) {
	if len(list) == 0 {
		return
	}
	fmt.Fprintln(out, "\n| caracald killed and started with | ready for ADD after | routes whole after |\n|---|---|---|")
	for _, a := range list {
		fmt.Fprintf(out, "| %d containers | %.3f s | %.3f s |\n", a.pods, a.ready.Seconds(), a.whole.Seconds())
	}
}
