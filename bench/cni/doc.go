// Command cni measures how long a container waits for its network: the time that
// a runtime's ADD takes, one after another and a hundred at once, on a node with
// few containers and on one with many. caracal-cni with caracald takes turns, from
// one ADD to the next, with the reference plugins ptp and host-local on a node of
// their own. Both are called by
// libcni, as every runtime calls them, for namespaces that exist already, and give
// each container an IPv4 address, or with --ipv6 one of each family. Then caracald is
// killed, and the time is taken from its next start until it has taken up all of
// the node's containers. It prints tables in Markdown.
//
//	cni --caracald bin/caracald --plugin bin/caracal-cni --pods 10,250
//
// What the two do is not the same: ptp answers when the interface has its
// addresses; caracal-cni when, besides, the allocation is on disk and the kernel
// has the routes.
//
// It needs root, iproute2 and containernetworking-plugins.
package main
