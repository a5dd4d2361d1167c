package test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"caracal.dev/caracal/lab"
	"caracal.dev/caracal/test/runtimes"
)

// TestCNIOnDiskBeforeAnswer: a daemon that is killed the moment ADD has answered
// knows the container when it is back, and no packet to or from it is lost, by
// that nor by a restart.
func TestCNIOnDiskBeforeAnswer(t *testing.T) {
	t.Parallel()
	c := withContainers(t, 2)
	c.add("a", "one")
	_, far := c.add("b", "far")
	for i, sig := range []os.Signal{os.Kill, os.Kill, syscall.SIGTERM} {
		name := fmt.Sprint("next", i)
		ctr := c.make("a", name)
		if err := c.hosts["a"].Add(t.Context(), ctr); err != nil {
			t.Fatal(err)
		}
		if err := c.l.Node("a").Kill(sig); err != nil {
			t.Fatal(err)
		}
		pod := c.adopt("a", name, ctr.NetNS, ctr.Addrs)
		c.ping(far, pod)
		stop := flows(t, c.l, name, "far")
		must(c.l.Node("a").Restart(os.Kill))(t)
		c.untilStatus("a")
		eventually(t, 20*time.Second, func() string { return c.hasOnly("a", 2+i) })
		if err := c.hosts["a"].Check(t.Context(), ctr); err != nil {
			t.Error(err)
		}
		if r := stop(); r.Lost() != 0 {
			t.Errorf("%v and a start of the daemon cost packets: %v", sig, r)
		}
	}
}

// TestCNIReboot: after a restart of the machine the containers of before are gone
// and nobody has sent a DEL for them. All of their addresses are free again, and
// none is given twice.
func TestCNIReboot(t *testing.T) {
	t.Parallel()
	c := withContainers(t, 1)
	h, n := c.hosts["a"], c.l.Node("a")
	var old []*runtimes.Container
	for i := range 5 {
		ctr, _ := c.add("a", fmt.Sprint("old", i))
		old = append(old, ctr)
	}
	if err := n.Kill(os.Kill); err != nil {
		t.Fatal(err)
	}
	for _, ctr := range old {
		c.l.Forget(ctr.Name)
		if err := errors.Join(h.Kill(ctr), h.Forget(ctr)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, 30*time.Second, func() string { // the kernel takes them apart when it finds the time
		if links := must(hostInterfaces(n))(t); len(links) > 0 {
			return fmt.Sprint("the namespaces have gone but not ", links)
		}
		return ""
	})
	must(n.StartCaracaldAs(c.afterReboot("a")))(t)
	c.untilStatus("a")
	// The runtime starts containers at once, and uses the paths of namespaces again.
	var fresh []*runtimes.Container
	for _, ctr := range old {
		next, _ := c.add("a", ctr.Name)
		fresh = append(fresh, next)
	}
	unique(t, fresh)
	eventually(t, 30*time.Second, func() string { return c.hasOnly("a", len(fresh)) })
	for _, ctr := range fresh {
		if err := h.Check(t.Context(), ctr); err != nil {
			t.Error(err)
		}
	}
}

// TestCNIManyAtOnce: a hundred ADDs at once give each container addresses of its
// own, and all of them answer.
func TestCNIManyAtOnce(t *testing.T) {
	t.Parallel()
	c := withContainers(t, 2, largeBlocks)
	_, far := c.add("b", "far")
	const n = 100
	var list []*runtimes.Container
	for i := range n {
		list = append(list, c.make("a", fmt.Sprint("p", i)))
	}
	var g errgroup.Group
	for _, ctr := range list {
		g.Go(func() error { return c.hosts["a"].Add(t.Context(), ctr) })
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if wrong := c.hasOnly("a", n); wrong != "" {
		t.Error(wrong)
	}
	unique(t, list)
	for _, ctr := range list {
		c.ping(far, c.adopt("a", ctr.Name, ctr.NetNS, ctr.Addrs))
		c.l.Forget(ctr.Name)
	}
	g = errgroup.Group{}
	for _, ctr := range list {
		g.Go(func() error { return c.hosts["a"].Remove(t.Context(), ctr) })
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if wrong := c.hasOnly("a", 0); wrong != "" {
		t.Error(wrong)
	}
}

// largeBlocks gives each node room for hundreds of containers.
func largeBlocks(top *lab.Topology) {
	for i := range top.Pools {
		top.Pools[i].BlockSize = top.Pools[i].CIDR.Addr().BitLen() - 8
		for _, n := range top.Nodes {
			n.Blocks[i] = netip.PrefixFrom(n.Blocks[i].Addr(), top.Pools[i].BlockSize).Masked()
		}
	}
}

// unique fails the test if two containers have the same address.
func unique(t *testing.T, list []*runtimes.Container) {
	t.Helper()
	taken := map[netip.Addr]string{}
	for _, ctr := range list {
		for _, a := range ctr.Addrs {
			if other := taken[a]; other != "" {
				t.Errorf("%s and %s both have %s", other, ctr.ID, a)
			}
			taken[a] = ctr.ID
		}
	}
}

// TestCNIStorm: runtimes add and delete at once while the daemon is killed again
// and again, and plugins too. No address is ever given twice, and after a GC
// nothing is left of what the runtimes do not have.
func TestCNIStorm(t *testing.T) {
	t.Parallel()
	c := withContainers(t, 1, largeBlocks)
	s := &storm{c: c, live: map[string]*runtimes.Container{}, codes: map[uint]int{}}
	var g sync.WaitGroup
	defer g.Wait() // also if the test fails: they report to it
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Second)
	defer cancel()
	for w := range 8 {
		g.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				s.turn(fmt.Sprintf("w%dx%d", w, i))
			}
		})
	}
	for ctx.Err() == nil {
		if rand.N(4) > 0 { // else it dies while it starts
			c.untilStatus("a")
		}
		time.Sleep(rand.N(400 * time.Millisecond))
		must(c.l.Node("a").Restart(os.Kill))(t)
		s.kills++
	}
	g.Wait()
	c.untilStatus("a")
	t.Logf("%d ADDs of which %d failed (by code: %v), %d DELs, %d kills of the daemon; %d containers live",
		s.adds, s.failed, s.codes, s.dels, s.kills, len(s.live))
	if s.adds == s.failed {
		t.Error("no ADD succeeded, so this tells nothing")
	}
	var live []*runtimes.Container
	for _, ctr := range s.live {
		live = append(live, ctr)
	}
	unique(t, live)
	// What is pending may be an ADD that runs, so GC lets it be: the runtime's DEL
	// takes it away, or the end of its lease.
	if err := c.hosts["a"].GC(t.Context(), alone, live...); err != nil {
		t.Fatal(err)
	}
	for _, ctr := range s.owed {
		if err := c.hosts["a"].Del(t.Context(), ctr); err != nil {
			t.Error(err)
		}
	}
	eventually(t, 30*time.Second, func() string { return c.hasOnly("a", len(live)) })
	for _, ctr := range live {
		if err := c.hosts["a"].Check(t.Context(), ctr); err != nil {
			t.Error(err)
		}
	}
	if err := c.hosts["a"].GC(t.Context(), alone); err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, func() string { return c.hasOnly("a", 0) })
}

