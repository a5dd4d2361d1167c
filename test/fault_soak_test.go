//go:build soak

package test

import (
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"caracal.dev/caracal/lab"
)

// The stories of this file take longer than an ordinary run of the tests should.

// TestSoakCrash is TestCrash with every interval.
func TestSoakCrash(t *testing.T) {
	for _, away := range []time.Duration{200 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, 6 * time.Second, 10 * time.Second} {
		t.Run(away.String(), func(t *testing.T) {
			t.Parallel()
			crashStory(t, away)
		})
	}
}

// TestSoakCrashLoop is TestCrashLoop with more intervals.
func TestSoakCrashLoop(t *testing.T) {
	for _, every := range []time.Duration{500 * time.Millisecond, time.Second, 1500 * time.Millisecond, 2 * time.Second, 3 * time.Second} {
		t.Run(every.String(), func(t *testing.T) {
			t.Parallel()
			crashLoopStory(t, every)
		})
	}
}

// TestSoakTwoRestart has the second daemon away for longer than the first waits
// for its neighbors.
func TestSoakTwoRestart(t *testing.T) {
	t.Parallel()
	twoRestartStory(t, time.Second, 15*time.Second)
}

// TestSoakSlowRestart uses up the default restart time.
func TestSoakSlowRestart(t *testing.T) {
	t.Parallel()
	slowRestartStory(t, 120*time.Second, 118*time.Second)
}

// TestSoakRandomCrashes kills two daemons at random, sometimes both at once.
func TestSoakRandomCrashes(t *testing.T) {
	t.Parallel()
	l := mixed(t, lab.BGPSettings{})
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	undisturbed(t, l, func() {
		for range 40 {
			n := l.Node([]string{"a", "b"}[rng.IntN(2)])
			crash(t, n, syscall.SIGKILL, time.Duration(rng.IntN(1000))*time.Millisecond)
			time.Sleep(time.Duration(rng.IntN(4000)) * time.Millisecond)
		}
		settle(t, l)
		time.Sleep(2 * sweepTime)
	})
}

// TestSoakLeak is TestLeak with as many prefixes as the Internet has.
func TestSoakLeak(t *testing.T) {
	t.Parallel()
	leakStory(t, 1_000_000)
}
