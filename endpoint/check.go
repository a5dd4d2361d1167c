package endpoint

import (
	"context"
	"fmt"

	"caracal.dev/caracal/ipam"
)

// Check compares an endpoint with what there is of it on the host's side. problems
// is empty if all is well.
func (r *Registry) Check(ctx context.Context, id ID) (problems []string, w Wiring, err error) {
	if err := r.ready(); err != nil {
		return nil, w, fmt.Errorf("endpoint: check %s: %w", id, err)
	}
	e := r.get(id.key())
	if e == nil || id.Network != "" && id.Network != e.Network {
		return nil, w, fmt.Errorf("endpoint: check %s: %w", id, ErrNotFound)
	}
	w = e.wiring(r.self())
	links, err := r.o.Ground.Links()
	if err != nil {
		return nil, w, fmt.Errorf("endpoint: check %s: %w", id, err)
	}
	up, there := links[e.HostInterface()]
	switch {
	case e.State != Ready:
		problems = append(problems, fmt.Sprintf("it is %s, and not ready", e.State))
	case !there:
		problems = append(problems, fmt.Sprintf("its interface %s on the host is gone", e.HostInterface()))
	case !up:
		problems = append(problems, fmt.Sprintf("its interface %s on the host is down", e.HostInterface()))
	}
	if e.State == Ready && there {
		problems = append(problems, r.checkPlane(ctx, e)...)
		if r.o.Wires != nil {
			wrong, err := r.o.Wires.Check(ctx, e.NetNS, e.ID, w, false)
			if err != nil {
				wrong = append(wrong, err.Error())
			}
			problems = append(problems, wrong...)
		}
	}
	return append(problems, r.checkAddrs(ctx, e)...), w, nil
}

// checkPlane says what of the dataplane is not in.
func (r *Registry) checkPlane(ctx context.Context, e *Endpoint) []string {
	plane := *r.plane.Load()
	if why := plane.Waiting(); why != "" {
		return []string{"packets are not routed yet: " + why}
	}
	ctx, cancel := context.WithTimeout(ctx, checkWait)
	defer cancel()
	if err := plane.Open(ctx, e.workload(r.self())); err != nil {
		return []string{err.Error()}
	}
	return nil
}

func (r *Registry) checkAddrs(ctx context.Context, e *Endpoint) (problems []string) {
	list, err := r.o.IPAM.Allocations(ctx)
	if err != nil {
		return []string{err.Error()}
	}
	has := map[string]bool{}
	for _, a := range list {
		if a.Handle == e.Handle() {
			has[a.Addr.String()] = true
		}
	}
	for _, a := range e.Addrs {
		if !has[a.String()] {
			problems = append(problems, fmt.Sprintf("address %s is not its in the address records", a))
		}
	}
	return problems
}

// Status says why Add would fail now, with what to do; nil if it would not.
func (r *Registry) Status(ctx context.Context) error {
	if err := r.addable(); err != nil {
		return fmt.Errorf("endpoint: status: %w", err)
	}
	plane := *r.plane.Load()
	if why := plane.Waiting(); why != "" {
		return fmt.Errorf("endpoint: status: %w: %s", ErrNotReady, why)
	}
	plan := *r.plan.Load()
	v4, v6 := plan.Families()
	if !v4 && !v6 {
		return fmt.Errorf("endpoint: status: %w: %s", ErrNotReady, noAddresses(plan, "IPv4 or IPv6"))
	}
	blocks, _, err := r.o.IPAM.Blocks(ctx)
	if err != nil {
		return fmt.Errorf("endpoint: status: %w: the address records cannot be read: %w", ErrNotReady, err)
	}
	if plan.Mode != ipam.ModePodCIDR {
		return nil // it can claim more
	}
	for _, six := range []bool{false, true} {
		if six && !v6 || !six && !v4 {
			continue
		}
		free := 0.0
		for _, b := range blocks {
			if b.CIDR.Addr().Is6() == six {
				free += b.Size - float64(b.Allocated+b.Reserved+b.Cooling)
			}
		}
		if free <= 0 {
			return fmt.Errorf("endpoint: status: %w: caracal show ipam blocks says who has them; give the node another podCIDR or block", ipam.ErrExhausted)
		}
	}
	return nil
}
