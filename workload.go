package caracal

import (
	"crypto/sha256"
	"encoding/hex"
)

// hostInterfacePrefix begins the name of each host interface that we make.
const hostInterfacePrefix = "car"

// HostInterface returns the name of the host's end of the link of a
// container's interface: "car" and 11 hex digits of a hash, 14 bytes of the 15
// that the kernel allows (IFNAMSIZ, if.h). It is of the container and not of the
// workload, so what comes late for a container that is dead never touches the
// link of the one that took its place.
func HostInterface(containerID, ifname string) string {
	sum := sha256.Sum256([]byte(containerID + "/" + ifname))
	return hostInterfacePrefix + hex.EncodeToString(sum[:])[:11]
}

// IsHostInterface reports whether a name is one that [HostInterface] returns.
func IsHostInterface(name string) bool {
	if len(name) != len(hostInterfacePrefix)+11 || name[:3] != hostInterfacePrefix {
		return false
	}
	for _, c := range name[3:] {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
