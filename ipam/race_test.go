//go:build race

package ipam

// raced: this is a build with the race detector, which makes everything slower.
const raced = true
