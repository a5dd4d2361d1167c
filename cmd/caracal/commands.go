package main

import "caracal.dev/caracal/cli"

// commands are those that other rooms implement and that need no daemon.
func commands() []cli.External {
	return nil
}
