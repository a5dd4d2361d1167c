package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"caracal.dev/caracal/bench/stand"
)

func main() { stand.Main("felix", bench) }

func bench(ctx context.Context, args []string, out io.Writer) error {
	if len(args) > 0 && args[0] == "child" {
		return child(ctx, args[1:], out)
	}
	flags := flag.NewFlagSet("felix", flag.ExitOnError)
	only := flags.String("only", "rules,daemon,packets", "what is measured")
	backends := flags.String("backends", "nft,legacy", "of iptables")
	sizes := flags.String("sizes", "a,b,c,c-hard", "of the clusters whose rules are written")
	changes := flags.Int("changes", 40, "how often each kind of change is made")
	ipv6 := flags.Bool("ipv6", false, "an IPv6 address too for each pod")
	profile := flags.String("profile", "", "write profiles of the CPU and of what is allocated into files that begin so")
	pods := flags.String("pods", "2,250,1000", "how many pods the node has when packets are measured")
	rounds := flags.Int("rounds", 150, "how often packets are measured on each of the wires")
	caracald := flags.String("caracald", "bin/caracald", "the caracald to measure")
	flags.Parse(args)
	if os.Geteuid() != 0 {
		return errors.New("needs root to make network namespaces; run it with sudo")
	}
	r := ruleOptions{backends: strings.Split(*backends, ","), sizes: strings.Split(*sizes, ","), changes: *changes, ipv6: *ipv6, profile: *profile, caracald: *caracald}
	p := packetOptions{backends: r.backends, rounds: *rounds, roundTrips: 400, connects: 150, bytes: 32 << 20}
	for _, text := range strings.Split(*pods, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 2 {
			return fmt.Errorf("--pods %s: %q is no number from 2", *pods, text)
		}
		p.pods = append(p.pods, n)
	}
	fmt.Fprintf(out, "%s\n\n", stand.Machine())
	for _, what := range strings.Split(*only, ",") {
		var err error
		switch what {
		case "rules":
			err = rules(ctx, out, r)
		case "daemon":
			err = daemons(ctx, out, r)
		case "packets":
			err = packets(ctx, out, p)
		default:
			err = fmt.Errorf("--only %s: there are rules, daemon and packets", what)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
