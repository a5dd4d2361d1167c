//go:build soak

package test

import "time"

// switchPause is the time between two nodes that go from one mode to another.
const switchPause = 30 * time.Second

// switchAddresses says whether the nodes have an address for the tunnel, and so
// are ready for it before a pool asks.
const switchAddresses = false
