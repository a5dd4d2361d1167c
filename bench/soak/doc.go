// Package soak changes routes at random for a long time against a real caracald,
// and then holds three views of them against each other: what the peers announce,
// what the daemon's mirror holds, and what is in the kernel. It has tests only.
//
//	go test ./bench/soak -v -args -changes 1000000 -over 10m
//
// is a day's worth of changes in ten minutes; without arguments it is a short
// version. It needs root and iproute2.
package soak
