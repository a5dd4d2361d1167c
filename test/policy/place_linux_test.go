package policy

import (
	"fmt"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"caracal.dev/caracal/internal/nstest"
)

// A place is a network namespace with a thread of this process that never leaves
// it, so that a thousand sockets cost no thousand changes of namespace.
type place struct {
	*nstest.NS
	jobs chan func()
}

// newPlace makes a namespace and its thread, which both end with the test.
func newPlace(t testing.TB) *place {
	t.Helper()
	p := &place{nstest.New(t), make(chan func())}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		f, err := os.Open(p.Path())
		if err == nil {
			err = unix.Setns(int(f.Fd()), unix.CLONE_NEWNET)
			f.Close()
		}
		ready <- err
		if err != nil {
			return
		}
		for job := range p.jobs {
			job()
		}
	}()
	if err := <-ready; err != nil {
		t.Fatalf("enter %s: %v", p.Name(), err)
	}
	t.Cleanup(func() { close(p.jobs) })
	return p
}

// on runs fn on the place's thread and waits for it.
func (p *place) on(fn func() error) (err error) {
	done := make(chan struct{})
	p.jobs <- func() {
		defer close(done)
		err = fn()
	}
	<-done
	return err
}

// onAll runs fn at several places at the same time.
func onAll[T any](list []T, at func(T) *place, fn func(T) error) error {
	errs := make(chan error, len(list))
	for _, v := range list {
		go func() { errs <- at(v).on(func() error { return fn(v) }) }()
	}
	var first error
	for range list {
		if err := <-errs; err != nil && first == nil {
			first = err
		}
	}
	return first
}

// drain returns when every packet that was on its way between namespaces has
// gone as far as it goes. A veth puts a packet into the backlog of the processor
// that sends it, and so does lo; a backlog is a queue. So a packet that needs n
// devices to its end is there when a later one has gone through lo n times.
func (p *place) drain(devices int) error {
	return p.on(func() error {
		var all unix.CPUSet
		if err := unix.SchedGetaffinity(0, &all); err != nil {
			return fmt.Errorf("read the thread's processors: %w", err)
		}
		defer unix.SchedSetaffinity(0, &all)
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
			return err
		}
		self, err := unix.Getsockname(fd)
		if err != nil {
			return err
		}
		buf := make([]byte, 1)
		for cpu := range 1024 {
			if !all.IsSet(cpu) {
				continue
			}
			var one unix.CPUSet
			one.Set(cpu)
			if err := unix.SchedSetaffinity(0, &one); err != nil {
				return fmt.Errorf("move to processor %d: %w", cpu, err)
			}
			for range devices {
				if err := unix.Sendto(fd, buf, 0, self); err != nil {
					return err
				}
				if _, _, err := unix.Recvfrom(fd, buf, 0); err != nil {
					return err
				}
			}
		}
		return nil
	})
}
