package node

import (
	"context"
	"log/slog"
	"net/netip"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"

	"caracal.dev/caracal"
	"caracal.dev/caracal/fib"
)

// sysctlTask keeps the kernel settings that forwarding depends on: it looks at
// the start, when this node's workloads change, and once a minute.
type sysctlTask struct {
	routes *routesTask
	agent  *Agent
	log    *slog.Logger
	said   map[string]bool // findings that were logged and still stand
	// seen are the links that were looked at since the last whole look.
	seen map[string]bool
	// uplinks are the devices with the node's addresses, as of the last whole look.
	uplinks []string
}

func (t *sysctlTask) run(ctx context.Context) error {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for whole := true; ; {
		var links []string
		var snap *caracal.Snapshot
		if t.routes.query(ctx, func() { links, snap = t.routes.local.links(), t.routes.snap }) != nil {
			return nil
		}
		if snap != nil {
			t.check(links, snap, whole)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.routes.localBell:
			whole = false
		case <-tick.C:
			whole = true
		}
	}
}

// check looks at all links, or at those that are new: a container that starts must
// not cost a look at all others.
func (t *sysctlTask) check(links []string, snap *caracal.Snapshot, whole bool) {
	self, _ := snap.SelfNode()
	look := links
	if whole {
		t.uplinks = uplinks(self)
	} else {
		look = slices.DeleteFunc(slices.Clone(links), func(l string) bool { return t.seen[l] })
	}
	needs := fib.SysctlNeeds{
		IPv4: self.IPv4.IsValid(), IPv6: self.IPv6.IsValid(),
		Workloads: look, Uplinks: t.uplinks, Neighbors: snap.Nodes.Len() + len(links), Routes6: snap.Blocks.Len(),
		ECMP: gatewayPeers(snap) > 1 || anycast(snap),
	}
	found := fib.CheckSysctls(needs, fib.ReadSysctl)
	if snap.Dataplane.SetSysctls {
		found = fib.SetSysctls(found, fib.WriteSysctl)
	}
	problems := t.standing(links, look)
	for _, f := range found {
		text := f.String()
		if f.Done {
			t.log.Info("kernel setting written", "key", f.Key, "was", f.Is, "is", f.Must, "why", f.Why)
			continue
		}
		if !t.said[text] {
			t.log.Warn("kernel setting", "finding", text)
		}
		problems = append(problems, *problem("Sysctl", sysctlDevice(f.Key), text))
	}
	t.said = map[string]bool{}
	for _, p := range problems {
		t.said[p.Message] = true
	}
	t.seen = map[string]bool{}
	for _, l := range links {
		t.seen[l] = true
	}
	t.agent.sysctlProblems.Store(&problems)
}

// standing returns the problems of links that are not looked at again now.
func (t *sysctlTask) standing(links, look []string) []caracal.Problem {
	stands := []caracal.Problem{}
	was := t.agent.sysctlProblems.Load()
	if was == nil || len(links) == len(look) {
		return stands
	}
	for _, p := range *was {
		if slices.Contains(links, p.Name) && !slices.Contains(look, p.Name) {
			stands = append(stands, p)
		}
	}
	return stands
}

// gatewayPeers counts the peers that are not our own nodes: equal paths of several
// share a route.
func gatewayPeers(snap *caracal.Snapshot) (n int) {
	for _, p := range snap.Peers.All() {
		if p.Node == "" {
			n++
		}
	}
	return n
}

// anycast reports whether other nodes serve a prefix together: their equal paths
// share a route.
func anycast(snap *caracal.Snapshot) bool {
	seen := map[netip.Prefix]bool{}
	for name, n := range snap.Nodes.All() {
		for _, p := range n.Anycast {
			if name != snap.Self && seen[p] {
				return true
			}
			seen[p] = seen[p] || name != snap.Self
		}
	}
	return false
}

// sysctlDevice returns the device that a key below .../conf/DEVICE/ is about.
func sysctlDevice(key string) string {
	if dir := path.Dir(key); path.Base(path.Dir(dir)) == "conf" {
		return path.Base(dir)
	}
	return strings.TrimPrefix(key, "net/")
}

// uplinks are the devices that have the node's own addresses.
func uplinks(self caracal.Node) []string {
	addrs, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil // the next check asks again
	}
	var names []string
	for _, a := range addrs {
		p, ok := prefixOf(a)
		if !ok || p.Addr() != self.IPv4.Addr() && p.Addr() != self.IPv6.Addr() || p.Addr() == (netip.Addr{}) {
			continue
		}
		if l, err := netlink.LinkByIndex(a.LinkIndex); err == nil {
			names = append(names, l.Attrs().Name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
