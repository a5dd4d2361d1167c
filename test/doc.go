// Package test holds the stories that go across rooms: real daemons in a lab of
// network namespaces, real peers (BIRD 2 and FRR) in the place of a node, and
// faults while packets flow. The programs are built once for all of them. Root
// is needed; without it the tests fail.
package test
