// Command caracal is the command line of caracald: see package cli for the
// language, and caracal help for how to use it.
package main

import (
	"context"
	"os"
	"time"

	"caracal.dev/caracal/cli"
	"caracal.dev/caracal/cni/attach"
	"caracal.dev/caracal/internal/version"
)

func main() {
	os.Exit(cli.Run(context.Background(), os.Args[1:], cli.Options{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Env: os.Getenv, Now: time.Now, Version: version.String(),
		Commands: commands(), Cleanup: cleanup, Attach: attach.Attach, Detach: attach.Detach,
	}))
}
