package cli

import (
	"context"
	"errors"
	"io"
	"strings"

	pb "caracal.dev/caracal/proto"
)

// execute runs a command that was understood. If the daemon knows no neighbor of
// the name that was given, it is run once more with the one that can be meant:
// by the name of its node or peer, or by its address.
func (s *session) execute(ctx context.Context, cmd Command, w io.Writer) error {
	err := s.run(ctx, cmd, w)
	var f *failure
	if !errors.As(err, &f) || !f.notFound {
		return err
	}
	for _, key := range []string{"name", "neighbor"} {
		if given := cmd.Args[key]; given != "" {
			name, other := s.resolve(ctx, given)
			switch {
			case other != nil:
				return other
			case name != "":
				cmd.Args[key] = name
				return s.run(ctx, cmd, w)
			}
		}
	}
	return err
}

// resolve returns the one neighbor that a short name can mean; empty if there
// is none.
func (s *session) resolve(ctx context.Context, given string) (string, error) {
	list, err := call(ctx, s.client, s.client.show().ListNeighbors, &pb.NeighborsRequest{})
	if err != nil {
		return "", err
	}
	var names []string
	for _, n := range list.Neighbors {
		if meant(n, given) {
			names = append(names, n.Name)
		}
	}
	if len(names) > 1 {
		return "", failf(ExitFailed, "%q could be %s", given, either(names))
	}
	return strings.Join(names, ""), nil
}

// meant reports whether a neighbor can be called by a short name: "b" for
// mesh/b, "tor" or its address for peer/tor@192.0.2.250.
func meant(n *pb.Neighbor, given string) bool {
	_, own, _ := strings.Cut(n.Name, "/")
	peer, _, _ := strings.Cut(own, "@")
	return given == own || given == peer || given == n.Node || given == n.Address
}
