//go:build soak

package bfd

import (
	"testing"
	"time"
)

// TestSoakSaturation: ten minutes with every processor busy, and no session of
// 3 x 100 ms goes down.
func TestSoakSaturation(t *testing.T) {
	t.Run("processes", func(t *testing.T) { steadfast(t, 5*time.Minute, false) })
	t.Run("goroutines", func(t *testing.T) { steadfast(t, 5*time.Minute, true) })
}
