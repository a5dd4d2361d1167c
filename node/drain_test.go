package node

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/bgp"
	"caracal.dev/caracal/node/api"
)

// TestDrainSteps tells whole drains step by step, in the words of the state.
func TestDrainSteps(t *testing.T) {
	start := time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC)
	type step struct {
		after time.Duration // since the start
		drainSeen
		want api.DrainStage
	}
	see := func(after time.Duration, applied bgp.Drain, workloads int, want api.DrainStage) step {
		return step{after, drainSeen{applied: applied, workloads: workloads, known: true}, want}
	}
	unknown := func(s step) step { s.known = false; return s }
	const wait = 10 * time.Second
	for _, tc := range []struct {
		name  string
		force bool
		steps []step
	}{
		{"with workloads", false, []step{
			see(0, bgp.DrainNone, 2, api.DrainMoving),
			see(time.Hour, bgp.DrainNone, 2, api.DrainMoving), // the wait begins when neighbors were told
			see(time.Hour+time.Second, bgp.DrainLast, 2, api.DrainMoving),
			see(time.Hour+wait, bgp.DrainLast, 2, api.DrainMoving),
			see(time.Hour+wait+time.Second, bgp.DrainLast, 2, api.DrainAway),
			see(2*time.Hour, bgp.DrainLast, 0, api.DrainAway), // not withdrawn yet
			see(2*time.Hour, bgp.DrainOut, 1, api.DrainAway),
			unknown(see(2*time.Hour, bgp.DrainOut, 0, api.DrainAway)), // they may be out of sight
			see(2*time.Hour, bgp.DrainOut, 0, api.DrainClosed),
			see(3*time.Hour, bgp.DrainOut, 5, api.DrainClosed),
		}},
		{"empty", false, []step{
			see(0, bgp.DrainLast, 0, api.DrainMoving),
			see(wait, bgp.DrainLast, 0, api.DrainAway),
			see(wait, bgp.DrainOut, 0, api.DrainClosed),
		}},
		{"a clock that is set back", false, []step{
			see(0, bgp.DrainLast, 2, api.DrainMoving),
			see(-24*time.Hour, bgp.DrainLast, 2, api.DrainMoving),
			see(-24*time.Hour+wait, bgp.DrainLast, 2, api.DrainAway),
		}},
		{"forced", true, []step{
			see(0, bgp.DrainLast, 3, api.DrainMoving),
			see(wait, bgp.DrainLast, 3, api.DrainAway),
			unknown(see(wait, bgp.DrainOut, 3, api.DrainClosed)),
		}},
	} {
		s := drainState{}.begin(start, wait, tc.force)
		for i, st := range tc.steps {
			st.now = start.Add(st.after)
			s = s.next(st.drainSeen)
			if s.Stage != st.want {
				t.Errorf("%s, step %d: %q, want %q", tc.name, i, s.Stage, st.want)
			}
		}
		if !s.Since.Equal(start) {
			t.Errorf("%s: since %v", tc.name, s.Since)
		}
	}
}

// TestDrainAgain: a command while a drain is under way changes the wait and adds
// force, and nothing else.
func TestDrainAgain(t *testing.T) {
	start := time.Now()
	s := drainState{}.begin(start, time.Hour, true)
	s = s.begin(start.Add(time.Minute), time.Second, false)
	if s.Wait != time.Second || !s.Force || !s.Since.Equal(start) || s.Stage != api.DrainMoving {
		t.Errorf("%+v", s)
	}
	s.Stage, s.Force = api.DrainAway, false
	if s = s.begin(start, time.Second, true); s.Stage != api.DrainAway || !s.Force {
		t.Errorf("%+v", s)
	}
	for stage, want := range map[api.DrainStage]bgp.Drain{
		api.DrainServing: bgp.DrainNone, api.DrainMoving: bgp.DrainLast, api.DrainAway: bgp.DrainOut, api.DrainClosed: bgp.DrainOut,
	} {
		if got := (drainState{Stage: stage}).wants(); got != want {
			t.Errorf("%q wants %d, want %d", stage, got, want)
		}
	}
}

