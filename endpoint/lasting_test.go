package endpoint

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"caracal.dev/caracal"
)

// What a start found wrong is told until the container is gone or was made anew, and
// no longer.
func TestProblemsOfTheStartEnd(t *testing.T) {
	spoil := func(w *world, id ID) {
		t.Helper()
		file := filepath.Join(w.dir, "endpoints", caracal.HostInterface(id.ContainerID, id.Interface)+".json")
		if err := os.Truncate(file, 10); err != nil {
			t.Fatal(err)
		}
	}
	w := newWorld(t)
	w.change = func(o *Options) { o.Interval = 5 * time.Millisecond }
	w.start()
	gone, anew, unknown := request("c1"), request("c2"), request("c3")
	for _, req := range []Request{gone, anew, unknown} {
		w.addReady(req)
	}
	w.stop()
	for _, req := range []Request{gone, anew, unknown} {
		spoil(w, req.ID)
	}
	// The third's addresses are not on record either.
	if _, err := w.mortal.Release(context.Background(), handleOf(KindCNI, unknown.ID)); err != nil {
		t.Fatal(err)
	}
	w.start()
	messages := func() (all []string) {
		for _, p := range w.Snapshot().Problems {
			all = append(all, p.Message)
		}
		return all
	}
	has := func(part string) bool { return strings.Contains(strings.Join(messages(), "\n"), part) }
	link := caracal.HostInterface("c3", "eth0")
	if len(messages()) != 3 || !has("c1/eth0 was lost") || !has("c2/eth0 was lost") || !has("link "+link) {
		t.Fatalf("at the start: %q", messages())
	}
	time.Sleep(50 * time.Millisecond) // some audits, after which all is as it was
	if len(messages()) != 3 {
		t.Errorf("forgotten though it is so: %q", messages())
	}
	if _, err := w.Remove(context.Background(), gone.ID); err != nil {
		t.Fatal(err)
	}
	w.until("the first is forgotten", func() bool { return !has("c1/eth0") })
	if _, err := w.Remove(context.Background(), anew.ID); err != nil {
		t.Fatal(err)
	}
	w.pass(time.Second)
	w.addReady(anew)
	w.until("the second is forgotten", func() bool { return !has("c2/eth0") })
	if !has(link) {
		t.Errorf("the third is forgotten: %q", messages())
	}
	if _, err := w.Remove(context.Background(), unknown.ID); err != nil {
		t.Fatal(err)
	}
	w.until("the third is forgotten", func() bool { return len(messages()) == 0 })
}

// A removal that failed at the start is told until it is done.
func TestFailureOfTheStartEnds(t *testing.T) {
	w := newWorld(t)
	w.change = func(o *Options) { o.Interval = 5 * time.Millisecond }
	w.start()
	req := request("c1")
	got := w.addReady(req)
	w.stop()
	w.ground.Reboot()
	w.ground.Link(got.HostInterface, true)
	w.ground.Stick(got.HostInterface, true)
	w.start()
	told := func() bool {
		for _, p := range w.Snapshot().Problems {
			if strings.Contains(p.Message, "at the start of the daemon") {
				return true
			}
		}
		return false
	}
	if !told() {
		t.Fatalf("problems %v", w.Snapshot().Problems)
	}
	w.ground.Stick(got.HostInterface, false)
	w.until("it is done", func() bool { return !told() })
}
