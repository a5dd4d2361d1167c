// Command mesh measures a routing daemon as one node of a large full mesh: how
// long from its start until every session is up and every peer's routes are in
// the kernel, what it uses of a processor when nothing happens but keepalives,
// and how much memory each peer costs. The peers are sessions of one sender,
// each a node with a block and routes of its own. caracald and BIRD 2 take turns
// in one run. It prints a table in Markdown.
//
//	mesh --caracald bin/caracald --peers 200 --routes 50
//
// It needs root, iproute2 and bird2.
package main
