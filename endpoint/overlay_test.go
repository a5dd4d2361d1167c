package endpoint

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"caracal.dev/caracal"
)

func endpointOf(container, workload string, addrs ...string) *Endpoint {
	e := &Endpoint{ID: ID{container, "eth0", "net"}, Kind: KindCNI, State: Ready, Namespace: "default", WorkloadName: workload}
	for _, a := range addrs {
		e.Addrs = append(e.Addrs, ip(a))
	}
	return e
}

func configured(s *caracal.Snapshot, w caracal.Workload) {
	w.Namespace = "default"
	s.Workloads = s.Workloads.Put(w.Key(), w)
}

// lines is a Snapshot's workloads, and what is wrong with them.
func lines(s *caracal.Snapshot) string {
	var b strings.Builder
	for k, w := range s.Workloads.All() {
		fmt.Fprintf(&b, "%s %s %s %v %v\n", k, w.Node, w.Interface, w.Addrs, slices.Sorted(maps.Keys(w.Labels)))
	}
	for _, p := range s.Problems {
		fmt.Fprintf(&b, "! %s %s: %s\n", p.Kind, p.Name, p.Message)
	}
	return b.String()
}

func TestOverlay(t *testing.T) {
	src := newSource()
	o := newOverlay(src)
	if o.Snapshot().Synced {
		t.Fatal("synced before the endpoints are known")
	}
	o.load()
	one, two, dup := endpointOf("c1", "web", "10.1.0.1"), endpointOf("c2", "db", "10.1.0.2"), endpointOf("c3", "web", "10.1.0.3")
	dup.Added = one.Added.Add(1)
	car1, car2, car3 := one.HostInterface(), two.HostInterface(), dup.HostInterface()
	last := o.Snapshot().Generation
	for _, step := range []struct {
		name string
		do   func()
		want string
	}{
		{"an endpoint", func() { o.set(one) }, "default/web a " + car1 + " [10.1.0.1] []\n"},
		{"labels from the store", func() {
			src.put(func(s *caracal.Snapshot) {
				configured(s, caracal.Workload{Name: "web", Node: "a", Labels: map[string]string{"app": "web"}})
			})
		}, "default/web a " + car1 + " [10.1.0.1] [app]\n"},
		{"the store knows its address", func() {
			src.put(func(s *caracal.Snapshot) {
				configured(s, caracal.Workload{Name: "web", Node: "a", Addrs: []netip.Addr{ip("10.1.0.1")}, Labels: map[string]string{"tier": "1"}})
			})
		}, "default/web a " + car1 + " [10.1.0.1] [tier]\n"},
		{"another of the same name", func() { o.set(dup) },
			"default/web a " + car1 + " [10.1.0.1] [tier]\ndefault/web@" + car3 + " a " + car3 + " [10.1.0.3] [tier]\n"},
		{"the first goes", func() { o.unset(one) }, "default/web a  [10.1.0.1] [tier]\ndefault/web@" + car3 + " a " + car3 + " [10.1.0.3] []\n" +
			"! Workload default/web: container c3/eth0 calls itself default/web, which is the name of a configured Workload with an interface, addresses or a node of its own: rename one of them; until then policy does not see the container as that workload\n"},
		{"the store follows", func() {
			src.put(func(s *caracal.Snapshot) { configured(s, caracal.Workload{Name: "web", Node: "a"}) })
		}, "default/web a " + car3 + " [10.1.0.3] []\n"},
		{"it is gone from the store", func() {
			src.put(func(s *caracal.Snapshot) { s.Workloads = s.Workloads.Delete("default/web") })
		}, "default/web a " + car3 + " [10.1.0.3] []\n"},
		{"and here", func() { o.unset(dup) }, ""},
		{"a configured one", func() {
			src.put(func(s *caracal.Snapshot) {
				configured(s, caracal.Workload{Name: "vm", Node: "a", Interface: "tap0", Addrs: []netip.Addr{ip("10.1.0.2"), ip("10.1.0.9")}})
			})
		}, "default/vm a tap0 [10.1.0.2 10.1.0.9] []\n"},
		{"with the address of an endpoint", func() { o.set(two) }, "default/db a " + car2 + " [10.1.0.2] []\ndefault/vm a tap0 [10.1.0.9] []\n" +
			"! Workload default/vm: address 10.1.0.2 of Workload default/vm is in use by container c2/eth0 (workload default/db), which keeps it: give the Workload another address, or remove the container\n"},
		{"which goes", func() { o.unset(two) }, "default/vm a tap0 [10.1.0.2 10.1.0.9] []\n"},
	} {
		step.do()
		o.take()
		s := o.Snapshot()
		if got := lines(s); got != step.want {
			t.Fatalf("%s:\n%swant\n%s", step.name, got, step.want)
		}
		if s.Generation <= last || !s.Complete() {
			t.Errorf("%s: generation %d after %d, complete %t", step.name, s.Generation, last, s.Complete())
		}
		last = s.Generation
	}
	o.incomplete("the disk is gone")
	if s := o.Snapshot(); s.Complete() || !s.Synced {
		t.Error("complete without the records")
	}
	if len(o.groups)+len(o.addrs)+len(o.problems) != 0 {
		t.Errorf("something is left: %v %v %v", o.groups, o.addrs, o.problems)
	}
}

