package test

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"caracal.dev/caracal/lab"
)

// service is an anycast address that nodes a and b serve.
var service = netip.MustParseAddr("203.0.113.53")

// serving is a mesh of three nodes, of which the first two serve [service]: they
// have its address on lo.
func serving() lab.Topology {
	top := lab.Mesh(lab.MeshOptions{PodsPerNode: 1})
	for i := range 2 {
		n := &top.Nodes[i]
		n.Anycast = []netip.Prefix{netip.PrefixFrom(service, 32)}
		n.Loopback = n.Anycast
	}
	return top
}

// inside is a place in the lab where sockets can be opened.
type inside interface{ Do(fn func() error) error }

// serveTCP answers each line with name, until the test ends.
func serveTCP(t *testing.T, where inside, addr netip.Addr, name string) {
	t.Helper()
	var l net.Listener
	err := where.Do(func() (err error) {
		l, err = net.Listen("tcp", netip.AddrPortFrom(addr, 7000).String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { c.Close() })
			go func() {
				for s := bufio.NewScanner(c); s.Scan(); {
					fmt.Fprintln(c, name)
				}
			}()
		}
	}()
}

// serveUDP answers each datagram with name.
func serveUDP(t *testing.T, where inside, addr netip.Addr, name string) {
	t.Helper()
	var c net.PacketConn
	err := where.Do(func() (err error) {
		c, err = net.ListenPacket("udp", netip.AddrPortFrom(addr, 7000).String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	roomy(t, c)
	go func() {
		for b := make([]byte, 64); ; {
			_, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			c.WriteTo([]byte(name), from)
		}
	}()
}

// roomy has a socket hold what comes while this process is held up. The usual size is
// good for less than 100 ms of what an asker sends.
func roomy(t *testing.T, c net.PacketConn) {
	t.Helper()
	raw := must(c.(*net.UDPConn).SyscallConn())(t)
	var set error
	err := raw.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20) })
	if err := errors.Join(err, set); err != nil {
		t.Fatal(err)
	}
}

// tcpFlow is a connection over which a line goes and comes each 20 ms.
type tcpFlow struct {
	what   string
	server string // who answered first
	conn   net.Conn
	stop   chan struct{}
	done   chan struct{}
	lines  int
	err    error // the first one, also an answer by another server
}

