//go:build soak

package test

import (
	"testing"
	"time"
)

// TestSoakReturn is TestReturn with switches that are away for longer, also with
// timers that are as short as ours.
func TestSoakReturn(t *testing.T) {
	for _, away := range []time.Duration{10 * time.Second, 40 * time.Second} {
		for name, defaults := range map[string]bool{"default timers": true, "short timers": false} {
			t.Run(name+" "+away.String(), func(t *testing.T) { returnStory(t, away, 10*time.Second, defaults) })
		}
	}
}
