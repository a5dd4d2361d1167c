package cni

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"caracal.dev/caracal/proto"
)

// connection is how far [connect] came.
type connection struct {
	spec   Spec
	wiring *proto.Wiring
	begun  bool // the daemon may have recorded it
	made   bool // the link was made now, and not there before
	local  bool // err is of this side, and not the daemon's
	err    error
}

// connect has the daemon allocate, wires the namespace, and waits until the
// daemon says that packets flow.
func connect(ctx context.Context, d proto.EndpointsClient, req *proto.AddEndpointRequest) (c connection) {
	if c.wiring, c.err = d.AddEndpoint(ctx, req); c.err != nil {
		c.begun = down(c.err)
		return c
	}
	c.begun, c.local = true, true
	if c.spec, c.err = SpecOf(req.Id.ContainerId, req.Id.Ifname, c.wiring); c.err != nil {
		return c
	}
	var done []Step
	done, c.err = Wire(ctx, req.Netns, c.spec)
	for _, s := range done {
		c.made = c.made || s.Op == OpMakePair
	}
	if c.err != nil {
		return c
	}
	c.local = false
	_, c.err = d.ReadyEndpoint(ctx, req.Id)
	return c
}

// Attach wires up a network namespace as a runtime would by CNI, and returns once
// packets flow: the daemon gives the addresses, this process, which sees
// req.Netns, makes the link. That path is what the daemon looks at to find out
// whether the namespace still exists: /proc/PID/ns/net serves for that of a
// process, since the daemon remembers which namespace it led to, so that another
// process with the same PID is not taken for it.
//
// The answer has the MAC of the interface in the namespace even if none was asked
// for. What fails is undone, unless it was attached before. An error of the
// daemon keeps its gRPC status.
func Attach(ctx context.Context, d proto.EndpointsClient, req *proto.AddEndpointRequest) (*proto.Wiring, error) {
	doing := "attach " + req.GetId().GetContainerId()
	ns, err := openNetNS(req.GetNetns())
	if err != nil {
		return nil, fmt.Errorf("cni: %s: %w", doing, err)
	}
	ns.Close()
	c := connect(ctx, d, req)
	if c.err == nil {
		c.wiring.Mac = c.spec.MAC.String()
		return c.wiring, nil
	}
	if c.begun && (c.made || c.wiring == nil) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
		defer cancel()
		_, err := d.RemoveEndpoint(ctx, req.Id)
		c.err = errors.Join(c.err, err, Unwire(ctx, req.Id.ContainerId, req.Id.Ifname))
	}
	return nil, told(doing, c.err)
}

// Detach takes away what [Attach] wired up by this name, its interface included,
// and returns the addresses that it had: none if there is nothing of the name,
// which is no error.
func Detach(ctx context.Context, d proto.EndpointsClient, name string) (*proto.RemoveReply, error) {
	m, err := d.RemoveEndpoint(ctx, &proto.EndpointID{ContainerId: name})
	if err != nil {
		return nil, told("detach "+name, err)
	}
	return m, nil
}

// remote is an error of the daemon, as a sentence, with its status.
type remote struct {
	code codes.Code
	text string
}

func (r *remote) Error() string { return r.text }

// GRPCStatus is how package status finds the code.
func (r *remote) GRPCStatus() *status.Status { return status.New(r.code, r.text) }

// told prefixes an error; one of the daemon loses gRPC's own words.
func told(doing string, err error) error {
	var s interface{ GRPCStatus() *status.Status }
	if !errors.As(err, &s) {
		return fmt.Errorf("cni: %s: %w", doing, err)
	}
	st := s.GRPCStatus()
	return &remote{code: st.Code(), text: fmt.Sprintf("cni: %s: %s", doing, st.Message())}
}
