package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"caracal.dev/caracal/bench/felix/cluster"
	"caracal.dev/caracal/bench/stand"
)

// httpAddr is where a daemon answers, in its namespace.
const httpAddr = "127.0.0.1:9179"

// host is a namespace with a caracald, its files in dir.
type host struct {
	netns
	dir, caracald string
	http          http.Client
	cmd           *exec.Cmd
	log           bytes.Buffer
	exited        chan struct{}
}

// newHost makes the namespace of a cluster's node, with the links of its pods, and
// the directory of its file store.
func newHost(c *cluster.Cluster, caracald, backend string) (*host, error) {
	dir, err := os.MkdirTemp("", "bench-felix-")
	if err != nil {
		return nil, err
	}
	h := &host{dir: dir, caracald: caracald}
	h.http.Transport = &http.Transport{DisableKeepAlives: true, DialContext: h.dial}
	if err := os.MkdirAll(h.config(), 0o755); err != nil {
		return h, err
	}
	if err := c.Write(h.config()); err != nil {
		return h, err
	}
	settings := fmt.Sprintf(`apiVersion: caracal.dev/v1
kind: BGPConfiguration
metadata: {name: default}
spec: {nodeToNodeMeshEnabled: false}
---
apiVersion: caracal.dev/v1
kind: DataplaneConfiguration
metadata: {name: default}
spec: {policy: {iptablesBackend: %s}}
`, map[string]string{"nft": "NFT", "legacy": "Legacy"}[backend])
	if err := os.WriteFile(filepath.Join(h.config(), "settings.yaml"), []byte(settings), 0o600); err != nil {
		return h, err
	}
	if h.netns, err = newNetns("host"); err != nil {
		return h, err
	}
	return h, h.links(c)
}

// config is the directory of the file store.
func (h *host) config() string { return filepath.Join(h.dir, "config", "cluster") }

// links makes the node's own interface and one for each local pod.
func (h *host) links(c *cluster.Cluster) error {
	var b strings.Builder
	self, _ := c.Snapshot.Nodes.Get(cluster.Self)
	fmt.Fprintf(&b, "link add eth0 type veth peer name wire\nlink set wire up\nlink set eth0 up\naddr add %s dev eth0\n", self.IPv4)
	if self.IPv6.IsValid() {
		fmt.Fprintf(&b, "addr add %s dev eth0 nodad\n", self.IPv6)
	}
	for i, key := range c.Local {
		w, _ := c.Snapshot.Workloads.Get(key)
		fmt.Fprintf(&b, "link add %s type veth peer name pod%d\nlink set pod%d up\nlink set %s up\n", w.Interface, i, i, w.Interface)
	}
	return h.ip(b.String())
}

// start starts the daemon.
func (h *host) start() error {
	h.cmd = h.command(h.caracald, "--config", filepath.Join(h.dir, "config"), "--state-dir", filepath.Join(h.dir, "state"),
		"--socket", filepath.Join(h.dir, "sock"), "--node", cluster.Self, "--http", httpAddr)
	h.log.Reset()
	h.cmd.Stdout, h.cmd.Stderr = &h.log, &h.log
	// Dies with the benchmark, however that ends.
	h.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	h.exited = make(chan struct{})
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // Pdeathsig follows the thread that forked
		err := h.cmd.Start()
		started <- err
		if err == nil {
			_ = h.cmd.Wait() // kill is the usual end
			close(h.exited)
		}
	}()
	return <-started
}

// kill ends the daemon as a crash would.
func (h *host) kill() {
	if h.cmd != nil && h.cmd.Process != nil {
		_ = h.cmd.Process.Kill()
		<-h.exited
		h.cmd = nil
	}
}

func (h *host) close() {
	h.kill()
	h.remove()
	os.RemoveAll(h.dir)
}

func (h *host) dial(ctx context.Context, network, addr string) (conn net.Conn, err error) {
	err = h.do(func() (err error) {
		conn, err = (&net.Dialer{}).DialContext(ctx, network, addr)
		return err
	})
	return conn, err
}

// metrics returns the daemon's metrics without those of histograms.
func (h *host) metrics(ctx context.Context) (map[string]float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+httpAddr+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	resp, err := h.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	out := map[string]float64{}
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if f, err := strconv.ParseFloat(value, 64); err == nil {
			out[name] = f
		}
	}
	return out, err
}

// inForce waits until the daemon says that the kernel's rules are as they must be,
// and returns how many there are.
func (h *host) inForce(ctx context.Context) (rules int, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	for {
		m, err := h.metrics(ctx)
		if err == nil && m["caracal_policy_in_force"] == 1 {
			return int(m[`caracal_policy_size{what="rules"}`]), nil
		}
		select {
		case <-h.exited:
			return 0, errors.New("the daemon ended; its last words:\n" + h.lastWords())
		case <-ctx.Done():
			return 0, fmt.Errorf("the policies are not in force: %w; the daemon's last words:\n%s", ctx.Err(), h.lastWords())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (h *host) lastWords() string {
	h.kill() // so that nobody writes to the log any more
	b := h.log.Bytes()
	return string(b[max(0, len(b)-3000):])
}

// used returns what the daemon and the programs that it has called have used of the
// processors.
func (h *host) used() (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", h.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	// The name in parentheses may hold anything, so count from its end: utime, stime,
	// cutime and cstime are fields 14 to 17 of proc(5), the name is field 2. The unit
	// is USER_HZ, a hundredth of a second.
	total := time.Duration(0)
	for _, f := range strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))[11:15] {
		n, err := strconv.Atoi(f)
		if err != nil {
			return 0, err
		}
		total += time.Duration(n) * 10 * time.Millisecond
	}
	return total, nil
}

// memory returns the daemon's resident size now and at its largest.
func (h *host) memory() (now, peak int, err error) {
	if now, err = stand.RSS(h.cmd.Process.Pid); err != nil {
		return 0, 0, err
	}
	peak, err = stand.PeakRSS(h.cmd.Process.Pid)
	return now, peak, err
}