// storm is what runtimes do in TestCNIStorm.
type storm struct {
	c *containers

	mu                 sync.Mutex
	live               map[string]*runtimes.Container
	owed               []*runtimes.Container // whose ADD failed, and that had no DEL
	adds, failed, dels int
	codes              map[uint]int // failures by CNI's code; 0 without one
	kills              int          // of the main goroutine alone
}

// turn is one container's life, or the first part of it.
func (s *storm) turn(name string) {
	h := s.c.hosts["a"]
	ctr, err := h.New(alone, name, "storm-"+name)
	if err != nil {
		s.c.t.Error(err)
		return
	}
	ctx, cancel := context.WithTimeout(s.c.t.Context(), 30*time.Second)
	if rand.N(4) == 0 { // a runtime that loses its patience kills the plugin
		ctx, cancel = context.WithTimeout(s.c.t.Context(), rand.N(60*time.Millisecond))
	}
	defer cancel()
	err = h.Add(ctx, ctr)
	if err != nil && rand.N(2) == 0 { // the retry of the same container
		err = h.Add(s.c.t.Context(), ctr)
	}
	s.mu.Lock()
	s.adds++
	keep := err == nil && rand.N(4) == 0 && len(s.live) < 20
	if keep {
		s.live[name] = ctr
	}
	del := !keep && rand.N(2) == 0
	if err != nil {
		s.failed++
		s.codes[runtimes.Code(err)]++
		if !del {
			s.owed = append(s.owed, ctr)
		}
	}
	if del {
		s.dels++
	}
	s.mu.Unlock()
	if keep {
		return
	}
	if del {
		if err := h.Del(s.c.t.Context(), ctr); err != nil {
			s.c.t.Errorf("a DEL failed: %v", err)
		}
	}
	// Also without a DEL: the runtime died, too.
	if err := h.Kill(ctr); err != nil {
		s.c.t.Error(err)
	}
}
