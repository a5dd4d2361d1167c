//go:build !race

package ipam

const raced = false
