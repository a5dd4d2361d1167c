package file

import (
	"context"
	"fmt"

	"caracal.dev/caracal"
	"caracal.dev/caracal/store"
)

// Views returns the Snapshots that other nodes make of the objects in force
// here. They are without secrets, which only a node itself can read, and without
// Problems.
func (s *Store) Views(ctx context.Context, nodes []string) ([]*caracal.Snapshot, error) {
	var out []*caracal.Snapshot
	err := s.request(ctx, func() {
		now := s.Snapshot()
		for _, name := range nodes {
			base := caracal.NewSnapshot(name)
			// These are the same for every node.
			base.Workloads, base.Policies, base.Namespaces = now.Workloads, now.Policies, now.Namespaces
			v, _, _ := store.Rebuild(base, s.built, s.built, nil)
			v.Generation, v.Digest, v.Synced = now.Generation, now.Digest, now.Synced
			out = append(out, v)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("store/file: view %s: %w", s.opts.Dir, err)
	}
	return out, nil
}
