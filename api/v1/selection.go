package v1

import "caracal.dev/caracal/selector"

// Selection says which nodes an object is for.
type Selection struct {
	node string
	sel  *selector.Selector
	all  bool
}

// Selection returns the nodes that peer with a valid BGPPeer.
func (o *BGPPeer) Selection() Selection { return newSelection(o.Spec.Node, o.Spec.NodeSelector) }

// PeerSelection returns the nodes that a valid BGPPeer with a peerSelector peers
// with; false without one.
func (o *BGPPeer) PeerSelection() (Selection, bool) {
	if o.Spec.PeerSelector == "" {
		return Selection{}, false
	}
	return newSelection("", o.Spec.PeerSelector), true
}

// Selection returns the nodes that a valid BGPConfiguration is for.
func (o *BGPConfiguration) Selection() Selection { return newSelection("", o.Spec.NodeSelector) }

func newSelection(node, sel string) Selection {
	parsed, err := selector.Parse(sel)
	if err != nil { // the object was not validated: it is for nobody
		parsed, _ = selector.Parse("!all()")
	}
	return Selection{node, parsed, node == "" && parsed.String() == "all()"}
}

// Node returns the one node that is named; empty if a selector says which.
func (s Selection) Node() string { return s.node }

// String is the same for selections of the same nodes by the same words.
func (s Selection) String() string {
	if s.node != "" {
		return "node " + s.node
	}
	return s.sel.String()
}

// Selects reports whether the node is one of those selected.
func (s Selection) Selects(name string, labels map[string]string) bool {
	if s.all || s.node != "" {
		return s.all || s.node == name
	}
	if _, ok := labels[HostnameLabel]; !ok {
		with := make(map[string]string, len(labels)+1)
		for k, v := range labels {
			with[k] = v
		}
		with[HostnameLabel] = name
		labels = with
	}
	return s.sel.Matches(labels)
}
