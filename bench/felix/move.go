package main

import (
	"fmt"
	"net/netip"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// The port that the policies of the measured pods allow.
const port = 5000

// mover sends packets from pod a of a wire to pod b. It holds both ends on one
// thread: a packet is at the other end when the system call that sent it returns, as
// the kernel forwards it within that call. So the thread's CPU time is that of the
// path, without waking up processes and without what else the machine does meanwhile.
type mover struct {
	to           unix.SockaddrInet4
	a, b, listen int         // sockets: UDP in a and in b, TCP in b
	dial         chan dialer // of the thread in a
}

type dialer struct {
	fn   func() error
	done chan error
}

func newMover(w *wire) (*mover, error) {
	m := &mover{to: unix.SockaddrInet4{Addr: w.to.As4(), Port: port}, dial: make(chan dialer), a: -1, b: -1, listen: -1}
	err := w.b.do(func() (err error) {
		if m.b, err = socket(unix.SOCK_DGRAM, w.to); err != nil {
			return err
		}
		if err := unix.Connect(m.b, &unix.SockaddrInet4{Addr: w.from.As4(), Port: port}); err != nil {
			return err
		}
		if m.listen, err = socket(unix.SOCK_STREAM, w.to); err != nil {
			return err
		}
		return unix.Listen(m.listen, 128)
	})
	if err != nil {
		return nil, fmt.Errorf("sockets in pod b: %w", err)
	}
	err = w.a.do(func() (err error) {
		if m.a, err = socket(unix.SOCK_DGRAM, w.from); err != nil {
			return err
		}
		return unix.Connect(m.a, &m.to)
	})
	if err != nil {
		return nil, fmt.Errorf("socket in pod a: %w", err)
	}
	entered := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked, see netns.do
		err := w.a.enter()
		entered <- err
		if err != nil {
			return
		}
		for d := range m.dial {
			d.done <- d.fn()
		}
	}()
	return m, <-entered
}

func (m *mover) close() {
	close(m.dial)
	for _, fd := range []int{m.a, m.b, m.listen} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// inA runs fn on the thread in pod a.
func (m *mover) inA(fn func() error) error {
	d := dialer{fn, make(chan error)}
	m.dial <- d
	return <-d.done
}

// socket opens one that is bound to the port at an address; what it waits for
// must come within half a minute: the machine may pause.
func socket(kind int, addr netip.Addr) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	limit := unix.Timeval{Sec: 30}
	for _, err := range []error{
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit),
		unix.Bind(fd, &unix.SockaddrInet4{Addr: addr.As4(), Port: port}),
	} {
		if err != nil {
			unix.Close(fd)
			return -1, err
		}
	}
	return fd, nil
}

// threadTime returns what the calling thread has used of the processors.
func threadTime() time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t) // it cannot fail with these
	return time.Duration(t.Nano())
}

// roundTrips returns what one exchange of small UDP packets takes on the average
// of n.
func (m *mover) roundTrips(n int) (each time.Duration, err error) {
	err = m.inA(func() error {
		packet := make([]byte, 64)
		from := make([]byte, 64)
		begin := threadTime()
		for range n {
			if _, err := retry(func() (int, error) { return unix.Write(m.a, packet) }); err != nil {
				return fmt.Errorf("send: %w", err)
			}
			if _, err := retry(func() (int, error) { return unix.Read(m.b, from) }); err != nil {
				return fmt.Errorf("nothing arrives: %w", err)
			}
			if _, err := retry(func() (int, error) { return unix.Write(m.b, packet) }); err != nil {
				return fmt.Errorf("reply: %w", err)
			}
			if _, err := retry(func() (int, error) { return unix.Read(m.a, from) }); err != nil {
				return fmt.Errorf("no reply arrives: %w", err)
			}
		}
		each = (threadTime() - begin) / time.Duration(n)
		return nil
	})
	return each, err
}

// connects returns what a new TCP connection takes on the average of n: its first
// packet passes all rules, the others those for established connections.
func (m *mover) connects(n int) (each time.Duration, err error) {
	err = m.inA(func() error {
		begin := threadTime()
		for range n {
			a, b, err := m.connect()
			if err != nil {
				return err
			}
			// A reset, so that no socket of the thousands waits for its end.
			if err := unix.SetsockoptLinger(a, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
				return err
			}
			unix.Close(a)
			unix.Close(b)
		}
		each = (threadTime() - begin) / time.Duration(n)
		return nil
	})
	return each, err
}

// retry calls fn until no signal interrupts it: the Go runtime sends some.
func retry(fn func() (int, error)) (n int, err error) {
	for {
		if n, err = fn(); err != unix.EINTR {
			return n, err
		}
	}
}

// connect makes a connection from a to b; it is called on the thread in a.
func (m *mover) connect() (a, b int, err error) {
	if a, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return -1, -1, err
	}
	if err = unix.Connect(a, &m.to); err == nil {
		b, err = retry(func() (int, error) {
			fd, _, err := unix.Accept4(m.listen, unix.SOCK_CLOEXEC)
			return fd, err
		})
	}
	if err != nil {
		unix.Close(a)
		return -1, -1, fmt.Errorf("connect: %w", err)
	}
	return a, b, nil
}

// throughput returns how many bytes go through an established connection in a second
// of CPU time, of sender and receiver together.
func (m *mover) throughput(total int) (rate float64, err error) {
	err = m.inA(func() error {
		a, b, err := m.connect()
		if err != nil {
			return err
		}
		defer unix.Close(a)
		defer unix.Close(b)
		for _, fd := range []int{a, b} {
			if err := unix.SetNonblock(fd, true); err != nil {
				return err
			}
		}
		buffer := make([]byte, 64<<10)
		came := 0
		begin, deadline := threadTime(), time.Now().Add(time.Minute)
		for came < total {
			if time.Now().After(deadline) {
				return fmt.Errorf("only %d of %d bytes in a minute", came, total)
			}
			if _, err := unix.Write(a, buffer); err != nil && err != unix.EAGAIN && err != unix.EINTR {
				return fmt.Errorf("send: %w", err)
			}
			n, err := unix.Read(b, buffer)
			if err != nil && err != unix.EAGAIN && err != unix.EINTR {
				return fmt.Errorf("receive: %w", err)
			}
			came += max(n, 0)
		}
		rate = float64(came) / (threadTime() - begin).Seconds()
		return nil
	})
	return rate, err
}
