package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"google.golang.org/protobuf/proto"

	pb "caracal.dev/caracal/proto"
)

// run runs a command with the names that were given.
func (s *session) run(ctx context.Context, cmd Command, w io.Writer) error {
	switch cmd.Name {
	case "show status":
		return s.status(ctx, w)
	case "show protocols":
		return s.protocols(ctx, cmd, w)
	case "show route":
		return s.routes(ctx, cmd, w)
	case "show fib":
		return s.fib(ctx, w)
	case "show interfaces":
		return get(ctx, s, w, s.client.inventory().ListInterfaces, &pb.InterfacesRequest{}, func(m *pb.InterfaceList) { renderInterfaces(w, m) })
	case "show workloads":
		return get(ctx, s, w, s.client.inventory().ListWorkloads, &pb.WorkloadsRequest{}, func(m *pb.WorkloadList) { renderWorkloads(w, m) })
	case "show nodes":
		return get(ctx, s, w, s.client.inventory().ListNodes, &pb.NodesRequest{}, func(m *pb.NodeList) { renderNodes(w, m) })
	case "show bfd":
		return get(ctx, s, w, s.client.peering().ListBFD, &pb.BFDRequest{}, func(m *pb.BFDList) { renderBFD(w, s.opts.Now(), m) })
	case "show filters":
		return get(ctx, s, w, s.client.peering().ListFilters, &pb.FiltersRequest{Name: cmd.Args["name"]}, func(m *pb.FilterList) { renderFilters(w, m) })
	case "show tor-config":
		return s.torConfig(ctx, cmd, w)
	case "show tunnels":
		return get(ctx, s, w, s.client.tunnels().GetTunnel, &pb.TunnelRequest{}, func(m *pb.Tunnel) { renderTunnel(w, m) })
	case "show services":
		return get(ctx, s, w, s.client.services().ListServices, &pb.ServicesRequest{Service: cmd.Args["service"]}, func(m *pb.ServiceList) { renderServices(w, m) })
	case "explain policy", "show policy", "show sets", "show endpoint":
		return s.policies(ctx, cmd, w)
	case "show ipam", "show ipam blocks", "show ipam address", "check ipam", "release address":
		return s.addresses(ctx, cmd, w)
	case "attach":
		return s.attach(ctx, cmd, w)
	case "detach":
		return s.detach(ctx, cmd, w)
	case "check tunnel":
		return s.checkTunnel(ctx, cmd, w)
	case "drain":
		return s.drain(ctx, cmd, w)
	case "undrain":
		return s.undrain(ctx, w)
	case "enable", "disable", "restart", "reload-in", "reload-out":
		return get(ctx, s, w, s.client.command().ChangeNeighbor, &pb.ChangeNeighborRequest{Verb: cmd.Name, Name: cmd.Args["name"]},
			func(m *pb.ChangeNeighborReply) { fmt.Fprintln(w, m.Message) })
	case "configure":
		return s.configure(ctx, cmd, w)
	case "monitor":
		return s.monitor(ctx, cmd, w)
	case "cleanup":
		return s.cleanupAndStay(ctx, cmd, w)
	case "completion":
		_, err := io.WriteString(w, completionScript(cmd.Args["shell"]))
		return err
	case "version":
		return s.version(ctx, w)
	case "help":
		s.help(w)
		return nil
	}
	return fmt.Errorf("a bug: the command %q is in the grammar and nowhere else", cmd.Name)
}

// get asks for one message and prints it.
func get[Req any, Resp proto.Message](ctx context.Context, s *session, w io.Writer, do rpc[Req, Resp], req Req, table func(Resp)) error {
	m, err := call(ctx, s.client, do, req)
	if err != nil {
		return err
	}
	return s.print(w, m, func() { table(m) })
}

func (s *session) print(w io.Writer, m proto.Message, table func()) error {
	if s.flags.format != Table {
		return printMessage(w, s.flags.format, m)
	}
	table()
	return nil
}

// status also asks for the neighbors if some are down, to name them.
func (s *session) status(ctx context.Context, w io.Writer) error {
	return get(ctx, s, w, s.client.show().GetStatus, &pb.StatusRequest{}, func(m *pb.Status) {
		var neighbors *pb.NeighborList
		if m.Counts.GetEstablished() < m.Counts.GetNeighbors() {
			neighbors, _ = call(ctx, s.client, s.client.show().ListNeighbors, &pb.NeighborsRequest{})
		}
		renderStatus(w, s.opts.Now(), m, neighbors)
	})
}

