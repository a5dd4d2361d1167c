package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// processID names a process for good: a PID alone is used again, its start
// time in clock ticks since boot tells the two apart (proc(5), field 22).
type processID struct {
	PID   int
	Start uint64
}

// identify returns the identity of a running process; ok is false when there is
// none, or only its zombie.
func identify(pid int) (id processID, ok bool) {
	fields := statFields(pid)
	if len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
		return processID{}, false
	}
	start, err := strconv.ParseUint(fields[19], 10, 64)
	return processID{pid, start}, err == nil
}

// statFields returns what proc(5) has of a process from its state on, field 3;
// nil when there is none.
func statFields(pid int) []string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	// The command in parentheses may itself hold spaces and parentheses.
	return strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
}

func (p processID) alive() bool {
	now, ok := identify(p.PID)
	return ok && now == p
}

// signal sends sig if the process is still the one it was. The os package holds
// it by a pidfd, so the PID cannot change hands between the two.
func (p processID) signal(sig os.Signal) error {
	proc, err := os.FindProcess(p.PID)
	if err != nil {
		return err
	}
	defer proc.Release()
	if !p.alive() {
		return os.ErrProcessDone
	}
	return proc.Signal(sig)
}

// labEnv marks the processes that a lab started, and their children.
const labEnv = "CARACAL_LAB"

// killAll kills what a lab started: the processes that its state names, and
// those marked with its name that live in one of its namespaces, such as a
// daemon started just before its starter died.
func killAll(s *state) error {
	var named []processID
	for _, p := range s.Processes {
		named = append(named, p.processID)
	}
	// Nobody is left then who starts more of the marked ones.
	err := killEach(named)
	return errors.Join(err, killEach(marked(s)))
}

// killEach kills processes and waits until they are gone.
func killEach(ids []processID) error {
	var errs []error
	for _, id := range ids {
		if err := id.signal(os.Kill); err != nil && !errors.Is(err, os.ErrProcessDone) {
			errs = append(errs, fmt.Errorf("kill process %d: %w", id.PID, err))
		}
	}
	for _, id := range ids {
		if !until(30*time.Second, func() bool { return !id.alive() }) {
			errs = append(errs, fmt.Errorf("process %d does not end", id.PID))
		}
	}
	return errors.Join(errs...)
}

// marked finds the processes that carry the lab's mark in its namespaces.
func marked(s *state) []processID {
	inodes := map[uint64]bool{}
	for _, ns := range leftovers(s) {
		if ino, err := netnsInode(netnsPath(ns)); err == nil {
			inodes[ino] = true
		}
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	mark := []byte(labEnv + "=" + s.ID)
	var ids []processID
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		id, ok := identify(pid)
		ino, err := netnsInode(fmt.Sprintf("/proc/%d/ns/net", pid))
		if !ok || err != nil || !inodes[ino] {
			continue
		}
		env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if err != nil {
			continue
		}
		for v := range bytes.SplitSeq(env, []byte{0}) {
			if bytes.Equal(v, mark) {
				ids = append(ids, id)
			}
		}
	}
	return ids
}

// until polls cond each 2 ms; false when it did not come true in time.
func until(d time.Duration, cond func() bool) bool {
	for end := time.Now().Add(d); ; time.Sleep(2 * time.Millisecond) {
		if cond() {
			return true
		}
		if time.Now().After(end) {
			return false
		}
	}
}

// Process is a daemon in a node's namespace.
type Process struct {
	id   processID
	name string
	log  string
	done chan struct{}         // closed when it ended
	err  atomic.Pointer[error] // set before done is closed; nil for an adopted one
}

// PID returns the process ID.
func (p *Process) PID() int { return p.id.PID }

// LogPath returns the file that its output goes to.
func (p *Process) LogPath() string { return p.log }

// Log returns its output since the node was made, of earlier processes of the
// same name too.
func (p *Process) Log() string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// Running reports whether it has not ended.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return p.id.alive()
	}
}

// Signal sends a signal; os.ErrProcessDone if it has ended.
func (p *Process) Signal(sig os.Signal) error {
	if err := p.id.signal(sig); err != nil {
		return fmt.Errorf("lab: signal %s: %w", p.name, err)
	}
	return nil
}

// Wait returns when it has ended: nil for exit code 0, an [exec.ExitError] for
// another, or the error of ctx.
func (p *Process) Wait(ctx context.Context) error {
	select {
	case <-p.done:
		if e := p.err.Load(); e != nil {
			return *e
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("lab: wait for %s: %w", p.name, ctx.Err())
	}
}

// Kill sends a signal and waits up to 30 s for the end. A process that has
// ended already is no error, and its exit code is none either.
func (p *Process) Kill(sig os.Signal) error {
	if err := p.id.signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("lab: signal %s: %w", p.name, err)
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(30 * time.Second):
		return fmt.Errorf("lab: %s (process %d) did not end within 30 s of signal %v", p.name, p.id.PID, sig)
	}
}

// adopt watches a daemon that another process started.
func adopt(s savedProcess, log string) *Process {
	p := &Process{id: s.processID, name: s.Name, log: log, done: make(chan struct{})}
	go func() {
		for p.id.alive() {
			time.Sleep(20 * time.Millisecond)
		}
		close(p.done)
	}()
	return p
}

// command prepares a command that carries the lab's mark.
func (l *Lab) command(ctx context.Context, argv []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), labEnv+"="+l.st.ID)
	cmd.WaitDelay = 10 * time.Second // longer than any pause of the machine
	return cmd
}

// spawn starts a daemon in a namespace, in a session of its own, so that a
// Ctrl-C at the terminal reaches the lab and not the daemon.
func (l *Lab) spawn(node, name string, argv []string) (*Process, error) {
	log := filepath.Join(l.nodeDir(node), name+".log")
	out, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd := l.command(context.Background(), argv)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Dir = l.nodeDir(node)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := inNetns(l.names.node(node), cmd.Start); err != nil {
		return nil, err
	}
	id, ok := identify(cmd.Process.Pid)
	if !ok { // it has ended already: Wait says how
		id = processID{PID: cmd.Process.Pid}
	}
	p := &Process{id: id, name: name + " on " + node, log: log, done: make(chan struct{})}
	go func() {
		if err := cmd.Wait(); err != nil {
			p.err.Store(&err)
		}
		close(p.done)
	}()
	return p, l.remember(savedProcess{processID: id, Node: node, Name: name, Argv: argv})
}
