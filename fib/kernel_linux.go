package fib

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// dumpSockets is how many dumps run beside each other: an audit's, and one that
// must not wait for it.
const dumpSockets = 2

// lookupBatch bounds the questions sent at once, so that the answers fit the
// socket's buffer.
const lookupBatch = 128

// Netlink is the real [Kernel], of the network namespace it was opened in.
type Netlink struct {
	mark   Mark
	write  *socket
	ask    *socket
	dumps  chan *socket // those that nobody uses
	notice *socket
}

// OpenKernel opens the routing table of the calling thread's network namespace.
// Notifications are kept from here on, for [Netlink.Watch]. It needs
// CAP_NET_ADMIN to write.
func OpenKernel(m Mark) (*Netlink, error) {
	if m.Metric == 0 || m.Protocol == 0 || m.Table <= 0 {
		return nil, fmt.Errorf("fib: open kernel: table %d, protocol %d, metric %d: none of them may be 0", m.Table, m.Protocol, m.Metric)
	}
	k := &Netlink{mark: m, dumps: make(chan *socket, dumpSockets)}
	for n := range 2 + dumpSockets {
		s, err := openSocket()
		if err != nil {
			k.Close()
			return nil, fmt.Errorf("fib: open netlink socket: %w", err)
		}
		switch n {
		case 0:
			k.write = s
		case 1:
			k.ask = s
		default:
			k.dumps <- s
		}
	}
	var err error
	if k.notice, err = openNotice(k.write.pid); err != nil {
		k.Close()
		return nil, fmt.Errorf("fib: open netlink socket for notifications: %w", err)
	}
	return k, nil
}

// Close closes the sockets. End the Watch and every Dump first.
func (k *Netlink) Close() {
	for _, s := range []*socket{k.write, k.ask, k.notice} {
		if s != nil {
			s.close()
		}
	}
	for {
		select {
		case s := <-k.dumps:
			s.close()
		default:
			return
		}
	}
}

// Mark implements [Kernel].
func (k *Netlink) Mark() Mark { return k.mark }

// Write implements [Kernel]. As many ops go in one system call as the socket
// takes; the kernel carries them out in order within it. Only the last of a call
// is acknowledged; one that fails says so in any case, by its number.
func (k *Netlink) Write(ctx context.Context, ops []Op) ([]Failure, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var failed []Failure
	for at := 0; at < len(ops); {
		if ops[at].size() > k.write.most {
			failed = append(failed, Failure{Index: at, Errno: syscall.EMSGSIZE})
			at++
			continue
		}
		n, err := k.writeSome(ops[at:], at, &failed)
		if err != nil {
			return nil, err
		}
		at += n
	}
	return failed, nil
}

// writeSome writes as many ops as go in one system call, the first in any case,
// and returns their number. at is the index of the first for failed.
func (k *Netlink) writeSome(ops []Op, at int, failed *[]Failure) (n int, err error) {
	s := k.write
	s.out = s.out[:0]
	first := s.seq + 1
	for last := false; !last; n++ {
		last = n+1 == len(ops) || len(s.out)+ops[n].size()+ops[n+1].size() > s.most
		s.out = appendOp(s.out, k.mark, &ops[n], s.nextSeq(), last)
	}
	if err := s.send(s.out); err != nil {
		return 0, err
	}
	for {
		b, err := s.receive()
		if err != nil {
			return 0, err
		}
		for m := range messages(b) {
			index := m.seq - first
			if m.typ != unix.NLMSG_ERROR || index >= uint32(n) {
				continue
			}
			if errno, text := parseError(m); errno != 0 {
				*failed = append(*failed, Failure{Index: at + int(index), Errno: errno, Text: text})
			}
			if index == uint32(n-1) {
				return n, nil
			}
		}
	}
}

