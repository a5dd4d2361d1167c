package felix

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// setBatch is about how many bytes of requests one call sends, setMessageMost
	// how many one message has of members: if the kernel refuses one, it sends the
	// whole message back.
	setBatch       = 128 << 10
	setMessageMost = 16 << 10
	setReplyBuffer = 4 << 20
	sizeofNfgenmsg = 4
	setReadBuffer  = 64 << 10 // the kernel makes no larger piece of a listing
	// setAnswerWithin is the longest wait for one answer. The kernel answers
	// within the call that asks; to wait long means that it is stuck.
	setAnswerWithin = 10 * time.Second
)

// ipsets are the sets of the network namespace that it was opened in.
type ipsets struct {
	fd        int
	seq       uint32
	buf       []byte
	out       setMessage
	revisions map[Set]uint8 // by type and family
}

func openIPSets() (*ipsets, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	s := &ipsets{fd: fd, buf: make([]byte, setReadBuffer), revisions: map[Set]uint8{}}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("bind", err)
	}
	for opt, size := range map[int]int{unix.SO_RCVBUFFORCE: setReplyBuffer, unix.SO_SNDBUFFORCE: 2 * setBatch} {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, opt, size); err != nil {
			unix.Close(fd)
			return nil, fmt.Errorf("set the size of netlink buffers (needs CAP_NET_ADMIN): %w", err)
		}
	}
	tv := unix.NsecToTimeval(int64(setAnswerWithin))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("setsockopt SO_RCVTIMEO", err)
	}
	return s, nil
}

func (s *ipsets) close() { unix.Close(s.fd) }

// send sends what is in out.
func (s *ipsets) send() error {
	for {
		err := unix.Sendto(s.fd, s.out.b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		if err != syscall.EINTR {
			return os.NewSyscallError("sendto", err)
		}
	}
}

// receive calls fn for each message of the next datagram.
func (s *ipsets) receive(fn func(typ uint16, seq uint32, body []byte)) error {
	for {
		n, _, err := unix.Recvfrom(s.fd, s.buf, 0)
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			return fmt.Errorf("the kernel did not answer within %v", setAnswerWithin)
		case err != nil:
			return os.NewSyscallError("recvfrom", err)
		}
		for b := s.buf[:n]; len(b) >= unix.SizeofNlMsghdr; {
			size := int(binary.NativeEndian.Uint32(b))
			// A refused message of many members comes back whole, and is cut.
			body := b[unix.SizeofNlMsghdr:min(max(size, unix.SizeofNlMsghdr), len(b))]
			fn(binary.NativeEndian.Uint16(b[4:]), binary.NativeEndian.Uint32(b[8:]), body)
			b = b[min((max(size, unix.SizeofNlMsghdr)+3)&^3, len(b)):]
		}
		return nil
	}
}

// ask sends the one request in out and calls fn for each answer to it.
func (s *ipsets) ask(fn func(body []byte)) error {
	if err := s.send(); err != nil {
		return err
	}
	for done := false; !done; {
		var refused error
		err := s.receive(func(typ uint16, seq uint32, body []byte) {
			if seq != s.seq {
				return // to a question whose answer came too late
			}
			switch typ {
			case unix.NLMSG_DONE, unix.NLMSG_ERROR:
				done, refused = true, setErrno(body)
			default:
				if len(body) > sizeofNfgenmsg {
					fn(body[sizeofNfgenmsg:])
				}
			}
		})
		if err := errors.Join(err, refused); err != nil {
			return err
		}
	}
	return nil
}

// List implements [SetHost].
func (s *ipsets) List(ctx context.Context) ([]SetHeader, error) {
	s.seq++
	s.out.b = s.out.b[:0]
	s.out.begin(setCmdList, unix.NLM_F_DUMP|unix.NLM_F_ACK, s.seq)
	s.out.be32(setAttrFlags, listHeaders)
	s.out.end()
	var headers []SetHeader
	err := s.ask(func(body []byte) {
		if h, ok := parseSetHeader(body); ok {
			headers = append(headers, h)
		}
	})
	return headers, err
}

