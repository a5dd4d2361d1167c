package lab

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// RouteMonitor collects what "ip monitor route" prints in one node.
type RouteMonitor struct {
	cmd  *exec.Cmd
	done chan struct{}

	mu    sync.Mutex
	lines []string
}

// MonitorRoutes starts "ip monitor route" on a node. It returns when that waits
// for changes, so no later change is missed. Stop it before the node goes; the
// end of ctx stops it too.
func (l *Lab) MonitorRoutes(ctx context.Context, node string) (*RouteMonitor, error) {
	m, err := l.monitor(ctx, node)
	if err != nil {
		return nil, fmt.Errorf("lab: monitor routes on %s: %w", node, err)
	}
	return m, nil
}

func (l *Lab) monitor(ctx context.Context, node string) (*RouteMonitor, error) {
	m := &RouteMonitor{cmd: l.command(ctx, []string{"ip", "-d", "monitor", "route"}), done: make(chan struct{})}
	out, err := m.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := inNetns(l.names.node(node), m.cmd.Start); err != nil {
		return nil, err
	}
	go func() {
		defer close(m.done)
		for s := bufio.NewScanner(out); s.Scan(); {
			m.mu.Lock()
			m.lines = append(m.lines, strings.TrimSpace(s.Text()))
			m.mu.Unlock()
		}
		m.cmd.Wait()
	}()
	// Between its subscription and its first wait the program lists the links
	// through the same socket, and throws away what it is told meanwhile.
	pid := m.cmd.Process.Pid
	if !until(10*time.Second, func() bool { return listens(pid) && sleeps(pid) }) {
		m.Stop()
		return nil, fmt.Errorf("ip monitor did not wait for changes within 10 s; it said %q", m.Lines())
	}
	return m, nil
}

// listens reports whether a process has a netlink socket that is a member of
// some group; /proc/PID/net shows the process's own namespace (proc(5)).
func listens(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/netlink", pid))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(b)) {
		// sk Eth Pid Groups …
		f := strings.Fields(line)
		if len(f) > 3 && f[2] == strconv.Itoa(pid) && strings.Trim(f[3], "0") != "" {
			return true
		}
	}
	return false
}

// sleeps reports whether a process waits for something that may never come, as
// opposed to one that runs, or waits for a lock or a disk.
func sleeps(pid int) bool {
	f := statFields(pid)
	return len(f) > 0 && f[0] == "S"
}

// Lines returns what was printed so far, in the form of ip-route(8) with -d.
func (m *RouteMonitor) Lines() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.lines)
}

// Stop ends the monitor and returns everything that it printed.
func (m *RouteMonitor) Stop() []string {
	m.cmd.Process.Kill()
	<-m.done
	return m.Lines()
}
