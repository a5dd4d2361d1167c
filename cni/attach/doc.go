// Package attach wires up a network namespace as a container runtime would by CNI,
// but without one: for Docker, LXC, and namespaces made by hand.
package attach
