//go:build soak

package test

import (
	"testing"
	"time"
)

// TestKubernetesLongOutage is [TestKubernetesOutage] with an API that is away for ten
// minutes, and then frozen for as long.
func TestKubernetesLongOutage(t *testing.T) {
	outageStory(t, 10*time.Minute)
}
