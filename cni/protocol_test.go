package cni

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/containernetworking/cni/pkg/types"

	"caracal.dev/caracal"
	"caracal.dev/caracal/internal/nstest"
	"caracal.dev/caracal/proto"
)

// quick is when five answers came without waiting for anything, with room for a
// busy machine: each could wait for dialTimeout.
const quick = 4 * dialTimeout

func TestDaemonDown(t *testing.T) {
	r, pod := newRig(t), nstest.New(t)
	c := call{id: "c1", ifname: "eth0", netns: pod.Path()}
	r.add(c)
	r.stop()
	began := time.Now()
	in := func(command string) call { c := c; c.command = command; return c }
	r.fails(call{command: "ADD", id: "c2", ifname: "eth0", netns: pod.Path()}, types.ErrTryAgainLater, "caracald does not run on this node")
	r.fails(call{command: "STATUS"}, types.ErrPluginNotAvailable, "caracald does not run on this node")
	r.fails(call{command: "GC", conf: map[string]any{"cni.dev/valid-attachments": []any{}}}, types.ErrTryAgainLater, "does not run")
	r.mustRun(in("DEL"))
	r.mustRun(in("DEL"))
	if took := time.Since(began); took > quick {
		t.Errorf("took %v", took)
	}
	if l := r.links(); len(l) != 0 {
		t.Errorf("DEL without a daemon left %v", l)
	}
	q := r.queued()
	if len(q) != 1 {
		t.Fatalf("queue %v", q)
	}
	b, err := os.ReadFile(q[0])
	if want := `{"id":{"container_id":"c1","ifname":"eth0","network":"net"}}`; err != nil || string(b) != want {
		t.Errorf("queued %s, want %s (%v)", b, want, err)
	}
	for path, want := range map[string]os.FileMode{q[0]: 0o600, filepath.Dir(q[0]): 0o700 | os.ModeDir} {
		if fi, err := os.Stat(path); err != nil || fi.Mode() != want {
			t.Errorf("%s: mode %v, want %v (%v)", path, fi.Mode(), want, err)
		}
	}
	// The same container again, before the daemon has looked at its queue: its
	// last life goes first.
	r.start()
	var order []string
	r.on(func(_ context.Context, method string) error { order = append(order, method); return nil })
	r.add(c)
	if !slices.Equal(order, []string{"remove", "add", "ready"}) || len(r.queued()) != 0 {
		t.Errorf("calls %v, queue %v", order, r.queued())
	}
	r.mustRun(in("DEL"))
	r.clean()
}

// A socket that is left over is as good as none.
func TestDaemonDead(t *testing.T) {
	r, pod := newRig(t), nstest.New(t)
	r.stop()
	// Stop removed the socket; one that nobody listens on is what a crash leaves.
	if out, err := r.node.Try("python3", "-c", "import socket,sys; s=socket.socket(socket.AF_UNIX); s.bind(sys.argv[1])", r.socket); err != nil {
		t.Fatal(out, err)
	}
	r.fails(call{command: "ADD", id: "c1", ifname: "eth0", netns: pod.Path()}, types.ErrTryAgainLater, "nobody listens on")
	r.clean()
}

// Whatever the daemon refuses, nothing is left, and the code says whether to try
// again.
func TestDaemonRefuses(t *testing.T) {
	r, pod := newRig(t), nstest.New(t)
	c := call{command: "ADD", id: "c1", ifname: "eth0", netns: pod.Path()}
	for _, tc := range []struct {
		method string
		code   codes.Code
		want   uint
		part   string
	}{
		{"add", codes.Unavailable, types.ErrTryAgainLater, "the sentence"},
		{"add", codes.ResourceExhausted, types.ErrTryAgainLater, "the sentence"},
		{"add", codes.NotFound, types.ErrTryAgainLater, "the sentence"},
		{"add", codes.InvalidArgument, types.ErrInvalidNetworkConfig, "the sentence"},
		{"add", codes.FailedPrecondition, codeRefused, "the sentence"},
		{"add", codes.Unimplemented, codeRefused, "update it"},
		{"add", codes.PermissionDenied, codeRefused, "must run as root"},
		{"ready", codes.Unavailable, types.ErrTryAgainLater, "the sentence"},
		{"ready", codes.Internal, codeRefused, "the sentence"},
	} {
		r.on(func(_ context.Context, method string) error {
			if method == tc.method {
				return status.Error(tc.code, "the sentence")
			}
			return nil
		})
		r.fails(c, tc.want, tc.part)
		r.clean()
	}
	r.on(nil)
	r.add(c)
	// A DEL that the daemon refuses is an error, and the link stays with its
	// addresses.
	r.on(func(context.Context, string) error { return status.Error(codes.Internal, "disk full") })
	c.command = "DEL"
	r.fails(c, codeRefused, "disk full")
	if len(r.links()) != 1 {
		t.Errorf("links %v", r.links())
	}
}

