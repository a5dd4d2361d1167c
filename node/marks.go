package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"caracal.dev/caracal/fib"
)

// marksFile is the file in the state directory that names the marks that routes
// in the kernel may carry. A mark is written down before its first route is.
const marksFile = "marks"

// ReadMarks returns the marks that routes of this host were written with, those
// of earlier configurations first; none if dir has no record of them.
func ReadMarks(dir string) ([]fib.Mark, error) {
	text, err := os.ReadFile(filepath.Join(dir, marksFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("node: read route marks: %w", err)
	}
	var marks []fib.Mark
	for line := range strings.Lines(string(text)) {
		var m fib.Mark
		if _, err := fmt.Sscanf(line, "table %d protocol %d metric %d\n", &m.Table, &m.Protocol, &m.Metric); err == nil {
			marks = append(marks, m)
		}
	}
	return marks, nil
}

func writeMarks(dir string, marks []fib.Mark) error {
	var b strings.Builder
	for _, m := range marks {
		fmt.Fprintf(&b, "table %d protocol %d metric %d\n", m.Table, m.Protocol, m.Metric)
	}
	path := filepath.Join(dir, marksFile)
	err := os.MkdirAll(dir, 0o700)
	if err == nil {
		err = os.WriteFile(path+".new", []byte(b.String()), 0o600)
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return fmt.Errorf("node: write route marks: %w", err)
	}
	return nil
}

// recordMark writes the mark in force down and returns the earlier ones, whose
// routes are to go once the new ones are in.
func (a *Agent) recordMark(m fib.Mark) []fib.Mark {
	if a.o.StateDir == "" {
		return nil
	}
	earlier, err := ReadMarks(a.o.StateDir)
	if err == nil && slices.Equal(earlier, []fib.Mark{m}) {
		return nil
	}
	earlier = slices.DeleteFunc(earlier, func(e fib.Mark) bool { return e == m })
	err = errors.Join(err, writeMarks(a.o.StateDir, append(slices.Clone(earlier), m)))
	if err != nil {
		a.o.Log.Warn("the mark of routes cannot be kept; after a change of table, protocol or metric old routes would stay", "err", err)
	}
	return earlier
}

// earlierRoutes counts the routes of earlier marks that are in the kernel.
func (a *Agent) earlierRoutes(ctx context.Context, marks []fib.Mark) (n int) {
	for _, m := range marks {
		k, err := a.o.OpenKernel(m)
		if err != nil {
			continue // dropEarlier says so
		}
		if res, err := Cleanup(ctx, k, false); err == nil {
			n += res.Total
		}
		k.Close()
	}
	return n
}

// dropEarlier deletes the routes of earlier marks once settled is closed, and
// of those only the ones that the present mark has replaced or nobody wants.
func (a *Agent) dropEarlier(ctx context.Context, t *routesTask, earlier []fib.Mark) error {
	if len(earlier) == 0 {
		return nil
	}
	select {
	case <-ctx.Done():
		return nil
	case <-t.settled:
	}
	for failures := 1; ; failures++ {
		err := a.deleteMarked(ctx, t, earlier)
		if err == nil {
			err = writeMarks(a.o.StateDir, []fib.Mark{t.kernel.Mark()})
		}
		if err == nil || ctx.Err() != nil {
			return nil
		}
		a.o.Log.Error("routes of an earlier table, protocol or metric are still there; tried again", "err", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(backoff(failures)):
		}
	}
}

func (a *Agent) deleteMarked(ctx context.Context, t *routesTask, marks []fib.Mark) error {
	for _, m := range marks {
		k, err := a.o.OpenKernel(m)
		if err != nil {
			return fmt.Errorf("node: open kernel routes: %w", err)
		}
		res, kept, err := removeMarked(ctx, k, func(dsts []netip.Prefix) ([]netip.Prefix, error) { return t.replaced(ctx, dsts) })
		k.Close()
		if err != nil {
			return err
		}
		a.o.Log.Info("routes of an earlier configuration are removed", "table", m.Table, "protocol", m.Protocol, "metric", m.Metric,
			"deleted", res.Deleted, "failed", len(res.Failed), "not_replaced", kept)
		switch {
		case len(res.Failed) > 0:
			return fmt.Errorf("node: remove routes of metric %d: %s", m.Metric, res.Failed[0])
		case kept > 0:
			return fmt.Errorf("node: %d routes of metric %d stay because those of metric %d that replace them are not in the kernel; caracal show fib says why",
				kept, m.Metric, t.kernel.Mark().Metric)
		}
	}
	return nil
}

// replaced returns those of the prefixes whose route is in under the present
// mark, or that nobody wants any more.
func (t *routesTask) replaced(ctx context.Context, dsts []netip.Prefix) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for chunk := range slices.Chunk(dsts, page) {
		err := t.query(ctx, func() {
			for _, dst := range chunk {
				if s, ok := t.fib.State(dst); !ok || !s.Wanted || s.Installed {
					out = append(out, dst)
				}
			}
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}
