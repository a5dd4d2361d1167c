package endpoint

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/ipam"
)

// remote is a store that can be out of reach, or hang.
type remote struct {
	ipam.Store
	state atomic.Int32 // 0: there; 1: refuses; 2: hangs; 3: slow
}

var errUnreachable = errors.New("connection refused")

func (s *remote) wait(ctx context.Context) error {
	switch s.state.Load() {
	case 1:
		return errUnreachable
	case 2:
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second) // as records does
		defer cancel()
		<-ctx.Done()
		return ctx.Err()
	case 3:
		select {
		case <-time.After(awayWait + 200*time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (s *remote) Get(ctx context.Context, key string) (ipam.Record, error) {
	if err := s.wait(ctx); err != nil {
		return ipam.Record{}, err
	}
	return s.Store.Get(ctx, key)
}

func (s *remote) List(ctx context.Context, prefix string) ([]ipam.Record, []ipam.Damaged, error) {
	if err := s.wait(ctx); err != nil {
		return nil, nil, err
	}
	return s.Store.List(ctx, prefix)
}

func (s *remote) Put(ctx context.Context, r ipam.Record) (string, error) {
	if err := s.wait(ctx); err != nil {
		return "", err
	}
	return s.Store.Put(ctx, r)
}

func (s *remote) Delete(ctx context.Context, key, revision string) error {
	if err := s.wait(ctx); err != nil {
		return err
	}
	return s.Store.Delete(ctx, key, revision)
}

// sharedWorld is a machine of a cluster whose nodes share their address records, and
// claim blocks.
func sharedWorld(t *testing.T) (*world, *remote) {
	w := newWorld(t)
	store := &remote{Store: w.store}
	w.store = store
	w.source.put(func(s *caracal.Snapshot) {
		n, _ := s.Nodes.Get("a")
		n.PodCIDRs = nil
		s.Nodes = s.Nodes.Put("a", n)
		s.Blocks = caracal.NewSnapshot("a").Blocks
		s.IPAM.Mode = string(ipam.ModeBlocks)
		for _, p := range []caracal.Pool{{Name: "four", CIDR: pfx("10.1.0.0/16"), BlockSize: 26}, {Name: "six", CIDR: pfx("fd00:1::/64"), BlockSize: 122}} {
			s.Pools = s.Pools.Put(p.Name, p)
		}
	})
	w.change = func(o *Options) {
		o.Shared, o.Interval = true, 20*time.Millisecond
		w.mortal.Allocator = ipam.New(store, ipam.WithClock(w.clock), ipam.WithShared())
		o.IPAM = w.mortal
	}
	return w, store
}

// given is how many addresses somebody has, by the records alone.
func (w *world) given() (n int) {
	w.t.Helper()
	records, _, err := w.store.(*remote).Store.List(context.Background(), "block/")
	if err != nil {
		w.t.Fatal(err)
	}
	for _, r := range records {
		b, err := ipam.ReadBlock(r)
		if err != nil {
			w.t.Fatal(err)
		}
		n += len(b.Allocations)
	}
	return n
}

// TestSlowRecords: address records each of whose answers takes longer than a deletion
// waits are slow, and not away: what was deleted is freed, and a daemon that starts
// learns what there is and serves containers.
func TestSlowRecords(t *testing.T) {
	t.Parallel()
	w, store := sharedWorld(t)
	w.start()
	w.addReady(request("one"))
	w.addReady(request("stays"))
	store.state.Store(3)
	if _, err := w.Remove(t.Context(), request("one").ID); err != nil {
		t.Fatalf("DEL fails: %v", err)
	}
	w.until("the addresses are free", func() bool { return w.given() == 2 && len(w.List()) == 1 })
	w.start()
	w.until("the records are heard", func() bool { return w.begun.Load() && w.unheard.Load() == nil })
	w.ground.Container("/run/netns/two")
	if _, err := w.Add(t.Context(), request("two")); err != nil {
		t.Errorf("ADD: %v", err)
	}
	store.state.Store(0)
	if w.given() != 4 {
		t.Errorf("%d addresses are given, want 4", w.given())
	}
}

// TestAwayDelete: while the address records are out of reach a container is deleted
// all the same, and its addresses are free once they are there again; one that comes
// is told to try again later.
func TestAwayDelete(t *testing.T) {
	for name, state := range map[string]int32{"refuses": 1, "hangs": 2} {
		for _, restart := range []bool{false, true} {
			t.Run(name+map[bool]string{true: " over a restart"}[restart], func(t *testing.T) {
				t.Parallel()
				w, store := sharedWorld(t)
				w.start()
				wiring := w.addReady(request("one"))
				w.addReady(request("stays"))
				store.state.Store(state)
				began := time.Now()
				if _, err := w.Remove(context.Background(), request("one").ID); err != nil {
					t.Fatalf("DEL fails: %v", err)
				}
				if took := time.Since(began); took > 10*awayWait {
					t.Errorf("DEL took %v", took)
				}
				if _, err := w.Remove(context.Background(), request("never").ID); err != nil {
					t.Errorf("DEL of one that is not known fails: %v", err)
				}
				if links, _ := w.ground.Links(); links[wiring.HostInterface] || strings.Contains(w.text(), "pod-one") {
					t.Errorf("it is still there: %v %s", links, w.text())
				}
				w.ground.Container("/run/netns/two")
				ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
				defer cancel()
				if _, err := w.Add(ctx, request("two")); !errors.Is(err, ErrNotReady) {
					t.Errorf("ADD: %v", err)
				}
				if restart {
					w.start()
				}
				if !strings.Contains(w.text(), "default/pod-stays cni [10.1.") {
					t.Errorf("what stays has no routes: %s", w.text())
				}
				w.until("it is said that a release is owed", func() bool { return w.says("yet to be released") })
				if n := w.given(); n != 4 {
					t.Errorf("%d addresses are given, want 4", n)
				}
				store.state.Store(0)
				w.until("the addresses are free", func() bool { return w.given() == 2 && !w.says("yet to be released") })
				w.until("addresses are given", func() bool { return w.unheard.Load() == nil })
				w.addReady(request("two"))
				w.clean(2)
			})
		}
	}
}

func (w *world) says(text string) bool {
	return slices.ContainsFunc(w.Snapshot().Problems, func(p caracal.Problem) bool { return strings.Contains(p.Message, text) })
}

// TestAwayStart: a start without the address records adopts what there is, and takes
// away what is of an earlier boot; once they are there, it makes up for the rest.
func TestAwayStart(t *testing.T) {
	w, store := sharedWorld(t)
	w.start()
	keeps := w.addReady(request("keeps"))
	lost := w.addReady(request("lost"))
	w.writing.Wait()
	w.stop()
	if err := w.Registry.dir.remove(w.get(request("lost").key())); err != nil {
		t.Fatal(err)
	}
	store.state.Store(1)
	w.start()
	if !strings.Contains(w.text(), "default/pod-keeps cni") || strings.Contains(w.text(), "pod-lost") {
		t.Errorf("adopted: %s", w.text())
	}
	if err := w.Ready(context.Background(), request("keeps").ID); err != nil {
		t.Errorf("ready: %v", err)
	}
	w.until("it is said that the records are not there", func() bool { return w.says("no other gets one until then") })
	store.state.Store(0)
	w.until("the lost one is made again", func() bool { return strings.Contains(w.text(), "default/pod-lost cni") })
	if e := w.get(request("lost").key()); e == nil || !slices.Equal(e.Addrs, lost.Addrs) || !slices.Equal(w.get(request("keeps").key()).Addrs, keeps.Addrs) {
		t.Errorf("addresses have changed: %v", w.text())
	}
	w.clean(2)

	// A reboot in an outage: nothing is left of the containers but the records.
	w.stop()
	store.state.Store(1)
	w.ground.Reboot()
	w.start()
	if text := w.text(); text != "" {
		t.Errorf("after a reboot: %s", text)
	}
	w.ground.Container("/run/netns/keeps")
	if _, err := w.Add(context.Background(), request("keeps")); !errors.Is(err, ErrNotReady) {
		t.Errorf("ADD: %v", err)
	}
	store.state.Store(0)
	w.until("all is free", func() bool { return w.given() == 0 })
	w.until("there is no record", func() bool { return len(w.List()) == 0 })
	w.until("addresses are given", func() bool { return w.unheard.Load() == nil })
	w.addReady(request("keeps"))
	w.clean(1)
}

// TestJoinPod: the labels and ports of an endpoint are those of the store's Pod, and
// follow it.
func TestJoinPod(t *testing.T) {
	w, _ := sharedWorld(t)
	w.start()
	pod := func(app string) {
		w.source.put(func(s *caracal.Snapshot) {
			s.Workloads = s.Workloads.Put("default/pod-one", caracal.Workload{
				Namespace: "default", Name: "pod-one", Node: "a", Labels: map[string]string{"app": app},
				Ports: []caracal.Port{{Name: "web", Protocol: "TCP", Port: 8080}}, Source: "kube",
			})
		})
	}
	is := func() caracal.Workload {
		wl, _ := w.Snapshot().Workloads.Get("default/pod-one")
		return wl
	}
	pod("x")
	wiring := w.addReady(request("one"))
	if wl := is(); wl.Interface != wiring.HostInterface || !slices.Equal(wl.Addrs, wiring.Addrs) || wl.Labels["app"] != "x" || len(wl.Ports) != 1 || wl.Ports[0].Name != "web" {
		t.Errorf("joined: %+v", wl)
	}
	pod("y")
	w.until("the label has changed", func() bool { return is().Labels["app"] == "y" && is().Interface == wiring.HostInterface })
	if len(w.Snapshot().Problems) > 0 {
		t.Errorf("problems: %v", w.Snapshot().Problems)
	}
	if _, err := w.Remove(t.Context(), request("one").ID); err != nil {
		t.Fatal(err)
	}
	if wl := is(); wl.Interface != "" || len(wl.Addrs) > 0 || wl.Labels["app"] != "y" {
		t.Errorf("after its removal: %+v", wl)
	}
}

// TestClaimedPlan: a block that the node claimed is no static range of its plan, nor is
// an address that it borrows.
func TestClaimedPlan(t *testing.T) {
	w, _ := sharedWorld(t)
	w.source.put(func(s *caracal.Snapshot) {
		for _, b := range []caracal.Block{
			{CIDR: pfx("10.1.0.0/26"), Node: "a", Claimed: true}, {CIDR: pfx("10.1.1.7/32"), Node: "a", Claimed: true},
			{CIDR: pfx("10.1.1.0/26"), Node: "b", Claimed: true}, {CIDR: pfx("10.2.0.0/26"), Node: "a"},
		} {
			s.Blocks = s.Blocks.Put(b.CIDR, b)
		}
		n, _ := s.Nodes.Get("a")
		n.PodCIDRs = []netip.Prefix{pfx("10.1.0.0/26"), pfx("10.2.0.0/26")} // as the store has them
		s.Nodes = s.Nodes.Put("a", n)
	})
	p, problems, ok := Plan(w.source.Snapshot(), nil, true)
	if !ok || len(problems) > 0 || p.Mode != ipam.ModeBlocks || len(p.Static) != 1 || p.Static[0] != pfx("10.2.0.0/26") || len(p.Others) != 1 || p.Others[0] != pfx("10.1.1.0/26") {
		t.Errorf("plan %+v %v", p, problems)
	}
}

// TestTakenAway: a node that was taken for gone lost its block; what its containers
// have becomes theirs again, unless another node has it by now. Who took it away may
// have died before the last step.
func TestTakenAway(t *testing.T) {
	for _, how := range []string{"free", "another's", "half"} {
		gone := how == "another's"
		t.Run(how, func(t *testing.T) {
			w, store := sharedWorld(t)
			w.start()
			was := w.addReady(request("one"))
			ctx := context.Background()
			records, _, err := store.Store.List(ctx, "")
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range records {
				if s, _ := ipam.SubjectOf(r.Key); how == "half" && s.Kind == ipam.AffinitySubject {
					if r, err = ipam.WithState(r, ipam.AffinityReleasing); err == nil {
						_, err = store.Store.Put(ctx, r)
					}
				} else {
					err = store.Store.Delete(ctx, r.Key, r.Revision)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if gone {
				other := ipam.New(store.Store, ipam.WithShared())
				plan := *w.plan.Load()
				plan.Node = "b"
				other.Configure(plan)
				if _, err := other.Assign(ctx, ipam.Request{Handle: "theirs", Addrs: was.Addrs}); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.o.IPAM.Tidy(ctx); err != nil {
				t.Fatal(err)
			}
			if gone {
				w.until("it is said", func() bool { return w.says("make these containers anew") })
				if n := w.given(); n != 2 {
					t.Errorf("%d addresses are given", n)
				}
			} else {
				w.until("they are its again", func() bool { return w.given() == 2 && !w.refusedNow() })
				w.clean(1)
			}
			w.addReady(request("two"))
		})
	}
}

// refusedNow reports whether addresses are denied.
func (w *world) refusedNow() bool { return w.says("are not theirs in the address records") }
