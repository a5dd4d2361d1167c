package policy

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"caracal.dev/caracal/felix"
)

// allCases is the table.
func allCases() []policyCase {
	return slices.Concat(isolationCases, selectorCases, blockCases, portCases, changeCases)
}

// A firewall is felix on one node of a world, without a daemon.
type firewall struct {
	node     string
	at       *place
	compiler *felix.Compiler
	filter   *felix.Filter
}

// protect opens felix on every node.
func (w *world) protect(t testing.TB, backend string) (out []*firewall) {
	t.Helper()
	for name, at := range w.nodes {
		f := &firewall{node: name, at: at, compiler: felix.NewCompiler()}
		err := at.on(func() (err error) {
			f.filter, err = felix.Open(felix.FilterOptions{Backend: backend})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(f.filter.Close)
		out = append(out, f)
	}
	return out
}

// put brings a cluster into force on all nodes at the same time.
func put(ctx context.Context, fws []*firewall, c *cluster) error {
	return onAll(fws, func(f *firewall) *place { return f.at }, func(f *firewall) error {
		d, problems := f.compiler.Update(felix.Input{Snapshot: c.snapshot(f.node)})
		if len(problems) > 0 {
			return fmt.Errorf("%s: %v", f.node, problems)
		}
		if _, err := f.filter.Apply(ctx, f.compiler, d); err != nil {
			return fmt.Errorf("%s: %w", f.node, err)
		}
		return nil
	})
}

// audit fails the test if the kernel is not as felix left it.
func audit(t testing.TB, fws []*firewall) {
	t.Helper()
	err := onAll(fws, func(f *firewall) *place { return f.at }, func(f *firewall) error {
		r, err := f.filter.Audit(t.Context(), f.compiler)
		if err == nil && len(r.Repairs) > 0 {
			err = fmt.Errorf("audit on %s repairs %v", f.node, r.Repairs)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// TestKernel holds the kernel against the table, with each variant of iptables.
// The cases follow each other as changes of one running cluster.
func TestKernel(t *testing.T) {
	for _, backend := range []string{felix.BackendNFT, felix.BackendLegacy} {
		t.Run(backend, func(t *testing.T) {
			t.Parallel()
			begin := time.Now()
			cases := allCases()
			w := build(t, base())
			fws := w.protect(t, backend)
			probes := 0
			for i, c := range cases {
				probes += w.hold(t, fws, c)
				if i%20 == 19 {
					audit(t, fws)
				}
			}
			audit(t, fws)
			t.Logf("%d cases, %d connections in %v", len(cases), probes, time.Since(begin).Round(time.Millisecond))
		})
	}
}

// hold brings a case into force, turn by turn, and tries every connection.
func (w *world) hold(t *testing.T, fws []*firewall, c policyCase) (probes int) {
	t.Helper()
	if err := w.serve(c.allPorts()); err != nil {
		t.Fatal(err)
	}
	list := w.probes(c.allPorts())
	turns, want := c.turns()
	for i, k := range turns {
		if err := put(t.Context(), fws, k); err != nil {
			t.Errorf("%s: %v", c.name, err)
			return probes
		}
		tried := slices.DeleteFunc(slices.Clone(list), k.unclear)
		wrong := w.check(t, tried, func(p *probe) bool {
			if allowed, known := want[i].of(p); known {
				return allowed
			}
			return k.allows(p.flow())
		})
		probes += len(tried)
		report(t, c, i, wrong)
	}
	return probes
}

func report(t testing.TB, c policyCase, turn int, wrong []string) {
	t.Helper()
	if len(wrong) > 0 {
		t.Errorf("%s, turn %d (%s): %d wrong:\n\t%s", c.name, turn, c.says, len(wrong), strings.Join(wrong[:min(len(wrong), 8)], "\n\t"))
	}
}
