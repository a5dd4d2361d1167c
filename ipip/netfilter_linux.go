package ipip

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/coreos/go-iptables/iptables"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Netfilter is the firewall of the network namespace that [NewNetfilter] was
// called in, by iptables in the variant that is the host's default.
type Netfilter struct {
	sets  *netlink.Handle
	rules *iptables.IPTables
}

// NewNetfilter opens the firewall; Close ends it. It fails without the program
// iptables.
func NewNetfilter() (*Netfilter, error) {
	h, err := netlink.NewHandle(unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("ipip: open netfilter: %w", err)
	}
	// Another program may hold the lock of iptables for a while.
	t, err := iptables.New(iptables.IPFamily(iptables.ProtocolIPv4), iptables.Timeout(5))
	if err != nil {
		h.Close()
		return nil, fmt.Errorf("ipip: find iptables: %w; install iptables", err)
	}
	return &Netfilter{h, t}, nil
}

// Close releases the sockets.
func (n *Netfilter) Close() { n.sets.Close() }

// Members implements [Firewall].
func (n *Netfilter) Members(context.Context) ([]netip.Addr, bool, error) {
	set, err := n.sets.IpsetList(SetName)
	switch {
	case errors.Is(err, unix.ENOENT):
		return nil, false, nil
	case err != nil:
		return nil, false, err
	}
	var members []netip.Addr
	for _, e := range set.Entries {
		if a, ok := netip.AddrFromSlice(e.IP); ok {
			members = append(members, a.Unmap())
		}
	}
	return members, true, nil
}

// Change implements [Firewall].
func (n *Netfilter) Change(_ context.Context, add, remove []netip.Addr) error {
	err := n.sets.IpsetCreate(SetName, "hash:ip", netlink.IpsetCreateOptions{Replace: true, Family: unix.AF_INET})
	if err != nil {
		return err
	}
	var failed []error
	for _, a := range add {
		if err := n.sets.IpsetAdd(SetName, &netlink.IPSetEntry{IP: a.AsSlice(), Replace: true}); err != nil {
			failed = append(failed, fmt.Errorf("add %s: %w", a, err))
		}
	}
	for _, a := range remove {
		err := n.sets.IpsetDel(SetName, &netlink.IPSetEntry{IP: a.AsSlice()})
		if err != nil && !errors.Is(err, nl.IPSetError(nl.IPSET_ERR_EXIST)) { // gone already
			failed = append(failed, fmt.Errorf("remove %s: %w", a, err))
		}
	}
	return errors.Join(failed...)
}

// rule is what drops IPIP that comes from no node.
func rule() []string {
	return []string{"-p", "4", "-m", "set", "!", "--match-set", SetName, "src", "-m", "comment", "--comment", RuleComment, "-j", "DROP"}
}

// Ruled implements [Firewall].
func (n *Netfilter) Ruled(context.Context) (bool, error) {
	return n.rules.Exists("filter", "INPUT", rule()...)
}

// Rule implements [Firewall]. The rule is the first, before those that accept.
func (n *Netfilter) Rule(_ context.Context, there bool) error {
	if there {
		return n.rules.Insert("filter", "INPUT", 1, rule()...)
	}
	return n.rules.DeleteIfExists("filter", "INPUT", rule()...)
}

// Drop implements [Firewall].
func (n *Netfilter) Drop(context.Context) error { return n.sets.IpsetDestroy(SetName) }
