package api

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// loosest is the widest mode the socket ever has: whoever may open it may
// change routes.
const loosest fs.FileMode = 0o660

// socket is a listening unix socket that knows which file is its own.
type socket struct {
	*net.UnixListener
	path string
	file fs.FileInfo
}

// listen makes the socket file at o.Socket and its directory. A file left over
// by a process that is gone is replaced; one on which somebody listens is not.
func listen(o Options) (*socket, error) {
	gid, err := groupID(o.Group)
	if err != nil {
		return nil, err
	}
	dir := filepath.Dir(o.Socket)
	if err := makeDir(dir, gid); err != nil {
		return nil, err
	}
	// Two daemons that start together must not each take the other's file for a
	// stale one.
	unlock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := removeStale(o.Socket); err != nil {
		return nil, err
	}
	l, err := bind(o.Socket)
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false) // done in remove, only if the file is still ours
	s := &socket{UnixListener: l, path: o.Socket}
	if err := s.open(o.Mode, gid); err != nil {
		l.Close()
		os.Remove(o.Socket)
		return nil, err
	}
	return s, nil
}

// bind makes the socket with mode 0600 from its first moment. The mode of the
// descriptor before bind(2) is the upper bound of the file's, see unix_bind_bsd
// in net/unix/af_unix.c; umask(2) would do too, but is the whole process's.
func bind(path string) (*net.UnixListener, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var inner error
		if err := c.Control(func(fd uintptr) { inner = unix.Fchmod(int(fd), 0o600) }); err != nil {
			return err
		}
		return inner
	}}
	l, err := lc.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, err
	}
	return l.(*net.UnixListener), nil
}

// open gives the file its owner before its mode, so that no other group ever
// has access.
func (s *socket) open(mode fs.FileMode, gid int) error {
	if gid >= 0 {
		if err := os.Chown(s.path, -1, gid); err != nil {
			return err
		}
	}
	if mode == 0 {
		mode = loosest
	}
	if err := os.Chmod(s.path, mode&loosest); err != nil {
		return err
	}
	var err error
	s.file, err = os.Lstat(s.path)
	return err
}

// remove deletes the socket file unless a successor has put its own there.
func (s *socket) remove() {
	unlock, err := lockDir(filepath.Dir(s.path))
	if err != nil {
		return
	}
	defer unlock()
	now, err := os.Lstat(s.path)
	// A successor's file may have got the inode number of ours.
	if err == nil && os.SameFile(now, s.file) && now.ModTime().Equal(s.file.ModTime()) {
		os.Remove(s.path)
	}
}

// makeDir makes dir 0750 if it is missing; one that exists belongs to whoever
// made it (systemd's RuntimeDirectory) and keeps its mode.
func makeDir(dir string, gid int) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	switch err := os.Mkdir(dir, 0o750); {
	case errors.Is(err, fs.ErrExist):
		return nil
	case err != nil:
		return err
	case gid >= 0:
		return os.Chown(dir, -1, gid)
	}
	return nil
}

func lockDir(dir string) (unlock func(), err error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(d.Fd()), unix.LOCK_EX); err != nil {
		d.Close()
		return nil, &os.PathError{Op: "lock", Path: dir, Err: err}
	}
	return func() { d.Close() }, nil
}

// removeStale removes a socket file on which nobody listens.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return errors.New("a file that is not a socket is in the way; remove it, or choose another --socket")
	}
	err = waitForEnd(path)
	switch {
	case errors.Is(err, errRunning):
		return err
	case !errors.Is(err, unix.ECONNREFUSED):
		return fmt.Errorf("cannot tell whether another caracald is running: %w", err)
	}
	return os.Remove(path)
}

var errRunning = errors.New("it listens there")

// endTime is how long a socket may outlive its daemon.
const endTime = 2 * time.Second

// waitForEnd returns the error by which a socket refuses a connection, or errRunning. A
// daemon that is killed while it starts a program leaves its sockets to a process that
// has them until it becomes that program; so a listener that is dead, or not known, is
// given a moment.
func waitForEnd(path string) error {
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.DialTimeout("unix", path, 2*time.Second)
		if err != nil {
			return err
		}
		pid := listenerPID(conn)
		conn.Close()
		if n, err := strconv.Atoi(pid); err == nil && unix.Kill(n, 0) != unix.ESRCH || time.Since(began) > endTime {
			return fmt.Errorf("another caracald (pid %s) is running: %w", pid, errRunning)
		}
	}
}

// listenerPID is the process that called listen(2), "unknown" if the kernel
// does not tell: it is in another pid namespace.
func listenerPID(conn net.Conn) string {
	cred, err := peerCred(conn)
	if err != nil || cred.Pid <= 0 {
		return "unknown"
	}
	return strconv.Itoa(int(cred.Pid))
}

// peerCred is who is at the other end (SO_PEERCRED, unix(7)).
func peerCred(conn net.Conn) (*unix.Ucred, error) {
	uc, ok := conn.(*net.UnixConn)
	if !ok {
		return nil, errors.New("not a unix socket")
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return nil, err
	}
	var cred *unix.Ucred
	var inner error
	err = raw.Control(func(fd uintptr) {
		cred, inner = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	return cred, errors.Join(err, inner)
}

// groupID resolves a group's name or number; -1 for the empty name.
func groupID(group string) (int, error) {
	if group == "" {
		return -1, nil
	}
	if gid, err := strconv.ParseUint(group, 10, 31); err == nil {
		return int(gid), nil
	}
	g, err := user.LookupGroup(group)
	if err != nil {
		return 0, fmt.Errorf("group %q does not exist; make it with: groupadd --system %s", group, group)
	}
	return strconv.Atoi(g.Gid)
}
