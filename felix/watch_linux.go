package felix

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// bellEvery is the least time between two rings.
	bellEvery = 100 * time.Millisecond
	// A rule that somebody puts into one of the kernel's chains before ours makes
	// us move ours. Two programs that both do that would go on for ever, so after
	// a few times it rings no more often than this.
	fightBurst = 5
	fightEvery = 5 * time.Second
	// startWait is more than the start of a program takes.
	startWait = 5 * time.Second
	// noticeBuffer takes the notifications of the longest transaction.
	noticeBuffer = 16 << 20
)

// watcher tells what others write from what our own processes do.
type watcher struct {
	programs *programs
	starting atomic.Int32     // processes of ours that may run and are not among pids yet
	pids     [32]atomic.Int32 // our last processes
	next     atomic.Uint32
	busy     atomic.Int32 // processes of ours that write now
	epoch    time.Time
	quiet    atomic.Int64 // when the last of them ended, in nanoseconds since epoch

	mu     sync.Mutex
	legacy map[TableRef]tableInfo // as our last write left it
}

// start starts a process of ours and notes it.
func (w *watcher) start(cmd *exec.Cmd) error {
	w.starting.Add(1)
	defer w.starting.Add(-1)
	if err := cmd.Start(); err != nil {
		return err
	}
	w.pids[w.next.Add(1)%uint32(len(w.pids))].Store(int32(cmd.Process.Pid))
	return nil
}

// writing says that a process of ours writes, until the function it returns is
// called.
func (w *watcher) writing(ref TableRef) (done func()) {
	w.busy.Add(1)
	return func() {
		w.saw(ref, true)
		w.quiet.Store(int64(time.Since(w.epoch)))
		w.busy.Add(-1)
	}
}

// own reports whether a transaction is one of ours. In a PID namespace of its own
// this process knows other numbers than the kernel tells; then the program's name
// and the time decide.
func (w *watcher) own(pid int32, name string) bool {
	// Until what is being started now is noted, it may be one of those.
	for end := time.Now().Add(startWait); w.starting.Load() > 0 && time.Now().Before(end); time.Sleep(time.Millisecond) {
		if w.ownNow(pid, name) {
			return true
		}
	}
	return w.ownNow(pid, name)
}

func (w *watcher) ownNow(pid int32, name string) bool {
	for i := range w.pids {
		if w.pids[i].Load() == pid {
			return true
		}
	}
	if initialPIDs() || !strings.HasPrefix(name, "ip") && !strings.HasPrefix(name, "xtables") {
		return false
	}
	since := time.Since(w.epoch) - time.Duration(w.quiet.Load())
	return w.busy.Load() > 0 || since < bellEvery
}

// initialPIDs reports whether the process is in the first PID namespace, whose
// number is fixed (PROC_PID_INIT_INO, linux/proc_ns.h).
func initialPIDs() bool {
	name, err := os.Readlink("/proc/self/ns/pid")
	return err == nil && name == "pid:[4026531836]"
}

// Watch implements [TableHost]: for nft by the kernel's notifications, for legacy,
// which has none, by a look at the sizes of the tables every bellEvery, which
// costs a few system calls and shows most changes.
func (p *programs) Watch(ctx context.Context, backend string) (<-chan struct{}, error) {
	if backend == BackendLegacy {
		return p.watchLegacy(ctx)
	}
	var fd int
	err := p.within(func() (err error) {
		fd, err = openNotices()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("watch nf_tables: %w", err)
	}
	file := os.NewFile(uintptr(fd), "nftables")
	bell := newBell()
	stop := context.AfterFunc(ctx, func() { file.Close() })
	go func() {
		defer stop()
		defer file.Close()
		bell.run(ctx)
	}()
	go p.watch.read(file, bell)
	return bell.out, nil
}

func openNotices() (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_NETFILTER)
	if err != nil {
		return 0, os.NewSyscallError("socket", err)
	}
	err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, noticeBuffer)
	}
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, unix.NFNLGRP_NFTABLES)
	}
	if err != nil {
		unix.Close(fd)
		return 0, err
	}
	return fd, nil
}

// read takes notifications until the file is closed. Those of a transaction come
// together, and last comes whose it was.
func (w *watcher) read(file *os.File, bell *bell) {
	buf := make([]byte, 64<<10)
	var touched, fought bool
	for {
		n, err := file.Read(buf)
		switch {
		case errors.Is(err, syscall.ENOBUFS):
			bell.ring(false)
			continue
		case errors.Is(err, syscall.EINTR), errors.Is(err, syscall.EAGAIN):
			continue
		case err != nil:
			return
		}
		for b := buf[:n]; len(b) >= unix.SizeofNlMsghdr+sizeofNfgenmsg; {
			size := int(binary.NativeEndian.Uint32(b))
			if size < unix.SizeofNlMsghdr+sizeofNfgenmsg || size > len(b) {
				break
			}
			m := parseNotice(b[:size])
			touched, fought = touched || m.ours, fought || m.fight
			if m.end {
				if (touched || fought) && !w.own(m.pid, m.name) {
					bell.ring(!touched)
				}
				touched, fought = false, false
			}
			b = b[min((size+3)&^3, len(b)):]
		}
	}
}

