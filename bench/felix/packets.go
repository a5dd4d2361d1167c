package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"
)

// packetOptions are how packets are measured.
type packetOptions struct {
	backends             []string
	pods                 []int
	rounds               int
	roundTrips, connects int
	bytes                int // through one connection
}

// lane is a wire with its rules and what was measured on it.
type lane struct {
	backend  string // empty without rules
	pods     int
	isolated bool

	*wire
	*mover
	roundTrip, connect []time.Duration
	bytes              []float64 // a second
}

// String names the lane in errors.
func (l *lane) String() string {
	if l.backend == "" {
		return "without rules"
	}
	return fmt.Sprintf("%s, %d pods, isolated %t", l.backend, l.pods, l.isolated)
}

// packets measures the path of a packet between two pods of a node, and prints a
// table.
func packets(ctx context.Context, out io.Writer, o packetOptions) error {
	lanes, err := newLanes(ctx, o)
	defer func() {
		for _, l := range lanes {
			l.close()
		}
	}()
	if err != nil {
		return err
	}
	for round := range o.rounds + 1 {
		for i := range lanes {
			// Each round begins elsewhere and the lanes take turns, so that what else
			// the machine does falls on all of them.
			l := lanes[(round*5+i)%len(lanes)]
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := l.measure(o, round > 0); err != nil {
				return fmt.Errorf("%s: %w", l, err)
			}
		}
	}
	reportPackets(out, lanes, o)
	return nil
}

// newLanes makes one without rules and one for each combination of the options.
func newLanes(ctx context.Context, o packetOptions) (lanes []*lane, err error) {
	list := []*lane{{pods: 2}}
	for _, backend := range o.backends {
		for _, isolated := range []bool{false, true} {
			for _, n := range o.pods {
				list = append(list, &lane{backend: backend, pods: n, isolated: isolated})
			}
		}
	}
	for i, l := range list {
		s, a, b := podset(l.pods, l.isolated)
		if l.wire, err = newWire(fmt.Sprint(i), a, b); err != nil {
			return lanes, err
		}
		lanes = append(lanes, l)
		if l.mover, err = newMover(l.wire); err != nil {
			return lanes, fmt.Errorf("%s: %w", l, err)
		}
		if l.backend == "" {
			continue
		}
		if err := l.node.do(func() error { return program(ctx, l.backend, s) }); err != nil {
			return lanes, fmt.Errorf("%s: %w", l, err)
		}
	}
	return lanes, nil
}

func (l *lane) close() {
	if l.mover != nil {
		l.mover.close()
	}
	l.wire.close()
}

// measure does one round; the first is to warm up and not kept.
func (l *lane) measure(o packetOptions, keep bool) error {
	roundTrip, err := l.roundTrips(o.roundTrips)
	if err != nil {
		return fmt.Errorf("round trips: %w", err)
	}
	connect, err := l.connects(o.connects)
	if err != nil {
		return fmt.Errorf("connections: %w", err)
	}
	bytes, err := l.throughput(o.bytes)
	if err != nil {
		return fmt.Errorf("throughput: %w", err)
	}
	if keep {
		l.roundTrip, l.connect = append(l.roundTrip, roundTrip), append(l.connect, connect)
		l.bytes = append(l.bytes, bytes)
	}
	return nil
}

// reportPackets prints medians, and what they are against the same with the fewest
// pods.
func reportPackets(out io.Writer, lanes []*lane, o packetOptions) {
	fmt.Fprintf(out, "Between two pods of a node, medians of %d rounds: the CPU time of %d round trips and %d connections, and of %d MB through one connection\n\n",
		o.rounds, o.roundTrips, o.connects, o.bytes>>20)
	fmt.Fprintln(out, "| backend | pods | isolated | round trip, 64 bytes UDP | ratio | new TCP connection | a second | ratio | throughput | ratio |")
	fmt.Fprintln(out, "|---|---|---|---|---|---|---|---|---|---|")
	var first *lane
	for _, l := range lanes {
		if first == nil || l.backend != first.backend || l.isolated != first.isolated {
			first = l
		}
		backend, pods, isolated := l.backend, fmt.Sprint(l.pods), "no"
		if backend == "" {
			backend, pods, isolated = "no rules", "–", "–"
		}
		if l.isolated {
			isolated = "yes"
		}
		rt, c, b := median(l.roundTrip), median(l.connect), median(l.bytes)
		fmt.Fprintf(out, "| %s | %s | %s | %.2f µs | %.2f | %.2f µs | %.0f | %.2f | %.2f Gbit/s | %.2f |\n", backend, pods, isolated,
			micro(rt), float64(rt)/float64(median(first.roundTrip)),
			micro(c), float64(time.Second)/float64(c), float64(c)/float64(median(first.connect)),
			b*8/1e9, b/median(first.bytes))
	}
	fmt.Fprintln(out)
}

func micro(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
func milli(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// median returns the middle of a list, 0 of none.
func median[T ~int64 | ~float64](list []T) T {
	if len(list) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(list))
	return sorted[len(sorted)/2]
}
