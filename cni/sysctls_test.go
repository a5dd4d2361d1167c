package cni

import (
	"strings"

	"caracal.dev/caracal/fib"
)

// daemonSysctls are the settings that the daemon wants of a workload's device.
func daemonSysctls(dev string) map[string]string {
	want := map[string]string{}
	needs := fib.SysctlNeeds{IPv4: true, IPv6: true, Workloads: []string{dev}}
	for _, f := range fib.CheckSysctls(needs, func(string) (string, bool) { return "none", true }) {
		if strings.Contains(f.Key, "/"+dev+"/") {
			want[f.Key] = f.Must
		}
	}
	return want
}
