package bfd

import (
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestCPU prints what 64 sessions of 3 x 100 ms cost: about 1,400 packets a
// second, half of them received. The machine may be busy with other tests, so it
// only fails for a cost that no load of others explains.
func TestCPU(t *testing.T) {
	const sessions = 64
	w := newWorld(t)
	a, p := newProcess(t, w.a, "")
	b, _ := newProcess(t, w.b, "")
	var as, bs []Session
	for i := range sessions {
		l := netip.AddrFrom4([4]byte{10, 9, 1, byte(i)})
		r := netip.AddrFrom4([4]byte{10, 9, 2, byte(i)})
		as = append(as, Session{Name: fmt.Sprintf("s%02d", i), Local: l, Remote: r, BFD: fast})
		bs = append(bs, Session{Name: fmt.Sprintf("s%02d", i), Local: r, Remote: l, BFD: fast})
		w.a.Addr("up0", l.String()+"/16")
		w.b.Addr("up0", r.String()+"/16")
	}
	a.apply(as...)
	b.apply(bs...)
	eventually(t, "all are up", func() bool {
		for _, st := range a.Status() {
			if st.Detection != 300*ms || st.State != Up {
				return false
			}
		}
		return true
	})
	const over = 2 * time.Second
	before, sent := cpu(t, p.pid()), a.status("s00").Sent
	time.Sleep(over)
	used := cpu(t, p.pid()) - before
	t.Logf("%d sessions: %.1f %% of a processor (%s in %s; %d packets sent by each)", sessions,
		100*used.Seconds()/over.Seconds(), used, over, a.status("s00").Sent-sent)
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid()))
	for line := range strings.Lines(string(status)) {
		if strings.HasPrefix(line, "VmRSS") {
			t.Log(strings.TrimSpace(line))
		}
	}
	if used > over/2 {
		t.Errorf("%s of processor time in %s", used, over)
	}
}

// cpu returns the processor time of a process so far.
func cpu(t *testing.T, pid int) time.Duration {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+2:]))
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond // in USER_HZ, 100 everywhere
}
