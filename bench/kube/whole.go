package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"caracal.dev/caracal/bench/sender"
	"caracal.dev/caracal/bench/stand"
)

// whole is a caracald in a namespace of its own, on the first node: it has a session
// with a reflector that announces the blocks of all other nodes, and the containers of
// the Pods of its node, which policies isolate.
type whole struct {
	world  *stand.World
	filler *filler
	binary string // of caracald; the plugin is beside it
	dir    string
	config string
	out    io.Writer

	daemon  *stand.Daemon
	session *sender.Session
	made    []string // namespaces of containers
}

// measure starts the daemon with nothing on disk, wires the containers, starts it
// anew with what it kept, and lets pods come and go; it prints what memory each took.
func (w *whole) measure(ctx context.Context, churn func(context.Context) error) error {
	defer w.close()
	fmt.Fprintln(w.out, w.binary)
	if err := os.Mkdir(w.dir, 0o700); err != nil {
		return err
	}
	if err := w.start(ctx, "A whole daemon, with nothing on disk"); err != nil {
		return err
	}
	began := time.Now()
	n, err := w.containers(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(w.out, "  %d containers wired in %.1f s\n", n, time.Since(began).Seconds())
	if err := w.rest(ctx); err != nil {
		return err
	}
	if err := w.stop(); err != nil {
		return err
	}
	if err := w.start(ctx, "A whole daemon, with what it kept on disk and its containers"); err != nil {
		return err
	}
	if err := w.rest(ctx); err != nil {
		return err
	}
	before, err := stand.CPUTime(w.daemon.PID())
	if err != nil {
		return err
	}
	began = time.Now()
	if err := churn(ctx); err != nil {
		return err
	}
	after, err := stand.CPUTime(w.daemon.PID())
	if err != nil {
		return err
	}
	fmt.Fprintf(w.out, "  with pods that come and go: %.1f %% of a processor\n", 100*(after-before).Seconds()/time.Since(began).Seconds())
	return w.sizes(ctx)
}

// start starts the daemon and the reflector's session, and returns when it is ready.
func (w *whole) start(ctx context.Context, what string) error {
	began := time.Now()
	var err error
	w.daemon, err = w.world.Run(w.dir, w.binary, "--store", "kubernetes", "--kubeconfig", w.config, "--node", nodeName(0),
		"--state-dir", filepath.Join(w.dir, "state"), "--socket", w.socket(), "--http", httpAddr())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	if w.session, err = sender.Dial(ctx, w.world.Session(0)); err != nil {
		return fmt.Errorf("the reflector's session: %w; log of the daemon:\n%s", err, w.daemon.LastWords())
	}
	var messages [][]byte
	routes := 0
	for i := 1; i < w.filler.size.nodes; i++ {
		blocks := []netip.Prefix{blockOf(2 * i), blockOf(2*i + 1)}
		messages = append(messages, sender.Encode(blocks, sender.Path{NextHop: nodeAddr(i), LocalPref: 100})...)
		routes += len(blocks)
	}
	if err := w.session.Send(append(messages, sender.EncodeEndOfRIB(false))...); err != nil {
		return err
	}
	if err := w.until(ctx, func() error { _, err := w.get(ctx, "/readyz"); return err }); err != nil {
		return err
	}
	ready := time.Since(began)
	if err := w.until(ctx, func() error {
		n, err := stand.KernelRoutes(w.daemon.PID())
		if err == nil && n < routes {
			err = fmt.Errorf("%d routes of %d", n, routes)
		}
		return err
	}); err != nil {
		return err
	}
	fmt.Fprintf(w.out, "%s:\n  ready after %.1f s\n", what, ready.Seconds())
	return w.sizes(ctx)
}

// restTime is how long a daemon is left alone before it is said to be at rest: the
// status is written and its kept copy is on disk by then.
const restTime = 30 * time.Second

func (w *whole) rest(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(restTime):
	}
	fmt.Fprintf(w.out, "  %v later:\n", restTime)
	return w.sizes(ctx)
}

