package kubetest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
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
// is answered. It returns once that is so.
func (a *API) Freeze() {
	a.signal(syscall.SIGSTOP)
	for end := time.Now().Add(startTime); !stopped(a.server.cmd.Process.Pid); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			panic("kubetest: kube-apiserver does not stop")
		}
	}
}

// stopped reports whether all threads of a process are: each stops when it gets to it.
func stopped(pid int) bool {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	for _, path := range threads {
		text, err := os.ReadFile(path)
		// The state follows the name, which is in parentheses (proc_pid_stat(5)).
		if _, rest, ok := strings.Cut(string(text), ") "); err == nil && (!ok || rest[0] != 'T') {
			return false
		}
	}
	return len(threads) > 0
}

// Thaw lets a frozen API server go on.
func (a *API) Thaw() { a.signal(syscall.SIGCONT) }

func (a *API) signal(s syscall.Signal) {
	if err := a.server.cmd.Process.Signal(s); err != nil {
		panic(fmt.Sprintf("kubetest: send %v to kube-apiserver: %v: it has ended", s, err))
	}
}
