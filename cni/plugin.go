package cni

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"
)

// How long the plugin works at most; what undoes a failed ADD has its own time.
const (
	addTimeout  = 50 * time.Second
	undoTimeout = 8 * time.Second
)

// Versions are those of the protocol that the plugin speaks.
func Versions() version.PluginInfo {
	return version.PluginSupports("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
}

// Plugin is caracal-cni: the commands of CNI's protocol, less VERSION, which
// needs no plugin. Its errors are [types.Error] with the codes of SPEC.md, or 100
// for what the daemon refuses.
type Plugin struct{}

// Funcs returns the commands for [skel.PluginMainFuncs].
func (p Plugin) Funcs() skel.CNIFuncs {
	return skel.CNIFuncs{
		Add: logged("ADD", p.add), Del: logged("DEL", p.del), Check: logged("CHECK", p.check),
		GC: logged("GC", p.gc), Status: logged("STATUS", p.status),
	}
}

// add gives the container an interface: the daemon allocates, the plugin wires,
// the daemon says when packets flow. What fails is undone.
func (Plugin) add(a *skel.CmdArgs) error {
	ctx, cancel := context.WithTimeout(context.Background(), addTimeout)
	defer cancel()
	c, err := parseConf(a.StdinData, false)
	if err != nil {
		return err
	}
	req, err := request(c, a)
	if err != nil {
		return err
	}
	prev, err := c.prevResult()
	if err != nil {
		return err
	}
	ns, err := openNetNS(a.Netns)
	if err != nil {
		return types.NewError(types.ErrInvalidNetNS, fmt.Sprintf("caracal-cni: add %s to container %s: %v", a.IfName, a.ContainerID, err), "")
	}
	defer ns.Close()
	alone(ctx, ns)
	d, err := dial(c.Socket)
	if err != nil {
		return types.NewError(types.ErrTryAgainLater, fmt.Sprintf("caracal-cni: add %s to container %s: %s", a.IfName, a.ContainerID, absent(c.Socket, err)), "")
	}
	defer d.close()
	spec, err := d.attach(ctx, c.StateDir, req)
	if err != nil {
		return err
	}
	return types.PrintResult(resultOf(prev, spec, a.Netns, c.DNS), c.CNIVersion)
}

// request is what the daemon is asked for.
func request(c conf, a *skel.CmdArgs) (addRequest, error) {
	env, err := parseArgs(a.Args)
	if err != nil {
		return addRequest{}, err
	}
	asked, err := ask(c, env)
	if err != nil {
		return addRequest{}, err
	}
	v4, v6 := c.families()
	return addRequest{
		ID: endpointID{a.ContainerID, a.IfName, c.Name}, NetNS: a.Netns, Kind: "cni",
		Namespace: env.namespace, Name: env.pod, UID: env.uid, Labels: asked.labels,
		Addresses: asked.addrs, MAC: asked.mac, Pools: asked.pools, WantIPv4: v4, WantIPv6: v6, MTU: c.MTU,
	}, nil
}

// attach does the three steps of an ADD, and undoes them if one fails.
func (d *daemon) attach(ctx context.Context, stateDir string, req addRequest) (Spec, error) {
	id := req.ID
	doing := fmt.Sprintf("add %s to container %s", id.IfName, id.ContainerID)
	if dequeue(stateDir, id) {
		// The removal of its last life is still to be done.
		if err := d.ask(ctx, methodRemove, id.marshal(), nil); err != nil {
			return Spec{}, and(refused(doing, d.socket, err), enqueue(stateDir, id))
		}
	}
	var w Wiring
	if err := d.ask(ctx, methodAdd, req.marshal(), &w); err != nil {
		told := refused(doing, d.socket, err)
		if down(err) { // it may have been recorded
			told = and(told, d.undo(stateDir, id))
		}
		return Spec{}, told
	}
	// The daemon writes its routes while the kernel puts the link into effect.
	var notReady error
	spec, err := SpecOf(id.ContainerID, id.IfName, w)
	if err == nil {
		_, err = wire(ctx, req.NetNS, spec, hooks{then: func() error {
			notReady = d.ask(ctx, methodReady, id.marshal(), nil)
			return notReady
		}})
	}
	switch {
	case err == nil:
		return spec, nil
	case notReady != nil:
		return Spec{}, and(refused(doing, d.socket, err), d.undo(stateDir, id))
	}
	told := types.NewError(codeRefused, fmt.Sprintf("caracal-cni: %s: %v", doing, err), "")
	return Spec{}, and(told, d.undo(stateDir, id))
}

// and adds to an error what failed after it.
func and(told *types.Error, after error) *types.Error {
	if after != nil {
		told.Details = "afterwards: " + after.Error()
	}
	return told
}

// undo removes what an ADD has made so far. Where the daemon does that, the link
// goes as well.
func (d *daemon) undo(stateDir string, id endpointID) error {
	ctx, cancel := context.WithTimeout(context.Background(), undoTimeout)
	defer cancel()
	if err := d.remove(ctx, id); err != nil {
		return errors.Join(Unwire(ctx, id.ContainerID, id.IfName), enqueue(stateDir, id))
	}
	return nil
}

// del takes a container's interface away. It succeeds without a daemon, without
// the namespace, and if there is nothing.
func (Plugin) del(a *skel.CmdArgs) error {
	ctx, cancel := context.WithTimeout(context.Background(), addTimeout)
	defer cancel()
	c, err := parseConf(a.StdinData, true)
	if err != nil {
		return err
	}
	id := endpointID{a.ContainerID, a.IfName, c.Name}
	if err := remove(ctx, c, id); err != nil {
		var told *types.Error
		if errors.As(err, &told) {
			return told
		}
		return types.NewError(codeRefused, fmt.Sprintf("caracal-cni: delete %s of container %s: %v", a.IfName, a.ContainerID, err), "")
	}
	return nil
}

// remove leaves it to the daemon to take routes, link and addresses away in the
// right order; it knows whether the interface is of this network at all. Without a
// daemon the link goes here: nothing must use the addresses by the time the daemon
// finds the removal in its queue.
func remove(ctx context.Context, c conf, id endpointID) error {
	d, err := dial(c.Socket)
	if err == nil {
		defer d.close()
		err = d.remove(ctx, id)
	}
	switch {
	case err == nil:
		dequeue(c.StateDir, id)
		return nil
	case d != nil && !down(err):
		return refused(fmt.Sprintf("delete %s of container %s", id.IfName, id.ContainerID), c.Socket, err)
	}
	if err := Unwire(context.WithoutCancel(ctx), id.ContainerID, id.IfName); err != nil {
		return err
	}
	return enqueue(c.StateDir, id)
}

// gc removes the endpoints of the network that the runtime does not know any
// more. Without a list it removes nothing.
func (Plugin) gc(a *skel.CmdArgs) error {
	ctx, cancel := context.WithTimeout(context.Background(), addTimeout)
	defer cancel()
	c, err := parseConf(a.StdinData, false)
	if err != nil {
		return err
	}
	valid, ok := c.valid()
	if !ok {
		return nil
	}
	d, err := dial(c.Socket)
	if err != nil {
		return types.NewError(types.ErrTryAgainLater, "caracal-cni: collect garbage: "+absent(c.Socket, err), "")
	}
	defer d.close()
	req := collectRequest{Network: c.Name}
	for _, v := range valid {
		req.Keep = append(req.Keep, endpointID{v.ContainerID, v.IfName, c.Name})
	}
	var reply collected
	if err := d.ask(ctx, methodCollect, req.marshal(), &reply); err != nil {
		return refused("collect garbage of network "+c.Name, c.Socket, err)
	}
	return nil
}

// status says whether an ADD would work now.
func (Plugin) status(a *skel.CmdArgs) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := parseConf(a.StdinData, false)
	if err != nil {
		return err
	}
	d, err := dial(c.Socket)
	if err != nil {
		return types.NewError(types.ErrPluginNotAvailable, "caracal-cni: "+absent(c.Socket, err), "")
	}
	defer d.close()
	var s readiness
	if err := d.ask(ctx, methodStatus, nil, &s); err != nil {
		return types.NewError(types.ErrPluginNotAvailable, refused("ask caracald for its status", c.Socket, err).Msg, "")
	}
	if !s.ready {
		return types.NewError(types.ErrPluginNotAvailable, "caracal-cni: caracald is not ready for containers: "+s.reason, "")
	}
	return nil
}

// gone reports whether an error says that a namespace does not exist.
func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) }
