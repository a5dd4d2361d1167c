package node

import (
	"net/netip"
	"slices"

	"github.com/gaissmai/bart"

	"caracal.dev/caracal"
	"caracal.dev/caracal/fib"
	"caracal.dev/caracal/ipip"
)

// encap decides which routes lead into the tunnel, by the mode of the pool that
// the prefix is in and by where the node that owns the prefix is. It is pure, and
// belongs to the routes task.
type encap struct {
	snap *caracal.Snapshot
	// modes are those in force of the pools that ask for a tunnel, by CIDR; pools
	// are those of all IPv4 pools.
	modes bart.Table[caracal.IPIPMode]
	pools map[string]poolMode
	// waiting says that a pool is to go into the tunnel, and does not yet: its
	// routes stay as they are until the device is there, or cannot be had.
	waiting bool
}

// poolMode is what of a pool matters here.
type poolMode struct {
	cidr netip.Prefix
	mode caracal.IPIPMode
}

func newEncap() *encap {
	return &encap{snap: caracal.NewSnapshot(""), pools: map[string]poolMode{}}
}

// tunnels reports whether a mode ever asks for the tunnel.
func tunnels(m caracal.IPIPMode) bool {
	return m == caracal.IPIPAlways || m == caracal.IPIPCrossSubnet
}

// update takes a Snapshot and the prefixes below which the owners changed, and
// returns those below which the way of routes may be another now. tried says
// that the device is there, or that it was found out that it cannot be.
func (e *encap) update(cur *caracal.Snapshot, owners []netip.Prefix, tried bool) []netip.Prefix {
	was := e.snap
	e.snap = cur
	e.waiting = false
	var below []netip.Prefix
	for name, p := range cur.Pools.All() {
		if p.CIDR.Addr().Is4() {
			below = append(below, e.setPool(name, poolMode{p.CIDR, p.IPIP}, tried)...)
		}
	}
	if cur.Complete() {
		for name, p := range e.pools {
			if _, ok := cur.Pools.Get(name); !ok {
				below = append(below, e.setPool(name, poolMode{cidr: p.cidr, mode: caracal.IPIPNever}, tried)...)
				delete(e.pools, name)
			}
		}
	}
	if len(below) > 0 { // pools are few, and one may have got the range of another
		e.modes = bart.Table[caracal.IPIPMode]{}
		for _, p := range e.pools {
			if tunnels(p.mode) {
				e.modes.Insert(p.cidr, p.mode)
			}
		}
	}
	if moved(was, cur) { // other nodes are in its network now
		for _, p := range e.pools {
			if tunnels(p.mode) {
				below = append(below, p.cidr)
			}
		}
	}
	for _, p := range owners {
		if p.Addr().Is4() && e.modes.OverlapsPrefix(p) {
			below = append(below, p)
		}
	}
	return below
}

// setPool puts a pool's mode in force, and returns the range that this changes.
// A pool that had its routes outside of the tunnel keeps them there until the
// device was tried.
func (e *encap) setPool(name string, is poolMode, tried bool) []netip.Prefix {
	was, known := e.pools[name]
	if known && was.cidr == is.cidr && !tunnels(was.mode) && tunnels(is.mode) && !tried {
		e.waiting = true
		return nil
	}
	if was == is {
		return nil
	}
	e.pools[name] = is
	var below []netip.Prefix
	for _, p := range []poolMode{was, is} {
		if tunnels(p.mode) {
			below = append(below, p.cidr)
		}
	}
	return slices.Compact(below)
}

// moved reports whether this node is on another network.
func moved(was, is *caracal.Snapshot) bool {
	a, _ := was.SelfNode()
	b, _ := is.SelfNode()
	return a.IPv4.IsValid() && a.IPv4 != b.IPv4
}

// wrap has a route lead into the tunnel if it is to. The other end is the node
// that owns the prefix, whoever announced it and whatever the next hop is; where
// several serve it, all of them. What is not known to be a node's goes as it
// would without a tunnel.
func (e *encap) wrap(w *fib.Want, ownerOf func(netip.Prefix) string, nodeOf func(netip.Addr) string) {
	if !w.Dst.Addr().Is4() {
		return
	}
	mode, ok := e.modes.LookupPrefix(w.Dst)
	if !ok {
		return
	}
	owners := []string{ownerOf(w.Dst)}
	if owners[0] == "" {
		owners = owners[:0]
		for _, nh := range w.NextHops {
			owners = append(owners, nodeOf(nh))
		}
	}
	self, _ := e.snap.SelfNode()
	network := self.IPv4.Masked()
	far, away := make([]netip.Addr, 0, len(owners)), false
	for _, name := range owners {
		n, ok := e.snap.Nodes.Get(name)
		if !ok || !n.IPv4.IsValid() || name == e.snap.Self {
			return
		}
		far = append(far, n.IPv4.Addr())
		away = away || !network.Contains(n.IPv4.Addr())
	}
	if mode == caracal.IPIPAlways || away {
		w.NextHops, w.Tunnel = far, ipip.Device
	}
}
