package kubetest

import (
	"context"
	"os"
	"path/filepath"
	"testing"
)

// Backup ends the API server and etcd, copies what etcd has to a directory of the
// test, starts both again and returns the directory.
func (a *API) Backup(t testing.TB) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "etcd")
	a.exchange(t, func(data string) error { return os.CopyFS(to, os.DirFS(data)) })
	return to
}

// Restore puts what [API.Backup] copied in the place of what etcd has: the API is as it
// was then, its resourceVersions too.
func (a *API) Restore(t testing.TB, backup string) {
	t.Helper()
	a.exchange(t, func(data string) error {
		if err := os.RemoveAll(data); err != nil {
			return err
		}
		return os.CopyFS(data, os.DirFS(backup))
	})
}

// exchange does something with etcd's data while nothing runs.
func (a *API) exchange(t testing.TB, do func(data string) error) {
	t.Helper()
	a.server.kill()
	a.etcd.kill()
	if err := do(filepath.Join(a.dir, "etcd")); err != nil {
		t.Fatalf("kubetest: exchange the data of etcd: %v", err)
	}
	if err := a.startEtcd(); err != nil {
		t.Fatalf("kubetest: start etcd again: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), startTime)
	defer cancel()
	if err := a.startServer(ctx); err != nil {
		t.Fatalf("kubetest: start the API again: %v", err)
	}
}