// The daemon dies while it works on a call of an ADD, or between two.
func TestDaemonDies(t *testing.T) {
	for _, at := range []string{"add", "ready"} {
		t.Run(at, func(t *testing.T) {
			r, pod := newRig(t), nstest.New(t)
			stopped := make(chan struct{})
			r.on(func(ctx context.Context, method string) error {
				if method == at {
					go func() { defer close(stopped); r.stop() }()
					<-ctx.Done()
				}
				return nil
			})
			c := call{command: "ADD", id: "c1", ifname: "eth0", netns: pod.Path()}
			r.fails(c, types.ErrTryAgainLater, "add eth0 to container c1")
			if l := r.links(); len(l) != 0 || len(r.queued()) != 1 {
				t.Errorf("left: links %v, queue %v", l, r.queued())
			}
			<-stopped
			r.on(nil)
			r.start()
			r.add(c)
			c.command = "DEL"
			r.mustRun(c)
			r.clean()
		})
	}
}

// kill -9 of the plugin while the daemon works on one of its calls, and at any
// moment: the next ADD of the container succeeds, and its DEL leaves nothing.
func TestPluginDies(t *testing.T) {
	r := newRig(t)
	arrived := make(chan string, 1)
	for _, at := range []string{"add", "ready"} {
		pod := nstest.New(t)
		r.on(func(ctx context.Context, method string) error {
			if method == at {
				arrived <- method
				<-ctx.Done() // the plugin is gone
			}
			return nil
		})
		c := call{command: "ADD", id: "kill-" + at, ifname: "eth0", netns: pod.Path()}
		cmd := r.command(c)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		<-arrived
		cmd.Process.Kill()
		cmd.Wait()
		r.on(nil)
		r.retry(c)
	}
	for i := range 30 {
		pod := nstest.New(t)
		c := call{command: "ADD", id: fmt.Sprint("moment-", i), ifname: "eth0", netns: pod.Path()}
		cmd := r.command(c)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(i) * 700 * time.Microsecond) // any moment will do
		cmd.Process.Kill()
		cmd.Wait()
		r.retry(c)
	}
}

// retry adds, checks and deletes a container again.
func (r *rig) retry(c call) {
	r.t.Helper()
	res := r.add(c)
	r.mustRun(call{command: "CHECK", id: c.id, ifname: c.ifname, netns: c.netns, conf: map[string]any{"prevResult": res}})
	c.command = "DEL"
	r.mustRun(c)
	r.clean()
}

func TestHundredAtOnce(t *testing.T) {
	const n = 100
	r := newRig(t)
	pods := make([]*nstest.NS, n)
	for i := range pods {
		pods[i] = nstest.New(t)
	}
	at := func(command string) {
		var wg sync.WaitGroup
		errs := make([]*types.Error, n)
		for i, pod := range pods {
			wg.Go(func() {
				_, errs[i] = r.run(call{command: command, id: fmt.Sprint("c", i), ifname: "eth0", netns: pod.Path()})
			})
		}
		wg.Wait()
		for i, err := range errs {
			if err != nil {
				t.Errorf("%s of c%d: %v", command, i, err)
			}
		}
	}
	at("ADD")
	if all, ready := r.counts(); all != n || ready != n || len(r.links()) != n {
		t.Errorf("%d endpoints, %d ready, %d links", all, ready, len(r.links()))
	}
	seen := map[string]bool{}
	for _, pod := range pods {
		a := pod.Run("ip", "-4", "-o", "addr", "show", "eth0")
		if seen[a] {
			t.Errorf("twice: %s", a)
		}
		seen[a] = true
	}
	at("DEL")
	r.clean()
}

func TestDelWithoutNamespace(t *testing.T) {
	r, pod := newRig(t), nstest.New(t)
	r.add(call{id: "c1", ifname: "eth0", netns: pod.Path()})
	for _, netns := range []string{"", "/run/netns/gone", pod.Path()} {
		// Also with a configuration that became wrong since.
		r.mustRun(call{command: "DEL", id: "c1", ifname: "eth0", netns: netns, conf: map[string]any{"sokcet": "x", "mtu": "many"}})
		r.clean()
	}
}

