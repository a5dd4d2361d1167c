package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// Node is a host or router of a running lab.
type Node struct {
	NodeSpec
	// NS is the name of its namespace.
	NS string

	lab *Lab

	mu    sync.Mutex
	procs map[string]*Process // by the daemon's name
	extra []string            // the arguments caracald was last started with
}

// Exec runs a command in the node's namespace and returns its output. The
// error of a command that fails holds what it wrote to stderr.
func (n *Node) Exec(ctx context.Context, argv ...string) (string, error) {
	return n.lab.exec(ctx, n.NS, argv)
}

// Do runs fn on a thread in the node's namespace: sockets that it opens stay
// there, goroutines that it starts do not.
func (n *Node) Do(fn func() error) error { return inNetns(n.NS, fn) }

// Do runs fn on a thread in the pod's namespace, as [Node.Do] does.
func (p *Pod) Do(fn func() error) error { return inNetns(p.NS, fn) }

func (l *Lab) exec(ctx context.Context, ns string, argv []string) (string, error) {
	cmd := l.command(ctx, argv)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := inNetns(ns, cmd.Start); err != nil {
		return "", fmt.Errorf("lab: run %s in %s: %w", argv[0], ns, err)
	}
	if err := cmd.Wait(); err != nil {
		return stdout.String(), fmt.Errorf("lab: run %q in %s: %w: %s", strings.Join(argv, " "), ns, err,
			strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// Dir returns the node's directory: socket, state and logs of its daemons.
func (n *Node) Dir() string { return n.lab.nodeDir(n.Name) }

// Start starts a daemon that the lab knows nothing about, in the node's
// namespace; the name is for [Node.Process] and for the log's. It ends with the
// lab.
func (n *Node) Start(name string, argv ...string) (*Process, error) {
	p, err := n.start(name, argv...)
	if err != nil {
		return nil, fmt.Errorf("lab: start %s on %s: %w", name, n.Name, err)
	}
	return p, nil
}

// Process returns the daemon of that name ("caracald", "bird", "bgpd", …), also
// one that has ended; nil if it was never started.
func (n *Node) Process(name string) *Process {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.procs[name]
}

// start starts a daemon, unless one of that name is running.
func (n *Node) start(name string, argv ...string) (*Process, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if p := n.procs[name]; p != nil && p.Running() {
		return nil, fmt.Errorf("it is running already, as process %d", p.PID())
	}
	p, err := n.lab.spawn(n.Name, name, argv)
	if err != nil {
		return nil, err
	}
	n.procs[name] = p
	return p, nil
}

// Socket returns the path of caracald's socket.
func (n *Node) Socket() string { return filepath.Join(n.Dir(), "caracald.sock") }

// StateDir returns caracald's state directory.
func (n *Node) StateDir() string { return filepath.Join(n.Dir(), "state") }

// StartCaracald starts the daemon under test, with further arguments after
// those of the lab, and does not wait for it. The arguments are used again by
// [Node.Restart].
func (n *Node) StartCaracald(extra ...string) (*Process, error) {
	if n.lab.st.Caracald == "" {
		return nil, fmt.Errorf("lab: start caracald on %s: the lab was made without a path to caracald", n.Name)
	}
	return n.StartCaracaldAs(n.lab.st.Caracald, extra...)
}

// StartCaracaldAs is [Node.StartCaracald] with a program of the caller's choice,
// such as the next version.
func (n *Node) StartCaracaldAs(program string, extra ...string) (*Process, error) {
	argv := append([]string{program,
		"--config", n.lab.ConfigDir(), "--state-dir", n.StateDir(), "--socket", n.Socket(),
		"--node", n.Name, "--log-format", "text"}, extra...)
	n.extra = extra
	p, err := n.start("caracald", argv...)
	if err != nil {
		return nil, fmt.Errorf("lab: start caracald on %s: %w", n.Name, err)
	}
	return p, nil
}

// Kill sends caracald a signal and waits for its end.
func (n *Node) Kill(sig os.Signal) error {
	p := n.Process("caracald")
	if p == nil {
		return fmt.Errorf("lab: kill caracald on %s: it was not started", n.Name)
	}
	return p.Kill(sig)
}

// Restart starts caracald as it was started last, after sending sig if it is
// running.
func (n *Node) Restart(sig os.Signal) (*Process, error) {
	if p := n.Process("caracald"); p != nil {
		if err := p.Kill(sig); err != nil {
			return nil, err
		}
	}
	return n.StartCaracald(n.extra...)
}

// CLI runs caracal against the node's daemon. The output is returned also when
// it fails; then the error holds the exit code as an [exec.ExitError].
func (n *Node) CLI(ctx context.Context, args ...string) (string, error) {
	if n.lab.st.Caracal == "" {
		return "", fmt.Errorf("lab: run caracal on %s: the lab was made without a path to caracal", n.Name)
	}
	return n.Exec(ctx, append([]string{n.lab.st.Caracal, "--socket", n.Socket()}, args...)...)
}

// StartBIRD starts BIRD 2 with a configuration; [Node.BIRDC] talks to it.
func (n *Node) StartBIRD(conf string) (*Process, error) {
	p, err := n.startBIRD(conf)
	if err != nil {
		return nil, fmt.Errorf("lab: start bird on %s: %w", n.Name, err)
	}
	return p, nil
}

// BIRDC sends BIRD a command.
func (n *Node) BIRDC(ctx context.Context, words ...string) (string, error) {
	birdc, err := find("birdc", "bird2", "/usr/sbin/birdc")
	if err != nil {
		return "", fmt.Errorf("lab: run birdc on %s: %w", n.Name, err)
	}
	return n.Exec(ctx, append([]string{birdc, "-s", n.birdSocket()}, words...)...)
}

// find looks for a program in PATH and then in the places given, and says which
// Debian package has it.
func find(name, pkg string, places ...string) (string, error) {
	for _, p := range append([]string{name}, places...) {
		if path, err := exec.LookPath(p); err == nil {
			return path, nil
		}
	}
	return "", errors.New("the program " + name + " is missing; install it (Debian: apt-get install " + pkg + ")")
}