// notice is what a notification of nf_tables means to us.
type notice struct {
	ours  bool // a chain of ours may have changed, or no longer be led to
	fight bool // a rule was put into a kernel's chain, perhaps before ours
	end   bool // of a transaction, by a process
	pid   int32
	name  string
}

// Attributes and messages of nf_tables (linux/netfilter/nf_tables.h).
const (
	nftTable      = 1 // NFTA_TABLE_NAME, NFTA_CHAIN_TABLE, NFTA_RULE_TABLE
	nftRuleChain  = 2
	nftChainName  = 3
	nftGenPID     = 2
	nftGenProcess = 3
)

func parseNotice(b []byte) (m notice) {
	typ, flags := binary.NativeEndian.Uint16(b[4:]), binary.NativeEndian.Uint16(b[6:])
	family := b[unix.SizeofNlMsghdr]
	attrs := map[uint16][]byte{}
	setAttrs(b[unix.SizeofNlMsghdr+sizeofNfgenmsg:], func(t uint16, val []byte) { attrs[t] = val })
	if typ>>8 != unix.NFNL_SUBSYS_NFTABLES {
		return m
	}
	typ &= 0xff
	if typ == unix.NFT_MSG_NEWGEN {
		return notice{end: true, pid: int32(beUint32(attrs[nftGenPID])), name: cString(attrs[nftGenProcess])}
	}
	table := cString(attrs[nftTable])
	if family != unix.AF_INET && family != unix.AF_INET6 || !slices.Contains([]string{"raw", "filter", "nat"}, table) {
		return m
	}
	chain := cString(attrs[nftRuleChain])
	if typ == unix.NFT_MSG_NEWCHAIN || typ == unix.NFT_MSG_DELCHAIN {
		chain = cString(attrs[nftChainName])
	}
	own := strings.HasPrefix(chain, Prefix)
	kernels := slices.Contains([]string{"PREROUTING", "INPUT", "FORWARD", "POSTROUTING"}, chain)
	switch typ {
	case unix.NFT_MSG_DELTABLE:
		m.ours = true
	case unix.NFT_MSG_NEWCHAIN:
		m.ours = own
	case unix.NFT_MSG_DELCHAIN, unix.NFT_MSG_DELRULE:
		m.ours = own || kernels
	case unix.NFT_MSG_NEWRULE:
		m.ours = own
		m.fight = kernels && flags&unix.NLM_F_APPEND == 0
	}
	return m
}

// tableInfo is what getsockopt IPT_SO_GET_INFO says of a table (struct
// ipt_getinfo, linux/netfilter_ipv4/ip_tables.h): where its chains begin, how many
// rules it has and how long they are.
type tableInfo [84]byte

// saw notes how a table is now, if that is news: as we wrote it, or as we first
// read it.
func (w *watcher) saw(ref TableRef, wrote bool) {
	if ref.Backend != BackendLegacy {
		return
	}
	w.mu.Lock()
	_, known := w.legacy[ref]
	w.mu.Unlock()
	if known && !wrote {
		return
	}
	var info tableInfo
	err := w.programs.within(func() (err error) {
		info, err = readTableInfo(ref)
		return err
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.legacy == nil {
		w.legacy = map[TableRef]tableInfo{}
	}
	if err == nil {
		w.legacy[ref] = info
	}
}

// readTableInfo asks for a table that exists, in the namespace of the thread: the
// question would make one that does not.
func readTableInfo(ref TableRef) (info tableInfo, err error) {
	domain, level := unix.AF_INET, unix.IPPROTO_IP
	if ref.Family == IPv6 {
		domain, level = unix.AF_INET6, unix.IPPROTO_IPV6
	}
	fd, err := unix.Socket(domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return info, os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	copy(info[:], ref.Table.String())
	const getInfo = 64 // IPT_SO_GET_INFO, IP6T_SO_GET_INFO
	return info, getsockopt(fd, level, getInfo, info[:])
}

// watchLegacy looks at the tables that we wrote or read.
func (p *programs) watchLegacy(ctx context.Context) (<-chan struct{}, error) {
	bell := newBell()
	go bell.run(ctx)
	go func() {
		tick := time.NewTicker(bellEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if p.watch.changed() {
				bell.ring(true)
			}
		}
	}()
	return bell.out, nil
}

// changed reports whether a table is not as it was, and takes it as it is now.
func (w *watcher) changed() (changed bool) {
	if w.busy.Load() > 0 {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	_ = w.programs.within(func() error { // a table that cannot be read is left to audits
		for ref, was := range w.legacy {
			now, err := readTableInfo(ref)
			if err == nil && now != was {
				w.legacy[ref] = now
				changed = true
			}
		}
		return nil
	})
	return changed && w.busy.Load() == 0
}

// getsockopt fills b with the value of an option, which takes b as its question.
func getsockopt(fd, level, option int, b []byte) error {
	size := uint32(len(b))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(option),
		uintptr(unsafe.Pointer(&b[0])), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return os.NewSyscallError("getsockopt", errno)
	}
	return nil
}
