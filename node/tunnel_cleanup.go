package node

import (
	"context"
	"fmt"

	"caracal.dev/caracal/ipip"
	"caracal.dev/caracal/node/api"
)

// CleanupTunnel lists what of ours is on the IPIP device, and the guard before
// it; with yes it removes them, and sets the device down unless somebody else has
// an address on it. It is [Cleanup] for the tunnel.
func CleanupTunnel(ctx context.Context, yes bool) (res api.CleanupResult, err error) {
	kernel, err := ipip.NewNetlink()
	if err != nil {
		return res, fmt.Errorf("node: clean up the tunnel: %w", err)
	}
	defer kernel.Close()
	device := ipip.New(kernel)
	have, err := device.Observe(ctx)
	if err != nil {
		return res, fmt.Errorf("node: clean up the tunnel: %w", err)
	}
	if !have.Exists {
		return res, nil
	}
	for _, a := range have.Addrs {
		if a.Ours {
			res.Items = append(res.Items, fmt.Sprintf("address %s of %s", a.Prefix, ipip.Device))
		}
	}
	var guard *ipip.Guard
	if firewall, err := ipip.NewNetfilter(); err == nil { // without iptables there is no guard
		defer firewall.Close()
		guard = ipip.NewGuard(firewall)
		there, err := guard.Present(ctx)
		if err != nil {
			return res, fmt.Errorf("node: clean up the tunnel: %w", err)
		}
		if there {
			res.Items = append(res.Items, fmt.Sprintf("ipset %s, and the rule of INPUT that asks it", ipip.SetName))
		} else {
			guard = nil
		}
	}
	res.Total = len(res.Items)
	if !yes || res.Total == 0 {
		return res, nil
	}
	if _, _, err := device.Release(ctx); err != nil {
		res.Failed = append(res.Failed, err.Error())
		return res, nil // the guard stays with the device
	}
	if guard != nil {
		if err := guard.Remove(ctx); err != nil {
			res.Failed = append(res.Failed, err.Error())
		}
	}
	res.Deleted = res.Total - len(res.Failed)
	return res, nil
}
