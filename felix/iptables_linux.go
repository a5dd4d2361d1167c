package felix

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// programs are iptables and its friends, run in the network namespace that it was
// opened in.
type programs struct {
	dir      string
	patience time.Duration
	ns       *os.File
	inode    uint64
	watch    *watcher
}

const defaultPatience = 30 * time.Second

func openPrograms(o FilterOptions) (*programs, error) {
	ns, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, err
	}
	p := &programs{dir: o.Programs, patience: o.Patience, ns: ns}
	if p.patience == 0 {
		p.patience = defaultPatience
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(ns.Fd()), &st); err != nil {
		ns.Close()
		return nil, err
	}
	p.inode = st.Ino
	p.watch = &watcher{programs: p, epoch: time.Now()}
	p.watch.quiet.Store(-int64(time.Hour))
	return p, nil
}

func (p *programs) close() { p.ns.Close() }

// within calls fn in the namespace, on a thread that is its own meanwhile.
func (p *programs) within(fn func() error) error {
	runtime.LockOSThread()
	var st unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &st); err != nil {
		runtime.UnlockOSThread()
		return err
	}
	if st.Ino == p.inode {
		defer runtime.UnlockOSThread()
		return fn()
	}
	back, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer back.Close()
	if err := setns(p.ns); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter the network namespace (needs CAP_SYS_ADMIN): %w", err)
	}
	err = fn()
	if back := setns(back); back != nil {
		return errors.Join(err, back) // the thread stays locked, and ends with its goroutine
	}
	runtime.UnlockOSThread()
	return err
}

// setns takes the thread into a network namespace. Unlike [os.File.Fd] it may meet
// Close: the watch of the tables is not waited for.
func setns(ns *os.File) (err error) {
	conn, err := ns.SyscallConn()
	if err != nil {
		return err
	}
	if ended := conn.Control(func(fd uintptr) { err = unix.Setns(int(fd), unix.CLONE_NEWNET) }); ended != nil {
		return ended
	}
	return err
}

// program returns the path of "save" or "restore" of a variant; "" is iptables
// itself.
func (p *programs) program(ref TableRef, what string) (string, error) {
	stem := "iptables"
	if ref.Family == IPv6 {
		stem = "ip6tables"
	}
	tail := ""
	if what != "" {
		tail = "-" + what
	}
	name := stem + "-" + ref.Backend + tail
	if path, err := p.look(name); err == nil {
		return path, nil
	}
	// Where there is only one variant its programs may have no other name.
	if path, err := p.look(stem); err == nil && p.variant(path) == ref.Backend {
		if path, err := p.look(stem + tail); err == nil {
			return path, nil
		}
	}
	where := "PATH"
	if p.dir != "" {
		where = p.dir
	}
	return "", fmt.Errorf("%w: %s is not in %s; install iptables", ErrNoProgram, name, where)
}

// ErrNoProgram: a program of iptables is not on this host.
var ErrNoProgram = errors.New("a program is missing")

func (p *programs) look(name string) (string, error) {
	if p.dir != "" {
		return exec.LookPath(filepath.Join(p.dir, name))
	}
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", exec.ErrNotFound
}

// variant asks a program which variant it is.
func (p *programs) variant(path string) string {
	var out bytes.Buffer
	err := p.run(context.Background(), path, []string{"--version"}, nil, func(r io.Reader) error {
		_, err := io.Copy(&out, r)
		return err
	})
	switch {
	case err != nil:
		return ""
	case strings.Contains(out.String(), "nf_tables"):
		return BackendNFT
	}
	return BackendLegacy // before 1.8 there was no other, and no word about it
}

// Present implements [TableHost]. What the kernel has of legacy tables stands in
// /proc: to ask iptables-legacy would make them.
func (p *programs) Present(ctx context.Context, backend string, family Family) ([]Table, error) {
	if family == IPv6 && !p.hasIPv6() {
		return nil, errNoIPv6
	}
	if _, err := p.program(TableRef{Backend: backend, Family: family}, "restore"); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoFamily, err)
	}
	if backend == BackendNFT {
		return []Table{RawTable, FilterTable, NATTable}, nil
	}
	var tables []Table
	for _, name := range p.legacyTables(family) {
		for _, t := range []Table{RawTable, FilterTable, NATTable} {
			if t.String() == name {
				tables = append(tables, t)
			}
		}
	}
	return tables, nil
}

// hasIPv6 reports whether the kernel has IPv6 in the namespace.
func (p *programs) hasIPv6() bool {
	return p.within(func() error {
		_, err := os.Stat("/proc/thread-self/net/if_inet6")
		return err
	}) == nil
}

// legacyTables lists the tables of iptables-legacy that the kernel has.
func (p *programs) legacyTables(family Family) []string {
	file := "/proc/thread-self/net/ip_tables_names"
	if family == IPv6 {
		file = "/proc/thread-self/net/ip6_tables_names"
	}
	var b []byte
	_ = p.within(func() (err error) { // without the file there are none
		b, err = os.ReadFile(file)
		return err
	})
	return strings.Fields(string(b))
}

