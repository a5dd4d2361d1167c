// Package ipam gives nodes blocks and workloads addresses.
//
// Pools are cut into blocks; a node owns blocks and hands out of them. All that
// several nodes could want at once is a record in a [Store], changed only by
// compare-and-swap, so that two allocators that meet leave no address with two
// owners. The arithmetic is pure; [Allocator] is the little that is not.
//
// A crash may come between any two writes. So nothing depends on two records
// changing together: each address of a handle names the others, and a handle of
// which one is missing was never given whole, or is being given back, and is
// taken back at the next start. A block is claimed by its affinity first and
// released by it last, and an address is on the list of borrowed ones before it is
// borrowed and until after it is given back; whatever is left of either without
// its other half is removed. What cannot be read is taken to say the worst: a
// damaged or missing record keeps all of its block's addresses from everybody,
// until [Allocator.Adopt] is told what is in use of it.
package ipam
