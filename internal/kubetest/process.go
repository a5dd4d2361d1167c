package kubetest

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// process is a running program, its output appended to a file. It is killed when
// this process ends, however it ends.
type process struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{} // closed when it ended
}

// launch starts a program in the network namespace at netns, or in this process's
// if that is empty.
func launch(netns, log, program string, args ...string) (*process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	p := &process{cmd: exec.Command(program, args...), log: log, done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = out, out
	// A directory of its own would be kept busy; a group of its own keeps the
	// terminal's Ctrl-C from ending it before the test's own cleanup.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	started := make(chan error)
	go func() {
		// Pdeathsig follows the thread that forked, and the child gets this thread's
		// namespace: the thread is the process's for as long as that lives, and
		// then ends with the goroutine.
		runtime.LockOSThread()
		err := enter(netns)
		if err == nil {
			err = p.cmd.Start()
		}
		started <- err
		if err == nil {
			_ = p.cmd.Wait() // its log says why
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	return p, nil
}

// enter moves the calling thread into the network namespace at path; no path is no
// move.
func enter(path string) error {
	if path == "" {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter network namespace %s: %w (must be root)", path, err)
	}
	return nil
}

// within runs fn on a thread in the network namespace at path.
func within[T any](path string, fn func() (T, error)) (T, error) {
	if path == "" {
		return fn()
	}
	var v T
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		err := enter(path)
		if err == nil {
			v, err = fn()
		}
		done <- err
	}()
	err := <-done
	return v, err
}

func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// kill ends the process at once and waits until it is gone. One that is gone
// already is no error.
func (p *process) kill() {
	if p == nil {
		return
	}
	_ = p.cmd.Process.Kill()
	<-p.done
}

// tail returns the end of its log.
func (p *process) tail() string {
	if p == nil {
		return ""
	}
	b, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(b[max(0, len(b)-4000):]))
}
