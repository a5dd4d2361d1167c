package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The network between the sender and the daemon: 198.18.0.0/15 is set aside for
// benchmarks (RFC 2544).
const (
	asn        = 64512
	prefixBits = 16
)

var daemonAddr = netip.MustParseAddr("198.18.255.254")

// world is two network namespaces joined by a veth: the daemon's and the
// sender's, which has one address for each peer.
type world struct {
	router, peers string // names of the namespaces
	addrs         []netip.Addr
}

// newWorld makes the namespaces for n peers; close removes them.
func newWorld(n int) (*world, error) {
	id := strconv.Itoa(os.Getpid())
	w := &world{router: "bench-r" + id, peers: "bench-p" + id}
	steps := [][]string{
		{"netns", "add", w.router},
		{"netns", "add", w.peers},
		{"-n", w.router, "link", "set", "lo", "up"},
		{"-n", w.router, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", w.peers},
		{"-n", w.router, "addr", "add", netip.PrefixFrom(daemonAddr, prefixBits).String(), "dev", "eth0"},
	}
	addr := netip.MustParseAddr("198.18.1.1")
	for range n {
		w.addrs = append(w.addrs, addr)
		steps = append(steps, []string{"-n", w.peers, "addr", "add", netip.PrefixFrom(addr, prefixBits).String(), "dev", "eth0"})
		addr = addr.Next()
	}
	steps = append(steps,
		[]string{"-n", w.peers, "link", "set", "eth0", "up"},
		[]string{"-n", w.router, "link", "set", "eth0", "up"})
	for _, args := range steps {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			w.close()
			return nil, fmt.Errorf("make the namespaces: ip %s: %w: %s", strings.Join(args, " "), err, out)
		}
	}
	return w, nil
}

func (w *world) close() {
	for _, ns := range []string{w.router, w.peers} {
		// Also on the way out of a failure, where one may not exist.
		_ = exec.Command("ip", "netns", "del", ns).Run()
	}
}

// dial connects peer i to the daemon.
func (w *world) dial(ctx context.Context, i int) (conn net.Conn, err error) {
	d := net.Dialer{
		LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(w.addrs[i], 0)),
		Timeout:   time.Second,
	}
	err = inNamespace(w.peers, func() (err error) {
		conn, err = d.DialContext(ctx, "tcp4", netip.AddrPortFrom(daemonAddr, 179).String())
		return err
	})
	return conn, err
}

// inNamespace runs fn on a thread that is in the named namespace. Sockets that
// fn opens stay there.
func inNamespace(name string, fn func() error) error {
	done := make(chan error, 1)
	go func() {
		// Never unlocked: the thread ends with the goroutine, so no other
		// goroutine gets to run in this namespace.
		runtime.LockOSThread()
		f, err := os.Open("/run/netns/" + name)
		if err != nil {
			done <- err
			return
		}
		defer f.Close()
		if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("enter namespace %s: %w", name, err)
			return
		}
		done <- fn()
	}()
	return <-done
}

// daemon is a running process under measurement.
type daemon struct {
	cmd *exec.Cmd
	log string // the file with what it printed
	// exited is closed when the process has ended.
	exited chan struct{}
}

// start runs a program in the daemon's namespace, its output in dir.
func (w *world) start(dir, name string, args ...string) (*daemon, error) {
	d := &daemon{
		cmd:    exec.Command("ip", append([]string{"netns", "exec", w.router, name}, args...)...),
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

func (d *daemon) stop() {
	_ = d.cmd.Process.Kill()
	<-d.exited
}

// alive returns an error with the end of the log if the process has ended.
func (d *daemon) alive() error {
	select {
	case <-d.exited:
		return errors.New("the daemon ended; its last words:\n" + d.lastWords())
	default:
		return nil
	}
}

// lastWords returns the end of the daemon's log.
func (d *daemon) lastWords() string {
	b, err := os.ReadFile(d.log)
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-2000):])
}
