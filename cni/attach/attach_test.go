package attach

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"caracal.dev/caracal"
	"caracal.dev/caracal/cni"
	"caracal.dev/caracal/internal/nstest"
	"caracal.dev/caracal/proto"
)

// fakeDaemon is the daemon's Endpoints, as a client: every endpoint gets the same
// addresses.
type fakeDaemon struct {
	proto.EndpointsClient // the methods that are not called here
	removed               []string
	readyErr, addErr      error
}

func (d *fakeDaemon) AddEndpoint(_ context.Context, r *proto.AddEndpointRequest, _ ...grpc.CallOption) (*proto.Wiring, error) {
	return &proto.Wiring{
		HostInterface: caracal.HostInterface(r.Id.ContainerId, r.Id.Ifname), HostMac: "ee:ee:ee:ee:ee:ee",
		Addresses: []string{"10.65.0.1/32", "fd00:65::1/128"}, Gateways: []string{"169.254.1.1", "fe80::ecee:eeff:feee:eeee"}, Mtu: 1450,
	}, d.addErr
}

func (d *fakeDaemon) ReadyEndpoint(context.Context, *proto.EndpointID, ...grpc.CallOption) (*proto.ReadyReply, error) {
	return &proto.ReadyReply{}, d.readyErr
}

func (d *fakeDaemon) RemoveEndpoint(_ context.Context, id *proto.EndpointID, _ ...grpc.CallOption) (*proto.RemoveReply, error) {
	d.removed = append(d.removed, id.ContainerId)
	if id.ContainerId == "nobody" {
		return nil, status.Error(codes.NotFound, "no box")
	}
	return &proto.RemoveReply{Addresses: []string{"10.65.0.1"}}, nil
}

// rig is a node with a daemon.
type rig struct {
	t    *testing.T
	node *nstest.NS
	*fakeDaemon
}

func newRig(t *testing.T) *rig {
	r := &rig{t: t, node: nstest.New(t), fakeDaemon: &fakeDaemon{}}
	r.node.Device("up0", "192.0.2.1/24", "2001:db8::1/64")
	return r
}

func (r *rig) attach(name, netns string) (w *proto.Wiring, err error) {
	req := &proto.AddEndpointRequest{Id: &proto.EndpointID{ContainerId: name, Ifname: "eth0"}, Netns: netns, Kind: "attach", Name: name}
	r.node.Do(func() { w, err = Attach(context.Background(), r.fakeDaemon, req) })
	return w, err
}

// linked reports whether the host's end of a name exists.
func (r *rig) linked(name string) bool {
	_, err := r.node.Try("ip", "link", "show", caracal.HostInterface(name, "eth0"))
	return err == nil
}

// reach pings an endpoint from the node, until it answers: Attach does not wait for all
// that the kernel does by itself.
func (r *rig) reach(w *proto.Wiring) {
	r.t.Helper()
	for _, text := range w.Addresses {
		addr := netip.MustParsePrefix(text).Addr().String()
		r.node.Run("ip", "route", "replace", addr, "dev", w.HostInterface)
		for end := time.Now().Add(60 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			_, err := r.node.Try("ping", "-c1", "-W1", addr)
			if err == nil {
				break
			}
			if time.Now().After(end) {
				r.t.Fatal(err)
			}
		}
	}
}

func TestAttach(t *testing.T) {
	r, pod := newRig(t), nstest.New(t)
	w, err := r.attach("box", pod.Path())
	if err != nil {
		t.Fatal(err)
	}
	if w.Mac == "" || !strings.Contains(pod.Run("ip", "link", "show", "eth0"), w.Mac) {
		t.Errorf("wiring %v", w)
	}
	r.reach(w)
	if _, err := r.attach("box", pod.Path()); err != nil {
		t.Errorf("again: %v", err)
	}
	m, err := Detach(context.Background(), r.fakeDaemon, "box")
	if err != nil || len(m.Addresses) != 1 || r.removed[0] != "box" {
		t.Errorf("%v %v %v", m, err, r.removed)
	}
	if _, err := Detach(context.Background(), r.fakeDaemon, "nobody"); status.Code(err) != codes.NotFound || err.Error() != "detach nobody: no box" {
		t.Error(err)
	}
}

// What was attached is not cut off by a second try that fails on the way.
func TestAttachFailsAgain(t *testing.T) {
	r, pod := newRig(t), nstest.New(t)
	w, err := r.attach("box", pod.Path())
	if err != nil {
		t.Fatal(err)
	}
	pod.Device("other0", "198.51.100.1/24")
	pod.Run("ip", "route", "replace", "default", "via", "198.51.100.2", "dev", "other0")
	if _, err := r.attach("box", pod.Path()); err == nil || !strings.Contains(err.Error(), "by another interface") {
		t.Fatalf("the route is in the way: %v", err)
	}
	r.addErr = status.Error(codes.Unavailable, "starting")
	if _, err := r.attach("box", pod.Path()); status.Code(err) != codes.Unavailable {
		t.Fatal(err)
	}
	if len(r.removed) > 0 || !r.linked("box") {
		t.Errorf("what was attached is cut off: removed %v", r.removed)
	}
	r.reach(&proto.Wiring{HostInterface: w.HostInterface, Addresses: w.Addresses[1:]})
}

// What fails leaves nothing the first time, and later everything.
func TestAttachFails(t *testing.T) {
	r, pod := newRig(t), nstest.New(t)
	if _, err := r.attach("box", pod.Path()); err != nil {
		t.Fatal(err)
	}
	r.readyErr = status.Error(codes.Unavailable, "no route yet")
	_, err := r.attach("box", pod.Path())
	if status.Code(err) != codes.Unavailable || err.Error() != "attach box: no route yet" {
		t.Errorf("error %v with code %v", err, status.Code(err))
	}
	if !r.linked("box") || len(r.removed) != 0 {
		t.Error("what was attached before is gone")
	}
	if _, err := r.attach("other", nstest.New(t).Path()); err == nil || r.linked("other") || len(r.removed) != 1 {
		t.Errorf("%v; linked %t, removed %v", err, r.linked("other"), r.removed)
	}
	r.addErr = status.Error(codes.ResourceExhausted, "the pool is full")
	if _, err := r.attach("third", nstest.New(t).Path()); status.Code(err) != codes.ResourceExhausted || len(r.removed) != 1 {
		t.Errorf("%v, removed %v", err, r.removed)
	}
	r.addErr = status.Error(codes.Unavailable, "the daemon died")
	if _, err := r.attach("third", nstest.New(t).Path()); err == nil || len(r.removed) != 2 {
		t.Errorf("%v, removed %v", err, r.removed)
	}
}

// The namespace of a process, by its PID.
func TestAttachProcess(t *testing.T) {
	r := newRig(t)
	cmd := exec.Command("unshare", "--net", "sleep", "600")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	path := fmt.Sprintf("/proc/%d/ns/net", cmd.Process.Pid)
	for end := time.Now().Add(60 * time.Second); cni.CheckNetNS(path) != nil; time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("unshare has not left our namespace")
		}
	}
	w, err := r.attach("box", path)
	if err != nil {
		t.Fatal(err)
	}
	r.reach(w)
	for path, want := range map[string]string{"/proc/999999999/ns/net": "does not exist", r.node.Path(): "host's own"} {
		if _, err := r.attach("box", path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
}

func TestToldKeepsOtherErrors(t *testing.T) {
	why := errors.New("why")
	if err := told("attach box", why); !errors.Is(err, why) || err.Error() != "attach box: why" {
		t.Error(err)
	}
}
