// Package collect gives back the addresses of nodes that are gone, which those
// cannot do themselves. All daemons stand for election by a Lease, and one of them
// collects.
//
// The collector never acts on one look, nor on the word of a cache. A node is gone
// if the API, asked itself, has neither a Node of that name nor a Pod on it; and it
// is given up once it was seen so twice, minutes apart by the clock of this process
// alone, while nobody wrote a record of it in between. Just before it is done all of
// that is looked at again. Each write is a compare-and-swap, so that a node that
// comes back in the middle stops it, and so that two collectors, which a Lease does
// not rule out, do no harm. A look that fails, of whatever, begins the count anew:
// an outage releases nothing. What nodes that live have is their own business.
package collect
