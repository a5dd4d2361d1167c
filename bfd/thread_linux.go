package bfd

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// realtimePriority is among the lowest of the real-time class, above which the
// kernel's own threads are.
const realtimePriority = 5

// raise gives the calling thread, to which its goroutine must be locked, the
// processor as soon as it wants it: by the real-time class where there is
// more than one processor, or else by niceness. It is a wish: the error says why
// it was not granted. (On a single processor a real-time thread that waits for a
// lock of Go's runtime would keep its owner from running.)
func raise() (how string, err error) {
	return raiseThread(unix.Gettid(), unix.SCHED_FLAG_RESET_ON_FORK)
}

// raiseAll does so with all threads of the process; those that come later
// inherit it. It is for a process that has nothing else to do: then no thread of
// Go's scheduler can hold up another.
func raiseAll() {
	for range 2 { // a thread may have begun another meanwhile
		tasks, _ := os.ReadDir("/proc/self/task")
		for _, t := range tasks {
			if tid, err := strconv.Atoi(t.Name()); err == nil {
				_, _ = raiseThread(tid, 0)
			}
		}
	}
}

func raiseThread(tid int, flags uint64) (how string, err error) {
	if runtime.NumCPU() > 1 {
		attr := unix.SchedAttr{Policy: unix.SCHED_RR, Priority: realtimePriority, Flags: flags}
		attr.Size = uint32(unsafe.Sizeof(attr))
		if err = unix.SchedSetAttr(tid, &attr, 0); err == nil {
			return fmt.Sprintf("real-time, priority %d", realtimePriority), nil
		}
	}
	if nice := unix.Setpriority(unix.PRIO_PROCESS, tid, -20); nice != nil {
		return "", nice
	}
	return "nice -20", nil
}

// bell is an eventfd(2) that ends a wait.
type bell int

func newBell() (bell, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return -1, fmt.Errorf("open an eventfd: %w", err)
	}
	return bell(fd), nil
}

func (b bell) ring() {
	one := [8]byte{1} // the bytes' order does not matter: it is not 0 in either
	_, _ = unix.Write(int(b), one[:])
}

// wait returns when one of the sockets can be read, the bell rings, or the time
// is over.
func (b bell) wait(fds []int, d time.Duration) (rang bool) {
	var room [5]unix.PollFd
	poll := append(room[:0], unix.PollFd{Fd: int32(b), Events: unix.POLLIN})
	for _, fd := range fds {
		poll = append(poll, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
	}
	timeout := unix.NsecToTimespec(int64(max(d, 0)))
	if n, err := unix.Ppoll(poll, &timeout, nil); err != nil || n == 0 {
		return false
	}
	if poll[0].Revents == 0 {
		return false
	}
	var drop [8]byte
	_, _ = unix.Read(int(b), drop[:])
	return true
}

func (b bell) close() { unix.Close(int(b)) }
