package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"

	"caracal.dev/caracal/fib"
	"caracal.dev/caracal/internal/nstest"
	pb "caracal.dev/caracal/proto"
)

// TestMain lets the test binary be the program.
func TestMain(m *testing.M) {
	if os.Getenv("BE_CARACALD") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

const nodeConfig = `apiVersion: caracal.dev/v1
kind: NodeConfig
metadata: {name: a}
spec:
  addresses: [192.0.2.1/24, "2001:db8::1/64"]
  podCIDRs: [10.1.0.0/22, "fd00:1::/112"]
`

// host is a node: a namespace in which caracald runs and is killed.
type host struct {
	t    *testing.T
	ns   *nstest.NS
	dir  string
	cmd  *exec.Cmd
	log  logFile
	conn *grpc.ClientConn
	pb.EndpointsClient
}

// logFile is the path of what a daemon said.
type logFile string

func (f logFile) String() string {
	b, _ := os.ReadFile(string(f))
	return string(b)
}

func newHost(t *testing.T) *host {
	t.Helper()
	h := &host{t: t, ns: nstest.New(t), dir: t.TempDir()}
	h.ns.Device("eth0", "192.0.2.1/24", "2001:db8::1/64")
	h.ns.Sysctl("net/ipv6/conf/default/accept_dad", "0")
	for _, dir := range []string{"etc/cluster", "etc/local"} {
		if err := os.MkdirAll(filepath.Join(h.dir, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(h.dir, "etc/cluster/a.yaml"), []byte(nodeConfig), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.kill)
	return h
}

// start returns when the daemon's socket is there.
func (h *host) start(args ...string) {
	h.t.Helper()
	exe, err := os.Executable()
	if err != nil {
		h.t.Fatal(err)
	}
	socket := filepath.Join(h.dir, "s")
	h.log = logFile(filepath.Join(h.t.TempDir(), "log"))
	out, err := os.Create(string(h.log))
	if err != nil {
		h.t.Fatal(err)
	}
	defer out.Close()
	h.cmd = h.ns.Command(exe, append([]string{"--config", filepath.Join(h.dir, "etc"), "--state-dir", filepath.Join(h.dir, "state"),
		"--node", "a", "--socket", socket, "--http", ""}, args...)...)
	h.cmd.Env = append(os.Environ(), "BE_CARACALD=1")
	h.cmd.Stdout, h.cmd.Stderr = out, out
	if err := h.cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	h.conn, err = grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: 5 * time.Millisecond, Multiplier: 1, MaxDelay: 5 * time.Millisecond}}))
	if err != nil {
		h.t.Fatal(err)
	}
	h.EndpointsClient = pb.NewEndpointsClient(h.conn)
}

// kill ends the daemon at once, as a crash does.
func (h *host) kill() {
	if h.cmd == nil {
		return
	}
	_ = h.cmd.Process.Signal(syscall.SIGKILL)
	_ = h.cmd.Wait()
	h.conn.Close()
	h.cmd = nil
}

// ready waits until an ADD would work.
func (h *host) ready() {
	h.t.Helper()
	h.until("the daemon serves ADD", func() bool {
		st, err := h.GetEndpointStatus(context.Background(), &pb.EndpointStatusRequest{})
		return err == nil && st.Ready
	})
}

func (h *host) until(what string, ok func() bool) {
	h.t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if ok() {
			return
		}
	}
	h.t.Fatalf("waited in vain until %s\n%s", what, h.log)
}

// routes are those of ours that lead to workloads.
func (h *host) routes() (out []string) {
	h.t.Helper()
	for _, family := range []string{"-4", "-6"} {
		for line := range strings.Lines(h.ns.Run("ip", family, "route", "show", "proto", "67")) {
			if strings.Contains(line, "dev car") {
				out = append(out, strings.TrimSpace(line))
			}
		}
	}
	slices.Sort(out)
	return out
}

// add is an ADD with a link that ends in the node itself.
func (h *host) add(i int) *pb.EndpointID {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	id := &pb.EndpointID{ContainerId: fmt.Sprintf("container%d", i), Ifname: "eth0", Network: "net"}
	w, err := h.AddEndpoint(ctx, &pb.AddEndpointRequest{Id: id, Kind: "cni", Netns: h.ns.Path(), Name: fmt.Sprintf("pod%d", i)})
	if err != nil {
		h.t.Fatalf("%v\n%s", err, h.log)
	}
	h.ns.Do(func() {
		la := netlink.NewLinkAttrs()
		la.Name, la.Flags = w.HostInterface, 1
		err = netlink.LinkAdd(&netlink.Veth{LinkAttrs: la, PeerName: fmt.Sprintf("p%d", i)})
		if err == nil {
			err = netlink.LinkSetUp(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Name: fmt.Sprintf("p%d", i)}})
		}
		if err == nil {
			err = netlink.LinkSetUp(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Name: w.HostInterface}})
		}
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return id
}

