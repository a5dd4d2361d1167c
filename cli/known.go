package cli

import (
	"context"
	"slices"
	"strings"

	pb "caracal.dev/caracal/proto"
)

// mostNames is how many names `?` lists.
const mostNames = 20

// listed says that the daemon has a list of what such an argument can be.
func (a Arg) listed() bool {
	return a == ArgNeighbor || a == ArgHost || a == ArgAttached || a == ArgPod
}

// known lists what an argument can be; nothing if the daemon does not answer at
// once.
func (s *session) known(ctx context.Context, a Arg) []Candidate {
	ctx, cancel := context.WithTimeout(ctx, completePatience)
	defer cancel()
	switch a {
	case ArgNeighbor:
		list, _ := s.client.show().ListNeighbors(ctx, &pb.NeighborsRequest{})
		return namesOf(list.GetNeighbors(), a, func(n *pb.Neighbor) (string, string) {
			return n.Name, strings.TrimPrefix(n.Address+", "+n.State, ", ")
		})
	case ArgHost, ArgAttached, ArgPod:
		list, _ := s.client.inventory().ListWorkloads(ctx, &pb.WorkloadsRequest{})
		return ofWorkloads(list.GetWorkloads(), a)
	}
	return nil
}

// ofWorkloads are the names of all, or the addresses of those on this node, or the
// names of those that were attached here.
func ofWorkloads(list []*pb.Workload, a Arg) []Candidate {
	var out []Candidate
	for _, w := range list {
		switch {
		case a == ArgPod:
			out = append(out, Candidate{Name: w.Namespace + "/" + w.Name, Help: strings.Join(w.Addresses, " "), Arg: a})
		case !w.Local:
		case a == ArgHost:
			for _, addr := range w.Addresses {
				out = append(out, Candidate{Name: addr, Help: w.Namespace + "/" + w.Name, Arg: a})
			}
		case w.Source == "attach":
			out = append(out, Candidate{Name: w.Name, Help: strings.Join(w.Addresses, " "), Arg: a})
		}
	}
	return out
}

func namesOf[T any](list []T, a Arg, of func(T) (name, help string)) []Candidate {
	var out []Candidate
	for _, v := range list {
		name, help := of(v)
		out = append(out, Candidate{Name: name, Help: help, Arg: a})
	}
	return out
}

// withNames adds the names that there are below the place where one can come.
func (s *session) withNames(ctx context.Context, cands []Candidate) []Candidate {
	var out []Candidate
	for _, c := range cands {
		out = append(out, c)
		if !c.Arg.listed() {
			continue
		}
		names := s.known(ctx, c.Arg)
		if more := len(names) - mostNames; more > 0 {
			where := map[Arg]string{ArgNeighbor: "caracal show protocols", ArgHost: "caracal show workloads", ArgAttached: "caracal show workloads", ArgPod: "caracal show workloads"}[c.Arg]
			names = append(slices.Clone(names[:mostNames]), Candidate{Name: "…", Help: plural(more, "other", "others") + ": " + where})
		}
		out = append(out, names...)
	}
	return out
}
