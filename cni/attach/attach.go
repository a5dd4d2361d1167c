package attach

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"caracal.dev/caracal"
	"caracal.dev/caracal/cni"
	"caracal.dev/caracal/proto"
)

// undoTimeout is what undoing a failed attachment may take.
const undoTimeout = 8 * time.Second

// Attach returns once packets flow to and from a network namespace: the daemon
// gives the addresses, this process, which sees req.Netns, makes the link. That
// path is what the daemon looks at to find out whether the namespace still
// exists: /proc/PID/ns/net serves for that of a process, since the daemon
// remembers which namespace it led to, so that another process with the same PID
// is not taken for it.
//
// The answer has the MAC of the interface in the namespace even if none was asked
// for. What fails is undone, unless it was attached before. An error of the
// daemon keeps its gRPC status.
func Attach(ctx context.Context, d proto.EndpointsClient, req *proto.AddEndpointRequest) (*proto.Wiring, error) {
	doing := "attach " + req.GetId().GetContainerId()
	if err := cni.CheckNetNS(req.GetNetns()); err != nil {
		return nil, told(doing, err)
	}
	w, made, err := connect(ctx, d, req)
	if err == nil {
		return w, nil
	}
	if made {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
		defer cancel()
		_, undo := d.RemoveEndpoint(ctx, req.Id)
		err = errors.Join(err, undo, cni.Unwire(ctx, req.Id.ContainerId, req.Id.Ifname))
	}
	return nil, told(doing, err)
}

// connect has the daemon allocate, wires the namespace, and waits until the
// daemon says that packets flow. made says that there may be something now that
// was not there before, and nothing that was.
func connect(ctx context.Context, d proto.EndpointsClient, req *proto.AddEndpointRequest) (w *proto.Wiring, made bool, err error) {
	_, absent := net.InterfaceByName(caracal.HostInterface(req.Id.ContainerId, req.Id.Ifname))
	if w, err = d.AddEndpoint(ctx, req); err != nil {
		return nil, absent != nil && lost(err), err
	}
	spec, err := cni.SpecOf(req.Id.ContainerId, req.Id.Ifname, cni.Wiring{
		HostInterface: w.HostInterface, HostMAC: w.HostMac, Addresses: w.Addresses, Gateways: w.Gateways, MTU: int(w.Mtu), MAC: w.Mac,
	})
	if err != nil {
		return nil, absent != nil, err
	}
	steps, err := cni.Wire(ctx, req.Netns, spec)
	made = absent != nil || slices.ContainsFunc(steps, func(s cni.Step) bool { return s.Op == cni.OpMakePair })
	if err != nil {
		return nil, made, err
	}
	w.Mac = spec.MAC.String()
	_, err = d.ReadyEndpoint(ctx, req.Id)
	return w, made, err
}

// lost reports whether a call may have done what it was asked for all the same.
func lost(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled:
		return true
	}
	return false
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
		return fmt.Errorf("%s: %w", doing, err)
	}
	st := s.GRPCStatus()
	return &remote{code: st.Code(), text: fmt.Sprintf("%s: %s", doing, st.Message())}
}
