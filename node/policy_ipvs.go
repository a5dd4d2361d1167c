package node

import "net"

// ipvsDevice has the addresses of Services where kube-proxy balances them by IPVS.
const ipvsDevice = "kube-ipvs0"

// ipvsBypass is what policies do not see there: IPVS takes packets to Services at the
// hook LOCAL_IN and sends them on at LOCAL_OUT (net/netfilter/ipvs/ip_vs_core.c), so
// they never pass FORWARD, where policies are.
const ipvsBypass = "the device " + ipvsDevice + " says that kube-proxy balances by IPVS: connections to Services go past NetworkPolicies; run kube-proxy in the mode nftables or iptables, and see docs/KUBE-PROXY.md"

// bypassed says what goes past the rules on this host; has reports whether there is a
// device of a name.
func bypassed(has func(name string) bool) []string {
	if has(ipvsDevice) {
		return []string{ipvsBypass}
	}
	return nil
}

func hasDevice(name string) bool {
	_, err := net.InterfaceByName(name)
	return err == nil
}
