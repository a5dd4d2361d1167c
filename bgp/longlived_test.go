package bgp_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"caracal.dev/caracal/bgp"
)

// phases renders what stale paths of a neighbor came to.
func (s *station) phases(neighbor string) (list []string) {
	for _, e := range s.all {
		switch v := e.Session; {
		case v == nil || v.Neighbor != neighbor:
		case v.Expired && v.LongLived4:
			list = append(list, "last choice")
		case v.Expired:
			list = append(list, "gone")
		case v.Was == bgp.Established && v.Graceful && v.Kept4:
			list = append(list, "stale")
		case v.State == bgp.Established:
			list = append(list, "up")
		}
	}
	return list
}

// lastSession has no other session come up in this namespace. One that is up goes on.
func lastSession(t *testing.T) {
	t.Helper()
	for _, chain := range []string{"INPUT", "OUTPUT"} {
		if out, err := exec.Command("iptables", "-w", "-A", chain, "-p", "tcp", "--syn", "-j", "DROP").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
}

// longLived is told with a daemon that keeps paths long, and starts again.
func longLived(t *testing.T, o *opposite, start func(), stale func() string, mark string) {
	start()
	n := tor()
	n.IPv6, n.RestartTime, n.LongLived = false, time.Second, 25*time.Second // the daemon starts anew in that time
	a := torStation(t, n)
	a.eventually("its route", func() bool { return a.rib[n.Name+" 10.0.2.0/26"] != nil })
	st := a.status(n.Name)
	for _, caps := range [][]string{st.Capabilities, st.LocalCapabilities} {
		if !slices.ContainsFunc(caps, func(c string) bool { return strings.HasPrefix(c, "long-lived-graceful-restart ipv4-unicast ") }) {
			t.Errorf("capabilities %q", caps)
		}
	}
	synced := func() {
		t.Helper()
		a.eventually("End-of-RIB", func() bool { return a.eor[n.Name+" false"] })
		says(t, stale, "10.0.1.0/26")
	}
	reached := func(want ...string) {
		t.Helper()
		a.eventually(strings.Join(want, ", "), func() bool { return slices.Equal(a.phases(n.Name), want) })
	}
	again := func() {
		a.mu.Lock()
		clear(a.eor)
		a.mu.Unlock()
		start()
	}
	synced()

	// It comes back late, and goes on.
	o.process.kill()
	reached("up", "stale", "last choice")
	if st := a.status(n.Name); !st.Restarting || !st.LongLivedStale || st.StaleUntil.Before(time.Now()) {
		t.Errorf("status: %+v", st)
	}
	again()
	synced()
	if st := a.status(n.Name); st.Restarting || st.LongLivedStale {
		t.Errorf("after End-of-RIB: %+v", st)
	}
	reached("up", "stale", "last choice", "up")

	// It does not come back: our time for that is the shorter one.
	begin := time.Now()
	o.process.kill()
	reached("up", "stale", "last choice", "up", "stale", "last choice")
	reached("up", "stale", "last choice", "up", "stale", "last choice", "gone")
	if d := time.Since(begin); d < 25*time.Second || d > 50*time.Second { // the daemon's own time is 60 s
		t.Errorf("kept for %s, want 25s", d)
	}
	if st := a.status(n.Name); st.Restarting || st.LongLivedStale || !st.StaleUntil.IsZero() {
		t.Errorf("in the end: %+v", st)
	}

	// The other way round: it keeps what we announced, as the last choice.
	again()
	a.eventually("the session", a.in(n.Name, bgp.Established))
	synced()
	lastSession(t)
	if err := a.Fail(t.Context(), n.Name, "link down", true); err != nil {
		t.Fatal(err)
	}
	says(t, stale, "10.0.1.0/26", mark)
}

func TestLongLivedBIRD(t *testing.T) {
	o := opposed(t, nil)
	if o == nil {
		return
	}
	longLived(t, o, func() {
		o.bird(t, `
protocol static { ipv4; route 10.0.2.0/26 blackhole; }
protocol bgp here {
	local 192.0.2.2 as 65001; neighbor 192.0.2.1 as 64512; connect delay time 1;
	graceful restart on; graceful restart time 1;
	long lived graceful restart on; long lived stale time 60;
	ipv4 { import all; export where source = RTS_STATIC; };
}
`)
	}, func() string { return o.birdc("show", "route", "all", "for", "10.0.1.0/26") }, "(65535,6)")
}

func TestLongLivedFRR(t *testing.T) {
	o := opposed(t, nil)
	if o == nil {
		return
	}
	longLived(t, o, func() {
		o.frr(t, `
router bgp 65001
 bgp router-id 192.0.2.2
 no bgp ebgp-requires-policy
 no bgp network import-check
 bgp graceful-restart
 bgp graceful-restart preserve-fw-state
 bgp graceful-restart restart-time 1
 bgp long-lived-graceful-restart stale-time 60
 neighbor 192.0.2.1 remote-as 64512
 neighbor 192.0.2.1 timers connect 1
 address-family ipv4 unicast
  network 10.0.2.0/26
 exit-address-family
`)
	}, func() string { return o.vtysh("show bgp ipv4 unicast 10.0.1.0/26") }, "llgr-stale")
}
