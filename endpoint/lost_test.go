package endpoint

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/ipam"
)

// A container of which all records are lost keeps its addresses from others for as
// long as its link is there, also over further starts.
func TestAllRecordsLost(t *testing.T) {
	w := newWorld(t)
	var got Wiring
	w.change = func(o *Options) {
		o.Interval = 5 * time.Millisecond
		o.AddrsOf = func(link string) ([]netip.Addr, error) {
			if link != got.HostInterface {
				t.Errorf("asked for the addresses of %s", link)
			}
			return got.Addrs, nil
		}
	}
	w.start()
	req := request("c1")
	got = w.addReady(req)
	w.stop()
	if err := os.Truncate(filepath.Join(w.dir, "endpoints", got.HostInterface+".json"), 10); err != nil {
		t.Fatal(err)
	}
	for _, block := range []string{"10.1.0.0/26", "fd00:1::/122"} {
		w.store.(*ipam.Memory).Damage(ipam.BlockKey(pfx(block)))
	}
	told := func() bool {
		return slices.ContainsFunc(w.Snapshot().Problems, func(p caracal.Problem) bool {
			return strings.Contains(p.Message, got.HostInterface) && strings.Contains(p.Message, got.Addrs[0].String())
		})
	}
	for _, next := range []string{"c2", "c3"} {
		w.start()
		if !told() {
			t.Errorf("before %s: problems %v", next, w.Snapshot().Problems)
		}
		if others := w.addReady(request(next)); slices.ContainsFunc(others.Addrs, func(a netip.Addr) bool { return slices.Contains(got.Addrs, a) }) {
			t.Fatalf("%s has %v, which the container without a record has", next, others.Addrs)
		}
		w.writing.Wait()
		w.stop()
	}
	w.start()
	if _, err := w.Remove(context.Background(), req.ID); err != nil {
		t.Fatal(err)
	}
	w.until("it is forgotten", func() bool { return !told() })
	again := request("c4")
	again.Addrs = got.Addrs
	w.addReady(again)
	if n, m, problems, err := w.CheckUse(context.Background()); n != 6 || m != 3 || len(problems) > 0 || err != nil {
		t.Errorf("%d addresses of %d endpoints, %+v, %v", n, m, problems, err)
	}
}

// One that went while the daemon was down is forgotten at the start.
func TestLostContainerGone(t *testing.T) {
	w := newWorld(t)
	w.start()
	link := caracal.HostInterface("c1", "eth0")
	err := w.mortal.Adopt(context.Background(), []ipam.Allocation{{Addr: ip("10.1.0.9"), Handle: lostHandle(link), Owner: ipam.Owner{Kind: kindLost, Interface: link}}})
	if err != nil {
		t.Fatal(err)
	}
	w.start()
	if list := w.allocations(); len(list) > 0 || len(w.Snapshot().Problems) > 0 {
		t.Errorf("left: %v, problems %v", list, w.Snapshot().Problems)
	}
}
