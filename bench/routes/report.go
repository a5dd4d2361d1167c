package main

import (
	"fmt"
	"io"
	"slices"
	"time"

	"caracal.dev/caracal/bench/stand"
)

// report prints every round and the medians as Markdown, so that it can go into
// docs/PERFORMANCE.md as it is.
func report(out io.Writer, names []string, rounds map[string][]result) {
	fmt.Fprintln(out, "| daemon | round | announce, wall | CPU | withdraw, wall | CPU | peak RSS | one route, median | 95 % |")
	fmt.Fprintln(out, "|---|---|---|---|---|---|---|---|---|")
	for _, name := range names {
		for i, r := range rounds[name] {
			row(out, name, fmt.Sprint(i+1), r)
		}
	}
	for _, name := range names {
		row(out, "**"+name+"**", "median", median(rounds[name]))
	}
	if len(names) < 2 {
		return
	}
	a, b := median(rounds[names[0]]), median(rounds[names[1]])
	fmt.Fprintf(out, "| %s / %s | median | %.2f | %.2f | %.2f | %.2f | %.1f | %.2f | %.2f |\n", names[1], names[0],
		ratio(b.announce.wall, a.announce.wall), ratio(b.announce.cpu, a.announce.cpu),
		ratio(b.withdraw.wall, a.withdraw.wall), ratio(b.withdraw.cpu, a.withdraw.cpu),
		float64(b.peakRSS)/float64(a.peakRSS),
		ratio(b.single.median, a.single.median), ratio(b.single.p95, a.single.p95))
}

// what says what is announced.
func what(shares []stand.Share) string {
	from := "1 peer"
	if len(shares) > 1 {
		from = fmt.Sprintf("%d peers", len(shares))
	}
	return fmt.Sprintf("%d /32 routes from %s", len(shares)*len(shares[0].Routes), from)
}

func row(out io.Writer, name, round string, r result) {
	fmt.Fprintf(out, "| %s | %s | %.3f s | %.2f s | %.3f s | %.2f s | %d MB | %s | %s |\n", name, round,
		r.announce.wall.Seconds(), r.announce.cpu.Seconds(),
		r.withdraw.wall.Seconds(), r.withdraw.cpu.Seconds(), r.peakRSS>>20,
		milliseconds(r.single.median), milliseconds(r.single.p95))
}

func milliseconds(d time.Duration) string {
	if d == 0 {
		return "–"
	}
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}

func ratio(a, b time.Duration) float64 { return float64(a) / float64(max(b, 1)) }

// median takes the median of each column for itself.
func median(rs []result) result {
	span := func(of func(result) time.Duration) time.Duration { return middle(rs, of) }
	return result{
		announce: phase{
			wall: span(func(r result) time.Duration { return r.announce.wall }),
			cpu:  span(func(r result) time.Duration { return r.announce.cpu }),
		},
		withdraw: phase{
			wall: span(func(r result) time.Duration { return r.withdraw.wall }),
			cpu:  span(func(r result) time.Duration { return r.withdraw.cpu }),
		},
		peakRSS: middle(rs, func(r result) int { return r.peakRSS }),
		single: latency{
			median: span(func(r result) time.Duration { return r.single.median }),
			p95:    span(func(r result) time.Duration { return r.single.p95 }),
		},
	}
}

// middle returns the median of a column.
func middle[R any, T int | time.Duration](rs []R, of func(R) T) T {
	all := make([]T, len(rs))
	for i, r := range rs {
		all[i] = of(r)
	}
	slices.Sort(all)
	return all[len(all)/2]
}
