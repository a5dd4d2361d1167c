package test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"caracal.dev/caracal"
	"caracal.dev/caracal/lab"
	"caracal.dev/caracal/proto"
)

// leases asks a node's daemon for its addresses.
func (c *containers) leases(node string) (*proto.IPAMCheck, error) {
	conn, err := grpc.NewClient("unix://"+c.l.Node(node).Socket(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return proto.NewIPAMClient(conn).CheckIPAM(c.t.Context(), &proto.CheckIPAMRequest{})
}

// hasOnly says in which way a node has more or less than these containers: the
// daemon's records, its allocations, interfaces and routes.
func (c *containers) hasOnly(node string, n int) string {
	var wrong []string
	differs := func(what string, got, want int, list ...string) {
		if got != want {
			wrong = append(wrong, fmt.Sprintf("%d %s, want %d %v", got, what, want, list))
		}
	}
	at := c.l.Node(node)
	check, err := c.leases(node)
	if err != nil {
		return err.Error()
	}
	families := len(at.Blocks)
	differs("endpoints", int(check.GetEndpoints()), n)
	differs("allocated addresses", int(check.GetAllocated()), n*families)
	for _, p := range check.GetProblems() {
		wrong = append(wrong, "problem: "+p.String())
	}
	records, _ := filepath.Glob(filepath.Join(at.StateDir(), "endpoints", "*"))
	differs("records", len(records), n, records...)
	// A plugin that is killed while it writes leaves a file that begins with a dot;
	// the daemon removes it when it is sure that nobody writes it any more.
	queued, _ := filepath.Glob(filepath.Join(at.StateDir(), "deletions", "[^.]*"))
	differs("queued deletions", len(queued), 0, queued...)
	links, err := hostInterfaces(at)
	if err != nil {
		return err.Error()
	}
	differs("host interfaces", len(links), n, links...)
	routes, err := at.OwnRoutes()
	if err != nil {
		return err.Error()
	}
	var hosts []string
	for _, r := range routes {
		if r.Dst.IsSingleIP() && slices.ContainsFunc(at.Blocks, r.Dst.Overlaps) {
			hosts = append(hosts, r.String())
		}
	}
	differs("routes to containers", len(hosts), n*families, hosts...)
	return strings.Join(wrong, "; ")
}

// hostInterfaces lists those of a node that lead to containers.
func hostInterfaces(n *lab.Node) ([]string, error) {
	var out []string
	err := n.Do(func() error {
		links, err := net.Interfaces()
		for _, l := range links {
			if caracal.IsHostInterface(l.Name) {
				out = append(out, l.Name)
			}
		}
		return err
	})
	return out, err
}

// bootIDFile is what tells one boot of a machine from the next, random(4).
const bootIDFile = "/proc/sys/kernel/random/boot_id"

// afterReboot writes a program that runs caracald as on a machine that was started
// anew: it sees another boot ID, and the same namespaces as everybody.
func (c *containers) afterReboot(node string) string {
	c.t.Helper()
	dir := c.l.Node(node).Dir()
	id := filepath.Join(dir, "boot_id")
	script := fmt.Sprintf("#!/bin/sh\nexec unshare --mount --propagation slave sh -c 'mount --bind %s %s && exec %s \"$@\"' sh \"$@\"\n",
		id, bootIDFile, built.caracald)
	for path, text := range map[string]string{id: "00000000-0000-4000-8000-000000000000\n", filepath.Join(dir, "caracald-after-reboot"): script} {
		writeProgram(c.t, path, []byte(text))
	}
	return filepath.Join(dir, "caracald-after-reboot")
}

// writeProgram writes a file that is to be run at once. A child that another test
// starts while it is open would have it open for writing too, up to its own exec:
// until then nobody could run the file (ETXTBSY).
func writeProgram(t *testing.T, path string, text []byte) {
	t.Helper()
	syscall.ForkLock.RLock()
	err := os.WriteFile(path, text, 0o755)
	syscall.ForkLock.RUnlock()
	if err != nil {
		t.Fatal(err)
	}
}