// Members implements [SetHost].
func (s *ipsets) Members(ctx context.Context, name string, fn func(m Member, plain bool)) error {
	s.seq++
	s.out.b = s.out.b[:0]
	s.out.begin(setCmdList, unix.NLM_F_DUMP|unix.NLM_F_ACK, s.seq)
	s.out.text(setAttrName, name)
	s.out.end()
	typ := noSetType
	return s.ask(func(body []byte) {
		if h, ok := parseSetHeader(body); ok {
			typ = h.Type
		}
		setAttrs(body, func(t uint16, val []byte) {
			if t != setAttrADT {
				return
			}
			setAttrs(val, func(t uint16, data []byte) {
				if t == setAttrData {
					fn(parseSetMember(typ, data))
				}
			})
		})
	})
}

// revision returns the newest revision of a set type that the kernel has.
func (s *ipsets) revision(set Set) (uint8, error) {
	key := Set{Type: set.Type, Family: set.Family}
	if r, ok := s.revisions[key]; ok {
		return r, nil
	}
	s.seq++
	s.out.b = s.out.b[:0]
	s.out.begin(setCmdType, unix.NLM_F_ACK, s.seq)
	s.out.text(setAttrType, set.Type.String())
	s.out.u8(setAttrFamily, kernelFamily(set.Family))
	s.out.end()
	var revision uint8
	err := s.ask(func(body []byte) {
		setAttrs(body, func(t uint16, val []byte) {
			if t == setAttrRevision {
				revision = val[0]
			}
		})
	})
	if err != nil {
		return 0, fmt.Errorf("ask the kernel for ipsets of type %s: %w; load its module ip_set_%s", set.Type, err, moduleOf(set.Type))
	}
	s.revisions[key] = revision
	return revision, nil
}

// moduleOf names the kernel's module of a set type, after "ip_set_".
func moduleOf(t SetType) string {
	return [...]string{"hash_ip", "hash_net", "hash_ipport", "hash_netiface"}[t]
}

// piece is the part of an op that one message carries out.
type piece struct{ op, from, to int }

// Write implements [SetHost].
func (s *ipsets) Write(ctx context.Context, ops []SetOp) ([]SetFailure, error) {
	for _, op := range ops {
		if op.Verb != CreateSet {
			continue
		}
		if _, err := s.revision(op.Set); err != nil {
			return nil, err
		}
	}
	w := setWriter{ipsets: s, ops: ops, first: s.seq + 1}
	s.out.b = s.out.b[:0]
	for i, op := range ops {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := w.op(i, op, 0); err != nil {
			return nil, err
		}
	}
	if err := w.flush(); err != nil {
		return nil, err
	}
	return w.failures, nil
}

// setWriter writes many ops in few calls.
type setWriter struct {
	*ipsets
	ops      []SetOp
	first    uint32  // the number of the first piece that is not yet answered
	pieces   []piece // sent, or about to be
	again    []piece // what is left of those with a member that was refused
	failures []SetFailure
}

// op writes one op, from one of its members on.
func (w *setWriter) op(i int, op SetOp, from int) error {
	if op.Verb != AddMembers && op.Verb != RemoveMembers {
		w.seq++
		w.pieces = append(w.pieces, piece{op: i})
		w.whole(op)
		return w.maybeFlush()
	}
	for from < len(op.Members) {
		w.seq++
		to := w.members(op, from)
		w.pieces = append(w.pieces, piece{i, from, to})
		from = to
		if err := w.maybeFlush(); err != nil {
			return err
		}
	}
	return nil
}

// whole writes the message of an op without members.
func (w *setWriter) whole(op SetOp) {
	if op.Verb == CreateSet {
		w.out.create(op, w.revisions[Set{Type: op.Set.Type, Family: op.Set.Family}], w.seq)
		return
	}
	cmd := map[SetVerb]uint8{FlushSet: setCmdFlush, SwapSets: setCmdSwap, DestroySet: setCmdDestroy}[op.Verb]
	w.out.begin(cmd, unix.NLM_F_EXCL, w.seq) // to destroy what is not there is an error
	w.out.text(setAttrName, op.Set.Name)
	if op.Verb == SwapSets {
		w.out.text(setAttrName2, op.Other)
	}
	w.out.end()
}

