// Package runtimes runs containers on the nodes of a lab the way container
// runtimes do. There are four, and all of them call the CNI plugins in the
// node's network namespace:
//
//   - [Host.Add] and its like use libcni, the library within every runtime, on
//     namespaces that have no process: as many at once as a test likes;
//   - [Tool] is cnitool, the same as a program;
//   - [Podman] runs processes from a root file system of busybox, made on the spot;
//   - [Containerd] is asked by the CRI, as the kubelet asks it.
//
// Nothing is pulled from a registry, and nothing outside of the lab's directory
// is written to.
package runtimes
