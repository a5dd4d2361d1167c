package endpoint

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/ipam"
)

// lives are containers as their runtime knows them: those that it was told are
// connected have their addresses.
type lives struct {
	*world
	mu   sync.Mutex
	have map[string][]netip.Addr
}

func (l *lives) set(name string, addrs []netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if addrs == nil {
		delete(l.have, name)
	} else {
		l.have[name] = addrs
	}
}

// step is what a runtime does next about one container. A call may be given up in
// the middle, and is tried again then, or not.
func (l *lives) step(rng *rand.Rand, name string) {
	l.pass(time.Millisecond)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if rng.IntN(4) == 0 {
		time.AfterFunc(time.Duration(rng.IntN(300))*time.Microsecond, cancel)
	}
	req := request(name)
	link := caracal.HostInterface(name, "eth0")
	l.mu.Lock()
	_, there := l.have[name]
	l.mu.Unlock()
	switch n := rng.IntN(10); {
	case !there && n < 8:
		if os.Remove(filepath.Join(l.dir, "deletions", name+".json")) == nil {
			if _, err := l.Remove(ctx, req.ID); err != nil {
				return
			}
		}
		l.ground.Container(req.NetNS)
		w, err := l.Add(ctx, req)
		if err != nil {
			return
		}
		l.ground.Link(link, true)
		if l.Ready(ctx, req.ID) == nil {
			l.set(name, w.Addrs)
		}
	case n < 4: // DEL
		l.set(name, nil)
		_, _ = l.Remove(ctx, req.ID)
		l.ground.Kill(req.NetNS, req.ID)
	case n < 6: // the same, while the plugin did not reach the daemon
		l.set(name, nil)
		l.ground.Kill(req.NetNS, req.ID)
		l.queue(name)
	case n < 7: // it ends without a word
		l.set(name, nil)
		l.ground.Kill(req.NetNS, req.ID)
	default:
		_, _ = l.Add(ctx, req) // once more
	}
}

// queue leaves a deletion as the plugin does.
func (l *lives) queue(name string) {
	text, err := json.Marshal(map[string]any{"id": map[string]string{"container_id": name, "ifname": "eth0", "network": "net"}})
	file := filepath.Join(l.dir, "deletions", name+".json")
	tmp := filepath.Join(filepath.Dir(file), ".tmp-"+name)
	err = errors.Join(err, os.WriteFile(tmp, text, 0o600), os.Chtimes(tmp, time.Time{}, l.clock()), os.Rename(tmp, file))
	if err != nil {
		l.t.Error(err)
	}
}

// check fails unless all that were told to have addresses have them, each its own.
func (l *lives) check() {
	l.t.Helper()
	l.writing.Wait()
	given := map[netip.Addr]string{}
	for _, a := range l.allocations() {
		given[a.Addr] = a.Handle
	}
	owner := map[netip.Addr]string{}
	for _, name := range slices.Sorted(maps.Keys(l.have)) {
		req := request(name)
		for _, a := range l.have[name] {
			if other, twice := owner[a]; twice {
				l.t.Fatalf("%s has been given to %s and to %s", a, other, name)
			}
			owner[a] = name
			if want := handleOf(KindCNI, req.ID); given[a] != want {
				l.t.Fatalf("%s of %s belongs to %q by the records", a, name, given[a])
			}
		}
		e := l.get(req.key())
		if e == nil || !slices.Equal(e.Addrs, l.have[name]) {
			l.t.Fatalf("%s has %v, and its endpoint is %+v", name, l.have[name], e)
		}
		if wl, ok := l.Snapshot().Workloads.Get(e.Key()); !ok || !slices.Equal(wl.Addrs, e.Addrs) {
			l.t.Fatalf("%s is published as %v", name, wl)
		}
	}
}

// TestLives: many containers come, go, are given up, end without a word and have
// several calls about them at once, while the daemon is restarted, the machine
// rebooted and block records are lost. No address is ever two containers', and
// none is lost.
func TestLives(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	w := newWorld(t)
	w.now = time.Now()
	w.source.put(func(s *caracal.Snapshot) { s.IPAM.Cooldown = 20 * time.Second })
	w.start()
	w.until("the queue is watched", func() bool { _, err := os.Stat(filepath.Join(w.dir, "deletions")); return err == nil })
	l := &lives{world: w, have: map[string][]netip.Addr{}}
	rng := rand.New(rand.NewPCG(seed, 0))
	for round := range 25 {
		var wg sync.WaitGroup
		for g := range 8 {
			wg.Go(func() {
				rng := rand.New(rand.NewPCG(seed, uint64(round*8+g+1)))
				for i := range 6 {
					if g == 0 && rng.IntN(3) == 0 {
						w.audit(context.Background()) // which is one goroutine's
					}
					l.step(rng, fmt.Sprintf("c%d-%d", g, (i+rng.IntN(2))%4))
				}
			})
		}
		wg.Wait()
		l.check()
		w.pass(time.Duration(rng.IntN(40)) * time.Second)
		n := rng.IntN(6)
		t.Logf("round %d: %d", round, n)
		switch n {
		case 0:
			w.start()
		case 1:
			w.stop()
			w.store.(*ipam.Memory).Damage(ipam.BlockKey(pfx("10.1.0.0/26")))
			w.start()
		case 2:
			w.ground.Reboot()
			clear(l.have)
			w.start()
		}
		l.check()
	}
	for _, name := range slices.Collect(maps.Keys(l.have)) {
		l.set(name, nil)
	}
	w.ground.Reboot()
	for range 3 {
		w.pass(10 * time.Minute)
		w.audit(context.Background())
	}
	w.until("the queue is empty", func() bool {
		left, err := filepath.Glob(filepath.Join(w.dir, "deletions", "*.json"))
		return err == nil && len(left) == 0 || errors.Is(err, os.ErrNotExist)
	})
	w.clean(0)
}
