package lab

import (
	"fmt"
	"net/netip"
)

// reflectorCount is how many nodes of [Reflector] reflect.
const reflectorCount = 2

// clusterID is the cluster of the reflectors: they are for the same clients, so
// one ID keeps what one reflects from coming back by the other (RFC 4456 section
// 7).
var clusterID = netip.MustParseAddr("10.255.0.1")

// Reflector returns nodes in one subnet as [Mesh] does, four if o does not say,
// of which the first two are route reflectors for the others: no other two have
// a session.
func Reflector(o MeshOptions) Topology {
	if o.Nodes == 0 {
		o.Nodes = 4
	}
	t := Mesh(o)
	t.Name = "reflector"
	reflectors := min(reflectorCount, len(t.Nodes))
	for i := range t.Nodes {
		n := &t.Nodes[i]
		n.Sessions = reflectors
		if i < reflectors {
			n.Cluster, n.Sessions = clusterID, len(t.Nodes)-1
			n.Labels = map[string]string{"role": "reflector"}
		}
	}
	// One object for all sessions: every node, a reflector too, peers with every
	// reflector but itself.
	t.Objects = []string{peerDocument("reflectors", "  nodeSelector: all()\n  peerSelector: role == 'reflector'\n")}
	return t
}

// peerDocument is a BGPPeer; spec is indented by two blanks.
func peerDocument(name, spec string) string {
	return fmt.Sprintf("apiVersion: caracal.dev/v1\nkind: BGPPeer\nmetadata:\n  name: %q\nspec:\n%s", name, spec)
}
