package cni

import (
	"fmt"
	"os"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
)

// logged writes a line about a command to the file that the configuration names,
// if it names one. The runtime has the error as well, so a log that cannot be
// written is no failure.
func logged(command string, run func(*skel.CmdArgs) error) func(*skel.CmdArgs) error {
	return func(a *skel.CmdArgs) error {
		began := time.Now()
		err := run(a)
		c, bad := parseConf(a.StdinData, true)
		if bad != nil || c.LogFile == "" {
			return err
		}
		f, open := os.OpenFile(c.LogFile, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if open != nil {
			return err
		}
		defer f.Close()
		outcome := "ok"
		if err != nil {
			outcome = err.Error()
		}
		// One write, so that the lines of plugins that run at once stay whole.
		fmt.Fprintf(f, "%s %s container=%s ifname=%s netns=%s network=%s args=%q took=%s: %s\n",
			began.Format(time.RFC3339Nano), command, a.ContainerID, a.IfName, a.Netns, c.Name, a.Args, time.Since(began).Round(time.Microsecond), outcome)
		return err
	}
}