func (s *session) protocols(ctx context.Context, cmd Command, w io.Writer) error {
	return get(ctx, s, w, s.client.show().ListNeighbors, &pb.NeighborsRequest{Name: cmd.Args["name"]}, func(m *pb.NeighborList) {
		renderDrained(w, s.opts.Now(), m.Drain)
		if cmd.Args["all"] != "" {
			renderNeighborsAll(w, s.opts.Now(), m)
		} else {
			renderNeighbors(w, s.opts.Now(), m)
		}
	})
}

func (s *session) routes(ctx context.Context, cmd Command, w io.Writer) error {
	req := &pb.RoutesRequest{Table: cmd.Args["table"], Prefix: cmd.Args["prefix"], For: cmd.Args["for"], Neighbor: cmd.Args["neighbor"]}
	list := &pb.RouteList{}
	err := receive(ctx, s.client, nil, s.client.show().ListRoutes, req, func(page *pb.RouteList) error {
		list.Paths = append(list.Paths, page.Paths...)
		return nil
	})
	if err != nil {
		return err
	}
	sortByPrefix(list.Paths, (*pb.Path).GetPrefix)
	if len(list.Paths) == 0 && req.Prefix+req.For != "" {
		if s.flags.format != Table {
			err = printMessage(w, s.flags.format, list)
		}
		return errors.Join(err, noRoute(req))
	}
	return s.print(w, list, func() {
		render := renderRoutes
		if req.Table == "adj-rib-out" {
			render = renderAdjOut
		}
		render(w, s.opts.Now(), list, cmd.Args["all"] != "")
	})
}

// noRoute says that there is none and, as a prefix is looked for exactly, how to
// find the one that packets take.
func noRoute(req *pb.RoutesRequest) *failure {
	if req.Prefix == "" {
		return failf(ExitFailed, "there is no route for %s%s", req.For, inTable(req))
	}
	addr, _, _ := strings.Cut(req.Prefix, "/")
	return failf(ExitFailed, "no route for exactly %s%s; for the route that packets take: caracal show route for %s", req.Prefix, inTable(req), addr)
}

func inTable(req *pb.RoutesRequest) string {
	s := ""
	if req.Table != "" {
		s = " in " + req.Table
	}
	switch {
	case req.Neighbor == "":
		return s
	case req.Table == "adj-rib-out":
		return s + " to " + req.Neighbor
	}
	return s + " from " + req.Neighbor
}

func (s *session) fib(ctx context.Context, w io.Writer) error {
	list := &pb.FIBList{}
	err := receive(ctx, s.client, nil, s.client.show().ListFIB, &pb.FIBRequest{}, func(page *pb.FIBList) error {
		list.Entries = append(list.Entries, page.Entries...)
		return nil
	})
	if err != nil {
		return err
	}
	sortByPrefix(list.Entries, (*pb.FIBEntry).GetPrefix)
	return s.print(w, list, func() { renderFIB(w, s.opts.Now(), list) })
}

func (s *session) configure(ctx context.Context, cmd Command, w io.Writer) error {
	req := &pb.ConfigureRequest{Check: cmd.Args["mode"] == "check", Confirm: cmd.Args["mode"] == "confirm"}
	if dir := cmd.Args["dir"]; dir != "" {
		if !req.Check {
			return failf(ExitUsage, "--from is for configure check only; to take a directory, put it in place")
		}
		var err error
		if req.Dir, err = filepath.Abs(dir); err != nil {
			return err
		}
	}
	m, err := call(ctx, s.client, s.client.command().Configure, req)
	if err != nil {
		return err
	}
	err = s.print(w, m, func() { renderConfigure(w, s.opts.Now(), m, req.Check) })
	return errors.Join(err, exitCode(configureCode(m)))
}

// flush writes out what a buffered writer holds.
func flush(w io.Writer) error {
	if b, ok := w.(interface{ Flush() error }); ok {
		return b.Flush()
	}
	return nil
}

// version works without a daemon.
func (s *session) version(ctx context.Context, w io.Writer) error {
	st, err := call(ctx, s.client, s.client.show().GetStatus, &pb.StatusRequest{})
	if s.flags.format != Table {
		return printValue(w, s.flags.format, map[string]string{"caracal": s.opts.Version, "caracald": st.GetVersion()})
	}
	fmt.Fprintf(w, "caracal  %s\n", orDash(s.opts.Version))
	if err != nil {
		fmt.Fprintf(w, "caracald not reachable at %s\n", s.flags.socket)
		return nil
	}
	fmt.Fprintf(w, "caracald %s\n", orDash(st.Version))
	return nil
}
