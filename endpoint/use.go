package endpoint

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/ipam"
)

// checkWait is how long a look at the dataplane may take.
const checkWait = 500 * time.Millisecond

// PoolUse is how much of a pool is in use on this node.
type PoolUse struct {
	Name     string       // empty for what lies outside of every pool
	CIDR     netip.Prefix // invalid then
	Size     float64      // addresses of this node's blocks
	Blocks   int
	Disabled bool

	Allocated, Reserved, Cooling int
}

// Use is how the addresses of this node are used.
type Use struct {
	Mode   ipam.Mode
	Pools  []PoolUse // by name
	Blocks []ipam.BlockUse
	// Damaged are the records of addresses that cannot be read.
	Damaged []ipam.Damaged
}

// Address is what is known of one address.
type Address struct {
	ipam.Address
	// Endpoint is who has it by our records; nil if nobody.
	Endpoint *Endpoint
}

// Problem is an allocation, or an endpoint, that is not as it should be.
type Problem struct {
	Addr    netip.Addr // invalid if it is not about one
	Handle  string
	Problem string
	Advice  string
}

// Use returns how this node's addresses are used.
func (r *Registry) Use(ctx context.Context) (Use, error) {
	if err := r.ready(); err != nil {
		return Use{}, fmt.Errorf("endpoint: list blocks: %w", err)
	}
	plan := *r.plan.Load()
	blocks, bad, err := r.o.IPAM.Blocks(ctx)
	if err != nil {
		return Use{}, fmt.Errorf("endpoint: list blocks: %w", err)
	}
	u := Use{Mode: plan.Mode, Blocks: blocks, Damaged: bad}
	for _, p := range plan.Pools {
		u.Pools = append(u.Pools, PoolUse{Name: p.Name, CIDR: p.CIDR, Disabled: p.Disabled})
	}
	for _, b := range blocks {
		i := slices.IndexFunc(u.Pools, func(p PoolUse) bool { return p.Name == b.Pool })
		if i < 0 {
			i, u.Pools = len(u.Pools), append(u.Pools, PoolUse{Name: b.Pool})
		}
		p := &u.Pools[i]
		if b.Node == plan.Node {
			p.Size += b.Size
			p.Blocks++
		}
		p.Allocated, p.Reserved, p.Cooling = p.Allocated+b.Allocated, p.Reserved+b.Reserved, p.Cooling+b.Cooling
	}
	slices.SortFunc(u.Pools, func(a, b PoolUse) int { return compareNames(a.Name, b.Name) })
	return u, nil
}

// compareNames has the nameless last.
func compareNames(a, b string) int {
	switch {
	case a == b:
		return 0
	case a == "" || b != "" && a > b:
		return 1
	}
	return -1
}

// Lookup returns what is known of an address.
func (r *Registry) Lookup(ctx context.Context, a netip.Addr) (Address, error) {
	if err := r.ready(); err != nil {
		return Address{}, fmt.Errorf("endpoint: look up %s: %w", a, err)
	}
	known, err := r.o.IPAM.Lookup(ctx, a)
	if err != nil {
		return Address{}, fmt.Errorf("endpoint: look up %s: %w", a, err)
	}
	out := Address{Address: known, Endpoint: r.holder(known.Addr)}
	note := func(text string) { out.Note = strings.TrimPrefix(out.Note+"; "+text, "; ") }
	if out.State == ipam.StateOutside {
		if b, ok := blockAt(r.o.Source.Snapshot(), known.Addr); ok {
			out.Block, out.Note = b.CIDR, "It is in a block of node "+b.Node+", which knows more"
		}
	}
	if k, ok := r.overlay.configuredAs(known.Addr); ok {
		note("It is that of the configured Workload " + k)
	}
	used := out.State == ipam.StateAllocated
	switch {
	case used && out.Endpoint == nil && ours(out.Allocation.Owner.Kind):
		note("No endpoint on record has it")
	case !used && out.Endpoint != nil:
		note("An endpoint has it that is missing in the address records")
	case out.Endpoint != nil && out.Endpoint.State != Ready:
		note("The endpoint is " + string(out.Endpoint.State))
	}
	return out, nil
}

// blockAt returns the block that an address is in by the configuration.
func blockAt(snap *caracal.Snapshot, a netip.Addr) (caracal.Block, bool) {
	for p, b := range snap.Blocks.All() {
		if p.Contains(a) {
			return b, true
		}
	}
	return caracal.Block{}, false
}

func (r *Registry) holder(a netip.Addr) *Endpoint {
	for _, e := range r.List() {
		if slices.Contains(e.Addrs, a) {
			return e
		}
	}
	return nil
}

// ours reports whether allocations of this kind belong to endpoints.
func ours(kind string) bool { return kind == KindCNI || kind == KindAttach }

// CheckUse compares allocations with endpoints, and these with what exists.
func (r *Registry) CheckUse(ctx context.Context) (allocated, endpoints int, problems []Problem, err error) {
	if err := r.ready(); err != nil {
		return 0, 0, nil, fmt.Errorf("endpoint: check addresses: %w", err)
	}
	list, err := r.o.IPAM.Allocations(ctx)
	if err != nil {
		return 0, 0, nil, fmt.Errorf("endpoint: check addresses: %w", err)
	}
	_, bad, err := r.o.IPAM.Blocks(ctx)
	if err != nil {
		return 0, 0, nil, fmt.Errorf("endpoint: check addresses: %w", err)
	}
	before := r.List() // an interface goes before its endpoint
	links, err := r.o.Ground.Links()
	if err != nil {
		return 0, 0, nil, fmt.Errorf("endpoint: check addresses: %w", err)
	}
	all := r.List()
	for _, d := range bad {
		problems = append(problems, Problem{Problem: "record " + d.Key + " cannot be read: " + d.Message, Advice: "none of its addresses is given to anybody until it is mended"})
	}
	problems = append(problems, compare(list, all)...)
	for _, e := range all {
		problems = append(problems, r.checkOwner(e, links)...)
	}
	eachOutside(*r.plan.Load(), r.o.Source.Snapshot(), all, func(e *Endpoint, a netip.Addr, text string) {
		problems = append(problems, Problem{a, e.Handle(), text, outsideAdvice})
	})
	problems = append(problems, strange(links, slices.Concat(before, all))...)
	return len(list), len(all), problems, nil
}

