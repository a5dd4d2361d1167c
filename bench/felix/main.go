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
	"time"

	"caracal.dev/caracal/bench/stand"
)

func main() { stand.Main("felix", bench) }

func bench(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("felix", flag.ExitOnError)
	backends := flags.String("backends", "nft,legacy", "of iptables")
	pods := flags.String("pods", "2,250,1000", "how many pods the node has when packets are measured")
	rounds := flags.Int("rounds", 100, "how often packets are measured on each of the wires")
	flags.Parse(args)
	if os.Geteuid() != 0 {
		return errors.New("needs root to make network namespaces; run it with sudo")
	}
	p := packetOptions{backends: strings.Split(*backends, ","), rounds: *rounds, roundTrips: 400, connects: 150, throughput: 40 * time.Millisecond}
	for _, text := range strings.Split(*pods, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 2 {
			return fmt.Errorf("--pods %s: %q is no number from 2", *pods, text)
		}
		p.pods = append(p.pods, n)
	}
	fmt.Fprintf(out, "%s\n\n", stand.Machine())
	return packets(ctx, out, p)
}
