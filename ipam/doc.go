// Package ipam gives nodes blocks and workloads addresses.
//
// Pools are cut into blocks; a node owns blocks and hands out of them. All that
// several nodes could want at once is a record in a [Store], changed only by
// compare-and-swap, so that two allocators that meet leave no address with two
// owners. The arithmetic is pure; [Allocator] is the little that is not.
package ipam