// connect opens a flow from a pod and returns it once it was answered.
func connect(t *testing.T, from inside, to netip.Addr, what string) *tcpFlow {
	t.Helper()
	f := &tcpFlow{what: what, stop: make(chan struct{}), done: make(chan struct{})}
	err := from.Do(func() (err error) {
		f.conn, err = net.DialTimeout("tcp", netip.AddrPortFrom(to, 7000).String(), 5*time.Second)
		return err
	})
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	t.Cleanup(func() { f.conn.Close() })
	in := bufio.NewScanner(f.conn)
	ask := func() (string, error) {
		f.conn.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := fmt.Fprintln(f.conn, "?"); err != nil {
			return "", err
		}
		if !in.Scan() {
			return "", fmt.Errorf("no answer: %w", in.Err())
		}
		return in.Text(), nil
	}
	if f.server, err = ask(); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	go func() {
		defer close(f.done)
		for f.err == nil {
			select {
			case <-f.stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
			name, err := ask()
			if err == nil && name != f.server {
				err = fmt.Errorf("answered by %s, not %s", name, f.server)
			}
			f.err = err
			f.lines++
		}
	}()
	return f
}

// end stops a flow; it must not have been disturbed.
func (f *tcpFlow) end(t *testing.T) {
	t.Helper()
	close(f.stop)
	<-f.done
	if f.err != nil || f.lines == 0 {
		t.Errorf("%s: after %d answers of %s: %v", f.what, f.lines, f.server, f.err)
	}
}

// asker sends a datagram to the service every 8 ms from each of several sockets,
// and counts by whom each was answered.
type asker struct {
	sent   atomic.Int64
	mu     sync.Mutex
	by     map[string]int
	since  map[string]int // the same since the last reset
	stop   chan struct{}
	ended  sync.WaitGroup
	socket []net.PacketConn
}

func ask(t *testing.T, from inside, sockets int) *asker {
	t.Helper()
	a := &asker{by: map[string]int{}, since: map[string]int{}, stop: make(chan struct{})}
	to := net.UDPAddrFromAddrPort(netip.AddrPortFrom(service, 7000))
	for range sockets {
		var c net.PacketConn
		err := from.Do(func() (err error) { c, err = net.ListenPacket("udp4", "0.0.0.0:0"); return err })
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		roomy(t, c)
		a.socket = append(a.socket, c)
		go a.hear(c)
		a.ended.Add(1)
		go func() {
			defer a.ended.Done()
			for {
				select {
				case <-a.stop:
					return
				case <-time.After(8 * time.Millisecond):
					a.sent.Add(1)
					c.WriteTo([]byte("?"), to)
				}
			}
		}()
	}
	return a
}

func (a *asker) hear(c net.PacketConn) {
	for b := make([]byte, 64); ; {
		n, _, err := c.ReadFrom(b)
		if err != nil {
			return
		}
		a.mu.Lock()
		a.by[string(b[:n])]++
		a.since[string(b[:n])]++
		a.mu.Unlock()
	}
}

// lately returns who answered since the last call.
func (a *asker) lately() map[string]int {
	a.mu.Lock()
	defer a.mu.Unlock()
	was := a.since
	a.since = map[string]int{}
	return was
}

// lost ends the asking, and returns how many went unanswered.
func (a *asker) lost() int {
	close(a.stop)
	a.ended.Wait()
	answered := func() int {
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.by["a"] + a.by["b"]
	}
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end) && answered() < int(a.sent.Load()); {
		time.Sleep(10 * time.Millisecond)
	}
	return int(a.sent.Load()) - answered()
}

// bothAnswer waits until both nodes serve what the asker asks.
func bothAnswer(t *testing.T, asked *asker, what string) {
	t.Helper()
	asked.lately()
	sum := map[string]int{}
	eventually(t, 20*time.Second, func() string {
		for name, n := range asked.lately() {
			sum[name] += n
		}
		if sum["a"] > 0 && sum["b"] > 0 {
			return ""
		}
		return fmt.Sprintf("%s: answered by %v", what, sum)
	})
}

