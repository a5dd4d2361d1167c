package file

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"caracal.dev/caracal"
	"caracal.dev/caracal/store"
)

// Views returns the Snapshots that other nodes make of the objects in force
// here. They are without secrets, which only a node itself can read, and without
// Problems.
func (s *Store) Views(ctx context.Context, nodes []string) ([]*caracal.Snapshot, error) {
	var out []*caracal.Snapshot
	err := s.request(ctx, func() {
		objects := slices.SortedFunc(maps.Values(s.state.accepted), func(a, b *store.Object) int {
			return strings.Compare(a.Key.String(), b.Key.String())
		})
		now := s.Snapshot()
		for _, name := range nodes {
			v, _, _ := store.Build(caracal.NewSnapshot(name), objects, nil)
			v.Generation, v.Digest, v.Synced = now.Generation, now.Digest, now.Synced
			out = append(out, v)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("store/file: view %s: %w", s.opts.Dir, err)
	}
	return out, nil
}
