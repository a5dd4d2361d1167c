package collect

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/ipam"
)

func pfx(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func TestJudge(t *testing.T) {
	l := limits{grace: 10 * time.Minute, massGrace: time.Hour}
	type look struct {
		at    int // minutes
		gone  string
		total int
		due   string
		held  bool
	}
	for name, looks := range map[string][]look{
		"one look is not enough":        {{0, "a1", 9, "", false}},
		"nor are two at once":           {{0, "a1", 9, "", false}, {1, "a1", 9, "", false}},
		"two, minutes apart":            {{0, "a1", 9, "", false}, {10, "a1", 9, "a", false}},
		"there in between":              {{0, "a1", 9, "", false}, {5, "", 9, "", false}, {10, "a1", 9, "", false}, {20, "a1", 9, "a", false}},
		"it wrote in between":           {{0, "a1", 9, "", false}, {10, "a2", 9, "", false}, {20, "a2", 9, "a", false}},
		"several":                       {{0, "a1 b1", 9, "", false}, {10, "a1 b1 c1", 9, "a b", false}, {20, "c1", 9, "c", false}},
		"a small cluster":               {{0, "a1 b1 c1", 3, "", false}, {10, "a1 b1 c1", 3, "a b c", false}},
		"more than half is held":        {{0, "a1 b1 c1 d1", 7, "", false}, {10, "a1 b1 c1 d1", 7, "", true}, {60, "a1 b1 c1 d1", 7, "a b c d", false}},
		"half is not":                   {{0, "a1 b1 c1 d1", 8, "", false}, {10, "a1 b1 c1 d1", 8, "a b c d", false}},
		"a clock that was set back":     {{60, "a1", 9, "", false}, {0, "a1", 9, "", false}, {70, "a1", 9, "a", false}},
		"it was seen before the outage": {{0, "a1", 9, "", false}, {-1, "", 9, "", false}, {10, "a1", 9, "", false}, {20, "a1", 9, "a", false}},
	} {
		t.Run(name, func(t *testing.T) {
			was := map[string]watch{}
			start := time.Unix(1e9, 0)
			for i, k := range looks {
				if k.at < 0 { // a look that failed
					was = map[string]watch{}
					continue
				}
				var seen []sight
				for _, f := range strings.Fields(k.gone) {
					seen = append(seen, sight{node: f[:1], gone: true, records: f[1:]})
				}
				next, due, held := judge(was, seen, k.total, start.Add(time.Duration(k.at)*time.Minute), l)
				if got := strings.Join(due, " "); got != k.due || held != k.held {
					t.Errorf("look %d: due %q held %v; want %q %v", i, got, held, k.due, k.held)
				}
				was = next
			}
		})
	}
}

// world is a cluster of nodes a, b and c over a store in memory.
type world struct {
	t     *testing.T
	store *ipam.Memory
	nodes map[string]*ipam.Allocator
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, store: ipam.NewMemory(), nodes: map[string]*ipam.Allocator{}}
	for _, n := range []string{"a", "b", "c"} {
		w.nodes[n] = allocator(w.store, n)
	}
	return w
}

// allocator is a node's, in a pool of two blocks of four addresses.
func allocator(s ipam.Store, node string) *ipam.Allocator {
	a := ipam.New(s, ipam.WithShared())
	a.Configure(ipam.Plan{Node: node, Mode: ipam.ModeBlocks, Pools: []caracal.Pool{{Name: "p", CIDR: pfx("10.0.0.0/29"), BlockSize: 30}}})
	return a
}

func (w *world) assign(node string, n int) {
	w.t.Helper()
	for i := range n {
		handle := fmt.Sprintf("cni/%s/%d", node, i)
		if _, err := w.nodes[node].Assign(context.Background(), ipam.Request{Handle: handle, V4: 1, Owner: ipam.Owner{Kind: "cni", Namespace: "default", Name: handle}}); err != nil {
			w.t.Fatal(err)
		}
	}
}

