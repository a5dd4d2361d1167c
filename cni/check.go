package cni

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
)

// check compares what the runtime was told with what the daemon has on record,
// and both with the kernel's two sides.
func (Plugin) check(a *skel.CmdArgs) error {
	ctx, cancel := context.WithTimeout(context.Background(), addTimeout)
	defer cancel()
	c, err := parseConf(a.StdinData, false)
	if err != nil {
		return err
	}
	doing := fmt.Sprintf("check %s of container %s", a.IfName, a.ContainerID)
	prev, err := c.prevResult()
	if err != nil {
		return err
	}
	if prev == nil {
		return types.NewError(types.ErrInvalidNetworkConfig, "caracal-cni: "+doing+": the runtime gave no prevResult, which CHECK needs", "")
	}
	told, ok := find(prev, a.IfName, a.Netns)
	if !ok {
		return types.NewError(codeRefused, fmt.Sprintf("caracal-cni: %s: the prevResult has no interface %s in %s", doing, a.IfName, a.Netns), "")
	}
	d, err := dial(c.Socket)
	if err != nil {
		return types.NewError(types.ErrTryAgainLater, "caracal-cni: "+doing+": "+absent(c.Socket, err), "")
	}
	defer d.close()
	var is checked
	if err := d.ask(ctx, methodCheck, endpointID{a.ContainerID, a.IfName, c.Name}.marshal(), &is); err != nil {
		return refused(doing, c.Socket, err)
	}
	problems := is.problems
	if is.wiring != nil {
		found, err := compare(ctx, a, told, *is.wiring)
		if err != nil {
			return err
		}
		problems = append(problems, found...)
	}
	if len(problems) > 0 {
		return types.NewError(codeRefused, fmt.Sprintf("caracal-cni: %s: %s; make the container anew, or take the interface away (DEL) and add it again", doing, strings.Join(problems, "; ")), "")
	}
	return nil
}

// compare returns what is wrong with a container's interface. Plugins after this
// one may have changed its MAC and MTU, so those are as the runtime was told.
func compare(ctx context.Context, a *skel.CmdArgs, told attachment, w Wiring) ([]string, error) {
	want, err := SpecOf(a.ContainerID, a.IfName, w)
	if err != nil {
		return nil, types.NewError(codeRefused, "caracal-cni: "+err.Error(), "")
	}
	var problems []string
	for _, addr := range want.Addrs {
		if !slices.Contains(told.addrs, addr) {
			problems = append(problems, fmt.Sprintf("caracald has it with address %s, which the runtime was not told", addr))
		}
	}
	if told.mac != nil {
		want.MAC = told.mac
	}
	if told.mtu != 0 {
		want.MTU = told.mtu
	}
	have, err := Inspect(ctx, a.Netns, want)
	if gone(err) {
		return nil, types.NewError(types.ErrInvalidNetNS, "caracal-cni: "+err.Error(), "")
	}
	if err != nil {
		return nil, types.NewError(codeRefused, "caracal-cni: "+err.Error(), "")
	}
	steps, err := Plan(have, want)
	if err != nil {
		return append(problems, err.Error()), nil
	}
	for _, s := range steps {
		if s.Op == OpMTU && s.Host && told.mtu != w.MTU {
			continue // a plugin after this one set the container's
		}
		problems = append(problems, "it would have to "+s.String())
	}
	return problems, nil
}