// A second interface of a pod is a workload with the same labels.
func TestOverlaySecondInterface(t *testing.T) {
	src := newSource()
	o := newOverlay(src)
	first, second := endpointOf("c1", "web", "10.1.0.1"), endpointOf("c1", "web", "10.1.0.2")
	second.Interface = "net1"
	o.set(first, second)
	src.put(func(s *caracal.Snapshot) {
		configured(s, caracal.Workload{Name: "web", Node: "a", Addrs: []netip.Addr{ip("10.1.0.1")}, Labels: map[string]string{"app": "web"}})
	})
	o.take()
	want := "default/web a " + first.HostInterface() + " [10.1.0.1] [app]\ndefault/web@" + second.HostInterface() + " a " + second.HostInterface() + " [10.1.0.2] [app]\n"
	if got := lines(o.Snapshot()); got != want {
		t.Errorf("%swant\n%s", got, want)
	}
}

// Whatever happened, in whatever order, the Snapshot is that of what there is.
func TestOverlayProperty(t *testing.T) {
	for seed := range uint64(30) {
		rnd := rand.New(rand.NewPCG(seed, 6))
		src := newSource()
		o := newOverlay(src)
		o.load()
		eps := map[key]*Endpoint{}
		for step := range 200 {
			a := fmt.Sprintf("10.1.0.%d", rnd.IntN(6))
			name := string(rune('a' + rnd.IntN(4)))
			switch rnd.IntN(5) {
			case 0, 1:
				e := endpointOf(fmt.Sprintf("c%d", rnd.IntN(6)), name, a)
				for k, old := range eps { // an address is one endpoint's
					if k == e.key() || old.Addrs[0] == e.Addrs[0] {
						o.unset(old)
						delete(eps, k)
					}
				}
				o.set(e)
				eps[e.key()] = e
			case 2:
				for k, e := range eps {
					o.unset(e)
					delete(eps, k)
					break
				}
			case 3:
				w := caracal.Workload{Name: name, Node: []string{"a", "b"}[rnd.IntN(2)], Labels: map[string]string{"n": fmt.Sprint(step)}}
				if rnd.IntN(2) == 0 {
					w.Interface, w.Addrs = "tap"+name, []netip.Addr{ip("10.2.0." + string(rune('1'+rnd.IntN(3)))), ip(a)}[rnd.IntN(2):]
				}
				src.put(func(s *caracal.Snapshot) {
					for _, other := range s.Workloads.All() { // as a store has it: an address once
						if other.Key() != "default/"+name && slices.ContainsFunc(other.Addrs, func(x netip.Addr) bool { return slices.Contains(w.Addrs, x) }) {
							return
						}
					}
					configured(s, w)
				})
				o.take()
			default:
				src.put(func(s *caracal.Snapshot) { s.Workloads = s.Workloads.Delete("default/" + name) })
				o.take()
			}
			fresh := newOverlay(src)
			fresh.load()
			for _, e := range eps {
				fresh.set(e)
			}
			if got, want := lines(o.Snapshot()), lines(fresh.Snapshot()); got != want {
				t.Fatalf("seed %d, step %d:\n%swant\n%s", seed, step, got, want)
			}
			if !reflect.DeepEqual(o.configured, fresh.configured) || !reflect.DeepEqual(o.own, fresh.own) {
				t.Fatalf("seed %d, step %d: addresses %v, want %v", seed, step, o.configured, fresh.configured)
			}
		}
	}
}

// A change costs what changed, and not what there is.
func BenchmarkOverlaySet(b *testing.B) {
	src := newSource()
	src.put(func(s *caracal.Snapshot) {
		for i := range 100000 {
			configured(s, caracal.Workload{Name: fmt.Sprint(i), Node: "b", Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, 2, byte(i >> 8), byte(i)})}})
		}
	})
	o := newOverlay(src)
	o.load()
	e := endpointOf("c1", "web", "10.1.0.1")
	for b.Loop() {
		o.set(e)
		o.unset(e)
	}
}

// reloadable is a source that can be read again.
type reloadable struct {
	*source
	draft *caracal.Snapshot
}

func (r reloadable) Reload(context.Context) ([]caracal.Problem, error) {
	r.put(func(s *caracal.Snapshot) { configured(s, caracal.Workload{Name: "new", Node: "b"}) })
	return nil, nil
}

func (r reloadable) Confirm(ctx context.Context) ([]caracal.Problem, error) { return r.Reload(ctx) }

func (r reloadable) Check(context.Context) (*caracal.Snapshot, error) { return r.draft, nil }

func TestOverlayReload(t *testing.T) {
	src := newSource()
	draft := *src.Snapshot()
	draft.Digest = "draft"
	o := newOverlay(reloadable{src, &draft})
	o.load()
	e := endpointOf("c1", "web", "10.1.0.1")
	o.set(e)
	if _, err := o.Reload(context.Background()); err != nil || o.Snapshot().Workloads.Len() != 2 {
		t.Errorf("reload: %v, %s", err, lines(o.Snapshot()))
	}
	got, err := o.Check(context.Background())
	if err != nil || got.Digest != "draft" || lines(got) != "default/web a "+e.HostInterface()+" [10.1.0.1] []\n" {
		t.Errorf("check: %v %s", err, lines(got))
	}
	if _, err := newOverlay(src).Reload(context.Background()); err == nil {
		t.Error("a store that cannot be reread was")
	}
}
