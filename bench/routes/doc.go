// Command routes measures how long a routing daemon takes from a BGP session to
// the kernel: a sender announces many /32 routes in UPDATEs encoded beforehand,
// and the clock stops when the kernel of the daemon's namespace holds them all;
// then it withdraws them. caracald and BIRD 2 take turns in one run, so that
// both see the same machine. It prints tables in Markdown.
//
//	routes --caracald bin/caracald --routes 100000 --peers 1 --rounds 5
//
// With --changes it measures instead what one change costs in tables of
// different sizes.
//
// It needs root, iproute2 and bird2.
package main
