package node

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/endpoint"
	"caracal.dev/caracal/fib"
	"caracal.dev/caracal/ipam"
)

// withEndpoints gives a rig a registry of containers over its store.
func (r *rig) withEndpoints(wait time.Duration) (*endpoint.Registry, *endpoint.Fake) {
	r.t.Helper()
	r.store.put(func(s *caracal.Snapshot) {
		n, _ := s.SelfNode()
		n.PodCIDRs = []netip.Prefix{pfx("10.1.1.0/26")}
		s.Nodes = s.Nodes.Put("a", n)
	})
	ground := endpoint.NewFake()
	reg := endpoint.New(endpoint.Options{
		Source: r.store, IPAM: ipam.New(ipam.NewMemory()), Dir: r.t.TempDir(), Ground: ground, ReadyWait: wait, Log: slog.New(slog.DiscardHandler),
	})
	r.endpoints = reg
	r.start()
	r.until("ADD is served", func() bool { return reg.Status(context.Background()) == nil })
	return reg, ground
}

func (r *rig) add(reg *endpoint.Registry, ground *endpoint.Fake, container string) (endpoint.ID, endpoint.Wiring) {
	r.t.Helper()
	id := endpoint.ID{ContainerID: container, Interface: "eth0", Network: "net"}
	ground.Container("/run/netns/" + container)
	w, err := reg.Add(context.Background(), endpoint.Request{ID: id, NetNS: "/run/netns/" + container, Kind: endpoint.KindCNI})
	if err != nil {
		r.t.Fatal(err)
	}
	return id, w
}

func (r *rig) link(ground *endpoint.Fake, name string) {
	ground.Link(name, true)
	r.kernel.AddLink(name)
}

// An endpoint is ready once its route is in the kernel, and gone once it is not.
func TestEndpointReady(t *testing.T) {
	r := newRig(t)
	reg, ground := r.withEndpoints(10 * time.Second)
	ctx := context.Background()
	id, w := r.add(reg, ground, "c1")
	route := w.Addrs[0].String() + "/32 dev " + w.HostInterface
	if r.has(route) {
		t.Error("the route is there before the endpoint is ready")
	}
	r.link(ground, w.HostInterface)
	if err := reg.Ready(ctx, id); err != nil {
		t.Fatal(err)
	}
	if !r.has(route) {
		t.Fatalf("the route is not there:\n%s", r.kernel)
	}
	if problems, _, err := reg.Check(ctx, id); err != nil || len(problems) > 0 {
		t.Errorf("check: %v %v", problems, err)
	}
	// The source of the configuration cannot be read: what is removed by name goes
	// all the same.
	r.store.put(func(s *caracal.Snapshot) { s.Incomplete = map[string]string{"Workload": "x"} })
	if _, err := reg.Remove(ctx, id); err != nil {
		t.Fatal(err)
	}
	if r.has(route) {
		t.Errorf("the route is still there:\n%s", r.kernel)
	}
}

// What is missing is named, with the kernel's reason.
func TestEndpointNotReady(t *testing.T) {
	r := newRig(t)
	reg, ground := r.withEndpoints(200 * time.Millisecond)
	ctx := context.Background()
	id, w := r.add(reg, ground, "c1")
	err := reg.Ready(ctx, id) // without a link
	if !errors.Is(err, endpoint.ErrNotReady) || !strings.Contains(err.Error(), "route "+w.Addrs[0].String()+"/32 by interface "+w.HostInterface) ||
		!strings.Contains(err.Error(), "does not exist") {
		t.Fatalf("without a link: %v", err)
	}
	r.kernel.Refuse(func(op fib.Op) syscall.Errno {
		if op.Verb != fib.Delete && op.Route.Dst.IsSingleIP() {
			return syscall.ENOBUFS
		}
		return 0
	})
	r.link(ground, w.HostInterface)
	r.until("the kernel's refusal is named", func() bool { // the news of the link may come late
		if err = reg.Ready(ctx, id); !errors.Is(err, endpoint.ErrNotReady) {
			t.Fatalf("refused: %v", err)
		}
		return strings.Contains(err.Error(), "no buffer space available")
	})
	r.kernel.Refuse(nil)
	for range 200 {
		if err = reg.Ready(ctx, id); err == nil {
			return
		}
	}
	t.Fatal(err)
}

// While routing waits for its configuration, an answer says so.
func TestEndpointsBeforeRouting(t *testing.T) {
	r := newRig(t)
	r.store.put(func(s *caracal.Snapshot) { s.Nodes = s.Nodes.Delete("a") })
	r.endpoints = endpoint.New(endpoint.Options{
		Source: r.store, IPAM: ipam.New(ipam.NewMemory()), Dir: t.TempDir(), Ground: endpoint.NewFake(), Log: slog.New(slog.DiscardHandler),
	})
	r.start()
	r.until("the start says what it waits for", func() bool { return strings.Contains(r.agent.Waiting(), `node "a" is not in the configuration`) })
	_, err := r.endpoints.Add(context.Background(), endpoint.Request{ID: endpoint.ID{ContainerID: "c", Interface: "eth0", Network: "n"}, NetNS: "/x", Kind: endpoint.KindCNI})
	if !errors.Is(err, endpoint.ErrNotReady) {
		t.Error(err)
	}
}
