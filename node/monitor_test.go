package node

import (
	"context"
	"slices"
	"sync"
	"testing"

	"caracal.dev/caracal/bgp"
	"caracal.dev/caracal/node/api"
)

// TestMonitor: what is told of a path's way in and out again.
func TestMonitor(t *testing.T) {
	r := newRig(t)
	r.start()
	r.until("the neighbors are known", func() bool { c, _ := r.speaker.last(); return len(c.Neighbors) == 2 })
	var mu sync.Mutex
	var told []string
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go r.agent.Monitor(ctx, func(ev api.MonitorEvent) error {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, string(ev.Kind)+" "+ev.Action+" "+ev.Detail)
		return nil
	})
	r.until("somebody listens", r.agent.feed.Active)
	r.converse("mesh/b")
	r.speaker.say(announce("mesh/b", "10.1.2.0/26", "192.0.2.2"), eor("mesh/b"), bgp.Event{EndOfRIB: &bgp.EndOfRIB{Neighbor: "mesh/b", IPv6: true}})
	r.until("b's block leads to b", func() bool { return r.has("10.1.2.0/26 via 192.0.2.2 dev eth0") })
	r.speaker.say(bgp.Event{Session: &bgp.Session{Neighbor: "mesh/b", State: bgp.Idle, Was: bgp.Established}})
	for _, want := range []string{
		"session Established ", "route announced next hop 192.0.2.2", "session End-of-RIB ipv4", "session End-of-RIB ipv6",
		"route chosen next hops [192.0.2.2]", "route gone no accepted path is left", "fib deleted ",
	} {
		r.until(want, func() bool {
			mu.Lock()
			defer mu.Unlock()
			return slices.Contains(told, want)
		})
	}
}