// A daemon that is killed and started again with 250 endpoints takes them up
// within a second, and no route of theirs is touched.
func TestRestartWithManyEndpoints(t *testing.T) {
	const endpoints = 250
	h := newHost(t)
	h.start()
	h.ready()
	var took []time.Duration
	for i := range endpoints {
		id := h.add(i)
		began := time.Now()
		if _, err := h.ReadyEndpoint(context.Background(), id); err != nil {
			t.Fatalf("%v\n%s", err, h.log)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	t.Logf("Ready, with up to %d endpoints: p50 %s, p99 %s", endpoints, took[endpoints/2], took[endpoints*99/100])
	before := h.routes()
	if len(before) != 2*endpoints {
		t.Fatalf("%d routes\n%s", len(before), h.log)
	}
	h.kill()
	touched := h.watchRoutes()
	began := time.Now()
	h.start()
	h.ready()
	served := time.Since(began)
	h.until("all are adopted", func() bool { return strings.Contains(h.log.String(), "RIB converged") })
	t.Logf("%d endpoints: serves again after %s", endpoints, served)
	if served > 10*time.Second { // 1 s, and slack for a busy machine
		t.Errorf("it took %s", served)
	}
	if after := h.routes(); !slices.Equal(before, after) {
		t.Errorf("routes are others: %d, were %d", len(after), len(before))
	}
	for _, u := range touched() {
		t.Errorf("a route was touched: %s", u)
	}
	check, err := pb.NewIPAMClient(h.conn).CheckIPAM(context.Background(), &pb.CheckIPAMRequest{})
	if err != nil || check.Endpoints != endpoints || check.Allocated != 2*endpoints || len(check.Problems) > 0 {
		t.Errorf("check: %v %v", check, err)
	}
}

// watchRoutes notes what happens to the routes of workloads until its result is
// called.
func (h *host) watchRoutes() func() []string {
	h.t.Helper()
	updates, done := make(chan netlink.RouteUpdate, 4096), make(chan struct{})
	var err error
	h.ns.Do(func() { err = netlink.RouteSubscribe(updates, done) })
	if err != nil {
		h.t.Fatal(err)
	}
	return func() (out []string) {
		close(done)
		for {
			select {
			case u, ok := <-updates:
				if !ok {
					return out
				}
				if int(u.Protocol) == int(fib.DefaultMark.Protocol) && u.Dst != nil {
					if ones, bits := u.Dst.Mask.Size(); ones == bits {
						out = append(out, fmt.Sprintf("%d %s", u.Type, u.Route))
					}
				}
			case <-time.After(time.Second):
				return out
			}
		}
	}
}

// The daemon answers everything of one container's life, and looks after it.
func TestEndpointsOverTheSocket(t *testing.T) {
	h := newHost(t)
	conf := filepath.Join(h.dir, "net.d")
	h.start("--install-cni", conf)
	h.ready()
	ctx := context.Background()
	id := h.add(1)
	if _, err := h.ReadyEndpoint(ctx, id); err != nil {
		t.Fatal(err)
	}
	if got := h.routes(); len(got) != 2 {
		t.Fatalf("routes %v", got)
	}
	check, err := h.CheckEndpoint(ctx, id)
	if err != nil || len(check.Wiring.Addresses) != 2 {
		t.Fatalf("%v %v", check, err)
	}
	ipam := pb.NewIPAMClient(h.conn)
	addr := netip.MustParsePrefix(check.Wiring.Addresses[0]).Addr().String()
	who, err := ipam.GetAddress(ctx, &pb.AddressRequest{Address: addr})
	if err != nil || who.ContainerId != id.ContainerId || who.Workload != "default/pod1" || who.HostInterface != check.Wiring.HostInterface {
		t.Errorf("address %v %v", who, err)
	}
	if _, err := ipam.ReleaseAddress(ctx, &pb.ReleaseAddressRequest{Address: addr}); err == nil || !strings.Contains(err.Error(), "still in use") {
		t.Errorf("release of what is in use: %v", err)
	}
	use, err := ipam.GetIPAM(ctx, &pb.IPAMRequest{Blocks: true})
	if err != nil || use.Mode != "podCIDR" || len(use.Blocks) != 2 {
		t.Errorf("use %v %v", use, err)
	}
	h.until("the runtime is told", func() bool {
		b, err := os.ReadFile(filepath.Join(conf, "10-caracal.conflist"))
		return err == nil && json.Valid(b)
	})
	h.kill()
	// While the daemon is down the plugin leaves the end of the container.
	queue := filepath.Join(h.dir, "state", "deletions")
	text := fmt.Sprintf(`{"id":{"container_id":%q,"ifname":"eth0","network":"net"}}`, id.ContainerId)
	if err := os.WriteFile(filepath.Join(queue, "x.json"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	h.start()
	h.ready()
	if got := h.routes(); len(got) != 0 {
		t.Errorf("routes %v", got)
	}
	if out, err := h.ns.Try("ip", "link", "show", check.Wiring.HostInterface); err == nil {
		t.Errorf("the link is there: %s", out)
	}
	who, err = ipam2(h).GetAddress(ctx, &pb.AddressRequest{Address: addr})
	if err != nil || who.State == "allocated" {
		t.Errorf("address %v %v", who, err)
	}
}

func ipam2(h *host) pb.IPAMClient { return pb.NewIPAMClient(h.conn) }
