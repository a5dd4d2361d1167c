package main

import (
	"os"
	"path/filepath"
	"testing"

	"caracal.dev/caracal/cni"
	"caracal.dev/caracal/node"
)

// What caracald told a container runtime is taken back, and what is somebody
// else's stays.
func TestCleanupCNI(t *testing.T) {
	state, ours, foreign := t.TempDir(), t.TempDir(), t.TempDir()
	for range 2 { // a daemon starts more than once
		for _, dir := range []string{ours, foreign} {
			if err := node.RecordCNI(state, dir); err != nil {
				t.Fatal(err)
			}
		}
	}
	if dirs, err := node.RecordedCNI(state); err != nil || len(dirs) != 2 {
		t.Fatalf("%v %v", dirs, err)
	}
	if _, err := cni.Install(ours, cni.Options{}); err != nil {
		t.Fatal(err)
	}
	mine, other := filepath.Join(ours, cni.ConflistName), filepath.Join(foreign, cni.ConflistName)
	if err := os.WriteFile(other, []byte(`{"name":"x","plugins":[{"type":"bridge"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	res, err := cleanupCNI(state, false)
	if err != nil || res.Total != 1 || res.Deleted != 0 {
		t.Errorf("listing: %+v %v", res, err)
	}
	if res, err = cleanupCNI(state, true); err != nil || res.Deleted != 1 || len(res.Failed) != 0 {
		t.Errorf("cleanup: %+v %v", res, err)
	}
	if _, err := os.Stat(mine); !os.IsNotExist(err) {
		t.Errorf("ours is left: %v", err)
	}
	if _, err := os.Stat(other); err != nil {
		t.Errorf("the other is gone: %v", err)
	}
	if res, err = cleanupCNI(t.TempDir(), true); err != nil || res.Total != 0 {
		t.Errorf("without a daemon ever: %+v %v", res, err)
	}
}