// Dump implements [Kernel]. Routes of other tables, and of other protocols if
// ours are asked for, are left out by the kernel and cost nothing. Two may run
// at once; a third waits.
func (k *Netlink) Dump(ctx context.Context, filter Filter, fn func(Read)) (bool, error) {
	var s *socket
	select {
	case s = <-k.dumps:
		defer func() { k.dumps <- s }()
	case <-ctx.Done():
		return false, ctx.Err()
	}
	table, protocol := filter.Table, uint8(0)
	if filter.Own {
		table, protocol = k.mark.Table, k.mark.Protocol
	}
	whole := true
	var r Read
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		body := []byte{family, 0, 0, 0, byte(min(table, 255)), protocol, 0, 0, 0, 0, 0, 0}
		if table > 255 {
			body[4] = unix.RT_TABLE_COMPAT
		}
		body = appendUint32(body, unix.RTA_TABLE, uint32(table))
		w, err := s.list(unix.RTM_GETROUTE, body, func(m message) {
			h, ok := parseHead(m.body)
			if !ok || m.typ != unix.RTM_NEWROUTE || h.table != table || h.own(k.mark) != filter.Own {
				return
			}
			parseRoute(&h, &r, !filter.Own)
			fn(r)
		})
		// A table that nobody ever wrote to does not exist.
		if err != nil && err != syscall.ENOENT && err != syscall.EAFNOSUPPORT && err != syscall.EOPNOTSUPP {
			return false, os.NewSyscallError("dump routes", err)
		}
		whole = whole && w
	}
	return whole, nil
}

// Lookup implements [Kernel].
func (k *Netlink) Lookup(ctx context.Context, addrs []netip.Addr) ([]Answer, error) {
	answers := make([]Answer, len(addrs))
	for start := 0; start < len(addrs); start += lookupBatch {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		end := min(start+lookupBatch, len(addrs))
		if err := k.lookup(addrs[start:end], answers[start:end]); err != nil {
			return nil, err
		}
	}
	return answers, nil
}

func (k *Netlink) lookup(addrs []netip.Addr, answers []Answer) error {
	s := k.ask
	s.out = s.out[:0]
	first := s.seq + 1
	for _, a := range addrs {
		s.out = appendLookup(s.out, a, s.nextSeq())
	}
	if err := s.send(s.out); err != nil {
		return err
	}
	for left := len(addrs); left > 0; {
		b, err := s.receive()
		if err != nil {
			return err
		}
		for m := range messages(b) {
			index := m.seq - first
			if index >= uint32(len(addrs)) {
				continue
			}
			answers[index] = k.answer(m)
			left--
		}
	}
	return nil
}

func (k *Netlink) answer(m message) Answer {
	if m.typ == unix.NLMSG_ERROR {
		errno, _ := parseError(m)
		return Answer{Err: errno}
	}
	h, ok := parseHead(m.body)
	if !ok {
		return Answer{Err: syscall.EBADMSG}
	}
	var r Read
	parseRoute(&h, &r, true)
	return Answer{Type: h.typ, Own: h.own(k.mark), Dst: h.dst, Hops: r.Hops}
}

// appendLookup appends an RTM_GETROUTE message that asks for the route that
// matches an address, not for a path along it.
func appendLookup(b []byte, a netip.Addr, seq uint32) []byte {
	start := len(b)
	b = appendHeader(b, unix.RTM_GETROUTE, unix.NLM_F_REQUEST, seq)
	family := byte(unix.AF_INET6)
	if a.Is4() {
		family = unix.AF_INET
	}
	b = append(b, family, byte(a.BitLen()), 0, 0, 0, 0, 0, 0)
	b = native.AppendUint32(b, unix.RTM_F_FIB_MATCH)
	b = appendAddr(b, unix.RTA_DST, a.AsSlice())
	native.PutUint32(b[start:], uint32(len(b)-start))
	return b
}

// Links implements [Kernel].
func (k *Netlink) Links(ctx context.Context) ([]Link, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	for range 5 {
		var links []Link
		body := make([]byte, unix.SizeofIfInfomsg)
		whole, err := k.ask.list(unix.RTM_GETLINK, body, func(m message) {
			if l, ok := parseLink(m.body); ok && m.typ == unix.RTM_NEWLINK {
				links = append(links, l)
			}
		})
		if err != nil {
			return nil, os.NewSyscallError("dump links", err)
		}
		if whole {
			return links, nil
		}
	}
	return nil, fmt.Errorf("list devices: they change faster than they can be listed")
}