// TestDrainFile: what is written down is read again; what cannot be read is an
// error and a node that serves.
func TestDrainFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	want := drainState{Stage: api.DrainAway, Since: time.Now().UTC().Round(0), Wait: time.Second, Force: true}
	if err := writeDrain(dir, want); err != nil {
		t.Fatal(err)
	}
	if got, err := readDrain(dir); err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
	for range 2 {
		if err := writeDrain(dir, drainState{}); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := readDrain(dir); err != nil || got != (drainState{}) {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, text := range []string{"", "{", `{"stage":"gone"}`} {
		if err := os.WriteFile(filepath.Join(dir, drainFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := readDrain(dir); err == nil || got != (drainState{}) {
			t.Errorf("%q: got %+v, %v", text, got, err)
		}
	}
	if err := errors.Join(writeDrain("", want), func() error { _, err := readDrain(""); return err }()); err != nil {
		t.Error(err)
	}
}

// drain asks for a drain and returns what was said last.
func (r *rig) drain(wait time.Duration, force bool) (last api.Drain, stages []api.DrainStage) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 20*time.Second)
	defer cancel()
	err := r.agent.Drain(ctx, wait, force, func(d api.Drain) error {
		last = d
		if !slices.Contains(stages, d.Stage) {
			stages = append(stages, d.Stage)
		}
		return nil
	})
	if err != nil {
		r.t.Fatalf("drain: %v; it was %+v", err, last)
	}
	return last, stages
}

func (r *rig) told() bgp.Drain {
	c, _ := r.speaker.last()
	return c.Drain
}

// TestDrain: a node with a workload is drained but for that, over a restart;
// once the workload is gone the sessions close, and undrain opens them.
func TestDrain(t *testing.T) {
	r := newRig(t)
	r.state = t.TempDir()
	workload := caracal.Workload{Namespace: "default", Name: "w", Node: "a", Interface: "veth1"}
	r.store.put(func(s *caracal.Snapshot) { s.Workloads = s.Workloads.Put(workload.Key(), workload) })
	r.start()
	r.until("the tasks run", func() bool { return r.agent.up.Load() != nil && r.told() == bgp.DrainNone })
	last, stages := r.drain(50*time.Millisecond, false)
	if last.Workloads != 1 || last.Stage != api.DrainAway || !strings.Contains(last.String(), "1 workload still here") || len(stages) != 2 || r.told() != bgp.DrainOut {
		t.Fatalf("drained: %+v by %v, the speaker was told %d", last, stages, r.told())
	}
	if list := r.speaker.disabledNow(); len(list) > 0 {
		t.Fatalf("closed though a workload is here: %v", list)
	}

	r.stop()
	r.done <- <-r.done
	r.speaker = &fakeSpeaker{bell: make(chan struct{}, 1)}
	r.start()
	r.until("the drain goes on after a restart", func() bool { return r.told() == bgp.DrainOut })
	if st, err := r.agent.Status(t.Context()); err != nil || st.Drain.Stage != api.DrainAway || !st.Drain.Since.Equal(last.Since) {
		t.Fatalf("status %+v, %v", st.Drain, err)
	}
	r.store.put(func(s *caracal.Snapshot) { s.Workloads = s.Workloads.Delete(workload.Key()) })
	r.until("the sessions are closed", func() bool { return len(r.speaker.disabledNow()) == 2 })
	if reason := r.speaker.disabledNow()["mesh/b"]; reason != "node a is drained by its operator" {
		t.Errorf("reason %q", reason)
	}
	if was, err := r.agent.Undrain(t.Context()); err != nil || was.Stage != api.DrainClosed {
		t.Errorf("undrain: %+v, %v", was, err)
	}
	r.until("the node serves again", func() bool { return r.told() == bgp.DrainNone && len(r.speaker.disabledNow()) == 0 })
	if _, err := os.Stat(filepath.Join(r.state, drainFile)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file stays: %v", err)
	}
}

// TestDrainForce: force closes the sessions though workloads are here; a neighbor
// that an operator disabled stays so after undrain.
func TestDrainForce(t *testing.T) {
	r := newRig(t)
	r.store.put(func(s *caracal.Snapshot) {
		s.Workloads = s.Workloads.Put("default/w", caracal.Workload{Namespace: "default", Name: "w", Node: "a", Interface: "veth1"})
	})
	r.start()
	r.until("the tasks run", func() bool { return r.agent.up.Load() != nil && r.told() == bgp.DrainNone })
	if err := r.speaker.Disable(t.Context(), "mesh/c", "by hand"); err != nil {
		t.Fatal(err)
	}
	last, stages := r.drain(10*time.Millisecond, true)
	if last.Stage != api.DrainClosed || last.Workloads != 1 || len(stages) < 2 || len(r.speaker.disabledNow()) != 2 {
		t.Fatalf("drained: %+v by %v; %v", last, stages, r.speaker.disabledNow())
	}
	if _, err := r.agent.Undrain(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.until("only the operator's is disabled", func() bool {
		d := r.speaker.disabledNow()
		return len(d) == 1 && d["mesh/c"] == "by hand"
	})
}

// TestDrainFailing: a drain does not wait for a neighbor that cannot be
// configured, but for what cannot be withdrawn.
func TestDrainFailing(t *testing.T) {
	r := newRig(t)
	r.speaker.failed = map[string]error{"peer/tor@192.0.2.9": errors.New("refused")}
	r.start()
	r.until("the tasks run", func() bool { return r.agent.up.Load() != nil && r.told() == bgp.DrainNone })
	if last, _ := r.drain(10*time.Millisecond, false); last.Stage != api.DrainClosed {
		t.Fatalf("drained: %+v", last)
	}
	if _, err := r.agent.Undrain(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.until("the node serves again", func() bool { return r.told() == bgp.DrainNone && r.agent.up.Load().bgp.drained() == bgp.DrainNone })
	r.speaker.mu.Lock()
	r.speaker.failed = map[string]error{"10.9.9.0/24": errors.New("not withdrawn")}
	r.speaker.mu.Unlock()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stages := map[api.DrainStage]bool{}
	err := r.agent.Drain(ctx, 10*time.Millisecond, false, func(d api.Drain) error {
		if len(stages) == 0 {
			time.AfterFunc(time.Second, cancel)
		}
		stages[d.Stage] = true
		return nil
	})
	if err == nil || len(stages) != 1 || !stages[api.DrainMoving] {
		t.Errorf("%v, by %v", err, stages)
	}
}
