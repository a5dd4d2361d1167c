package cli

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "caracal.dev/caracal/proto"
)

func sampleTunnel() *pb.Tunnel {
	return &pb.Tunnel{
		Device: "tunl0", Wanted: true, Present: true, Up: true, Address: "10.64.1.1", Mtu: 1480, WantedMtu: 1480, Uplink: "eth0", UplinkMtu: 1500, PodMtu: 1480,
		Received: &pb.TunnelCounters{Packets: 1234, Bytes: 5678901}, Sent: &pb.TunnelCounters{Packets: 99, Bytes: 12345, Errors: 2, Dropped: 1},
		Pools: []*pb.TunnelPool{{Name: "pods", Cidr: "10.64.0.0/16", Mode: "CrossSubnet"}, {Name: "vms", Cidr: "10.65.0.0/16", Mode: "Never"}},
		Nodes: []*pb.TunnelNode{
			{Node: "b", Address: "192.0.2.2", TunnelAddress: "10.64.2.1", Direct: 3},
			{Node: "c", Address: "198.51.100.3", Tunneled: 4, Failed: 1},
		},
	}
}

func brokenTunnel() *pb.Tunnel {
	return &pb.Tunnel{Device: "tunl0", Wanted: true, WantedMtu: 1480, PodMtu: 1480, Problem: "ipip: the kernel has no device tunl0 (modprobe ipip: not found); load the module ipip"}
}

func sampleCheck(good bool) *pb.TunnelCheck {
	c := &pb.TunnelCheck{Node: "c", Address: "198.51.100.3", Source: "192.0.2.1", PathMtu: 1500, NeededMtu: 1500, RttMs: 0.25, Good: true}
	if !good {
		c.Good, c.PathMtu, c.LimitedBy = false, 1400, "192.0.2.254"
		c.Advice = []string{"packets of more than 1400 bytes do not fit, says 192.0.2.254; the tunnel's need 1500: raise the MTU there, or set tunnelMTU: 1380 in the DataplaneConfiguration, and the pods' MTU to no more than that"}
	}
	return c
}

func (d *fakeDaemon) GetTunnel(context.Context, *pb.TunnelRequest) (*pb.Tunnel, error) {
	return sampleTunnel(), nil
}

func (d *fakeDaemon) CheckTunnel(_ context.Context, req *pb.CheckTunnelRequest) (*pb.TunnelCheck, error) {
	switch req.Node {
	case "b", "c":
		return sampleCheck(req.Node == "b"), nil
	}
	return nil, status.Errorf(codes.NotFound, "not found: node %q; caracal show nodes lists them", req.Node)
}

func TestRenderTunnel(t *testing.T) {
	for name, render := range map[string]func(io.Writer){
		"tunnels":        func(w io.Writer) { renderTunnel(w, sampleTunnel()) },
		"tunnels-broken": func(w io.Writer) { renderTunnel(w, brokenTunnel()) },
		"check-tunnel":   func(w io.Writer) { renderCheckTunnel(w, sampleCheck(true)) },
		"check-narrow":   func(w io.Writer) { renderCheckTunnel(w, sampleCheck(false)) },
	} {
		var out bytes.Buffer
		render(&out)
		golden(t, name, out.String())
	}
	for _, c := range []struct {
		t    *pb.Tunnel
		want string
	}{
		{&pb.Tunnel{}, "not wanted, and the kernel does not have it"},
		{&pb.Tunnel{Present: true}, "down, not wanted"},
		{&pb.Tunnel{Present: true, Wanted: true}, "down, but wanted"},
		{&pb.Tunnel{Present: true, Up: true}, "up, but nobody here asks for it"},
	} {
		if got := deviceText(c.t); got != c.want {
			t.Errorf("%v: %q, want %q", c.t, got, c.want)
		}
	}
}

func TestTunnelCommands(t *testing.T) {
	socket := serve(t, &fakeDaemon{})
	for line, want := range map[string]struct {
		code int
		text string
	}{
		"show tunnels":           {ExitOK, "198.51.100.3"},
		"show tu -o json":        {ExitOK, `"podMtu": 1480`},
		"check tunnel b":         {ExitOK, "c: good"},
		"check tunnel c":         {ExitFailed, "tunnelMTU: 1380"},
		"check tunnel c -o json": {ExitFailed, `"neededMtu": 1500`},
		"check tunnel x":         {ExitFailed, `node "x"`},
		"check tunnel":           {ExitUsage, "NODE"},
	} {
		code, out, errs := runWith(t, testOptions(""), append([]string{"--socket", socket}, strings.Fields(line)...)...)
		if code != want.code || !strings.Contains(out+errs, want.text) {
			t.Errorf("%s: code %d, want %d and %q\n%s%s", line, code, want.code, want.text, out, errs)
		}
	}
}
