package ipam_test

import (
	"testing"

	"caracal.dev/caracal/ipam"
	"caracal.dev/caracal/ipam/storetest"
)

func TestMemory(t *testing.T) {
	storetest.Run(t, func(*testing.T) ipam.Store { return ipam.NewMemory() })
}
