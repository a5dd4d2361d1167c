package api

import (
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func testOptions(t *testing.T) Options {
	return Options{Socket: filepath.Join(t.TempDir(), "run", "caracal.sock"), Log: slog.New(slog.DiscardHandler)}
}

func TestSocketModes(t *testing.T) {
	for _, tc := range []struct{ ask, want fs.FileMode }{{0, 0o660}, {0o600, 0o600}, {0o777, 0o660}} {
		o := testOptions(t)
		o.Mode, o.Group = tc.ask, "65534"
		s, err := listen(o)
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Lstat(o.Socket)
		if err != nil || info.Mode().Perm() != tc.want || info.Sys().(*syscall.Stat_t).Gid != 65534 {
			t.Errorf("asked %o: got %v, %v", tc.ask, info.Mode(), err)
		}
		dir, err := os.Stat(filepath.Dir(o.Socket))
		if err != nil || dir.Mode().Perm() != 0o750 || dir.Sys().(*syscall.Stat_t).Gid != 65534 {
			t.Errorf("directory: %v, %v", dir.Mode(), err)
		}
		s.Close()
		s.remove()
	}
}

// TestBindMode: the file has no wider mode even before anybody narrows it.
func TestBindMode(t *testing.T) {
	path := t.TempDir() + "/s"
	l, err := bind(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if info, err := os.Lstat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestSocketInTheWay(t *testing.T) {
	t.Run("stale", func(t *testing.T) {
		o := testOptions(t)
		first, err := listen(o)
		if err != nil {
			t.Fatal(err)
		}
		first.Close() // as after kill -9: the file stays
		second, err := listen(o)
		if err != nil {
			t.Fatalf("a stale socket is not replaced: %v", err)
		}
		first.remove()
		if _, err := os.Lstat(o.Socket); err != nil {
			t.Errorf("the first removed the second's file: %v", err)
		}
		second.Close()
	})
	t.Run("killed while it started a program", func(t *testing.T) {
		o := testOptions(t)
		if err := os.MkdirAll(filepath.Dir(o.Socket), 0o755); err != nil {
			t.Fatal(err)
		}
		until, end, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer until.Close()
		defer end.Close()
		cmd := exec.Command(os.Args[0], "-test.run=^TestListenAndDie$")
		cmd.Env = append(os.Environ(), "LISTEN_AND_DIE="+o.Socket, "GORACE=atexit_sleep_ms=0")
		cmd.Stdin = until
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		conn, err := net.Dial("unix", o.Socket)
		if err != nil {
			t.Fatalf("nobody has the socket any more: %v", err)
		}
		conn.Close()
		time.AfterFunc(50*time.Millisecond, func() { end.Close() })
		second, err := listen(o)
		if err != nil {
			t.Fatalf("the socket of one who is dead is not replaced: %v", err)
		}
		second.Close()
	})
	t.Run("running", func(t *testing.T) {
		o := testOptions(t)
		first, err := listen(o)
		if err != nil {
			t.Fatal(err)
		}
		defer first.Close()
		want := fmt.Sprintf("api: listen on %s: another caracald (pid %d) is running", o.Socket, os.Getpid())
		if err := New(Backend{}, o).Run(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
		if conn, err := net.Dial("unix", o.Socket); err != nil {
			t.Errorf("the first is gone: %v", err)
		} else {
			conn.Close()
		}
	})
	t.Run("file", func(t *testing.T) {
		o := testOptions(t)
		o.Socket = filepath.Join(t.TempDir(), "s")
		if err := os.WriteFile(o.Socket, []byte("precious"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := listen(o); err == nil || !strings.Contains(err.Error(), "not a socket") {
			t.Errorf("got %v", err)
		}
		if b, _ := os.ReadFile(o.Socket); string(b) != "precious" {
			t.Error("the file was overwritten")
		}
	})
}

func TestUnknownGroup(t *testing.T) {
	o := testOptions(t)
	o.Group = "no-such-group"
	if _, err := listen(o); err == nil || !strings.Contains(err.Error(), "groupadd --system no-such-group") {
		t.Errorf("got %v", err)
	}
}

// TestListenAndDie is the daemon of a test above: its end leaves a child that has its
// socket until the input of both ends.
func TestListenAndDie(t *testing.T) {
	path := os.Getenv("LISTEN_AND_DIE")
	if path == "" {
		return
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	file, err := l.(*net.UnixListener).File()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command("cat")
	child.Stdin = os.Stdin
	child.ExtraFiles = []*os.File{file}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
}
