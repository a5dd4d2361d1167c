// Command caracal-cni is the CNI plugin of Caracal: a container runtime calls it
// to connect a container to the node's network, and to take it off again. It
// needs caracald on the same node. See package cni.
//
// caracal-cni install DIR copies it to where a runtime looks for plugins.
package main

import (
	"fmt"
	"os"
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
	if len(os.Args) > 1 && os.Args[1] == "install" { // a runtime gives no arguments
		os.Exit(install(os.Args[2:]))
	}
	skel.PluginMainFuncs(cni.Plugin{}.Funcs(), cni.Versions(), "caracal-cni "+version.String())
}

// install copies this program into a directory, in one step, and only if there is
// another there. It returns the exit code: 0, 1 for an error, 2 for wrong arguments.
func install(args []string) int {
	if len(args) != 1 {
		fmt.Fprintln(os.Stderr, "usage: caracal-cni install DIR, where DIR is that of the runtime's plugins, as /opt/cni/bin")
		return 2
	}
	written, err := cni.InstallBinary(args[0], "")
	if err != nil {
		fmt.Fprintln(os.Stderr, "caracal-cni:", err)
		return 1
	}
	if written {
		fmt.Println("installed caracal-cni", version.String(), "in", args[0])
	} else {
		fmt.Println("caracal-cni", version.String(), "is in", args[0], "already")
	}
	return 0
}
