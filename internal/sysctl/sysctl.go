// Package sysctl says where the kernel's settings can be written.
//
// That is /proc/sys. Container runtimes mount it read-only, whatever capabilities a
// container has; one that may change the network has /proc/sys/net of the host mounted
// elsewhere, below a directory that [DirVariable] names. What is seen there is
// the network namespace of the reader, as below /proc/sys itself
// (net/sysctl_net.c, net_ctl_header_lookup).
package sysctl

import (
	"os"
	"path/filepath"
)

// DirVariable is the environment variable that names a directory to be used in the
// place of /proc/sys for writing.
const DirVariable = "CARACAL_PROC_SYS"

// defaultDir is in proc(5).
const defaultDir = "/proc/sys"

// Path returns the file to which a setting is written; key is its path below
// /proc/sys, as "net/ipv4/ip_forward".
func Path(key string) string {
	dir := os.Getenv(DirVariable)
	if dir == "" {
		dir = defaultDir
	}
	return filepath.Join(dir, filepath.FromSlash(key))
}
