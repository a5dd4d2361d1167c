package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pb "caracal.dev/caracal/proto"
)

func sampleIPAM() *pb.IPAMUse {
	return &pb.IPAMUse{Mode: "podCIDR",
		Pools: []*pb.PoolUse{
			{Name: "pods", Cidr: "10.64.0.0/16", Size: 64, Allocated: 61, Reserved: 2, Cooling: 1, Blocks: 1},
			{Name: "pods6", Cidr: "fd00:10::/48", Size: 1 << 64, Allocated: 3, Blocks: 1},
			{Name: "old", Cidr: "10.65.0.0/16", Size: 64, Allocated: 64, Blocks: 1, Disabled: true},
			{Name: "other", Cidr: "10.66.0.0/16"},
			{Name: "small", Cidr: "10.67.0.0/29", Size: 8, Allocated: 7, Reserved: 1, Blocks: 1},
			{Cidr: "172.16.0.0/24", Size: 256, Blocks: 1},
		},
		Blocks: []*pb.BlockUse{
			{Cidr: "10.64.0.0/26", Pool: "pods", Node: "a", Affinity: "static", Size: 64, Allocated: 61, Reserved: 2, Cooling: 1},
			{Cidr: "10.64.9.0/26", Pool: "pods", Node: "b", Affinity: "confirmed", Size: 64, Allocated: 1, Borrowed: 1},
			{Cidr: "fd00:10::/64", Pool: "pods6", Node: "a", Affinity: "static", Size: 1 << 64, Allocated: 3},
		}}
}

func sampleAddress() *pb.Address {
	return &pb.Address{Address: "10.64.0.3", Pool: "pods", Block: "10.64.0.0/26", State: "allocated", Handle: "cni/caracal/0123abcd/eth0", Node: "a",
		Kind: "cni", ContainerId: "0123abcd", Ifname: "eth0", Workload: "default/web", Netns: "/run/netns/web", HostInterface: "car0a1b2c3d4e5", Since: ago(2*time.Hour + 13*time.Minute),
		Note: "the network namespace does not exist any more; the address is released once that was seen twice"}
}

func sampleIPAMCheck() *pb.IPAMCheck {
	return &pb.IPAMCheck{Allocated: 61, Endpoints: 60, Problems: []*pb.IPAMProblem{
		{Address: "10.64.0.9", Handle: "cni/caracal/77/eth0", Problem: "no endpoint has it, and nobody will give it back", Advice: "caracal release address 10.64.0.9"},
		{Handle: "cni/caracal/78/eth0", Problem: "the record of the block 10.64.0.0/26 is damaged and was set aside", Advice: "look at /var/lib/caracal/ipam/damaged"},
	}}
}

func (d *fakeDaemon) GetIPAM(_ context.Context, req *pb.IPAMRequest) (*pb.IPAMUse, error) {
	d.note(fmt.Sprintf("ipam blocks=%t", req.Blocks))
	m := sampleIPAM()
	if !req.Blocks {
		m.Blocks = nil
	}
	return m, nil
}

func (d *fakeDaemon) GetAddress(_ context.Context, req *pb.AddressRequest) (*pb.Address, error) {
	d.note("address " + req.Address)
	if req.Address == "10.64.0.3" {
		return sampleAddress(), nil
	}
	return &pb.Address{Address: req.Address, State: "outside"}, nil
}

func (d *fakeDaemon) CheckIPAM(context.Context, *pb.CheckIPAMRequest) (*pb.IPAMCheck, error) {
	d.note("check ipam")
	return sampleIPAMCheck(), nil
}

func (d *fakeDaemon) ReleaseAddress(_ context.Context, req *pb.ReleaseAddressRequest) (*pb.ReleaseAddressReply, error) {
	d.note(fmt.Sprintf("release %s %t", req.Address, req.Force))
	if !req.Force {
		return nil, status.Errorf(codes.FailedPrecondition, "%s is of default/web, which is still there; --force takes it away", req.Address)
	}
	return &pb.ReleaseAddressReply{Handle: "cni/caracal/0123abcd/eth0"}, nil
}

