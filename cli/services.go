package cli

import (
	"fmt"
	"io"

	pb "caracal.dev/caracal/proto"
)

func (c *client) services() pb.ServicesClient { return pb.NewServicesClient(c.conn) }

func renderServices(w io.Writer, list *pb.ServiceList) {
	if len(list.Ranges) == 0 {
		fmt.Fprintln(w, "no ranges of Services: nothing of them is announced; see serviceClusterIPs, serviceExternalIPs and serviceLoadBalancerIPs of a BGPConfiguration")
	} else {
		g := newGrid("RANGE", "KIND", "ANNOUNCED", "INFO")
		for _, r := range list.Ranges {
			g.addWrapped([]any{r.Range, r.Kind, yesNo(r.Announced)}, wrap(r.Why, 90))
		}
		g.print(w)
	}
	if len(list.Addresses) == 0 {
		return
	}
	fmt.Fprintln(w)
	g := newGrid("SERVICE", "KIND", "ADDRESS", "POLICY", "ANNOUNCED", "INFO")
	for _, a := range list.Addresses {
		policy := "Cluster"
		if a.Local {
			policy = "Local"
		}
		g.addWrapped([]any{a.Service, a.Kind, a.Address, policy, orDash(a.Announced)}, wrap(a.Why, 90))
	}
	g.print(w)
}
