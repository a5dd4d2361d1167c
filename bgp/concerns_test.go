package bgp

import (
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"caracal.dev/caracal"
)

// TestConcerns changes one thing after the other. Each field of a Snapshot is here, so
// that whoever adds one thinks of it.
func TestConcerns(t *testing.T) {
	prefix := netip.MustParsePrefix("10.0.0.0/26")
	cases := map[string]struct {
		change func(*caracal.Snapshot)
		want   bool
	}{
		"Generation": {func(s *caracal.Snapshot) { s.Generation++ }, false},
		"Synced":     {func(s *caracal.Snapshot) { s.Synced = true }, true},
		"Incomplete": {func(s *caracal.Snapshot) { s.Incomplete = map[string]string{"Node": "away"} }, true},
		"Self":       {func(s *caracal.Snapshot) { s.Self = "b" }, true},
		"BGP":        {func(s *caracal.Snapshot) { s.BGP.HoldTime = 1 }, true},
		"Dataplane":  {func(s *caracal.Snapshot) { s.Dataplane.SetSysctls = !s.Dataplane.SetSysctls }, true},
		"IPAM":       {func(s *caracal.Snapshot) { s.IPAM.Mode = "blocks" }, true},
		"Nodes":      {func(s *caracal.Snapshot) { s.Nodes = s.Nodes.Put("b", caracal.Node{Name: "b"}) }, true},
		"Pools":      {func(s *caracal.Snapshot) { s.Pools = s.Pools.Put("p", caracal.Pool{Name: "p"}) }, true},
		"Blocks":     {func(s *caracal.Snapshot) { s.Blocks = s.Blocks.Put(prefix, caracal.Block{CIDR: prefix}) }, true},
		"Peers":      {func(s *caracal.Snapshot) { s.Peers = s.Peers.Put("p", caracal.Peer{}) }, true},
		"Filters":    {func(s *caracal.Snapshot) { s.Filters = s.Filters.Put("f", caracal.Filter{}) }, true},
		"Workloads":  {func(s *caracal.Snapshot) { s.Workloads = s.Workloads.Put("x/other", caracal.Workload{Node: "b"}) }, false},
		"Namespaces": {func(s *caracal.Snapshot) { s.Namespaces = s.Namespaces.Put("x", caracal.Namespace{}) }, false},
		"Policies":   {func(s *caracal.Snapshot) { s.Policies = s.Policies.Put("x/p", caracal.Policy{}) }, false},
		"Services":   {func(s *caracal.Snapshot) { s.Services = s.Services.Put("x/s", caracal.Service{}) }, true},
		"Digest":     {func(s *caracal.Snapshot) { s.Digest = "0" }, false},
		"Problems":   {func(s *caracal.Snapshot) { s.Problems = []caracal.Problem{{Message: "no"}} }, true},

		"own workload comes":    {func(s *caracal.Snapshot) { s.Workloads = s.Workloads.Put("x/mine", caracal.Workload{Node: "a"}) }, true},
		"own workload goes":     {func(s *caracal.Snapshot) { s.Workloads = s.Workloads.Delete("x/here") }, true},
		"own workload moves":    {func(s *caracal.Snapshot) { s.Workloads = s.Workloads.Put("x/here", caracal.Workload{Node: "b"}) }, true},
		"other workload goes":   {func(s *caracal.Snapshot) { s.Workloads = s.Workloads.Delete("x/there") }, false},
		"the same is put again": {func(s *caracal.Snapshot) { s.Generation, s.Digest = 7, "7" }, false},
	}
	for _, f := range reflect.VisibleFields(reflect.TypeFor[caracal.Snapshot]()) {
		if _, ok := cases[f.Name]; !ok {
			t.Errorf("Snapshot.%s is not in the table: does Plan look at it?", f.Name)
		}
	}
	for name, c := range cases {
		was := caracal.NewSnapshot("a")
		was.Workloads = was.Workloads.Put("x/here", caracal.Workload{Node: "a"}).Put("x/there", caracal.Workload{Node: "b"})
		is := *was
		is.Problems = slices.Clone(was.Problems)
		c.change(&is)
		if got := Concerns(was, &is); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
