package kubetest

import (
	"context"
	"fmt"
	"syscall"
	"testing"
)

// Kill ends the API server at once, as a crash of its machine: connections are
// reset, and new ones refused. etcd goes on, so nothing that was answered is lost.
func (a *API) Kill() { a.server.kill() }

// Restart starts the API server again on the same port with the same data, after
// [API.Kill] or while it runs, and waits until it is ready. Its memory of changes is
// gone: a watch from a resourceVersion before the restart gets 410 Gone if anything
// has changed since.
func (a *API) Restart(t testing.TB) {
	t.Helper()
	a.server.kill()
	ctx, cancel := context.WithTimeout(t.Context(), startTime)
	defer cancel()
	if err := a.startServer(ctx); err != nil {
		t.Fatalf("kubetest: restart the API: %v", err)
	}
}

// Freeze stops the API server without ending it: connections stay open, and nothing
// is answered.
func (a *API) Freeze() { a.signal(syscall.SIGSTOP) }

// Thaw lets a frozen API server go on.
func (a *API) Thaw() { a.signal(syscall.SIGCONT) }

func (a *API) signal(s syscall.Signal) {
	if err := a.server.cmd.Process.Signal(s); err != nil {
		panic(fmt.Sprintf("kubetest: send %v to kube-apiserver: %v: it has ended", s, err))
	}
}
