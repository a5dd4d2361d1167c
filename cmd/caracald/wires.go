package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"

	"github.com/vishvananda/netlink"

	"caracal.dev/caracal"
	"caracal.dev/caracal/cni"
	"caracal.dev/caracal/endpoint"
	"caracal.dev/caracal/internal/sysctl"
)

// wires is package cni's idea of a link, for endpoint: what the plugin makes, the
// daemon keeps.
type wires struct{}

// Check implements endpoint.Wires.
func (wires) Check(ctx context.Context, netns string, id endpoint.ID, w endpoint.Wiring, mend bool) (wrong []string, err error) {
	spec, err := specOf(id, w)
	if err != nil {
		return nil, err
	}
	have, err := cni.Inspect(ctx, netns, spec)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		// The path is gone, or not to be seen from here: the lease is judged elsewhere.
		// A daemon in the sandbox of its unit may not enter containers, but the host's
		// end it sees.
		return checkHost(ctx, spec, mend)
	}
	if err != nil {
		return nil, err
	}
	steps, err := cni.Plan(have, spec)
	if err != nil {
		return nil, err
	}
	return carryOut(steps, mend), nil
}

// checkHost is Check of the host's end alone.
func checkHost(ctx context.Context, spec cni.Spec, mend bool) ([]string, error) {
	have, err := cni.InspectHost(ctx, spec)
	if err != nil {
		return nil, err
	}
	if !have.Exists {
		return nil, nil // that is for whoever judges the lease
	}
	steps, err := cni.PlanHost(have, spec)
	if err != nil {
		return []string{err.Error()}, nil
	}
	return carryOut(steps, mend), nil
}

// carryOut does the steps on the host's end if it is to mend, and returns those that
// are left to be done.
func carryOut(steps []cni.Step, mend bool) (wrong []string) {
	for _, s := range steps {
		if s.Op == cni.OpRemovePair || s.Op == cni.OpMakePair {
			return []string{"the link does not lead into the container as it should"}
		}
		if mend && !s.Host {
			continue // the container's own side is its own
		}
		text := s.String()
		if mend {
			if err := do(s); err == nil {
				continue
			} else {
				text += ": " + err.Error()
			}
		}
		wrong = append(wrong, text)
	}
	return wrong
}

func specOf(id endpoint.ID, w endpoint.Wiring) (cni.Spec, error) {
	m := cni.Wiring{HostInterface: w.HostInterface, HostMAC: w.HostMAC, MAC: w.MAC, MTU: w.MTU}
	for _, a := range w.Addrs {
		m.Addresses = append(m.Addresses, caracal.HostPrefix(a).String())
	}
	for _, g := range w.Gateways {
		m.Gateways = append(m.Gateways, g.String())
	}
	return cni.SpecOf(id.ContainerID, id.Interface, m)
}

// do carries out one step of the host's side.
func do(s cni.Step) error {
	if s.Op == cni.OpSysctl {
		return os.WriteFile(sysctl.Path(s.Key), []byte(s.Value), 0)
	}
	link, err := netlink.LinkByName(s.Link)
	if err != nil {
		return err
	}
	switch s.Op {
	case cni.OpMTU:
		mtu, err := strconv.Atoi(s.Value)
		if err != nil {
			return err
		}
		return netlink.LinkSetMTU(link, mtu)
	case cni.OpUp:
		return netlink.LinkSetUp(link)
	case cni.OpNeighbor:
		a := s.Dst.Addr()
		return netlink.NeighSet(&netlink.Neigh{
			LinkIndex: link.Attrs().Index, IP: a.AsSlice(), HardwareAddr: s.MAC, State: netlink.NUD_PERMANENT,
		})
	}
	return fmt.Errorf("it is not done by the daemon")
}