func (w *whole) sizes(ctx context.Context) error {
	if err := w.daemon.Alive(); err != nil {
		return err
	}
	pid := w.daemon.PID()
	rss, err1 := stand.RSS(pid)
	peak, err2 := stand.PeakRSS(pid)
	cpu, err3 := stand.CPUTime(pid)
	metrics, err4 := w.get(ctx, "/metrics")
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return err
	}
	fmt.Fprintf(w.out, "  resident %s, %s at its peak; Go's heap has %s; %.1f s of processor time so far\n",
		mib(int64(rss)), mib(int64(peak)), mib(int64(gauge(metrics, "go_memstats_heap_alloc_bytes"))), cpu.Seconds())
	return nil
}

// gauge returns the value of a metric without labels.
func gauge(text, name string) (v float64) {
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			_, _ = fmt.Sscan(value, &v) // 0 is as good a word for "not there"
		}
	}
	return v
}

func httpAddr() string { return fmt.Sprintf("127.0.0.1:%d", stand.HTTPPort) }

// get asks the daemon by HTTP.
func (w *whole) get(ctx context.Context, path string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	t := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) { return w.world.DialRouter(ctx, addr) }}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+httpAddr()+path, nil)
	if err != nil {
		return "", err
	}
	answer, err := (&http.Client{Transport: t}).Do(r)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", path, answer.Status, strings.TrimSpace(string(text)))
	}
	return string(text), err
}

// until asks until there is no error.
func (w *whole) until(ctx context.Context, ask func() error) error {
	for {
		err := ask()
		if err == nil {
			return nil
		}
		if gone := w.daemon.Alive(); gone != nil {
			return gone
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the daemon did not get so far: %w; its log:\n%s", err, w.daemon.LastWords())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// containers wires a container for each Pod of the node, as a runtime does.
func (w *whole) containers(ctx context.Context) (int, error) {
	pods, err := w.filler.core.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=" + nodeName(0)})
	if err != nil {
		return 0, err
	}
	config, err := json.Marshal(map[string]any{"cniVersion": "1.1.0", "name": "bench", "type": "caracal-cni", "socket": w.socket(), "stateDir": filepath.Join(w.dir, "state")})
	if err != nil {
		return 0, err
	}
	for i, p := range pods.Items {
		ns := fmt.Sprintf("bench-c%d-%d", os.Getpid(), i)
		if out, err := exec.CommandContext(ctx, "ip", "netns", "add", ns).CombinedOutput(); err != nil {
			return 0, fmt.Errorf("ip netns add %s: %w: %s", ns, err, out)
		}
		w.made = append(w.made, ns)
		add := exec.CommandContext(ctx, "ip", "netns", "exec", w.world.Router, filepath.Join(filepath.Dir(w.binary), "caracal-cni"))
		add.Env = append(os.Environ(), "CNI_COMMAND=ADD", "CNI_CONTAINERID="+ns, "CNI_NETNS=/run/netns/"+ns, "CNI_IFNAME=eth0", "CNI_PATH=/nowhere",
			"CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE="+p.Namespace+";K8S_POD_NAME="+p.Name)
		add.Stdin = strings.NewReader(string(config))
		if out, err := add.CombinedOutput(); err != nil {
			return 0, fmt.Errorf("ADD of %s/%s: %w: %s; log of the daemon:\n%s", p.Namespace, p.Name, err, out, w.daemon.LastWords())
		}
	}
	return len(pods.Items), nil
}

func (w *whole) socket() string { return filepath.Join(w.dir, stand.Socket) }

// stop ends the daemon as an operator does, so that it keeps what it knows.
func (w *whole) stop() error {
	p, err := os.FindProcess(w.daemon.PID())
	if err != nil {
		return err
	}
	if err := p.Signal(os.Interrupt); err != nil {
		return err
	}
	select {
	case <-w.daemon.Exited():
	case <-time.After(30 * time.Second):
		return errors.New("the daemon did not end; the end of its log:\n" + w.daemon.LastWords())
	}
	w.session.Abort()
	return nil
}

func (w *whole) close() {
	if w.daemon != nil {
		w.daemon.Stop()
	}
	if w.session != nil {
		w.session.Abort()
	}
	for _, ns := range w.made {
		_ = exec.Command("ip", "netns", "del", ns).Run()
	}
}