// estate is what a node has, as the API's lists say it.
func (w *world) estate(node string) estate {
	w.t.Helper()
	e := estate{node: node}
	claims, _, _ := w.store.ListNode(context.Background(), node)
	e.claims = claims
	blocks, _, _ := w.store.List(context.Background(), "block/")
	for _, r := range blocks {
		h, err := ipam.ReadBlock(r)
		if err == nil && (h.Node == node || slices.ContainsFunc(h.Allocations, func(a ipam.Allocation) bool { return a.Node == node })) {
			e.blocks = append(e.blocks, r)
		}
	}
	return e
}

// carry does the first n steps of a plan.
func (w *world) carry(steps []step, n int) {
	w.t.Helper()
	newer := map[string]string{}
	for _, s := range steps[:n] {
		if r, ok := newer[s.record.Key]; ok {
			s.record.Revision = r
		}
		var err error
		if s.delete {
			err = w.store.Delete(context.Background(), s.record.Key, s.record.Revision)
		} else {
			newer[s.record.Key], err = w.store.Put(context.Background(), s.record)
		}
		if err != nil {
			w.t.Fatalf("%s: %v", s.why, err)
		}
	}
}

func (w *world) text() string {
	records, bad, _ := w.store.List(context.Background(), "")
	var out []string
	for _, r := range records {
		line := r.Key
		if h, err := ipam.ReadBlock(r); err == nil {
			line += " of " + h.Node + ":"
			for _, a := range h.Allocations {
				line += " " + a.Handle
			}
		}
		out = append(out, line)
	}
	for _, d := range bad {
		out = append(out, "damaged "+d.Key)
	}
	return strings.Join(out, "\n")
}

// TestPlan: a has a block and borrows of b's, c borrows of a's and of b's. Whatever
// step the collector dies after, another one comes to the same end.
func TestPlan(t *testing.T) {
	now := time.Unix(2e9, 0)
	for dies := 0; ; dies++ {
		w := newWorld(t)
		w.assign("b", 2)
		w.assign("a", 5) // one of b's
		w.nodes["a"].Release(context.Background(), "cni/a/0")
		w.assign("c", 2) // of whichever has room
		before := w.text()
		steps, problems := plan(w.estate("a"), now)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		if dies > len(steps) {
			break
		}
		w.carry(steps, dies)
		again, _ := plan(w.estate("a"), now)
		w.carry(again, len(again))
		text := w.text()
		if strings.Contains(text, "cni/a/") || strings.Count(text, "cni/b/") != 2 || strings.Count(text, "cni/c/") != 2 {
			t.Errorf("after %d of %d steps:\n%s\nbefore:\n%s", dies, len(steps), text, before)
		}
		if left, _ := plan(w.estate("a"), now); len(left) > 0 {
			t.Errorf("after %d of %d steps there are %d more: %s", dies, len(steps), len(left), left[0].why)
		}
		// What c had of a's block keeps it, until c leaves.
		w.nodes["c"] = allocator(w.store, "c")
		for i := range 2 {
			if _, err := w.nodes["c"].Release(context.Background(), fmt.Sprintf("cni/c/%d", i)); err != nil {
				t.Error(err)
			}
		}
		steps, _ = plan(w.estate("a"), now)
		w.carry(steps, len(steps))
		if text := w.text(); strings.Contains(text, "affinity/a/") || strings.Contains(text, " of a:") {
			t.Errorf("after %d steps a still has something:\n%s", dies, text)
		}
	}
}

// TestPlanDamaged: what cannot be read is left alone, and said.
func TestPlanDamaged(t *testing.T) {
	w := newWorld(t)
	w.assign("a", 1)
	e := w.estate("a")
	e.blocks[0].Value = []byte("nonsense\n")
	steps, problems := plan(e, time.Unix(2e9, 0))
	if len(problems) != 1 || len(steps) > 0 {
		t.Errorf("%v %v", steps, problems)
	}
}
