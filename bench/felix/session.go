package main

import (
	"context"
	"fmt"
	"os"
	"runtime/pprof"

	"caracal.dev/caracal"
	"caracal.dev/caracal/bench/felix/cluster"
	"caracal.dev/caracal/felix"
)

// session is a Compiler with the kernel that its rules are in.
type session struct {
	compiler *felix.Compiler
	kernel   kernel
	snapshot *caracal.Snapshot
}

// measure fills in a result.
func measure(ctx context.Context, r *result, c *cluster.Cluster, a childArgs) error {
	s := &session{compiler: felix.NewCompiler()}
	stop, err := profile(a, "start")
	if err != nil {
		return err
	}
	if err := s.start(ctx, r, c, a.backend); err != nil {
		return err
	}
	defer s.kernel.close()
	if err := stop(); err != nil {
		return err
	}
	if a.files != "" {
		if err := writeFiles(a.files, s.compiler); err != nil {
			return err
		}
	}
	r.Rules = count(s.compiler)
	if a.changes == 0 {
		return nil
	}
	if stop, err = profile(a, "changes"); err != nil {
		return err
	}
	for i := range a.changes {
		for _, change := range c.Changes(i) {
			if err := s.change(ctx, r, change); err != nil {
				return fmt.Errorf("round %d, %s: %w", i, change.Name, err)
			}
		}
	}
	if err := stop(); err != nil {
		return err
	}
	if after := count(s.compiler); after != r.Rules {
		return fmt.Errorf("after all changes were taken back there is %+v where there was %+v", after, r.Rules)
	}
	m := start()
	if err := s.kernel.tidy(ctx); err != nil {
		return fmt.Errorf("destroy unused sets: %w", err)
	}
	r.Tidy = m.stop()
	m = start()
	wrote, err := s.kernel.audit(ctx, s.compiler)
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	if r.Audit = m.stop(); wrote > 0 {
		return fmt.Errorf("the audit after all changes found %d differences", wrote)
	}
	return nil
}

// start takes the rules from the first Snapshot into the kernel.
func (s *session) start(ctx context.Context, r *result, c *cluster.Cluster, backend string) (err error) {
	s.snapshot = c.Snapshot
	m := start()
	if _, problems := s.compiler.Update(felix.Input{Snapshot: s.snapshot}); len(problems) > 0 {
		return fmt.Errorf("%d problems: %s", len(problems), problems[0].Message)
	}
	r.Compile = m.stop()
	m = start()
	if s.kernel, err = openKernel(backend); err != nil {
		return err
	}
	if r.Wrote, err = s.kernel.audit(ctx, s.compiler); err != nil {
		return fmt.Errorf("first audit: %w", err)
	}
	r.Program = m.stop()
	if r.Again && r.Wrote > 0 {
		return fmt.Errorf("all was in the kernel, and the start wrote %d objects", r.Wrote)
	}
	return nil
}

// change makes a change and takes it back.
func (s *session) change(ctx context.Context, r *result, c cluster.Change) error {
	for _, step := range []struct {
		name string
		do   func(*caracal.Snapshot)
	}{{c.Name, c.Do}, {c.UndoName, c.Undo}} {
		next := cluster.Apply(s.snapshot, step.do)
		m := start()
		delta, problems := s.compiler.Update(felix.Input{Snapshot: next})
		if len(problems) > 0 {
			return fmt.Errorf("problem: %s", problems[0].Message)
		}
		compile := m.stop()
		if !delta.Empty() {
			if err := s.kernel.apply(ctx, s.compiler, delta); err != nil {
				return err
			}
		}
		all := m.stop()
		s.snapshot = next
		if !delta.Empty() { // a pod that no policy here names changes nothing
			name := step.name
			if name == "" {
				name = c.Name
			}
			r.changed(name, compile, all)
		}
	}
	return nil
}

// changed notes what a change took.
func (r *result) changed(name string, compile, all cost) {
	for i := range r.Changes {
		if r.Changes[i].Name == name {
			r.Changes[i].Compile = append(r.Changes[i].Compile, compile)
			r.Changes[i].Costs = append(r.Changes[i].Costs, all)
			return
		}
	}
	r.Changes = append(r.Changes, changed{name, []cost{all}, []cost{compile}})
}

// profile begins to profile a part of what is measured, if that was asked for.
func profile(a childArgs, part string) (stop func() error, err error) {
	if a.profile == "" {
		return func() error { return nil }, nil
	}
	cpu, err := os.Create(a.profile + "-" + part + ".cpu")
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(cpu); err != nil {
		return nil, err
	}
	return func() error {
		pprof.StopCPUProfile()
		heap, err := os.Create(a.profile + "-" + part + ".heap")
		if err != nil {
			return err
		}
		defer heap.Close()
		if err := pprof.Lookup("allocs").WriteTo(heap, 0); err != nil {
			return err
		}
		return cpu.Close()
	}, nil
}
