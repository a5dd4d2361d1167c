// Command reflector measures a routing daemon as the route reflector (RFC 4456)
// of a large cluster: how long from the first route that its clients announce
// until every client has the routes of all others, and one route's way from a
// client through the reflector to all the others, with the processor time and
// the memory that it takes. The clients are sessions of one sender, each a node
// with a block and routes of its own. caracald and BIRD 2 take turns in one run.
// It prints a table in Markdown.
//
//	reflector --caracald bin/caracald --clients 1000 --routes 20
//
// It needs root, iproute2 and bird2.
package main
