package felix

import (
	"testing"
	"time"

	"caracal.dev/caracal/internal/nstest"
)

func TestWatch(t *testing.T) {
	eachBackend(t, func(t *testing.T, ns *nstest.NS, backend string) {
		f := openFilter(t, ns, FilterOptions{Backend: backend})
		bell := f.Watch(testContext(t))
		if bell == nil {
			t.Fatal("there is no bell")
		}
		one, two := twoRulesets()
		mustAudit(t, f, one)
		if _, err := f.Apply(testContext(t), two, diffRulesets(one, two)); err != nil {
			t.Fatal(err)
		}
		ipt(ns, backend, IPv4, "-S")
		if backend == BackendNFT { // of legacy only the sizes are known
			ipt(ns, backend, IPv4, "-N", "OTHER")
			ipt(ns, backend, IPv4, "-A", "OTHER", "-j", "ACCEPT")
			ipt(ns, backend, IPv4, "-A", "FORWARD", "-j", "OTHER")
		}
		select {
		case <-bell:
			t.Error("it rang for what we wrote ourselves, or for what does not touch us")
		case <-time.After(3 * bellEvery):
		}
		for _, c := range []struct {
			name string
			args []string
		}{
			{"a chain is flushed", []string{"-F", "caracal-pods"}},
			{"our first rule is deleted", []string{"-D", "FORWARD", "1"}},
			{"a rule comes before ours", []string{"-I", "FORWARD", "-j", "RETURN"}},
			{"a rule is replaced by one of another length", []string{"-R", "caracal-to", "1", "-p", "udp", "-j", "ACCEPT"}},
		} {
			ipt(ns, backend, IPv4, c.args...)
			select {
			case <-bell:
			case <-time.After(30 * time.Second):
				t.Fatalf("it did not ring when %s", c.name)
			}
			res, err := f.Audit(testContext(t), two)
			if err != nil || !res.Wrote() || len(res.Repairs) == 0 {
				t.Errorf("when %s the repair was %+v, %v", c.name, res, err)
			}
		}
		settle(t, f, two)
	})
}

// TestOwnIsNotedLate has what a process of ours wrote told of before its start has
// returned to us, as on a machine whose processors are all busy.
func TestOwnIsNotedLate(t *testing.T) {
	const pid, other = 4711, 4712
	var w watcher
	w.starting.Add(1)
	time.AfterFunc(200*time.Millisecond, func() {
		w.pids[1].Store(pid)
		w.starting.Add(-1)
	})
	if !w.own(pid, "somebody") {
		t.Error("a process of ours passed for another one")
	}
	if w.own(other, "somebody") {
		t.Error("another process passed for one of ours")
	}
}

// TestBellInAFight holds how often it rings when two programs both want to be
// first.
func TestBellInAFight(t *testing.T) {
	b := newBell()
	began := time.Now()
	go b.run(testContext(t))
	for range 2 * fightBurst {
		b.ring(true)
	}
	rings := 0
	for quiet := false; !quiet; {
		wait := 10 * bellEvery
		if rings < fightBurst { // so many must come
			wait = 30 * time.Second
		}
		select {
		case <-b.out:
			rings++
		case <-time.After(wait):
			quiet = true
		}
	}
	// On a machine that stood still, those come with the time that are due by now.
	if most := fightBurst + int(time.Since(began)/fightEvery); rings < fightBurst || rings > most {
		t.Errorf("it rang %d times, want %d to %d", rings, fightBurst, most)
	}
	b.ring(false)
	select {
	case <-b.out:
	case <-time.After(30 * time.Second):
		t.Error("it did not ring for an edit after a fight")
	}
}