// A DEL of a dead container that comes late leaves its successor alone, although
// both have the same name and network.
func TestLateDel(t *testing.T) {
	r, old, pod := newRig(t), nstest.New(t), nstest.New(t)
	args := "K8S_POD_NAMESPACE=prod;K8S_POD_NAME=web-0"
	r.add(call{id: "first", ifname: "eth0", netns: old.Path(), args: args})
	r.add(call{id: "second", ifname: "eth0", netns: pod.Path(), args: args})
	r.mustRun(call{command: "DEL", id: "first", ifname: "eth0"})
	r.mustRun(call{command: "DEL", id: "first", ifname: "eth0"})
	if l := r.links(); !slices.Equal(l, []string{caracal.HostInterface("second", "eth0")}) {
		t.Errorf("links %v", l)
	}
	pod.Run("ip", "link", "show", "eth0")
}

func TestCheckFinds(t *testing.T) {
	r, pod := newRig(t), nstest.New(t)
	c := call{id: "c1", ifname: "eth0", netns: pod.Path()}
	res := r.add(c)
	again := c
	c.command, c.conf = "CHECK", map[string]any{"prevResult": res}
	host := caracal.HostInterface("c1", "eth0")
	for _, tc := range []struct{ in, do, want string }{
		{"pod", "ip route del default", "add route 0.0.0.0/0 via 169.254.1.1"},
		{"pod", "ip addr del 10.65.0.1/32 dev eth0", "add address 10.65.0.1/32"},
		{"pod", "ip neigh del 169.254.1.1 dev eth0", "set permanent neighbor 169.254.1.1"},
		{"pod", "ip link set eth0 mtu 1300", "set MTU of eth0 to 1450"},
		{"pod", "ip link set eth0 down", "set interface eth0 up"},
		{"node", "ip neigh del 10.65.0.1 dev " + host, "set permanent neighbor 10.65.0.1"},
		{"node", "echo 0 >/proc/sys/net/ipv4/conf/" + host + "/rp_filter", "rp_filter to 1"},
		{"node", "ip link set " + host + " down", "set interface " + host + " up"},
	} {
		r.mustRun(c)
		in := map[string]*nstest.NS{"pod": pod, "node": r.node}[tc.in]
		in.Run("sh", "-c", tc.do)
		r.fails(c, codeRefused, tc.want)
		r.add(again) // the same container again is mended
	}
	r.check = []string{"the route to 10.65.0.1 is missing"}
	r.fails(c, codeRefused, "the route to 10.65.0.1 is missing")
	r.check = nil
	r.mustRun(c)
	r.fails(call{command: "CHECK", id: "c1", ifname: "eth0", netns: pod.Path()}, types.ErrInvalidNetworkConfig, "no prevResult")
	r.fails(call{command: "CHECK", id: "c1", ifname: "eth1", netns: pod.Path(), conf: c.conf}, codeRefused, "no interface eth1")
	pod.Run("ip", "link", "del", "eth0")
	r.fails(c, codeRefused, "make interface")
}

// tuning after us may change the MTU, and what the runtime was told is what it
// made of it.
func TestCheckAfterTuning(t *testing.T) {
	r, pod := newRig(t), nstest.New(t)
	res := r.add(call{id: "c1", ifname: "eth0", netns: pod.Path()})
	pod.Run("ip", "link", "set", "eth0", "mtu", "1300")
	res.Interfaces[1].Mtu = 1300
	r.mustRun(call{command: "CHECK", id: "c1", ifname: "eth0", netns: pod.Path(), conf: map[string]any{"prevResult": res}})
}

func TestGC(t *testing.T) {
	r := newRig(t)
	for _, id := range []string{"keep", "lost"} {
		r.add(call{id: id, ifname: "eth0", netns: nstest.New(t).Path()})
	}
	keep := []types.GCAttachment{{ContainerID: "keep", IfName: "eth0"}}
	r.mustRun(call{command: "GC"}) // no list: nothing is known to be lost
	if len(r.links()) != 2 || len(r.collected) != 0 {
		t.Errorf("GC without a list: links %v", r.links())
	}
	r.mustRun(call{command: "GC", conf: map[string]any{"cni.dev/valid-attachments": keep, "cni.dev/attachments": keep}})
	if l := r.links(); !slices.Equal(l, []string{caracal.HostInterface("keep", "eth0")}) {
		t.Errorf("links %v", l)
	}
	r.mustRun(call{command: "GC", conf: map[string]any{"cni.dev/valid-attachments": []any{}}})
	r.clean()
	r.fails(call{command: "GC", conf: map[string]any{"cniVersion": "1.0.0"}}, types.ErrIncompatibleCNIVersion, "GC")
}

