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

	"caracal.dev/caracal/proto"
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
	ns.Close()
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
func request(c conf, a *skel.CmdArgs) (*proto.AddEndpointRequest, error) {
	env, err := parseArgs(a.Args)
	if err != nil {
		return nil, err
	}
	asked, err := ask(c, env)
	if err != nil {
		return nil, err
	}
	v4, v6 := c.families()
	return &proto.AddEndpointRequest{
		Id: &proto.EndpointID{ContainerId: a.ContainerID, Ifname: a.IfName, Network: c.Name}, Netns: a.Netns, Kind: "cni",
		Namespace: env.namespace, Name: env.pod, Uid: env.uid, Labels: asked.labels,
		Addresses: asked.addrs, Mac: asked.mac, Pools: asked.pools, WantIpv4: v4, WantIpv6: v6, Mtu: uint32(c.MTU),
	}, nil
}

// attach does the three steps of an ADD, and undoes them if one fails.
func (d *daemon) attach(ctx context.Context, stateDir string, req *proto.AddEndpointRequest) (Spec, error) {
	id := req.Id
	doing := fmt.Sprintf("add %s to container %s", id.Ifname, id.ContainerId)
	if dequeue(stateDir, id) {
		// The removal of its last life is still to be done.
		if _, err := d.RemoveEndpoint(ctx, id); err != nil {
			return Spec{}, and(refused(doing, d.socket, err), enqueue(stateDir, id))
		}
	}
	c := connect(ctx, d, req)
	if c.err == nil {
		return c.spec, nil
	}
	told := refused(doing, d.socket, c.err)
	if c.local {
		told = types.NewError(codeRefused, fmt.Sprintf("caracal-cni: %s: %v", doing, c.err), "")
	}
	if c.begun {
		told = and(told, d.undo(stateDir, id))
	}
	return Spec{}, told
}

// and adds to an error what failed after it.
func and(told *types.Error, after error) *types.Error {
	if after != nil {
		told.Details = "afterwards: " + after.Error()
	}
	return told
}

// undo removes what an ADD has made so far.
func (d *daemon) undo(stateDir string, id *proto.EndpointID) error {
	ctx, cancel := context.WithTimeout(context.Background(), undoTimeout)
	defer cancel()
	if _, err := d.RemoveEndpoint(ctx, id); err != nil {
		return errors.Join(Unwire(ctx, id.ContainerId, id.Ifname), enqueue(stateDir, id))
	}
	return Unwire(ctx, id.ContainerId, id.Ifname)
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
	id := &proto.EndpointID{ContainerId: a.ContainerID, Ifname: a.IfName, Network: c.Name}
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
// right order. Without a daemon the link goes here: nothing must use the
// addresses by the time the daemon finds the removal in its queue.
func remove(ctx context.Context, c conf, id *proto.EndpointID) error {
	d, err := dial(c.Socket)
	if err == nil {
		defer d.close()
		if _, err = d.RemoveEndpoint(ctx, id); err != nil && !down(err) {
			return refused(fmt.Sprintf("delete %s of container %s", id.Ifname, id.ContainerId), c.Socket, err)
		}
	}
	if err := Unwire(context.WithoutCancel(ctx), id.ContainerId, id.Ifname); err != nil {
		return err
	}
	if err != nil {
		return enqueue(c.StateDir, id)
	}
	dequeue(c.StateDir, id)
	return nil
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
	req := &proto.CollectRequest{Network: c.Name}
	for _, v := range valid {
		req.Keep = append(req.Keep, &proto.EndpointID{ContainerId: v.ContainerID, Ifname: v.IfName, Network: c.Name})
	}
	reply, err := d.CollectEndpoints(ctx, req)
	if err != nil {
		return refused("collect garbage of network "+c.Name, c.Socket, err)
	}
	var errs []error
	for _, id := range reply.Removed {
		errs = append(errs, Unwire(ctx, id.ContainerId, id.Ifname))
	}
	return errors.Join(errs...)
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
	s, err := d.GetEndpointStatus(ctx, &proto.EndpointStatusRequest{})
	if err != nil {
		return types.NewError(types.ErrPluginNotAvailable, refused("ask caracald for its status", c.Socket, err).Msg, "")
	}
	if !s.Ready {
		return types.NewError(types.ErrPluginNotAvailable, "caracal-cni: caracald is not ready for containers: "+s.Reason, "")
	}
	return nil
}

// gone reports whether an error says that a namespace does not exist.
func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) }
