// Package filter is the meaning of a [caracal.Filter]: which rule decides about
// a path, and what becomes of the path then.
//
// A [Chain] is the filters of one peer in their order, compiled. It is pure and
// does not allocate as long as no operation changes a path. The rib room asks it
// for what comes in; what goes out is carried out by GoBGP's policy, which the
// bgp room translates from the same filters and holds against this package in
// its tests.
package filter
