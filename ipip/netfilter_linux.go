package ipip

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/coreos/go-iptables/iptables"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Netfilter is the firewall of the network namespace that [NewNetfilter] was
// called in, by iptables in the variant that is the host's default. Where the
// kernel does not have what that variant needs, which shows only at the first
// rule, it is the older one, iptables-legacy.
type Netfilter struct {
	sets   *netlink.Handle
	rules  *iptables.IPTables
	legacy *iptables.IPTables // nil without the program
}

// NewNetfilter opens the firewall; Close ends it. It fails without the program
// iptables.
func NewNetfilter() (*Netfilter, error) {
	h, err := netlink.NewHandle(unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("ipip: open netfilter: %w", err)
	}
	// Another program may hold the lock of iptables for a while.
	const patience = 5
	t, err := iptables.New(iptables.IPFamily(iptables.ProtocolIPv4), iptables.Timeout(patience))
	if err != nil {
		h.Close()
		return nil, fmt.Errorf("ipip: find iptables: %w; install iptables", err)
	}
	n := &Netfilter{sets: h, rules: t}
	if path, err := exec.LookPath("iptables-legacy"); err == nil {
		n.legacy, err = iptables.New(iptables.IPFamily(iptables.ProtocolIPv4), iptables.Timeout(patience), iptables.Path(path))
		if err != nil {
			n.legacy = nil
		}
	}
	return n, nil
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
	there, err := n.rules.Exists("filter", "INPUT", rule()...)
	switch {
	case there:
		return true, nil
	case n.usesLegacy():
		return n.legacy.Exists("filter", "INPUT", rule()...)
	case n.legacy != nil:
		return false, nil // with an error the first rule is one of the other variant
	}
	return false, err
}

// Rule implements [Firewall]. The rule is the first, before those that accept.
func (n *Netfilter) Rule(_ context.Context, there bool) error {
	if there {
		err := n.rules.Insert("filter", "INPUT", 1, rule()...)
		if err == nil || n.legacy == nil {
			return err
		}
		if also := n.legacy.Insert("filter", "INPUT", 1, rule()...); also != nil {
			return errors.Join(err, also)
		}
		return nil
	}
	if n.usesLegacy() {
		if err := n.legacy.DeleteIfExists("filter", "INPUT", rule()...); err != nil {
			return err
		}
	}
	if there, err := n.rules.Exists("filter", "INPUT", rule()...); err != nil || !there {
		return nil // the variant that the kernel does not have
	}
	return n.rules.Delete("filter", "INPUT", rule()...)
}

// usesLegacy reports whether iptables-legacy has a table here. To ask itself
// would make it one.
func (n *Netfilter) usesLegacy() bool {
	b, err := os.ReadFile("/proc/net/ip_tables_names")
	return n.legacy != nil && err == nil && slices.Contains(strings.Fields(string(b)), "filter")
}

// Drop implements [Firewall].
func (n *Netfilter) Drop(context.Context) error { return n.sets.IpsetDestroy(SetName) }