func TestRenderIPAM(t *testing.T) {
	for name, render := range map[string]func(io.Writer){
		"ipam":             func(w io.Writer) { renderIPAM(w, sampleIPAM()) },
		"ipam-none":        func(w io.Writer) { renderIPAM(w, &pb.IPAMUse{Mode: "podCIDR"}) },
		"ipam-blocks":      func(w io.Writer) { renderBlocks(w, sampleIPAM()) },
		"ipam-blocks-none": func(w io.Writer) { renderBlocks(w, &pb.IPAMUse{Mode: "blocks"}) },
		"ipam-address":     func(w io.Writer) { renderAddress(w, now, sampleAddress()) },
		"ipam-address-free": func(w io.Writer) {
			renderAddress(w, now, &pb.Address{Address: "10.64.0.7", State: "free", Pool: "pods", Block: "10.64.0.0/26", Node: "a"})
		},
		"check-ipam":      func(w io.Writer) { renderCheckIPAM(w, sampleIPAMCheck()) },
		"check-ipam-well": func(w io.Writer) { renderCheckIPAM(w, &pb.IPAMCheck{Allocated: 1, Endpoints: 1}) },
	} {
		var out bytes.Buffer
		render(&out)
		golden(t, name, out.String())
		for line := range strings.Lines(out.String()) {
			if strings.HasSuffix(line, " \n") {
				t.Errorf("%s: blanks at the end of %q", name, line)
			}
		}
	}
	for name, m := range map[string]proto.Message{
		"ipam": sampleIPAM(), "ipam-address": sampleAddress(), "check-ipam": sampleIPAMCheck(), "release": &pb.ReleaseAddressReply{},
	} {
		var out bytes.Buffer
		if err := printMessage(&out, JSON, m); err != nil {
			t.Fatal(err)
		}
		golden(t, name+".json", out.String())
	}
	for _, c := range []struct {
		used uint64
		size float64
		want string
	}{{0, 0, "-"}, {0, 64, "0"}, {1, 1 << 64, "<1"}, {64, 64, "100"}, {255, 256, "99"}, {32, 64, "50"}} {
		if got := share(c.used, c.size); got != c.want {
			t.Errorf("%d of %g: %s, want %s", c.used, c.size, got, c.want)
		}
	}
	renderAddress(io.Discard, now, &pb.Address{})
	renderCheckIPAM(io.Discard, &pb.IPAMCheck{Problems: []*pb.IPAMProblem{{}}})
}

func TestIPAMCommands(t *testing.T) {
	d := &fakeDaemon{}
	socket := serve(t, d)
	for line, want := range map[string]struct {
		code  int
		text  string
		asked string
	}{
		"show ipam":                         {ExitOK, "10.64.0.0/16", "ipam blocks=false"},
		"show ipam blocks":                  {ExitOK, "10.64.9.0/26", "ipam blocks=true"},
		"show ipam -o json":                 {ExitOK, `"mode": "podCIDR"`, "ipam blocks=false"},
		"show ipam address 10.64.0.3":       {ExitOK, "default/web", "address 10.64.0.3"},
		"show ipam address 192.0.2.9":       {ExitOK, "192.0.2.9: this node does not give it", "address 192.0.2.9"},
		"check ipam":                        {ExitFailed, "2 problems", "check ipam"},
		"check ipam -o json":                {ExitFailed, `"advice":`, "check ipam"},
		"release address 10.64.0.3":         {ExitFailed, "--force takes it away", "release 10.64.0.3 false"},
		"release address 10.64.0.3 --force": {ExitOK, "10.64.0.3 is free; it was of cni/caracal/0123abcd/eth0\n", "release 10.64.0.3 true"},
		"release address":                   {ExitUsage, "ADDRESS", ""},
		"release address ?":                 {ExitOK, "  10.64.0.4       default/db\n", ""},
	} {
		d.done = nil
		code, out, errs := runWith(t, testOptions(""), append([]string{"--socket", socket}, strings.Fields(line)...)...)
		if code != want.code || !strings.Contains(out+errs, want.text) || d.history() != want.asked {
			t.Errorf("%s: code %d, want %d and %q; asked %q\n%s%s", line, code, want.code, want.text, d.history(), out, errs)
		}
	}
}
