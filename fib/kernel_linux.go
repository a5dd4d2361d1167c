package fib

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// lookupBatch bounds the questions sent at once, so that the answers fit the
// socket's buffer.
const lookupBatch = 128

// Netlink is the real [Kernel], of the network namespace it was opened in.
type Netlink struct {
	mark   Mark
	write  *socket
	ask    *socket
	dump   *socket
	turn   chan struct{} // who may use dump
	notice *socket
}

// OpenKernel opens the routing table of the calling thread's network namespace.
// Notifications are kept from here on, for [Netlink.Watch]. It needs
// CAP_NET_ADMIN to write.
func OpenKernel(m Mark) (*Netlink, error) {
	if m.Metric == 0 || m.Protocol == 0 || m.Table <= 0 {
		return nil, fmt.Errorf("fib: open kernel: table %d, protocol %d, metric %d: none of them may be 0", m.Table, m.Protocol, m.Metric)
	}
	k := &Netlink{mark: m, turn: make(chan struct{}, 1)}
	for _, s := range []**socket{&k.write, &k.ask, &k.dump} {
		var err error
		if *s, err = openSocket(); err != nil {
			k.Close()
			return nil, fmt.Errorf("fib: open netlink socket: %w", err)
		}
	}
	var err error
	if k.notice, err = openNotice(k.write.pid); err != nil {
		k.Close()
		return nil, fmt.Errorf("fib: open netlink socket for notifications: %w", err)
	}
	return k, nil
}

// Close closes the sockets. End the Watch first.
func (k *Netlink) Close() {
	for _, s := range []*socket{k.write, k.ask, k.dump, k.notice} {
		if s != nil {
			s.close()
		}
	}
}

// Mark implements [Kernel].
func (k *Netlink) Mark() Mark { return k.mark }

// Write implements [Kernel]. All ops go in one message to the kernel, which
// carries them out in order within the call. Only the last is acknowledged; one
// that fails says so in any case, by its number.
func (k *Netlink) Write(ctx context.Context, ops []Op) ([]Failure, error) {
	if len(ops) == 0 {
		return nil, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s := k.write
	s.out = s.out[:0]
	first := s.seq + 1
	for i := range ops {
		s.out = appendOp(s.out, k.mark, &ops[i], s.nextSeq(), i == len(ops)-1)
	}
	if err := s.send(s.out); err != nil {
		return nil, err
	}
	var failed []Failure
	for {
		b, err := s.receive()
		if err != nil {
			return nil, err
		}
		for m := range messages(b) {
			index := m.seq - first
			if m.typ != unix.NLMSG_ERROR || index >= uint32(len(ops)) {
				continue
			}
			if errno, text := parseError(m); errno != 0 {
				failed = append(failed, Failure{Index: int(index), Errno: errno, Text: text})
			}
			if index == uint32(len(ops)-1) {
				return failed, nil
			}
		}
	}
}

// Dump implements [Kernel]. Routes of other tables, and of other protocols if
// ours are asked for, are left out by the kernel and cost nothing.
func (k *Netlink) Dump(ctx context.Context, filter Filter, fn func(Read)) (bool, error) {
	select {
	case k.turn <- struct{}{}:
		defer func() { <-k.turn }()
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
		w, err := k.dump.list(unix.RTM_GETROUTE, body, func(m message) {
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
