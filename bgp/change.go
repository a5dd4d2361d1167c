package bgp

// This file says what a change of a neighbor's configuration costs. docs/
// PEER_CHANGES.md says it to operators, and test/peer_changes_test.go compares
// both with what a neighbor sees.

// ofSession is what the two ends agree on when a session begins, or what the
// connection is made with: a change of it needs a new one. Everything else of a
// Neighbor is taken while the session goes on; timers count from its next OPEN.
var ofSession = []struct {
	// field is what it is called in a BGPPeer, or where it comes from.
	field string
	value func(Neighbor) any
}{
	{"peerIP", func(n Neighbor) any { return n.Addr }},
	{"port", func(n Neighbor) any { return n.Port }},
	{"interface", func(n Neighbor) any { return n.Interface }},
	{"asNumber", func(n Neighbor) any { return n.ASN }},
	{"localASNumber", func(n Neighbor) any { return n.LocalASN }},
	{"sourceAddress", func(n Neighbor) any { return n.Local }},
	{"passive", func(n Neighbor) any { return n.Passive }},
	{"ebgpMultihop", func(n Neighbor) any { return n.Multihop }},
	{"ttlSecurity", func(n Neighbor) any { return n.TTLSecurity }},
	// One that cannot be read ends a session without one, too.
	{"password", func(n Neighbor) any { return [2]any{n.Password.Secret, n.usable() == nil} }},
	{"gracefulRestart", func(n Neighbor) any { return [2]any{n.GracefulRestart, n.RestartTime} }},
	{"gracefulRestart.longLivedStaleTime", func(n Neighbor) any { return n.LongLived }},
	{"addPath", func(n Neighbor) any { return [2]any{n.AddPathReceive, n.AddPathSend} }},
	{"address families of the nodes", func(n Neighbor) any { return [2]bool{n.IPv4, n.IPv6} }},
}

// resetFields lists what of a session's own differs.
func resetFields(a, b Neighbor) []string {
	var fields []string
	for _, f := range ofSession {
		if f.value(a) != f.value(b) {
			fields = append(fields, f.field)
		}
	}
	return fields
}

// needsReset reports whether a session must end to take a change.
func needsReset(a, b Neighbor) bool { return len(resetFields(a, b)) > 0 }
