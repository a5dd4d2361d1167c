package node

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"

	"caracal.dev/caracal"
	"caracal.dev/caracal/node/api"
)

// Nodes implements api.Inventory.
func (a *Agent) Nodes(ctx context.Context) ([]api.Node, error) {
	snap := a.o.Store.Snapshot()
	sessions := map[string][2]string{}
	if up := a.up.Load(); up != nil {
		neighbors, err := up.speaker.Neighbors(ctx)
		if err != nil {
			return nil, fmt.Errorf("node: list neighbors: %w", err)
		}
		for _, n := range neighbors {
			if n.Node != "" {
				sessions[n.Node] = [2]string{n.Name, n.State.String()}
			}
		}
	}
	out := make([]api.Node, 0, snap.Nodes.Len())
	for name, n := range snap.Nodes.All() {
		s := sessions[name]
		out = append(out, api.Node{Node: n, Self: name == snap.Self, Neighbor: s[0], State: s[1]})
	}
	return out, nil
}

// Workloads implements api.Inventory.
func (a *Agent) Workloads(ctx context.Context) ([]api.Workload, error) {
	snap := a.o.Store.Snapshot()
	out := make([]api.Workload, 0, snap.Workloads.Len())
	for _, w := range snap.Workloads.All() {
		out = append(out, api.Workload{Workload: w, Local: w.Node == snap.Self})
	}
	up := a.up.Load()
	if up == nil {
		return out, nil
	}
	err := up.routes.query(ctx, func() {
		for i := range out {
			if out[i].Local {
				up.routes.fillWorkload(&out[i])
			}
		}
	})
	return out, err
}

func (t *routesTask) fillWorkload(w *api.Workload) {
	var why []string
	w.Installed = true
	for _, addr := range w.Addrs {
		s, _ := t.fib.State(caracal.HostPrefix(addr))
		if !s.Installed {
			w.Installed = false
			why = append(why, addr.String()+": "+join("", s.Reason))
		}
	}
	w.Why = strings.Join(why, "; ")
}

// Interfaces implements api.Inventory. It asks the kernel each time.
func (a *Agent) Interfaces(ctx context.Context) ([]api.Interface, error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("node: list interfaces: %w", err)
	}
	use, err := a.interfaceUse(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]api.Interface, 0, len(links))
	for _, l := range links {
		at := l.Attrs()
		i := api.Interface{
			Name: at.Name, Index: at.Index, Type: l.Type(), MTU: at.MTU,
			Up:      at.Flags&1 != 0, // net.FlagUp
			Carrier: at.OperState == netlink.OperUp || at.OperState == netlink.OperUnknown && at.Flags&1 != 0,
			Use:     strings.Join(use.byName[at.Name], ", "),
		}
		addrs, err := netlink.AddrList(l, netlink.FAMILY_ALL)
		if err != nil {
			i.Problem = "its addresses cannot be listed: " + err.Error()
		}
		for _, addr := range addrs {
			if p, ok := prefixOf(addr); ok {
				i.Addrs = append(i.Addrs, p)
				if names := use.byAddr[p.Addr()]; len(names) > 0 {
					i.Use = join(i.Use, "sessions of "+strings.Join(names, ", "))
				}
			}
		}
		i.Problem = join(join(i.Problem, downProblem(i)), a.interfaceProblem(at.Name))
		out = append(out, i)
	}
	return out, nil
}

func prefixOf(a netlink.Addr) (netip.Prefix, bool) {
	if a.IPNet == nil {
		return netip.Prefix{}, false
	}
	addr, ok := netip.AddrFromSlice(a.IP)
	ones, _ := a.Mask.Size()
	return netip.PrefixFrom(addr.Unmap(), ones), ok
}

// interfaceProblem joins what the sysctl check says about one interface.
func (a *Agent) interfaceProblem(name string) string {
	found := a.sysctlProblems.Load()
	if found == nil {
		return ""
	}
	var words []string
	for _, p := range *found {
		if p.Name == name {
			words = append(words, p.Message)
		}
	}
	return strings.Join(words, "; ")
}

type interfaceUse struct {
	byName map[string][]string
	byAddr map[netip.Addr][]string
}

func (a *Agent) interfaceUse(ctx context.Context) (interfaceUse, error) {
	u := interfaceUse{byName: map[string][]string{}, byAddr: map[netip.Addr][]string{}}
	up := a.up.Load()
	if up == nil {
		return u, nil
	}
	for _, n := range up.bgp.state.Load().config.Neighbors {
		u.byAddr[n.Local] = append(u.byAddr[n.Local], n.Name)
	}
	for addr, names := range u.byAddr {
		if len(names) > 3 {
			u.byAddr[addr] = append(slices.Clone(names[:2]), fmt.Sprintf("%d more", len(names)-2))
		}
	}
	err := up.routes.query(ctx, func() {
		for key, w := range up.routes.local.workloads {
			u.byName[w.Interface] = append(u.byName[w.Interface], "workload "+key)
		}
	})
	for _, names := range u.byName {
		slices.Sort(names)
	}
	return u, err
}

// hostNetworks are the networks of the host's addresses, without single
// addresses and loopback.
func hostNetworks() []netip.Prefix {
	addrs, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil // asked again with the next Snapshot
	}
	var out []netip.Prefix
	for _, a := range addrs {
		if p, ok := prefixOf(a); ok && !p.IsSingleIP() && !p.Addr().IsLoopback() {
			out = append(out, p.Masked())
		}
	}
	return out
}

// downProblem says what an interface in use costs while it is down.
func downProblem(i api.Interface) string {
	switch {
	case i.Use == "" || i.Up && i.Carrier:
		return ""
	case i.Up:
		return "no carrier, but it is in use"
	default:
		return "down, but it is in use: its routes are not installed"
	}
}