// Save implements [TableHost].
func (p *programs) Save(ctx context.Context, ref TableRef, fn func(line []byte)) error {
	path, err := p.program(ref, "save")
	if err != nil {
		return err
	}
	defer p.watch.saw(ref, false)
	return p.lines(ctx, path, []string{"-c", "-t", ref.Table.String()}, fn)
}

// lines runs a program and calls fn for each line that it prints.
func (p *programs) lines(ctx context.Context, path string, args []string, fn func(line []byte)) error {
	return p.run(ctx, path, args, nil, func(r io.Reader) error {
		in := bufio.NewReaderSize(r, 64<<10)
		for {
			line, err := in.ReadSlice('\n')
			switch {
			case err == io.EOF:
				return nil
			case errors.Is(err, bufio.ErrBufferFull):
				continue // longer than any rule of ours
			case err != nil:
				return err
			}
			fn(line[:len(line)-1])
		}
	})
}

// Restore implements [TableHost].
func (p *programs) Restore(ctx context.Context, ref TableRef, text []byte) error {
	path, err := p.program(ref, "restore")
	if err != nil {
		return err
	}
	wait := max(1, int(p.patience.Seconds()/2))
	args := []string{"--noflush", "--wait=" + strconv.Itoa(wait)}
	defer p.watch.writing(ref)()
	return p.run(ctx, path, args, text, nil)
}

// run runs a program to its end, in a process group that is killed when ctx or
// our patience ends first, or when this process does: a program that hangs must
// not write later what nobody wants any more.
func (p *programs) run(ctx context.Context, path string, args []string, stdin []byte, read func(io.Reader) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, p.patience, fmt.Errorf("it took longer than %v, and was killed", p.patience))
	defer cancel()
	return p.within(func() error {
		cmd := exec.CommandContext(ctx, path, args...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
		cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
		cmd.WaitDelay = 10 * time.Second // what it started is killed with it; a machine may pause
		var stderr bytes.Buffer
		cmd.Stderr = &limited{&stderr}
		if stdin != nil {
			cmd.Stdin = bytes.NewReader(stdin)
		}
		var out io.ReadCloser
		if read != nil {
			var err error
			if out, err = cmd.StdoutPipe(); err != nil {
				return err
			}
		}
		if err := p.watch.start(cmd); err != nil {
			return fmt.Errorf("start %s: %w; install iptables", path, err)
		}
		var failed error
		if read != nil {
			failed = read(out)
		}
		err := cmd.Wait()
		if err == nil {
			return failed
		}
		return p.explain(ctx, path, err, stderr.String(), stdin)
	})
}

// limited keeps what a program says to a length that an error may have.
type limited struct{ b *bytes.Buffer }

func (l *limited) Write(b []byte) (int, error) {
	l.b.Write(b[:min(len(b), max(0, 2048-l.b.Len()))])
	return len(b), nil
}

// explain makes an error of a program's failure: what it said, the line that it
// was about, and who holds the lock.
func (p *programs) explain(ctx context.Context, path string, err error, said string, text []byte) error {
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	var words []string
	for line := range strings.Lines(said) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "Try `") {
			words = append(words, line)
		}
	}
	err = fmt.Errorf("%s: %w", filepath.Base(path), err)
	if len(words) > 0 {
		err = fmt.Errorf("%w: %s", err, strings.Join(words, "; "))
	}
	if m := failedLine.FindStringSubmatch(said); m != nil && text != nil {
		n, _ := strconv.Atoi(m[1]) // digits
		err = fmt.Errorf("%w; line %d is %q", err, n, lineOf(text, n))
	}
	if ctx.Err() != nil || strings.Contains(said, "xtables lock") {
		err = fmt.Errorf("%w: %w", ErrStuck, err)
		if who := lockHolder(); who != "" {
			err = fmt.Errorf("%w; the lock %s is held by %s", err, lockFile(), who)
		}
	}
	return err
}

// failedLine finds the number of the line that iptables-restore stopped at. There
// is no other way to learn it.
var failedLine = regexp.MustCompile(`line:? (\d+)`)

// lockFile is the file that programs of iptables lock.
func lockFile() string {
	if name := os.Getenv("XTABLES_LOCKFILE"); name != "" {
		return name
	}
	return "/run/xtables.lock"
}

// lockHolder names the process that has iptables' lock, from /proc/locks: "1:
// FLOCK ADVISORY WRITE 123 00:1b:4567 0 EOF".
func lockHolder() string {
	var st unix.Stat_t
	if err := unix.Stat(lockFile(), &st); err != nil {
		return ""
	}
	b, err := os.ReadFile("/proc/locks")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		words := strings.Fields(line)
		if len(words) < 6 || words[1] != "FLOCK" || !strings.HasSuffix(words[5], ":"+strconv.FormatUint(st.Ino, 10)) {
			continue
		}
		comm, _ := os.ReadFile("/proc/" + words[4] + "/comm")
		return fmt.Sprintf("process %s (%s)", words[4], strings.TrimSpace(string(comm)))
	}
	return ""
}
