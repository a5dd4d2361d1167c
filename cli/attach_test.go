package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "caracal.dev/caracal/proto"
)

func (d *fakeDaemon) AddEndpoint(_ context.Context, req *pb.AddEndpointRequest) (*pb.Wiring, error) {
	d.note(fmt.Sprintf("add %s %s %s %s/%s %v %v %d", req.Kind, req.Id.Ifname, req.Netns, req.Namespace, req.Name, req.Labels, req.Addresses, req.Mtu))
	if req.Name == "full" {
		return nil, status.Error(codes.ResourceExhausted, "no address is left in pool pods")
	}
	return &pb.Wiring{HostInterface: "car0a1b2c3d4e5", Addresses: []string{"10.64.0.3/32", "fd00:10::3/128"}, Mtu: 1480, Node: "a"}, nil
}

func (d *fakeDaemon) RemoveEndpoint(_ context.Context, id *pb.EndpointID) (*pb.RemoveReply, error) {
	d.note("remove " + id.ContainerId)
	if id.ContainerId != "box" {
		return &pb.RemoveReply{}, nil
	}
	return &pb.RemoveReply{Addresses: []string{"10.64.0.3", "fd00:10::3"}}, nil
}

// withAttach has functions that only ask the daemon.
func withAttach(o Options) Options {
	o.Attach = func(ctx context.Context, daemon pb.EndpointsClient, req *pb.AddEndpointRequest) (*pb.Wiring, error) {
		if req.Netns == "/run/netns/gone" {
			return nil, errors.New("cni: attach gone: /run/netns/gone does not exist")
		}
		return daemon.AddEndpoint(ctx, req)
	}
	o.Detach = func(ctx context.Context, daemon pb.EndpointsClient, name string) (*pb.RemoveReply, error) {
		return daemon.RemoveEndpoint(ctx, &pb.EndpointID{ContainerId: name})
	}
	return o
}

func TestAttach(t *testing.T) {
	d := &fakeDaemon{}
	socket := serve(t, d)
	for _, tc := range []struct {
		line  string
		code  int
		text  string
		asked string
	}{
		{"attach --netns box", 0, "default/box has 10.64.0.3 and fd00:10::3\n\n  Namespace   /run/netns/box\n  Interface   eth0, MTU 1480\n  Host's end  car0a1b2c3d4e5\n  To undo     caracal detach box\n",
			"add attach eth0 /run/netns/box default/box map[] [] 0"},
		{"attach --netns=/var/run/docker/netns/1f2e --name web --namespace prod --label app=web --label app=web --label=tier=a.b --ip 10.64.0.3 --ifname net1 --mtu 1400", 0, "prod/web has",
			"add attach net1 /var/run/docker/netns/1f2e prod/web map[app:web tier:a.b] [10.64.0.3] 1400"},
		{"attach --pid 4711 --name box -o json", 0, `"hostInterface": "car0a1b2c3d4e5"`, "add attach eth0 /proc/4711/ns/net default/box map[] [] 0"},
		{"attach --pid 4711", 2, "say what to call it, for detach and show workloads: --name NAME", ""},
		{"attach", 2, "say which network namespace: attach --netns PATH, or --pid PID for that of a process", ""},
		{"attach --netns box --label a=1 --label a=2", 2, "the label a cannot be both 1 and 2", ""},
		{"attach --netns box --label a=b=c", 2, "a=b=c is no label: key and value are", ""},
		{"attach --netns box --label a/b/c=d", 2, "a/b/c=d is no label: key and value are", ""},
		{"attach --netns box --namespace Prod", 2, `the namespace "Prod" must be lower-case letters, digits and -`, ""},
		{"attach --netns gone", 1, "caracal: cni: attach gone: /run/netns/gone does not exist\n", ""},
		{"attach --netns full", 1, "caracal: no address is left in pool pods\n", "add attach eth0 /run/netns/full default/full map[] [] 0"},
		{"detach box", 0, "box is detached; it had 10.64.0.3 and fd00:10::3\n", "remove box"},
		{"detach box -o json", 0, `"addresses"`, "remove box"},
		{"detach other", 1, "nothing is attached by the name other; caracal show workloads", "remove other"},
	} {
		d.done = nil
		code, out, errs := runWith(t, withAttach(testOptions("")), append([]string{"--socket", socket}, strings.Fields(tc.line)...)...)
		if code != tc.code || !strings.Contains(out+errs, tc.text) || d.history() != tc.asked {
			t.Errorf("%s: code %d, want %d and %q; asked %q, want %q\n%s%s", tc.line, code, tc.code, tc.text, d.history(), tc.asked, out, errs)
		}
	}
	if code, _, errs := runWith(t, withAttach(testOptions("")), "--socket", "/nonexistent", "attach", "--netns", "box"); code != ExitNoDaemon {
		t.Errorf("without a daemon: %d, %s", code, errs)
	}
}
