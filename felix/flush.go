package felix

import (
	"net/netip"

	"caracal.dev/caracal"
)

// Connection is an established connection as the policies saw its first packet.
type Connection struct {
	Protocol uint8 // that of the IP header
	// From is who opened it. To and Port are where it went after any translation of
	// the destination: the source of the replies.
	From, To netip.Addr
	Port     uint16
}

// Forbidden returns the places of those connections that a policy of a workload of
// this node denies now. own are the node's own addresses, beside those in the
// Snapshot. What only another node enforces is left to it, and so is what the
// protection of the node's protocols forbids.
func Forbidden(snap *caracal.Snapshot, own []netip.Addr, list []Connection) []int {
	if len(list) == 0 {
		return nil // a look at all policies would be for nothing
	}
	flows := make([]Flow, len(list))
	for i, c := range list {
		flows[i] = Flow{From: End{Addr: c.From}, To: End{Addr: c.To}, Protocol: c.Protocol, Port: c.Port}
	}
	j := newJudge(snap, flows)
	for _, a := range own {
		j.own[a] = true
	}
	here := func(a netip.Addr) bool {
		key := j.byAddr[a]
		return key != "" && j.workload(key).Node == snap.Self
	}
	var out []int
	for i, f := range flows {
		if !here(f.From.Addr) && !here(f.To.Addr) {
			continue
		}
		v := j.judge(f)
		denied := func(s Side) bool { return s.Why != "" && !s.Allowed && s.Node == snap.Self }
		if denied(v.Egress) || denied(v.Ingress) {
			out = append(out, i)
		}
	}
	return out
}

// midway are the rules, where forbidden connections are to end, for what is in the
// middle of a TCP connection that the kernel does not know (any more). Conntrack
// takes the first such packet for the beginning of a connection
// (nf_conntrack_tcp_loose), so one that was ended would live on the other way round
// with what its server says next. A workload that is isolated for the direction in
// which the connection was judged cannot begin it the other way.
func (c *Compiler) midway(free, end string) []Rule {
	if !c.in.Snapshot.Dataplane.Policy.FlushConntrack {
		return nil
	}
	return []Rule{{"-p tcp ! --syn -m set ! --match-set " + free + " " + end + " -j DROP", "the middle of no connection"}}
}
