package bgp_test

import (
	"slices"
	"testing"
	"time"

	"caracal.dev/caracal/bgp"
)

// waitedFor is a neighbor that should dial us, as the other one of two nodes does.
func waitedFor() bgp.Neighbor {
	n := tor()
	n.Name, n.Node, n.Peer, n.Passive, n.Impatient, n.External, n.ASN, n.IPv6 = "mesh/b", "b", "", true, true, false, asn, false
	return n
}

// TestPatience has a neighbor wait for us that we wait for: it is dialed, and what it
// announced stays while it is away for a moment.
func TestPatience(t *testing.T) {
	o := opposed(t, nil)
	if o == nil {
		return
	}
	start := func() {
		o.bird(t, `
protocol static { ipv4; route 10.0.2.0/26 blackhole; }
protocol bgp here {
	local 192.0.2.2 as 64512; neighbor 192.0.2.1 as 64512; passive on;
	graceful restart on;
	ipv4 { import all; export where source = RTS_STATIC; next hop self; };
}
`)
	}
	start()
	n := waitedFor()
	a := torStation(t, n)
	has := func() bool { return a.rib[n.Name+" 10.0.2.0/26"] != nil }
	a.eventually("its route", has)
	up := func() (n int) {
		for _, p := range a.phases(waitedFor().Name) {
			if p == "up" {
				n++
			}
		}
		return n
	}
	o.process.kill()
	a.eventually("the end of the session", func() bool { return !a.in(n.Name, bgp.Established)() })
	begin := time.Now()
	start()
	a.eventually("the session again", func() bool { return up() == 2 && has() })
	t.Logf("again after %v", time.Since(begin))
	a.mu.Lock()
	defer a.mu.Unlock()
	if phases := a.phases(n.Name); slices.Contains(phases, "gone") {
		t.Errorf("its route went meanwhile: %q", phases)
	}
}

// TestPassiveIsAnOrder does not dial a neighbor that a BGPPeer says to wait for.
func TestPassiveIsAnOrder(t *testing.T) {
	o := opposed(t, nil)
	if o == nil {
		return
	}
	o.bird(t, "protocol bgp here { local 192.0.2.2 as 65001; neighbor 192.0.2.1 as 64512; passive on; ipv4 { import all; }; }\n")
	n := tor()
	n.Passive, n.IPv6 = true, false
	a := torStation(t, n)
	time.Sleep(6 * time.Second)
	if st := a.status(n.Name); st.State != bgp.Active {
		t.Errorf("status %+v", st)
	}
}
