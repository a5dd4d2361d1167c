package stand

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
)

// Daemon is a running process under measurement.
type Daemon struct {
	cmd    *exec.Cmd
	log    string // the file with what it printed
	exited chan struct{}
}

// Run starts a program in the daemon's namespace; its output is in dir, and it ends
// with the benchmark.
func (w *World) Run(dir, name string, args ...string) (*Daemon, error) {
	d := &Daemon{
		cmd:    exec.Command("ip", append([]string{"netns", "exec", w.Router, name}, args...)...),
		log:    filepath.Join(dir, "log"),
		exited: make(chan struct{}),
	}
	log, err := os.Create(d.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	d.cmd.Stdout, d.cmd.Stderr = log, log
	// Dies with the benchmark, however that ends.
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		// Pdeathsig follows the thread that forked.
		runtime.LockOSThread()
		err := d.cmd.Start()
		started <- err
		if err == nil {
			_ = d.cmd.Wait() // how it ended is in the log; kill is the usual end
			close(d.exited)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return d, nil
}

// PID returns its process.
func (d *Daemon) PID() int { return d.cmd.Process.Pid }

// Exited is closed when the process has ended.
func (d *Daemon) Exited() <-chan struct{} { return d.exited }

// Stop kills it and waits for its end.
func (d *Daemon) Stop() {
	_ = d.cmd.Process.Kill()
	<-d.exited
}

// Alive returns an error with the end of the log if the process has ended.
func (d *Daemon) Alive() error {
	select {
	case <-d.exited:
		return errors.New("the daemon ended; its last words:\n" + d.LastWords())
	default:
		return nil
	}
}

// LastWords returns the end of the daemon's log.
func (d *Daemon) LastWords() string {
	b, err := os.ReadFile(d.log)
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-2000):])
}
