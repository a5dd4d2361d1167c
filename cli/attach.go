package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"

	pb "caracal.dev/caracal/proto"
)

func (c *client) endpoints() pb.EndpointsClient { return pb.NewEndpointsClient(c.conn) }

// attachOptions are what can follow attach.
func attachOptions() []*Word {
	value := func(name, help string, arg Arg, key string) []*Word {
		return []*Word{{Name: name, Help: help, Arg: arg, Key: key}}
	}
	values := func(name, help string, arg Arg, key string) []*Word {
		return []*Word{{Name: name, Help: help, Arg: arg, Key: key, Many: true}}
	}
	return []*Word{
		{Name: "--netns", Help: "the network namespace, by its path or its name in ip netns", Group: "where", Next: value("PATH", "for example /run/netns/box", ArgName, "netns")},
		{Name: "--pid", Help: "the network namespace, by a process in it", Group: "where", Next: value("PID", "for example 4711", ArgCount, "pid")},
		{Name: "--name", Help: "what detach and show workloads call it (the last part of PATH)", Next: value("NAME", "for example box", ArgName, "name")},
		{Name: "--namespace", Help: "the namespace of the workload (default)", Next: value("NAMESPACE", "for example prod", ArgName, "namespace")},
		{Name: "--label", Help: "a label of the workload; again for another one", Many: true, Next: values("KEY=VALUE", "for example app=web", ArgLabel, "label")},
		{Name: "--ip", Help: "an address to get; again for one of the other family", Many: true, Next: values("ADDRESS", "for example 10.64.1.7", ArgHost, "ip")},
		{Name: "--ifname", Help: "the interface in the namespace (eth0)", Next: value("NAME", "for example eth0", ArgName, "ifname")},
		{Name: "--mtu", Help: "its MTU in bytes (what fits the node's network and tunnel)", Next: value("BYTES", "for example 1400", ArgCount, "mtu")},
	}
}

func detachWords() []*Word {
	return []*Word{{Name: "NAME", Help: "what attach called it, for example box", Arg: ArgAttached, Key: "name", Runs: "detach"}}
}

// wiringPatience is how long, beside the time for an answer, the daemon may wait
// for routes to be in the kernel.
const wiringPatience = 30 * time.Second

// attach has the namespace wired up by this process, which sees it; the daemon
// gives the addresses and the routes.
func (s *session) attach(ctx context.Context, cmd Command, w io.Writer) error {
	if s.opts.Attach == nil {
		return failf(ExitFailed, "this program was built without attach")
	}
	req, err := attachRequest(cmd)
	if err != nil {
		return err
	}
	s.client.timeout += wiringPatience
	defer func() { s.client.timeout -= wiringPatience }()
	ctx, cancel := context.WithTimeout(ctx, s.client.timeout)
	defer cancel()
	wiring, err := s.opts.Attach(ctx, s.client.endpoints(), req)
	if err != nil {
		return s.client.explain(err)
	}
	return s.print(w, wiring, func() { renderAttached(w, req, wiring) })
}

// attachRequest is what a command asks for.
func attachRequest(cmd Command) (*pb.AddEndpointRequest, error) {
	netns, err := netnsPath(cmd)
	if err != nil {
		return nil, err
	}
	name := cmp.Or(cmd.Args["name"], filepath.Base(netns))
	if strings.HasPrefix(netns, "/proc/") && cmd.Args["name"] == "" {
		return nil, failf(ExitUsage, "say what to call it, for detach and show workloads: --name NAME")
	}
	req := &pb.AddEndpointRequest{
		Id:    &pb.EndpointID{ContainerId: name, Ifname: cmp.Or(cmd.Args["ifname"], usualInterface)},
		Netns: netns, Kind: "attach", Namespace: cmp.Or(cmd.Args["namespace"], "default"), Name: name, Addresses: cmd.Lists["ip"],
	}
	for _, l := range cmd.Lists["label"] {
		k, v, _ := strings.Cut(l, "=")
		if req.Labels == nil {
			req.Labels = map[string]string{}
		}
		if old, ok := req.Labels[k]; ok && old != v {
			return nil, failf(ExitUsage, "the label %s cannot be both %s and %s", k, old, v)
		}
		if len(validation.IsQualifiedName(k))+len(validation.IsValidLabelValue(v)) > 0 {
			return nil, failf(ExitUsage, "%s is no label: key and value are letters, digits, '-', '_' and '.', at most 63, the key perhaps after a domain and '/'", l)
		}
		req.Labels[k] = v
	}
	if len(validation.IsDNS1123Label(req.Namespace)) > 0 {
		return nil, failf(ExitUsage, "the namespace %q must be lower-case letters, digits and -, at most 63 of them", req.Namespace)
	}
	if text := cmd.Args["mtu"]; text != "" {
		mtu, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			return nil, failf(ExitUsage, "--mtu %s: %v", text, err)
		}
		req.Mtu = uint32(mtu)
	}
	return req, nil
}

// usualInterface is what containers expect theirs to be called.
const usualInterface = "eth0"

// netnsPath returns the whole path of the namespace, as the daemon has another
// working directory.
func netnsPath(cmd Command) (string, error) {
	if pid := cmd.Args["pid"]; pid != "" {
		return "/proc/" + pid + "/ns/net", nil
	}
	path := cmd.Args["netns"]
	if path == "" {
		return "", failf(ExitUsage, "say which network namespace: attach --netns PATH, or --pid PID for that of a process")
	}
	if !strings.Contains(path, "/") { // the name that ip netns has for it
		path = filepath.Join("/run/netns", path)
	}
	return filepath.Abs(path)
}

func renderAttached(w io.Writer, req *pb.AddEndpointRequest, m *pb.Wiring) {
	fmt.Fprintf(w, "%s/%s has %s\n\n", req.Namespace, req.Name, strings.Join(hosts(m.Addresses), " and "))
	g := &grid{right: make([]bool, 3)}
	g.add("", "Namespace", req.Netns)
	g.add("", "Interface", fmt.Sprintf("%s, MTU %d", req.Id.Ifname, m.Mtu))
	g.add("", "Host's end", m.HostInterface)
	g.add("", "To undo", "caracal detach "+req.Name)
	g.print(w)
}

// hosts are addresses without the /32 and /128 that each has.
func hosts(prefixes []string) []string {
	var out []string
	for _, p := range prefixes {
		addr, _, _ := strings.Cut(p, "/")
		out = append(out, addr)
	}
	return out
}

func (s *session) detach(ctx context.Context, cmd Command, w io.Writer) error {
	if s.opts.Detach == nil {
		return failf(ExitFailed, "this program was built without detach")
	}
	name := cmd.Args["name"]
	ctx, cancel := context.WithTimeout(ctx, s.client.timeout)
	defer cancel()
	m, err := s.opts.Detach(ctx, s.client.endpoints(), name)
	if err != nil {
		return s.client.explain(err)
	}
	if len(m.Addresses) == 0 {
		return failf(ExitFailed, "nothing is attached by the name %s; caracal show workloads has it where the source is attach", name)
	}
	return s.print(w, m, func() { fmt.Fprintf(w, "%s is detached; it had %s\n", name, strings.Join(m.Addresses, " and ")) })
}
