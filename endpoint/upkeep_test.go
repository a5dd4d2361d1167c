package endpoint

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"caracal.dev/caracal"
)

// TestHangs has address records that take requests and never answer them, while
// everything is due that asks them for much: the configuration is taken as it changes,
// and what the plugin left is carried out, as if nothing were.
func TestHangs(t *testing.T) {
	t.Parallel()
	w, store := sharedWorld(t)
	w.make()
	w.tidyEvery = 10 * time.Millisecond
	w.run()
	w.until("the daemon has begun", func() bool { return w.begun.Load() && w.Snapshot().Complete() })
	for i := range 3 {
		w.addReady(request(fmt.Sprint("c", i)))
	}
	store.state.Store(2)
	w.refused.Store(true)
	w.until("something is under way", func() bool { return len(w.errand) > 0 })
	const quick = 4 * time.Second // each request hangs for 5 s, and there are several
	for end, i := time.Now().Add(4*time.Second), 0; time.Now().Before(end); i++ {
		began, want := time.Now(), pfx(fmt.Sprintf("10.7.%d.0/24", i%250))
		w.source.put(func(s *caracal.Snapshot) {
			s.Pools = s.Pools.Put("more", caracal.Pool{Name: "more", CIDR: want, BlockSize: 26})
		})
		w.until("the plan is another", func() bool {
			for _, p := range w.plan.Load().Pools {
				if p.CIDR == want {
					return true
				}
			}
			return false
		})
		if took := time.Since(began); took > quick {
			t.Fatalf("a change of the configuration took %v", took)
		}
		time.Sleep(10 * time.Millisecond)
	}
	left, _ := json.Marshal(map[string]any{"id": map[string]string{"container_id": "c0", "ifname": "eth0", "network": "net"}})
	began, file := time.Now(), filepath.Join(w.queueDir(), "c0.json")
	half := filepath.Join(w.queueDir(), ".c0") // as the plugin does, or half of it would be read
	if err := errors.Join(os.WriteFile(half, left, 0o600), os.Rename(half, file)); err != nil {
		t.Fatal(err)
	}
	w.until("the deletion is carried out", func() bool { _, err := os.Stat(file); return os.IsNotExist(err) })
	if took := time.Since(began); took > awayWait+quick {
		t.Errorf("a deletion took %v", took)
	}
	if w.Snapshot().Workloads.Len() != 2 {
		t.Errorf("published:\n%s", w.text())
	}
	store.state.Store(0)
	w.until("the addresses are free, and those of the others are theirs", func() bool {
		if w.refused.Load() && len(w.errand) == 0 { // it was asked while nobody answered, and is asked again after a while
			w.pass(reassertInterval)
		}
		return w.given() == 4 && !w.refused.Load() && len(w.List()) == 2
	})
	w.clean(2)
}
