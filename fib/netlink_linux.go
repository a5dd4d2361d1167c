package fib

import (
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Sizes of buffers, in bytes, and the longest wait for one answer. The kernel
// answers within the call that asks, so to wait long means that it is stuck.
const (
	sendBuffer   = 256 << 10 // the kernel's default is 208 KiB, and may be set lower
	replyBuffer  = 4 << 20
	noticeBuffer = 64 << 20 // room for about 60,000 notifications
	readBuffer   = 64 << 10 // the kernel makes no larger piece of a dump
	answerWithin = 10 * time.Second
)

// socket is an rtnetlink socket that asks and waits for the answer.
type socket struct {
	fd  int
	pid uint32 // its address, which the kernel chose
	seq uint32
	// most is how many bytes one call may send; more is EMSGSIZE.
	most int
	buf  []byte
	out  []byte
}

func openSocket(groups ...int) (*socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	s := &socket{fd: fd}
	if err := s.setUp(groups); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return s, nil
}

func (s *socket) setUp(groups []int) error {
	if err := unix.Bind(s.fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return os.NewSyscallError("bind", err)
	}
	name, err := unix.Getsockname(s.fd)
	if err != nil {
		return os.NewSyscallError("getsockname", err)
	}
	s.pid = name.(*unix.SockaddrNetlink).Pid
	size := replyBuffer
	if len(groups) > 0 {
		size = noticeBuffer
	}
	// Beyond net.core.rmem_max only with CAP_NET_ADMIN, which the writer needs
	// anyway; without it the limit is what one gets.
	if unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, size) != nil {
		_ = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, size)
	}
	if len(groups) == 0 {
		if err := s.setSend(); err != nil {
			return err
		}
		tv := unix.NsecToTimeval(int64(answerWithin))
		if err := unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
			return os.NewSyscallError("setsockopt SO_RCVTIMEO", err)
		}
		for _, opt := range []int{unix.NETLINK_CAP_ACK, unix.NETLINK_EXT_ACK, unix.NETLINK_GET_STRICT_CHK} {
			if err := unix.SetsockoptInt(s.fd, unix.SOL_NETLINK, opt, 1); err != nil {
				return fmt.Errorf("set netlink option %d (needs Linux 4.20): %w", opt, err)
			}
		}
		s.buf = make([]byte, readBuffer)
	}
	for _, g := range groups {
		if err := unix.SetsockoptInt(s.fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, g); err != nil {
			return fmt.Errorf("join netlink group %d: %w", g, err)
		}
	}
	return nil
}

// setSend asks for room to send, and sees what there is. The kernel takes a
// message a little smaller than that (netlink_sendmsg, af_netlink.c); half of it
// is far more than a batch needs.
func (s *socket) setSend() error {
	if unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, sendBuffer/2) != nil { // it doubles that
		_ = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_SNDBUF, sendBuffer/2)
	}
	size, err := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_SNDBUF)
	if err != nil {
		return os.NewSyscallError("getsockopt SO_SNDBUF", err)
	}
	s.most = size / 2
	return nil
}

func (s *socket) close() { unix.Close(s.fd) }

func (s *socket) send(b []byte) error {
	for {
		err := unix.Sendto(s.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		if err != syscall.EINTR {
			return os.NewSyscallError("sendto", err)
		}
	}
}

// receive reads one datagram; it is valid until the next.
func (s *socket) receive() ([]byte, error) {
	for {
		n, _, err := unix.Recvfrom(s.fd, s.buf, 0)
		switch {
		case err == syscall.EINTR:
		case err == syscall.EAGAIN:
			return nil, fmt.Errorf("the kernel did not answer within %v", answerWithin)
		case err != nil:
			return nil, os.NewSyscallError("recvfrom", err)
		default:
			return s.buf[:n], nil
		}
	}
}

func (s *socket) nextSeq() uint32 {
	s.seq++
	return s.seq
}

// list sends a dump request and calls fn for each message of the answer. whole
// is false if the kernel says that what it listed changed meanwhile.
func (s *socket) list(typ uint16, body []byte, fn func(message)) (whole bool, err error) {
	seq := s.nextSeq()
	s.out = appendHeader(s.out[:0], typ, unix.NLM_F_REQUEST|unix.NLM_F_DUMP, seq)
	s.out = append(s.out, body...)
	native.PutUint32(s.out, uint32(len(s.out)))
	if err := s.send(s.out); err != nil {
		return false, err
	}
	whole = true
	for {
		b, err := s.receive()
		if err != nil {
			return false, err
		}
		for m := range messages(b) {
			if m.seq != seq {
				continue // of a question whose answer came too late
			}
			whole = whole && m.flags&unix.NLM_F_DUMP_INTR == 0
			switch m.typ {
			case unix.NLMSG_DONE, unix.NLMSG_ERROR:
				if errno, _ := parseError(m); errno != 0 {
					return whole, errno
				}
				return whole, nil
			default:
				fn(m)
			}
		}
	}
}

// parseError reads an NLMSG_ERROR or NLMSG_DONE: 0 is an acknowledgement. text
// is the kernel's explanation, if it gave one.
func parseError(m message) (errno syscall.Errno, text string) {
	if len(m.body) < 4 {
		return 0, ""
	}
	errno = syscall.Errno(-int32(native.Uint32(m.body)))
	if errno == 0 || m.typ != unix.NLMSG_ERROR || m.flags&unix.NLM_F_ACK_TLVS == 0 {
		return errno, ""
	}
	skip := 4 + unix.SizeofNlMsghdr
	if m.flags&unix.NLM_F_CAPPED == 0 && len(m.body) >= skip {
		skip = 4 + align(int(native.Uint32(m.body[4:]))) // the whole request
	}
	for b := m.body[min(skip, len(m.body)):]; ; {
		typ, val, rest, more := nextAttr(b)
		if !more {
			return errno, text
		}
		if typ == unix.NLMSGERR_ATTR_MSG {
			text = unix.ByteSliceToString(val)
		}
		b = rest
	}
}
