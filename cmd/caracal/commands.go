package main

import (
	"os"

	"caracal.dev/caracal/cli"
	"caracal.dev/caracal/lab"
)

// commands are those that other rooms implement and that need no daemon.
func commands() []cli.External {
	return []cli.External{
		{Name: "convert", Help: "write the configuration of Calico or kube-router as Caracal's", Run: convertFrom(os.Stdin)},
		{Name: "init", Help: "write a first configuration", Run: initialize},
		{Name: "lab", Help: "nodes and pods as network namespaces on this machine", Run: lab.Main},
	}
}