// compare finds allocations without an endpoint, and the reverse. It is pure.
func compare(list []ipam.Allocation, all []*Endpoint) (problems []Problem) {
	owners := map[string]*Endpoint{}
	for _, e := range all {
		owners[e.Handle()] = e
	}
	has := map[netip.Addr]string{}
	for _, a := range list {
		has[a.Addr] = a.Handle
		e := owners[a.Handle]
		if ours(a.Owner.Kind) && (e == nil || !slices.Contains(e.Addrs, a.Addr)) {
			problems = append(problems, Problem{a.Addr, a.Handle, "it is allocated, but no endpoint on record has it",
				"an ADD that is under way, or caracal release address " + a.Addr.String()})
		}
	}
	for _, e := range all {
		for _, a := range e.Addrs {
			if is := has[a]; is != e.Handle() {
				problem := "container " + e.ID.String() + " has it, but it is not allocated"
				if is != "" {
					problem = "container " + e.ID.String() + " has it, but it is allocated to " + is
				}
				problems = append(problems, Problem{a, e.Handle(), problem, "make the container anew"})
			}
		}
	}
	return problems
}

// strange finds interfaces of containers that no endpoint has: what its container has
// for an address, nobody knows. It is pure.
func strange(links map[string]bool, all []*Endpoint) (problems []Problem) {
	owned := map[string]bool{}
	for _, e := range all {
		owned[e.HostInterface()] = true
	}
	for _, link := range slices.Sorted(maps.Keys(links)) {
		if !owned[link] {
			problems = append(problems, Problem{Problem: "interface " + link + " leads to a container of which there is no record, and nothing is routed to it",
				Advice: "make the container anew; if there is none, ip link delete " + link})
		}
	}
	return problems
}

// checkOwner says whether a container still is what its record says.
func (r *Registry) checkOwner(e *Endpoint, links map[string]bool) []Problem {
	s, err := r.look(e, links)
	p := Problem{Handle: e.Handle()}
	if len(e.Addrs) > 0 {
		p.Addr = e.Addrs[0]
	}
	switch {
	case err != nil:
		p.Problem = err.Error()
	case e.State == Deleting:
		p.Problem, p.Advice = "its removal is not finished", "it is tried again by itself; the log says what failed"
	case e.State == Pending:
		return nil
	case !s.link && s.netns:
		p.Problem, p.Advice = "interface "+e.HostInterface()+" is gone, while the container is there", "make the container anew"
	case !s.link:
		p.Problem = "the container is gone: there is neither interface " + e.HostInterface() + " nor network namespace " + e.NetNS
		p.Advice = fmt.Sprintf("it is released by itself once that has been so for %s", r.o.Grace)
	default:
		return nil
	}
	return []Problem{p}
}

// ReleaseAddress frees an address by hand, with all that its owner has, and
// returns the handle. Without force it refuses one whose owner still exists.
func (r *Registry) ReleaseAddress(ctx context.Context, a netip.Addr, force bool) (string, error) {
	found, err := r.Lookup(ctx, a)
	if err != nil {
		return "", err
	}
	if e := found.Endpoint; e != nil {
		return e.Handle(), r.releaseEndpoint(ctx, e, force)
	}
	owner := found.Allocation.Owner.Kind
	if found.State == ipam.StateAllocated && ours(owner) {
		return found.Allocation.Handle, r.releaseOrphan(ctx, found)
	}
	if found.State == ipam.StateAllocated && !force {
		return found.Allocation.Handle, fmt.Errorf("endpoint: release %s: %w: it is the %s of this node (use force if it is not)", a, ErrInUse, owner)
	}
	had, err := r.o.IPAM.ReleaseAddr(context.WithoutCancel(ctx), found.Addr)
	if err != nil {
		return had.Handle, fmt.Errorf("endpoint: release %s: %w", a, err)
	}
	r.o.Log.Warn("endpoint: address released by hand", "handle", had.Handle, "address", a)
	return had.Handle, nil
}

func (r *Registry) releaseEndpoint(ctx context.Context, e *Endpoint, force bool) error {
	links, err := r.o.Ground.Links()
	if err != nil {
		return fmt.Errorf("endpoint: release %s: %w", e.ID, err)
	}
	unlock, err := r.lock(ctx, e.key())
	if err != nil {
		return fmt.Errorf("endpoint: release %s: %w", e.ID, err)
	}
	defer unlock()
	if e = r.get(e.key()); e == nil {
		return nil // gone by itself
	}
	s, err := r.look(e, links)
	if err != nil && !force {
		return fmt.Errorf("endpoint: release %s: %w", e.ID, err)
	}
	if !force && e.State != Deleting && (s.link || s.netns || e.State == Pending) {
		return fmt.Errorf("endpoint: release %s: %w: container %s of workload %s has it, and is there; delete the container, or use force, which cuts it off",
			e.ID, ErrInUse, e.ContainerID, e.Key())
	}
	_, err = r.finish(ctx, e)
	return errors.Join(err)
}
