package collect

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"caracal.dev/caracal/internal/kubetest"
	"caracal.dev/caracal/ipam"
	"caracal.dev/caracal/store/kube/apiserver"
	"caracal.dev/caracal/store/kube/records"
)

// cluster is a real API with our kinds.
type cluster struct {
	*kubetest.API
	t      *testing.T
	store  *records.Store
	failed atomic.Bool // requests of collectors fail
}

func start(t *testing.T) *cluster {
	c := &cluster{API: kubetest.Start(t, kubetest.Options{}), t: t}
	for _, f := range []string{"crds", "namespace", "rbac", "admission"} {
		c.Apply(t, "../../../manifests/base/"+f+".yaml")
	}
	c.store = records.New(c.client())
	return c
}

func (c *cluster) client() *apiserver.Client {
	c.t.Helper()
	config := c.Admin()
	core, err := kubernetes.NewForConfig(config)
	if err != nil {
		c.t.Fatal(err)
	}
	own, err := dynamic.NewForConfig(config)
	if err != nil {
		c.t.Fatal(err)
	}
	return &apiserver.Client{Config: config, Core: core, Own: own}
}

// collector is one with the rights of a daemon, whose requests can be made to fail.
func (c *cluster) collector(name string) *Collector {
	c.t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", c.ServiceAccount(c.t, "caracal-system", "caracal", name))
	if err != nil {
		c.t.Fatal(err)
	}
	config.QPS = -1
	config.Wrap(func(rt http.RoundTripper) http.RoundTripper {
		return roundTrip(func(r *http.Request) (*http.Response, error) {
			if c.failed.Load() {
				return nil, errors.New("no route to host")
			}
			return rt.RoundTrip(r)
		})
	})
	core, err := kubernetes.NewForConfig(config)
	if err != nil {
		c.t.Fatal(err)
	}
	own, err := dynamic.NewForConfig(config)
	if err != nil {
		c.t.Fatal(err)
	}
	return New(Options{
		Client: &apiserver.Client{Config: config, Core: core, Own: own}, Node: name, Namespace: "caracal-system",
		Interval: 50 * time.Millisecond, Grace: 300 * time.Millisecond, MassGrace: 400 * time.Millisecond, Lease: 30 * time.Second, // two thirds of which a pause may take
		Log: slog.New(slog.NewTextHandler(logTo{c.t}, nil)),
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// logTo writes to a test's log.
type logTo struct{ t *testing.T }

func (l logTo) Write(b []byte) (int, error) {
	l.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

func (c *cluster) node(name string) {
	c.t.Helper()
	if _, err := c.Core().CoreV1().Nodes().Create(context.Background(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) deleteNode(name string) {
	c.t.Helper()
	if err := c.Core().CoreV1().Nodes().Delete(context.Background(), name, metav1.DeleteOptions{}); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) assign(a *ipam.Allocator, handle string) {
	c.t.Helper()
	if _, err := a.Assign(context.Background(), ipam.Request{Handle: handle, V4: 1, Owner: ipam.Owner{Kind: "cni", Namespace: "default", Name: handle}}); err != nil {
		c.t.Fatal(err)
	}
}

// handles are all that have an address, by the API.
func (c *cluster) handles() string {
	c.t.Helper()
	blocks, bad, err := c.store.List(context.Background(), "block/")
	if err != nil || len(bad) > 0 {
		c.t.Fatal(bad, err)
	}
	var out []string
	for _, r := range blocks {
		h, err := ipam.ReadBlock(r)
		if err != nil {
			c.t.Fatal(err)
		}
		for _, a := range h.Allocations {
			out = append(out, a.Handle)
		}
	}
	return strings.Join(out, " ")
}

func (c *cluster) until(what string, ok func() bool) {
	c.t.Helper()
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if ok() {
			return
		}
	}
	c.t.Fatalf("waited in vain until %s; there are %q", what, c.handles())
}

// run has collectors run until the end of the test, or until stop.
func (c *cluster) run(list ...*Collector) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	for _, k := range list {
		wait.Go(func() {
			if err := k.Run(ctx); err != nil {
				c.t.Error(err)
			}
		})
	}
	stop = sync.OnceFunc(func() {
		cancel()
		wait.Wait()
		for _, k := range list { // which logs its end, and may not do so after that of the test
			c.until("it leads no more", func() bool { return !k.Counts().Leading })
		}
	})
	c.t.Cleanup(stop)
	return stop
}

func (c *cluster) looks(k *Collector, n uint64) {
	c.t.Helper()
	from := k.Counts().Looks
	c.until(fmt.Sprint(n, " looks"), func() bool { return k.Counts().Looks >= from+n })
}

// TestCollect tells one story of a cluster.
func TestCollect(t *testing.T) {
	ctx := context.Background()
	c := start(t)
	a, b := allocator(c.store, "a"), allocator(c.store, "b")
	c.node("a")
	c.node("b")
	for i := range 4 {
		c.assign(a, fmt.Sprint("a", i))
	}
	for i := range 3 {
		c.assign(b, fmt.Sprint("b", i))
	}
	c.assign(a, "a4") // borrowed
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "default"}, Spec: corev1.PodSpec{NodeName: "a", Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
	if _, err := c.Core().CoreV1().Pods("default").Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	first, second := c.collector("first"), c.collector("second")
	stop := c.run(first, second)
	c.until("one is elected", func() bool { return first.Counts().Leading != second.Counts().Leading })
	leads, other := first, second
	if second.Counts().Leading {
		leads, other = second, first
	}
	all := "a0 a1 a2 a3 a4 b0 b1 b2"
	keeps := func(why string) {
		t.Helper()
		have := strings.Fields(c.handles())
		if len(have) != len(strings.Fields(all)) {
			t.Fatalf("%s: %v are left of %s", why, have, all)
		}
	}
	c.looks(leads, 10)
	keeps("all nodes are there")
	c.deleteNode("a")
	c.looks(leads, 12)
	keeps("a Node was deleted, and a Pod is there")

	// An outage begins the count anew, and a Node that comes back ends it.
	c.failed.Store(true)
	c.until("looks fail", func() bool { return leads.Counts().Failed > 0 })
	zero := int64(0)
	if err := c.Core().CoreV1().Pods("default").Delete(ctx, "p", metav1.DeleteOptions{GracePeriodSeconds: &zero}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(400 * time.Millisecond) // longer than the grace
	c.node("a")
	c.failed.Store(false)
	c.until("one leads", func() bool { return leads.Counts().Leading || other.Counts().Leading })
	if other.Counts().Leading {
		leads, other = other, leads
	}
	c.looks(leads, 12)
	keeps("the Node was made again during an outage")

	c.deleteNode("a")
	c.until("all of a is free", func() bool { return c.handles() == "b0 b1 b2" })
	c.until("nothing of a is left", func() bool {
		claims, bad, err := c.store.ListNode(ctx, "a")
		blocks, _, berr := c.store.ListBlocks(ctx, "a")
		return err == nil && berr == nil && len(claims)+len(bad)+len(blocks) == 0
	})
	c.until("the last of it is counted", func() bool { return leads.Counts().Claims >= 2 })
	if n := leads.Counts(); n.Addresses != 5 || n.Blocks != 1 || n.Claims != 2 {
		t.Errorf("counted %+v", n)
	}
	if n := other.Counts(); n.Addresses != 0 {
		t.Errorf("the other one did something: %+v", n)
	}
	c.assign(b, "b3")
	for i := range 4 { // of a's old block
		c.assign(b, fmt.Sprint("b", 4+i))
	}
	stop()
	c.until("the Lease is given up", func() bool {
		lease, err := c.Core().CoordinationV1().Leases("caracal-system").Get(ctx, LeaseName, metav1.GetOptions{})
		return err == nil && (lease.Spec.HolderIdentity == nil || *lease.Spec.HolderIdentity == "")
	})
	c.testBack(b)
	c.testKilled(b)
}

// testBack: a node that comes back, and writes, after the last look: nothing of what
// it has is freed. Two collectors without an election do no harm either.
func (c *cluster) testBack(b *ipam.Allocator) {
	ctx := context.Background()
	for i := range 8 {
		if _, err := b.Release(ctx, fmt.Sprint("b", i)); err != nil {
			c.t.Fatal(err)
		}
	}
	if err := b.Tidy(ctx); err != nil {
		c.t.Fatal(err)
	}
	c.assign(allocator(c.store, "a"), "a0")
	k, twin := c.collector("k"), c.collector("twin")
	k.before = func(step) {
		k.before = nil
		c.node("a")
		c.assign(allocator(c.store, "a"), "a1")
	}
	for range 12 {
		k.round(ctx)
		time.Sleep(50 * time.Millisecond)
	}
	if k.before != nil || c.handles() != "a0 a1" {
		c.t.Fatalf("a node that came back lost addresses: %q", c.handles())
	}
	c.deleteNode("a")
	var wait sync.WaitGroup
	freed := func() bool { return k.Counts().Addresses+twin.Counts().Addresses >= 2 }
	for _, k := range []*Collector{k, twin} {
		wait.Go(func() {
			// And some more, in which one of them could do what the other has done.
			for more, end := 10, time.Now().Add(60*time.Second); more > 0 && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
				if k.round(ctx); freed() {
					more--
				}
			}
		})
	}
	wait.Wait()
	if c.handles() != "" || k.Counts().Addresses+twin.Counts().Addresses != 2 {
		c.t.Errorf("two at once: %q is left; %+v %+v", c.handles(), k.Counts(), twin.Counts())
	}
}

// testKilled: the API dies while a collector works, and what lives keeps all.
func (c *cluster) testKilled(b *ipam.Allocator) {
	c.assign(allocator(c.store, "a"), "a0")
	c.assign(b, "b0")
	k := c.collector("k")
	stop := c.run(k)
	defer stop()
	c.until("it leads", func() bool { return k.Counts().Leading && k.Counts().Gone == 1 })
	c.Kill()
	failed := k.Counts().Failed
	c.until("looks fail", func() bool { return k.Counts().Failed > failed })
	c.Restart(c.t)
	c.until("what is gone is free, and the rest is not", func() bool { return c.handles() == "b0" })
}