func TestStatus(t *testing.T) {
	r := newRig(t)
	r.mustRun(call{command: "STATUS"})
	r.status = &proto.EndpointStatus{Reason: "no pool is enabled; enable one"}
	r.fails(call{command: "STATUS"}, types.ErrPluginNotAvailable, "no pool is enabled; enable one")
	r.on(func(context.Context, string) error { return status.Error(codes.Internal, "broken") })
	r.fails(call{command: "STATUS"}, types.ErrPluginNotAvailable, "broken")
}

func TestWrongCalls(t *testing.T) {
	r, pod := newRig(t), nstest.New(t)
	ok := call{command: "ADD", id: "c1", ifname: "eth0", netns: pod.Path()}
	for _, tc := range []struct {
		name string
		call func(*call)
		code uint
		part string
	}{
		{"unknown key", func(c *call) { c.conf = map[string]any{"sokcet": "/x"} }, types.ErrUnsupportedField, `"sokcet" is "/x"`},
		{"ipam", func(c *call) { c.conf = map[string]any{"ipam": map[string]any{"type": "host-local"}} }, types.ErrUnsupportedField, "gives the addresses itself"},
		{"ipMasq", func(c *call) { c.conf = map[string]any{"ipMasq": true} }, types.ErrUnsupportedField, "natOutgoing"},
		{"mtu", func(c *call) { c.conf = map[string]any{"mtu": 20} }, types.ErrUnsupportedField, `"mtu" is 20`},
		{"type of mtu", func(c *call) { c.conf = map[string]any{"mtu": "many"} }, types.ErrDecodingFailure, "mtu"},
		{"no family", func(c *call) { c.conf = map[string]any{"ipv4": false, "ipv6": false} }, types.ErrUnsupportedField, "no address at all"},
		{"args", func(c *call) { c.args = "COLOR=red" }, types.ErrInvalidEnvironmentVariables, "COLOR is not known"},
		{"no pair in args", func(c *call) { c.args = "COLOR" }, types.ErrInvalidEnvironmentVariables, "not KEY=VALUE"},
		{"address", func(c *call) { c.args = "IP=10.0.0" }, types.ErrInvalidNetworkConfig, `"10.0.0"`},
		{"mac", func(c *call) { c.args = "MAC=01:00:00:00:00:01" }, types.ErrInvalidNetworkConfig, "no unicast address"},
		{"namespace", func(c *call) { c.netns = "/run/netns/nobody" }, types.ErrInvalidNetNS, "does not exist"},
		{"own namespace", func(c *call) { c.netns = r.node.Path() }, types.ErrInvalidNetNS, "host's own"},
		{"version", func(c *call) { c.conf = map[string]any{"cniVersion": "2.0.0"} }, types.ErrIncompatibleCNIVersion, "2.0.0"},
		{"prevResult", func(c *call) { c.conf = map[string]any{"prevResult": map[string]any{"ips": "none"}} }, types.ErrDecodingFailure, "prevResult"},
	} {
		c := ok
		tc.call(&c)
		r.fails(c, tc.code, tc.part)
	}
	pod.Device("eth0")
	r.fails(ok, codeRefused, "an interface eth0 already")
	r.clean()
	if q := r.lastRequest(); q == nil || len(r.requests) != 1 {
		t.Errorf("%d requests reached the daemon, only the last should have", len(r.requests))
	}
}