// TestDrain drains one of two nodes that serve the same address, while packets
// flow to it and to the pods of both, with connections established: nothing is
// lost and nothing reset. What a connection to the service cannot survive is its
// own server's leaving; those of the other server do not notice.
func TestDrain(t *testing.T) {
	t.Parallel()
	l := start(t, serving())
	if err := l.StartAll(); err != nil {
		t.Fatal(err)
	}
	settle(t, l)
	a, b, client := l.Node("a"), l.Node("b"), l.Pod("c1")
	for _, name := range []string{"a", "b"} {
		serveTCP(t, l.Node(name), service, name)
		serveUDP(t, l.Node(name), service, name)
		pod := l.Pod(name + "1")
		serveTCP(t, pod, pod.Addr(lab.IPv4), pod.Name)
	}
	asked := ask(t, client, 32) // by their ports the kernel chooses the server: of 8, all go to the same one once in 128 times
	bothAnswer(t, asked, "at first")
	flows := establish(t, l)
	meters := []*lab.LossMeter{
		must(l.StartLossMeter(t.Context(), lab.MeterSpec{A: "c1", B: "a1", Family: lab.IPv4}))(t),
		must(l.StartLossMeter(t.Context(), lab.MeterSpec{A: "c1", B: "b1", Family: lab.IPv6}))(t),
	}
	for _, m := range meters {
		t.Cleanup(func() { m.Stop() })
	}

	out := must(a.CLI(t.Context(), "drain", "--timeout", "1s"))(t)
	if !strings.HasSuffix(out, "1 workload still here, their routes kept; --force withdraws them\n") {
		t.Errorf("drain says %q", out)
	}
	eventually(t, 10*time.Second, func() string {
		asked.lately()
		time.Sleep(200 * time.Millisecond)
		if by := asked.lately(); by["a"] > 0 || by["b"] == 0 {
			return fmt.Sprintf("answered by %v after the drain", by)
		}
		return ""
	})
	if out := must(a.CLI(t.Context(), "show", "status"))(t); !strings.Contains(out, "Drained ") || !strings.Contains(out, "drained") {
		t.Errorf("status does not say that the node is drained:\n%s", out)
	}

	// It stays so over a restart.
	if _, err := a.Restart(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	settle(t, l)
	asked.lately()
	time.Sleep(time.Second)
	sum := map[string]int{}
	eventually(t, 10*time.Second, func() string {
		for name, n := range asked.lately() {
			sum[name] += n
		}
		if sum["b"] == 0 {
			return "nobody answers after a restart"
		}
		return ""
	})
	if sum["a"] > 0 {
		t.Errorf("answered by %v after a restart", sum)
	}

	out = must(a.CLI(t.Context(), "undrain"))(t)
	if !strings.HasPrefix(out, "in service again; it was drained for ") {
		t.Errorf("undrain says %q", out)
	}
	bothAnswer(t, asked, "after undrain")
	for _, f := range flows {
		f.end(t)
	}
	for _, m := range meters {
		if r := m.Stop(); r.Lost() > 0 || r.Sent() == 0 {
			t.Errorf("to a pod: %s", r)
		}
	}
	if n := asked.lost(); n > 0 {
		t.Errorf("%d of %d questions to the service went unanswered", n, asked.sent.Load())
	}
	forced(t, a, b)
}

// establish opens connections to the pods of both nodes, and to the service:
// those of the node that is going to leave are closed again, but for one of its
// own pod, which is served where it is.
func establish(t *testing.T, l *lab.Lab) []*tcpFlow {
	t.Helper()
	client := l.Pod("c1")
	flows := []*tcpFlow{
		connect(t, client, l.Pod("a1").Addr(lab.IPv4), "c1 to a1"),
		connect(t, client, l.Pod("b1").Addr(lab.IPv4), "c1 to b1"),
		connect(t, l.Pod("a1"), l.Pod("b1").Addr(lab.IPv4), "a1 to b1"),
		connect(t, l.Pod("a1"), service, "a1 to the service"),
	}
	kept := 0
	for range 32 {
		f := connect(t, client, service, "c1 to the service")
		if f.server == "b" {
			flows, kept = append(flows, f), kept+1
			continue
		}
		close(f.stop)
		<-f.done
		f.conn.Close()
	}
	if kept == 0 {
		t.Fatal("none of 32 connections to the service is served by b")
	}
	return flows
}

// forced drains a by force: its sessions close, and the neighbor is told why.
func forced(t *testing.T, a, b *lab.Node) {
	t.Helper()
	out := must(a.CLI(t.Context(), "drain", "--timeout", "100ms", "--force"))(t)
	if !strings.HasSuffix(out, "drained, sessions closed; 1 workload still here, their routes withdrawn\n") {
		t.Errorf("drain --force says %q", out)
	}
	eventually(t, 10*time.Second, func() string {
		out, err := b.CLI(t.Context(), "show", "protocols", "mesh/a", "all")
		if err != nil || !strings.Contains(out, `"node a is drained by its operator"`) || strings.Contains(out, "Established") {
			return fmt.Sprintf("b does not know why the session is closed: %v\n%s", err, out)
		}
		return ""
	})
	if out := must(a.CLI(t.Context(), "show", "protocols"))(t); !strings.HasPrefix(out, "drained for ") {
		t.Errorf("show protocols says\n%s", out)
	}
	must(a.CLI(t.Context(), "undrain"))(t)
	eventually(t, 20*time.Second, func() string { return notUp(t, a, "b") })
}
