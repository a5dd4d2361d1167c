package store

import (
	"fmt"
	"net/netip"

	"caracal.dev/caracal"
	v1 "caracal.dev/caracal/api/v1"
)

// maxAlike is how many warnings of one sort are listed one by one.
const maxAlike = 10

// Warnings lists what is accepted but likely not meant so. Of a sort of which
// there are many, the rest is one warning with their number.
func Warnings(objects []*Object) []caracal.Problem {
	w := &warner{
		nodes: map[string]map[string]string{}, addrs: map[netip.Addr]string{},
		reflectors: map[string]bool{}, filters: map[string]bool{}, sorts: map[string][]caracal.Problem{},
	}
	for _, o := range objects {
		switch v := o.Value.(type) {
		case *v1.IPPool:
			w.pools = append(w.pools, v.Pool())
		case *v1.IPAMConfiguration:
			w.claims = v.Spec.Mode == v1.IPAMBlocks
		case *v1.NodeConfig:
			at := o.site()
			w.ranges = append(w.ranges, at.ranges...)
			w.nodes[o.Name] = v.Labels
			w.addrs[at.v4.Addr()], w.addrs[at.v6.Addr()] = o.Name, o.Name
			w.network(at.v4, at.v6)
			w.reflectors[o.Name] = v.Spec.RouteReflectorClusterID != ""
		case *v1.BGPFilter:
			w.filters[o.Name] = true
		case *caracal.Workload:
			w.placed = append(w.placed, v.Addrs...)
		}
	}
	for _, o := range objects {
		w.object(o)
	}
	return w.list()
}

type warner struct {
	pools []caracal.Pool
	nodes map[string]map[string]string // labels by name
	addrs map[netip.Addr]string

	ranges   []netip.Prefix // of all nodes
	networks []netip.Prefix // that nodes are on
	placed   []netip.Addr   // of Workloads
	claims   bool           // nodes claim blocks as they need them

	reflectors, filters map[string]bool // by name

	sorts map[string][]caracal.Problem
	order []string
}

func (w *warner) add(sort string, o *Object, format string, args ...any) {
	if _, known := w.sorts[sort]; !known {
		w.order = append(w.order, sort)
	}
	w.sorts[sort] = append(w.sorts[sort], caracal.Problem{
		Severity: caracal.Warning, Source: o.Source, Kind: o.Kind, Name: o.Name,
		Message: Sentence(o.Source, o.Key, fmt.Sprintf(format, args...)),
	})
}

func (w *warner) object(o *Object) {
	if o.Warnings != nil {
		for _, e := range *o.Warnings {
			w.add(o.Kind+" "+e.Path, o, "%v", e)
		}
	}
	switch v := o.Value.(type) {
	case *v1.NodeConfig:
		for _, p := range o.site().ranges {
			w.block(o, p)
		}
	case *v1.BGPConfiguration:
		if v.Spec.NodeSelector != "" && !w.selectsAny(v.Selection()) {
			w.add("selector", o, "spec.nodeSelector: %s selects no node", v.Spec.NodeSelector)
		}
		w.services(o, v)
	case *v1.BGPPeer:
		w.peer(o, v)
	case *v1.IPPool:
		w.emptyPool(o, v)
	case *v1.IPReservation:
		w.reservation(o, v)
	case *v1.IPAMConfiguration:
		w.ipamConfiguration(o, v)
	case *caracal.Workload:
		w.workload(o, v)
	}
}

func (w *warner) workload(o *Object, v *caracal.Workload) {
	if _, ok := w.nodes[v.Node]; !ok {
		w.add("workload node", o, "spec.node: there is no NodeConfig %s", v.Node)
	}
	for _, a := range v.Addrs {
		if w.pool(caracal.HostPrefix(a)) == nil {
			w.add("workload pool", o, "spec.ipNetworks: %s is in no IPPool, so other nodes do not accept its route", a)
		}
	}
}

func (w *warner) peer(o *Object, v *v1.BGPPeer) {
	switch {
	case w.selectsAny(v.Selection()):
	case v.Spec.Node != "":
		w.add("selector", o, "spec.node: there is no NodeConfig %s, so no node peers", v.Spec.Node)
	case v.Spec.NodeSelector != "":
		w.add("selector", o, "spec.nodeSelector: %s selects no node", v.Spec.NodeSelector)
	}
	if sel, ok := v.PeerSelection(); ok && !w.selectsAny(sel) {
		w.add("peerSelector", o, "spec.peerSelector: %s selects no node, so there is nobody to peer with", v.Spec.PeerSelector)
	}
	ap, _ := v.Address()
	if node, ok := w.addrs[ap.Addr()]; ok && ap.IsValid() && !w.reflectors[node] && v.Spec.PeerSelector == "" {
		w.add("peer in mesh", o, "spec.peerIP: %s is node %s; while the node-to-node mesh is enabled the nodes peer with it without a BGPPeer", ap.Addr(), node)
	}
	for i, name := range v.Spec.Filters {
		if !w.filters[name] {
			w.add("missing filter", o, "spec.filters[%d]: there is no BGPFilter %s; until there is, nothing is taken from the neighbor nor announced to it", i, name)
		}
	}
}

func (w *warner) block(o *Object, p netip.Prefix) {
	switch pool := w.pool(p); {
	case pool == nil:
		w.add("block pool", o, "%s is in no IPPool, so other nodes do not accept its route", p)
	case pool.BlockSize != p.Bits() && !isPodCIDR(o, p):
		w.add("block size", o, "spec.blocks: %s is not of the size of the blocks of IPPool %s, /%d", p, pool.Name, pool.BlockSize)
	}
}

func isPodCIDR(o *Object, p netip.Prefix) bool {
	return rangeField(&entry{Object: o}, p) == "spec.podCIDRs"
}

func (w *warner) pool(p netip.Prefix) *caracal.Pool {
	for i := range w.pools {
		if w.pools[i].CIDR.Addr().Is4() == p.Addr().Is4() && caracal.Covers(w.pools[i].CIDR, p) {
			return &w.pools[i]
		}
	}
	return nil
}

func (w *warner) selectsAny(s v1.Selection) bool {
	for name, labels := range w.nodes {
		if s.Selects(name, labels) {
			return true
		}
	}
	return false
}

func (w *warner) list() []caracal.Problem {
	var all []caracal.Problem
	for _, sort := range w.order {
		alike := w.sorts[sort]
		if more := len(alike) - maxAlike; more > 0 {
			last := alike[maxAlike]
			last.Name, last.Source = "", ""
			last.Message = fmt.Sprintf("%d more objects have the same warning, %s first.", more, alike[maxAlike].Kind+" "+alike[maxAlike].Name)
			alike = append(alike[:maxAlike:maxAlike], last)
		}
		all = append(all, alike...)
	}
	return all
}

// Sentence puts together what [caracal.Problem.Message] is: the file, the
// object, and what is wrong with it.
func Sentence(source string, key Key, what string) string {
	s := what
	if key.Kind != "" && key.Name != "" {
		s = key.String() + ": " + s
	} else if key.Kind != "" {
		s = key.Kind + ": " + s
	}
	if source != "" {
		s = source + ": " + s
	}
	return s
}
