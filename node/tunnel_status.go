package node

import (
	"fmt"
	"slices"

	"caracal.dev/caracal"
)

// problems says of each pool that asks for the tunnel why it does not have it.
func (t *tunnelTask) problems() []caracal.Problem {
	st, snap := t.state.Load(), t.store.Snapshot()
	var out []caracal.Problem
	add := func(kind, name, text string) {
		p := *problem(kind, name, text)
		if !st.since.IsZero() {
			p.Since = st.since
		}
		out = append(out, p)
	}
	self, _ := snap.SelfNode()
	pools := tunnelPools(snap)
	slices.Sort(pools)
	var err error
	switch {
	case !self.IPv4.IsValid():
		err = fmt.Errorf("the node has no IPv4 address")
	case st.err != nil:
		err = st.err
	}
	for _, name := range pools {
		if p, _ := snap.Pools.Get(name); err != nil {
			add("IPPool", name, fmt.Sprintf("IPPool %s asks for ipipMode: %s, which this node cannot do: %v", name, p.IPIP, err))
		}
	}
	if err != nil && len(pools) == 0 && st.wanted {
		add("NodeConfig", snap.Self, fmt.Sprintf("NodeConfig %s has a tunnelAddress, which this node cannot use: %v", snap.Self, err))
	}
	if st.uplinkErr != nil && st.wanted {
		add("Tunnel", "", st.uplinkErr.Error())
	}
	return out
}
