package kube

import (
	"fmt"
	"testing"

	"caracal.dev/caracal"
)

// TestRestored restores etcd from a backup under a store that follows the API: objects
// are as they were, and resourceVersions go back. What was made since the backup is
// gone, and what changes afterwards is seen, though its versions have been seen before.
func TestRestored(t *testing.T) {
	t.Parallel()
	api := startCluster(t)
	s, _ := run(t, Options{Client: connect(t, api), Node: "a", Namespace: "default"})
	until(t, s, "all of the cluster", complete)
	backup := api.Backup(t)
	for i := range 30 {
		addPod(t, api, fmt.Sprint("later-", i), "b", fmt.Sprintf("10.0.1.%d", 10+i))
	}
	api.Kubectl(t, "delete", "networkpolicy/p")
	addNode(t, api, "c", "192.0.2.3")
	until(t, s, "what was made since", func(s *caracal.Snapshot) bool {
		return hasPod(s, "later-29", "b") && s.Policies.Len() == 0 && s.Nodes.Len() == 3
	})
	api.Restore(t, backup)
	addPod(t, api, "after", "b", "10.0.1.10")
	until(t, s, "the cluster of the backup, and what was made after it", func(s *caracal.Snapshot) bool {
		return complete(s) && hasPod(s, "after", "b") && !hasPod(s, "later-0", "b")
	})
	addPod(t, api, "again", "b", "10.0.1.11")
	until(t, s, "a change after that", func(s *caracal.Snapshot) bool { return hasPod(s, "again", "b") })
}
