// Package records keeps the records of package ipam in the API of Kubernetes, for
// all nodes of a cluster: a block is an IPAMBlock, a claim or a borrowed address a
// BlockAffinity. Compare-and-swap is by resourceVersion.
//
// The text of a record is kept as it is and is the truth; the other fields of a
// spec are for people and for watches. The name of an object says what it is about:
//
//	IPAMBlock      10.0.0.0-26                    fd00-0-0-0-0-0-0-0-122
//	BlockAffinity  NODE.10.0.0.0-26               NODE.fd00-0-0-0-0-0-0-0-122
//	BlockAffinity  borrowed.10.0.0.7              borrowed.fd00-0-0-0-0-0-0-7
//
// Every read is of the newest state, never of a cache: an address is given on the
// word of it.
package records