// What is asked for arrives at the daemon, wherever it is said.
func TestAsked(t *testing.T) {
	r := newRig(t)
	for _, tc := range []struct {
		name string
		conf map[string]any
		args string
		want *proto.AddEndpointRequest
	}{
		{"CNI_ARGS", nil, "IP=10.65.0.7;IP=fd00:65::7/64;MAC=02:00:00:00:00:07", &proto.AddEndpointRequest{Addresses: []string{"10.65.0.7", "fd00:65::7"}, Mac: "02:00:00:00:00:07"}},
		{"runtimeConfig", map[string]any{"runtimeConfig": map[string]any{"ips": []string{"10.65.0.8/24"}, "mac": "02-00-00-00-00-08"}}, "IP=10.65.0.8", &proto.AddEndpointRequest{Addresses: []string{"10.65.0.8"}, Mac: "02:00:00:00:00:08"}},
		{"args", map[string]any{"args": map[string]any{"cni": map[string]any{"ips": []string{"10.65.0.9"}, "labels": []any{map[string]string{"key": "app", "value": "web"}}}}}, "", &proto.AddEndpointRequest{Addresses: []string{"10.65.0.9"}, Labels: map[string]string{"app": "web"}}},
		{"labels as an object", map[string]any{"args": map[string]any{"cni": map[string]any{"labels": map[string]string{"app": "web"}}}}, "", &proto.AddEndpointRequest{Labels: map[string]string{"app": "web"}}},
		{"annotations", map[string]any{"pools": []string{"general"}, "runtimeConfig": map[string]any{AnnotationsCapability: map[string]string{AnnotationAddrs: `["10.65.1.1","fd00:65::1:1"]`, AnnotationMAC: "02:00:00:00:00:0a", AnnotationPools: "special, extra"}}}, "",
			&proto.AddEndpointRequest{Addresses: []string{"10.65.1.1", "fd00:65::1:1"}, Mac: "02:00:00:00:00:0a", Pools: []string{"special", "extra"}}},
		{"conf", map[string]any{"pools": []string{"general"}, "mtu": 1400, "ipv6": false}, "", &proto.AddEndpointRequest{Pools: []string{"general"}, Mtu: 1400, WantIpv4: true}},
		{"IPv6 only", map[string]any{"ipv6": true, "ipam": map[string]any{}, "disableCheck": true, "cni.dev/anything": 1}, "", &proto.AddEndpointRequest{WantIpv6: true}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			pod := nstest.New(t)
			c := call{id: "c1", ifname: "eth0", netns: pod.Path(), conf: tc.conf, args: tc.args}
			res := r.add(c)
			got := r.lastRequest()
			got.Id, got.Netns, got.Kind = nil, "", ""
			if got.String() != tc.want.String() {
				t.Errorf("asked for %v, want %v", got, tc.want)
			}
			if tc.want.Mac != "" && (res.Interfaces[1].Mac != tc.want.Mac || !strings.Contains(pod.Run("ip", "link", "show", "eth0"), tc.want.Mac)) {
				t.Errorf("MAC %s in the result, %s in the kernel", res.Interfaces[1].Mac, pod.Run("ip", "link", "show", "eth0"))
			}
			c.command = "DEL"
			r.on(func(_ context.Context, m string) error { // got.Id is what the fake remembers it by
				if m == "remove" {
					r.mu.Lock()
					r.forget("c1/eth0")
					r.mu.Unlock()
				}
				return nil
			})
			r.mustRun(c)
			r.on(nil)
		})
	}
}

// What a plugin before this one did stays in the result.
func TestPrevResult(t *testing.T) {
	r, pod := newRig(t), nstest.New(t)
	prev := map[string]any{
		"interfaces": []any{map[string]string{"name": "net0", "sandbox": pod.Path()}},
		"ips":        []any{map[string]any{"interface": 0, "address": "192.168.7.2/24"}},
		"dns":        map[string]any{"nameservers": []string{"192.168.7.1"}},
	}
	res := r.add(call{id: "c1", ifname: "eth0", netns: pod.Path(), conf: map[string]any{"prevResult": prev}})
	if len(res.Interfaces) != 3 || len(res.IPs) != 3 || *res.IPs[1].Interface != 2 || res.Interfaces[2].Name != "eth0" || res.DNS.Nameservers[0] != "192.168.7.1" {
		b, _ := json.Marshal(res)
		t.Errorf("result %s", b)
	}
}

func TestLogFile(t *testing.T) {
	r, pod := newRig(t), nstest.New(t)
	r.conf["logFile"] = filepath.Join(r.state, "log")
	r.add(call{id: "c1", ifname: "eth0", netns: pod.Path()})
	r.fails(call{command: "ADD", id: "c2", ifname: "eth0", netns: "/run/netns/nobody"}, types.ErrInvalidNetNS, "does not exist")
	b, err := os.ReadFile(filepath.Join(r.state, "log"))
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	if err != nil || len(lines) != 2 || !strings.Contains(lines[0], " ADD container=c1 ") || !strings.HasSuffix(lines[0], ": ok") || !strings.Contains(lines[1], "does not exist") {
		t.Errorf("%v %q", err, lines)
	}
}
