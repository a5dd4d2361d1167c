//go:build soak

package policy

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"caracal.dev/caracal/felix"
)

// soakRounds is how many rounds a soak has; -count multiplies it, and each has a
// seed of its own, which a failure names.
const soakRounds = 300

// TestSoakKernel is [TestRandomKernel] for thousands of rounds.
func TestSoakKernel(t *testing.T) {
	for _, backend := range []string{felix.BackendNFT, felix.BackendLegacy} {
		t.Run(backend, func(t *testing.T) {
			t.Parallel()
			randomKernel(t, backend, rand.Uint64(), soakRounds)
		})
	}
}

// TestSoakExplain is [TestRandomExplain] with every connection of many clusters.
func TestSoakExplain(t *testing.T) {
	ports := parsePorts(usualPorts)
	for range soakRounds {
		seed := rand.Uint64()
		g, c := newGenerator(seed), base()
		g.cluster(c)
		if wrong := explainDiffers(c, probesOf(c.endpoints(), ports)); len(wrong) > 0 {
			report(t, policyCase{name: fmt.Sprintf("seed %d", seed)}, 0, wrong)
			t.Fatalf("the policies:\n%s", c.text())
		}
	}
}