// members writes a message of as many members as go into one, and returns the
// first that did not. Without NLM_F_EXCL it is no error that a member is there
// already, or gone.
func (w *setWriter) members(op SetOp, from int) (to int) {
	cmd := uint8(setCmdAdd)
	if op.Verb == RemoveMembers {
		cmd = setCmdDel
	}
	start := len(w.out.b)
	w.out.begin(cmd, 0, w.seq)
	w.out.text(setAttrName, op.Set.Name)
	w.out.line(0)
	at := w.out.open(setAttrADT | nested)
	for to = from; to < len(op.Members) && len(w.out.b)-start < setMessageMost; to++ {
		w.out.member(op.Set.Type, op.Members[to], to+1)
	}
	w.out.close(at)
	w.out.end()
	return to
}

func (w *setWriter) maybeFlush() error {
	if len(w.out.b) < setBatch {
		return nil
	}
	return w.flush()
}

// flush sends what is written and takes the answers. What stands behind a member
// that was refused is written again.
func (w *setWriter) flush() error {
	for len(w.pieces) > 0 {
		w.out.ack()
		if err := w.send(); err != nil {
			return err
		}
		last := w.seq
		for done := false; !done; {
			err := w.receive(func(typ uint16, seq uint32, body []byte) {
				if typ == unix.NLMSG_ERROR && seq-w.first < uint32(len(w.pieces)) {
					w.answer(w.pieces[seq-w.first], body)
					done = done || seq == last
				}
			})
			if err != nil {
				return err
			}
		}
		again := w.again
		w.again, w.pieces, w.first = nil, w.pieces[:0], w.seq+1
		w.out.b = w.out.b[:0]
		for _, p := range again {
			w.seq++
			rest := w.ops[p.op]
			rest.Members = rest.Members[:p.to]
			w.pieces = append(w.pieces, piece{p.op, p.from, w.members(rest, p.from)})
		}
	}
	return nil
}

// answer takes the kernel's word on a piece. Of many members it says which one it
// refused; those before it are in.
func (w *setWriter) answer(p piece, body []byte) {
	err := setErrno(body)
	if err == nil {
		return
	}
	member := -1
	const header = 4 + unix.SizeofNlMsghdr + sizeofNfgenmsg // struct nlmsgerr
	if p.to > 0 && len(body) > header {
		setAttrs(body[header:], func(typ uint16, val []byte) {
			if typ == setAttrLine && len(val) >= 4 {
				member = int(binary.NativeEndian.Uint32(val)) - 1
			}
		})
	}
	if errors.Is(err, ErrNoSet) || errors.Is(err, ErrSetFull) || member < p.from || member >= p.to {
		member = -1
	}
	w.failures = append(w.failures, SetFailure{Op: p.op, Member: member, Err: err})
	if member >= 0 && member+1 < p.to {
		w.again = append(w.again, piece{p.op, member + 1, p.to})
	}
}

// setErrno returns what an NLMSG_ERROR or NLMSG_DONE says.
func setErrno(body []byte) error {
	if len(body) < 4 {
		return nil
	}
	errno := -int32(binary.NativeEndian.Uint32(body))
	switch errno {
	case 0:
		return nil
	case int32(unix.ENOENT):
		return ErrNoSet
	case int32(unix.EEXIST), 4101: // IPSET_ERR_EXIST_SETNAME2
		return ErrSetExists
	case 4100, 4108: // IPSET_ERR_BUSY, IPSET_ERR_REFERENCED
		return ErrSetInUse
	case 4102: // IPSET_ERR_TYPE_MISMATCH
		return ErrSetMismatch
	case 4352: // IPSET_ERR_HASH_FULL
		return ErrSetFull
	}
	if text, ok := setErrors[errno]; ok {
		return errors.New(text)
	}
	if errno >= 4096 {
		return fmt.Errorf("error %d of ipset", errno)
	}
	return syscall.Errno(errno)
}

// setErrors are errors of ipset in words (enum ipset_errno, ip_set.h).
var setErrors = map[int32]string{
	4097: "the kernel's ipset speaks another protocol",
	4098: "the kernel does not have that type of set; load its module",
	4099: "there are too many sets",
	4104: "not a prefix length",
	4106: "not an address of the set's family",
	4109: "not an IPv4 address",
	4110: "not an IPv6 address",
	4353: "an element of a hash is wrong",
	4354: "not a protocol with ports",
}
