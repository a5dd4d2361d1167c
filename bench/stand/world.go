package stand

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"caracal.dev/caracal/bench/sender"
)

// The network between the sender and the daemon: 198.18.0.0/15 is set aside for
// benchmarks (RFC 2544).
const (
	asn        = 64512
	prefixBits = 16
)

// DaemonAddr is the address of the daemon under measurement: as text lower than the
// peers', which dial it.
var DaemonAddr = netip.MustParseAddr("198.18.0.1")

// World is two network namespaces joined by a veth: the daemon's and the
// sender's, which has one address for each peer.
type World struct {
	// Router and Peers are the names of the namespaces, Addrs the addresses of the
	// peers.
	Router, Peers string
	Addrs         []netip.Addr

	work chan func() // for the threads in Peers
}

// NewWorld makes the namespaces for n peers; Close removes them.
func NewWorld(n int) (*World, error) {
	id := strconv.Itoa(os.Getpid())
	w := &World{Router: "bench-r" + id, Peers: "bench-p" + id, work: make(chan func())}
	var router, peers strings.Builder // what ip(8) is to do in each
	fmt.Fprintf(&router, "link set lo up\nlink add eth0 type veth peer name eth0 netns %s\naddr add %s/%d dev eth0\n", w.Peers, DaemonAddr, prefixBits)
	addr := netip.MustParseAddr("198.18.1.1")
	for range n {
		w.Addrs = append(w.Addrs, addr)
		fmt.Fprintf(&peers, "addr add %s/%d dev eth0\n", addr, prefixBits)
		addr = addr.Next()
	}
	peers.WriteString("link set eth0 up\n")
	for _, step := range []struct {
		batch string
		args  []string
	}{
		{"", []string{"netns", "add", w.Router}},
		{"", []string{"netns", "add", w.Peers}},
		{router.String(), []string{"-n", w.Router, "-batch", "-"}},
		{peers.String(), []string{"-n", w.Peers, "-batch", "-"}},
		{"", []string{"-n", w.Router, "link", "set", "eth0", "up"}},
	} {
		cmd := exec.Command("ip", step.args...)
		cmd.Stdin = strings.NewReader(step.batch)
		if out, err := cmd.CombinedOutput(); err != nil {
			w.Close()
			return nil, fmt.Errorf("make the namespaces: ip %s: %w: %s", strings.Join(step.args, " "), err, out)
		}
	}
	for range dialers {
		if err := w.enter(); err != nil {
			w.Close()
			return nil, err
		}
	}
	return w, nil
}

// Close removes the namespaces.
func (w *World) Close() {
	close(w.work)
	for _, ns := range []string{w.Router, w.Peers} {
		// Also on the way out of a failure, where one may not exist.
		_ = exec.Command("ip", "netns", "del", ns).Run()
	}
}

// Session is the session of peer i as a node of the mesh has it.
func (w *World) Session(i int) sender.Config {
	return sender.Config{
		Local: w.Addrs[i], Remote: netip.AddrPortFrom(DaemonAddr, 179),
		ASN: asn, RouterID: w.Addrs[i],
		GracefulRestart: true, RestartTime: 120 * time.Second,
		Dialer: func(ctx context.Context) (net.Conn, error) { return w.dial(ctx, i) },
	}
}

// dial connects peer i to the daemon.
func (w *World) dial(ctx context.Context, i int) (conn net.Conn, err error) {
	d := net.Dialer{
		LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(w.Addrs[i], 0)),
		// A SYN that a full listen queue dropped is not waited for: its
		// retransmission comes after a second, and other peers need the thread.
		Timeout: 200 * time.Millisecond,
	}
	done := make(chan struct{})
	dial := func() {
		defer close(done)
		conn, err = d.DialContext(ctx, "tcp4", netip.AddrPortFrom(DaemonAddr, 179).String())
	}
	select {
	case w.work <- dial:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	<-done
	return conn, err
}

// dialers is how many threads live in the peers' namespace. One would do, were it
// not for connections that nobody answers.
const dialers = 4

// enter starts a thread in the peers' namespace, which does what comes through
// w.work. Sockets that are opened there stay there.
func (w *World) enter() error {
	entered := make(chan error)
	go func() {
		// Never unlocked: the thread ends with the goroutine, so no other
		// goroutine gets to run in this namespace.
		runtime.LockOSThread()
		err := setns(w.Peers)
		entered <- err
		if err != nil {
			return
		}
		for do := range w.work {
			do()
		}
	}()
	return <-entered
}

// DialRouter connects to an address within the daemon's namespace.
func (w *World) DialRouter(ctx context.Context, addr string) (conn net.Conn, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked, as above
		if err = setns(w.Router); err == nil {
			conn, err = (&net.Dialer{}).DialContext(ctx, "tcp4", addr)
		}
	}()
	<-done
	return conn, err
}

func setns(name string) error {
	f, err := os.Open("/run/netns/" + name)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter namespace %s: %w", name, err)
	}
	return nil
}
