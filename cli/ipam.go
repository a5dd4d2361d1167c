package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	pb "caracal.dev/caracal/proto"
)

func (c *client) ipam() pb.IPAMClient { return pb.NewIPAMClient(c.conn) }

// ipamWords are what can follow show ipam.
func ipamWords() []*Word {
	return []*Word{
		{Name: "blocks", Help: "the parts of the pools that this node gives addresses of", Runs: "show ipam blocks"},
		{Name: "address", Help: "who has an address, or why nobody can get it", Next: []*Word{
			{Name: "ADDRESS", Help: "for example 10.64.1.7", Arg: ArgHost, Key: "address", Runs: "show ipam address"},
		}},
	}
}

// releaseWords are what can follow release.
func releaseWords() []*Word {
	return []*Word{
		{Name: "address", Help: "one address, by hand", Next: []*Word{
			{Name: "ADDRESS", Help: "for example 10.64.1.7", Arg: ArgHost, Key: "address", Runs: "release address", Options: []*Word{
				{Name: "--force", Help: "even if its owner is still there, who then has it no more", Key: "force", Exact: true},
			}},
		}},
	}
}

// addresses runs the commands about addresses of containers.
func (s *session) addresses(ctx context.Context, cmd Command, w io.Writer) error {
	switch cmd.Name {
	case "show ipam":
		return get(ctx, s, w, s.client.ipam().GetIPAM, &pb.IPAMRequest{}, func(m *pb.IPAMUse) { renderIPAM(w, m) })
	case "show ipam blocks":
		return get(ctx, s, w, s.client.ipam().GetIPAM, &pb.IPAMRequest{Blocks: true}, func(m *pb.IPAMUse) { renderBlocks(w, m) })
	case "show ipam address":
		return get(ctx, s, w, s.client.ipam().GetAddress, &pb.AddressRequest{Address: cmd.Args["address"]},
			func(m *pb.Address) { renderAddress(w, s.opts.Now(), m) })
	case "check ipam":
		return s.checkIPAM(ctx, w)
	}
	return s.releaseAddress(ctx, cmd, w)
}

// checkIPAM also exits with 1 if something is wrong.
func (s *session) checkIPAM(ctx context.Context, w io.Writer) error {
	m, err := call(ctx, s.client, s.client.ipam().CheckIPAM, &pb.CheckIPAMRequest{})
	if err != nil {
		return err
	}
	err = s.print(w, m, func() { renderCheckIPAM(w, m) })
	if len(m.Problems) > 0 {
		err = errors.Join(err, exitCode(ExitFailed))
	}
	return err
}

func (s *session) releaseAddress(ctx context.Context, cmd Command, w io.Writer) error {
	req := &pb.ReleaseAddressRequest{Address: cmd.Args["address"], Force: cmd.Args["force"] != ""}
	return get(ctx, s, w, s.client.ipam().ReleaseAddress, req, func(m *pb.ReleaseAddressReply) {
		fmt.Fprintf(w, "%s is free; it was of %s\n", req.Address, orDash(m.Handle))
	})
}
