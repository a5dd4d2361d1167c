//go:build !soak

package test

import "time"

// switchPause is the time between two nodes that go from one mode to another.
const switchPause = 2 * time.Second
