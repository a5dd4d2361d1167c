//go:build soak

package policy

import (
	"fmt"
	"os"
	"strconv"
	"testing"

	"caracal.dev/caracal/felix"
)

// soakRounds is how many rounds each seed has; SOAKROUNDS multiplies it.
func soakRounds() int {
	n, err := strconv.Atoi(os.Getenv("SOAKROUNDS"))
	if err != nil || n < 1 {
		n = 10
	}
	return 250 * n
}

// TestSoakKernel is [TestRandomKernel] for thousands of rounds.
func TestSoakKernel(t *testing.T) {
	for i, backend := range []string{felix.BackendNFT, felix.BackendLegacy} {
		t.Run(backend, func(t *testing.T) {
			t.Parallel()
			randomKernel(t, backend, uint64(9000+i), soakRounds())
		})
	}
}

// TestSoakExplain is [TestRandomExplain] with every connection of many clusters.
func TestSoakExplain(t *testing.T) {
	ports := parsePorts(usualPorts)
	for seed := range uint64(soakRounds()) {
		g, c := newGenerator(1<<32+seed), base()
		g.cluster(c)
		if wrong := explainDiffers(c, probesOf(c.endpoints(), ports)); len(wrong) > 0 {
			report(t, policyCase{name: fmt.Sprintf("seed %d", seed)}, 0, wrong)
			t.Fatalf("the policies:\n%s", c.text())
		}
	}
}
