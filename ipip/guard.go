package ipip

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
)

// The guard: a tunnel device takes packets from anybody who knows the node's
// address, whatever source the packet inside claims. Protocol 4 is therefore
// dropped unless it comes from the address of a node.
const (
	// SetName is the ipset of the addresses that may send IPIP to this node.
	SetName = "caracal-ipip"
	// RuleComment marks the rule that drops what comes from others.
	RuleComment = "caracal:ipip-guard"
)

// Firewall is the machine's side of the guard. [NewNetfilter] is the real one,
// [FakeFirewall] behaves like it.
type Firewall interface {
	// Members returns what the set holds, and false if there is no such set.
	Members(ctx context.Context) ([]netip.Addr, bool, error)
	// Change creates the set if need be, then adds and removes members.
	Change(ctx context.Context, add, remove []netip.Addr) error
	// Ruled reports whether the rule is there.
	Ruled(ctx context.Context) (bool, error)
	// Rule inserts the rule, or deletes it.
	Rule(ctx context.Context, there bool) error
	// Drop removes the set.
	Drop(ctx context.Context) error
}

// Guard keeps the rule and its set. It is not for use by several goroutines.
type Guard struct{ firewall Firewall }

// NewGuard returns a Guard on the firewall.
func NewGuard(f Firewall) *Guard { return &Guard{f} }

// Apply lets IPIP in from exactly these addresses, and reports whether it had to
// change anything. The set is filled before the rule that asks it is there, and
// a node that is new is let in before one that is gone is shut out. Unless the
// list is the whole of them, nobody is shut out. IPv6 addresses are passed over.
func (g *Guard) Apply(ctx context.Context, allowed []netip.Addr, whole bool) (changed bool, err error) {
	have, exists, err := g.firewall.Members(ctx)
	if err != nil {
		return false, fmt.Errorf("ipip: read ipset %s: %w", SetName, err)
	}
	add, remove := members(allowed, have)
	if !whole {
		remove = nil
	}
	if !exists || len(add)+len(remove) > 0 {
		if err := g.firewall.Change(ctx, add, remove); err != nil {
			return false, fmt.Errorf("ipip: change ipset %s: %w", SetName, err)
		}
		changed = true
	}
	ruled, err := g.firewall.Ruled(ctx)
	if err != nil {
		return changed, fmt.Errorf("ipip: look for the rule %q: %w", RuleComment, err)
	}
	if ruled {
		return changed, nil
	}
	if err := g.firewall.Rule(ctx, true); err != nil {
		return changed, fmt.Errorf("ipip: insert the rule %q: %w", RuleComment, err)
	}
	return true, nil
}

// Present reports whether there is a guard, whole or not.
func (g *Guard) Present(ctx context.Context) (bool, error) {
	_, exists, err := g.firewall.Members(ctx)
	if err != nil {
		return false, fmt.Errorf("ipip: read ipset %s: %w", SetName, err)
	}
	return exists, nil
}

// Remove takes the rule away, and then the set. Without the set there is no rule:
// the kernel keeps the one as long as the other.
func (g *Guard) Remove(ctx context.Context) error {
	_, exists, err := g.firewall.Members(ctx)
	switch {
	case err != nil:
		return fmt.Errorf("ipip: read ipset %s: %w", SetName, err)
	case !exists:
		return nil
	}
	ruled, err := g.firewall.Ruled(ctx)
	if err == nil && ruled {
		err = g.firewall.Rule(ctx, false)
	}
	if err != nil {
		return fmt.Errorf("ipip: delete the rule %q: %w", RuleComment, err)
	}
	if err := g.firewall.Drop(ctx); err != nil {
		return fmt.Errorf("ipip: delete ipset %s: %w", SetName, err)
	}
	return nil
}

// members returns what a set with have lacks and has too much, sorted.
func members(want, have []netip.Addr) (add, remove []netip.Addr) {
	wanted := make(map[netip.Addr]bool, len(want))
	for _, a := range want {
		if a.Is4() {
			wanted[a] = true
		}
	}
	for _, a := range have {
		if !wanted[a] {
			remove = append(remove, a)
		}
		delete(wanted, a)
	}
	for a := range wanted {
		add = append(add, a)
	}
	slices.SortFunc(add, netip.Addr.Compare)
	slices.SortFunc(remove, netip.Addr.Compare)
	return add, remove
}
