package cputime

import (
	"testing"
	"time"
)

// TestUsed sleeps, which costs nothing, and computes until that shows.
func TestUsed(t *testing.T) {
	before := Used()
	time.Sleep(200 * time.Millisecond)
	if slept := Used() - before; slept > 100*time.Millisecond {
		t.Errorf("sleeping took %v of the processors", slept)
	}
	before = Used()
	for begin := time.Now(); Used()-before < 20*time.Millisecond; {
		if time.Since(begin) > time.Minute {
			t.Fatalf("a minute of computing took %v of the processors", Used()-before)
		}
	}
}
