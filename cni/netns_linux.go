package cni

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// CheckNetNS returns an error, for an operator, if a path is not that of a network
// namespace that can be wired up: it does not exist, is something else, or is the
// caller's own.
func CheckNetNS(path string) error {
	f, err := openNetNS(path)
	if err != nil {
		return fmt.Errorf("cni: check network namespace: %w", err)
	}
	return f.Close()
}

// openNetNS opens the network namespace at a path, and refuses the one that the
// caller itself is in.
func openNetNS(path string) (*os.File, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the network namespace %s does not exist: %w", path, err)
	}
	if err != nil {
		return nil, fmt.Errorf("open the network namespace: %w", err)
	}
	var there, here unix.Stat_t
	if err = unix.Fstat(int(f.Fd()), &there); err == nil {
		err = unix.Stat("/proc/thread-self/ns/net", &here)
	}
	switch {
	case err != nil:
		err = fmt.Errorf("look at the network namespace %s: %w", path, err)
	case there.Dev != here.Dev:
		err = fmt.Errorf("%s is no network namespace (is it not mounted any more?)", path)
	case there.Ino == here.Ino:
		err = fmt.Errorf("%s is the host's own network namespace: containers that share it cannot be wired", path)
	default:
		return f, nil
	}
	f.Close()
	return nil, err
}

// aloneWait bounds the wait for another ADD: it takes some milliseconds, and the lock
// may be held by somebody who has nothing to do with it.
const aloneWait = 10 * time.Second

// alone waits until no other ADD is at work on a network namespace, and keeps others
// waiting until the file is closed. SPEC.md forbids two for one container at once,
// but where they come, the one that fails would undo what the other has made.
func alone(ctx context.Context, ns *os.File) {
	end := time.Now().Add(aloneWait)
	for unix.Flock(int(ns.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil && ctx.Err() == nil && time.Now().Before(end) {
		time.Sleep(2 * time.Millisecond)
	}
}

// inside calls fn on a thread that is in the namespace meanwhile. fn must not
// start goroutines that do anything in the namespace. Sockets that fn opens stay
// there.
func inside(ns *os.File, fn func() error) error {
	runtime.LockOSThread()
	back, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("open the thread's own network namespace: %w", err)
	}
	defer back.Close()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter the network namespace %s (needs CAP_SYS_ADMIN): %w", ns.Name(), err)
	}
	err = fn()
	if back := unix.Setns(int(back.Fd()), unix.CLONE_NEWNET); back != nil {
		// The thread stays locked, and ends with its goroutine: nothing else may
		// ever run on it.
		return errors.Join(err, fmt.Errorf("leave the network namespace %s: %w", ns.Name(), back))
	}
	runtime.UnlockOSThread()
	return err
}
