package node

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"caracal.dev/caracal"
	"caracal.dev/caracal/bgp"
	"caracal.dev/caracal/node/api"
	"caracal.dev/caracal/rib"
)

func TestRefusals(t *testing.T) {
	c := rib.Counts{Refused: map[rib.Code]int{rib.RefusedFilter: 2, rib.RefusedPools: 7, rib.RefusedDefault: 2}}
	if got, want := fmt.Sprint(refusals(c)), "[{pools 7} {default-route 2} {filter 2}]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestFilters: a filter is listed with those it is for, also one that is not
// there.
func TestFilters(t *testing.T) {
	s := caracal.NewSnapshot("a")
	s.Filters = s.Filters.Put("one", caracal.Filter{Name: "one"})
	s.Filters = s.Filters.Put("idle", caracal.Filter{Name: "idle"})
	var got []string
	for _, f := range filters(s, []bgp.Neighbor{{Name: "peer/x", Filters: "one,gone"}, {Name: "peer/y", Filters: "one"}, {Name: "mesh/b"}}) {
		got = append(got, fmt.Sprintf("%s %t %v", f.Name, f.Missing, f.Neighbors))
	}
	if text, want := strings.Join(got, "; "), "gone true [peer/x]; idle false []; one false [peer/x peer/y]"; text != want {
		t.Errorf("got %s, want %s", text, want)
	}
}

// viewer makes a view of every node out of the store's own Snapshot.
type viewer struct{ store *fakeStore }

func (v viewer) Views(_ context.Context, nodes []string) ([]*caracal.Snapshot, error) {
	var out []*caracal.Snapshot
	for _, n := range nodes {
		s := *v.store.Snapshot()
		s.Self = n
		out = append(out, &s)
	}
	return out, nil
}

// TestTorConfig: which nodes a configuration is for, and why there is none.
func TestTorConfig(t *testing.T) {
	r := newRig(t)
	r.store.put(func(s *caracal.Snapshot) {
		b, _ := s.Nodes.Get("b")
		b.Labels = map[string]string{"rack": "r1"}
		s.Nodes = s.Nodes.Put("b", b)
		s.Peers = s.Peers.Put("tor", caracal.Peer{Name: "tor", Addr: ip("192.0.2.254"), ASN: 65001})
	})
	a := New(Options{Store: r.store, Viewer: viewer{r.store}})
	for _, tc := range []struct {
		q    api.TorQuery
		want string // in the text or the error
		err  error
	}{
		{api.TorQuery{Node: "a", Format: "frr"}, "192.0.2.1 peer-group caracal-tor", nil},
		{api.TorQuery{Selector: "rack == 'r1'", Format: "bird"}, "neighbor 192.0.2.2 as 64512", nil},
		{api.TorQuery{Selector: "kubernetes.io/hostname in {'b', 'c'}", Format: "eos"}, "of the nodes b, c", nil},
		{api.TorQuery{Node: "x", Format: "frr"}, "caracal show nodes", api.ErrNotFound},
		{api.TorQuery{Selector: "rack == 'r9'", Format: "frr"}, "selects", api.ErrNotFound},
		{api.TorQuery{Selector: "rack ==", Format: "frr"}, "--selector", api.ErrRefused},
		{api.TorQuery{Node: "a", Format: "ios"}, "there is no format", api.ErrRefused},
		{api.TorQuery{Node: "a", Format: "frr", Peer: "other"}, "other", api.ErrRefused},
	} {
		text, err := a.TorConfig(t.Context(), tc.q)
		if !errors.Is(err, tc.err) || !strings.Contains(text+fmt.Sprint(err), tc.want) {
			t.Errorf("%+v: %v\n%s", tc.q, err, text)
		}
	}
	a.o.Viewer = nil
	if _, err := a.TorConfig(t.Context(), api.TorQuery{Node: "a"}); !errors.Is(err, api.ErrRefused) {
		t.Errorf("without a viewer: %v", err)
	}
}

func TestAnycastSharesRoutes(t *testing.T) {
	s := caracal.NewSnapshot("a")
	serve := func(node, p string) bool {
		n := caracal.Node{Name: node}
		n.Anycast = append(n.Anycast, pfx(p))
		s.Nodes = s.Nodes.Put(node, n)
		return anycast(s)
	}
	if serve("a", "203.0.113.1/32") || serve("b", "203.0.113.1/32") || serve("c", "203.0.113.2/32") {
		t.Error("one other node is not several")
	}
	if !serve("c", "203.0.113.1/32") {
		t.Error("b and c share a route")
	}
}
