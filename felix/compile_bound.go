package felix

import (
	"fmt"

	"caracal.dev/caracal"
)

// Bounds of one policy, far above what anybody writes by hand. Ports and peers
// multiply, and an exception leaves up to 128 ranges of what it is taken from, so that
// an object of 200 kB, which needs no more than a namespace to make, could come to
// millions of rules and take all of the host's memory.
const (
	// maxRules is how many rules of the kernel a policy may come to, for a family and
	// direction.
	maxRules = 20_000
	// maxPeers is how many different selectors its peers may have: each is a set, and
	// the kernel has 65,535 for all policies (IPSET_INVALID_ID, ip_set.h).
	maxPeers = 5_000
	// maxNets is how many ranges its exceptions may leave.
	maxNets = 200_000
)

// tooMuch says why a policy is more than is put into the kernel; empty if it is not.
func tooMuch(p caracal.Policy) string {
	for _, rules := range [][]caracal.PolicyRule{p.IngressRules, p.EgressRules} {
		var sum, selectors, nets int
		for _, r := range rules {
			peers, split := alternatives(r.Peers)
			nets += split
			selectors += peers
			sum += portGroupsAtMost(r.Ports) * max(peers+min(len(r.Peers)-peers, plainNets), 1)
		}
		switch {
		case sum > maxRules:
			return fmt.Sprintf("its ports times its peers come to %d rules of the kernel, and %d is the most for a policy and direction: split it into several policies, or use ranges of ports and labels that several peers share", sum, maxRules)
		case selectors > maxPeers:
			return fmt.Sprintf("it has %d peers with selectors, and %d is the most for a policy and direction: use a label that several of them share", selectors, maxPeers)
		case nets > maxNets:
			return fmt.Sprintf("the exceptions of its ipBlocks leave up to %d ranges of addresses, and %d is the most for a policy and direction: use larger exceptions", nets, maxNets)
		}
	}
	return ""
}

// alternatives counts the peers with selectors, and the ranges that the exceptions of
// the others leave at most: each as many as it is longer than what it is taken from.
func alternatives(peers []caracal.PolicyPeer) (selectors, nets int) {
	for i := range peers {
		pp := &peers[i]
		if pp.Pods != nil || pp.Namespaces != nil {
			selectors++
			continue
		}
		for _, e := range pp.Except {
			nets += max(e.Bits()-pp.Net.Bits(), 0)
		}
	}
	return selectors, nets
}

// portGroupsAtMost is how many matches the ports of a rule come to at most, before
// those beside each other are put together. Nothing is sorted for those with few.
func portGroupsAtMost(ports []caracal.PolicyPort) int {
	if len(ports) <= multiportSlots {
		return max(len(ports), 1)
	}
	g := groupPorts(ports)
	return len(g.numbers) + len(g.names)
}
