package cni

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"caracal.dev/caracal"
	"caracal.dev/caracal/internal/nstest"
	"caracal.dev/caracal/proto"
)

func box(netns string) *proto.AddEndpointRequest {
	return &proto.AddEndpointRequest{Id: &proto.EndpointID{ContainerId: "box", Ifname: "eth0"}, Netns: netns, Kind: "attach", Name: "box"}
}

// attachHere is Attach from the node, by a client of its daemon.
func (r *rig) attachHere(req *proto.AddEndpointRequest) (w *proto.Wiring, err error) {
	d, err := dial(r.socket)
	if err != nil {
		r.t.Fatal(err)
	}
	defer d.close()
	r.node.Do(func() { w, err = Attach(context.Background(), d, req) })
	return w, err
}

func TestAttach(t *testing.T) {
	r, pod := newRig(t), nstest.New(t)
	w, err := r.attachHere(box(pod.Path()))
	if err != nil {
		t.Fatal(err)
	}
	if w.Mac == "" || w.HostInterface != caracal.HostInterface("box", "eth0") {
		t.Errorf("wiring %v", w)
	}
	r.reach(w)
	// Again: nothing changes, and what fails then breaks nothing.
	if _, err := r.attachHere(box(pod.Path())); err != nil {
		t.Error(err)
	}
	r.on(func(_ context.Context, method string) error {
		if method == "ready" {
			return status.Error(codes.Unavailable, "no route yet")
		}
		return nil
	})
	_, err = r.attachHere(box(pod.Path()))
	if status.Code(err) != codes.Unavailable || err.Error() != "cni: attach box: no route yet" {
		t.Errorf("error %v with code %v", err, status.Code(err))
	}
	if len(r.links()) != 1 {
		t.Errorf("links %v", r.links())
	}
	// The first time, it leaves nothing.
	other := box(nstest.New(t).Path())
	other.Id.ContainerId = "other"
	if _, err := r.attachHere(other); err == nil || len(r.links()) != 1 {
		t.Errorf("%v, links %v", err, r.links())
	}
	r.on(nil)
	d, err := dial(r.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	if _, err := Detach(context.Background(), d, "box"); err != nil {
		t.Error(err)
	}
	r.on(func(context.Context, string) error { return status.Error(codes.NotFound, "no box") })
	if _, err := Detach(context.Background(), d, "box"); status.Code(err) != codes.NotFound || err.Error() != "cni: detach box: no box" {
		t.Error(err)
	}
}

// reach pings an endpoint from the node.
func (r *rig) reach(w *proto.Wiring) {
	r.t.Helper()
	for _, text := range w.Addresses {
		addr := netip.MustParsePrefix(text).Addr().String()
		r.node.Run("ip", "route", "replace", addr, "dev", w.HostInterface)
		r.node.Run("ping", "-c1", "-W1", addr)
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
	waitForNamespace(t, path)
	w, err := r.attachHere(box(path))
	if err != nil {
		t.Fatal(err)
	}
	r.reach(w)
	if _, err := r.attachHere(box("/proc/999999999/ns/net")); err == nil || !strings.Contains(err.Error(), "does not exist") {
		t.Errorf("of no process: %v", err)
	}
	if _, err := r.attachHere(box(r.node.Path())); err == nil || !strings.Contains(err.Error(), "host's own") {
		t.Errorf("the node's own: %v", err)
	}
}

// waitForNamespace waits until unshare(1) has left ours.
func waitForNamespace(t *testing.T, path string) {
	t.Helper()
	eventually(t, "the process has a namespace of its own", func() error {
		f, err := openNetNS(path)
		if err == nil {
			f.Close()
		}
		return err
	})
}

func TestToldKeepsOtherErrors(t *testing.T) {
	why := errors.New("why")
	if err := told("attach box", why); !errors.Is(err, why) || err.Error() != "cni: attach box: why" {
		t.Error(err)
	}
}
