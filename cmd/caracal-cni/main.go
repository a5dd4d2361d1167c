// Command caracal-cni is the CNI plugin of Caracal: a container runtime calls it
// to connect a container to the node's network, and to take it off again. It
// needs caracald on the same node. See package cni.
package main

import (
	"runtime/debug"

	"github.com/containernetworking/cni/pkg/skel"

	"caracal.dev/caracal/cni"
	"caracal.dev/caracal/internal/version"
)

func main() {
	// It lives for milliseconds: a collection would only cost time. The limit is
	// for what nobody foresees.
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(256 << 20)
	skel.PluginMainFuncs(cni.Plugin{}.Funcs(), cni.Versions(), "caracal-cni "+version.String())
}
