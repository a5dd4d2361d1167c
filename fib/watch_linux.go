package fib

import (
	"context"
	"errors"
	"math/bits"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// openNotice opens the socket for notifications. Those that our own writes
// cause carry the writer's address, and the kernel is told to drop them before
// they cost anything: there may be 100,000 of them.
func openNotice(writer uint32) (*socket, error) {
	s, err := openSocket(unix.RTNLGRP_LINK,
		unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV4_RULE,
		unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV6_RULE)
	if err != nil {
		return nil, err
	}
	const pidOffset = 12 // of nlmsg_pid in struct nlmsghdr
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: pidOffset},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: bigEndian(writer), Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0xffffffff},
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.SetsockoptSockFprog(s.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &prog); err != nil {
		s.close()
		return nil, os.NewSyscallError("setsockopt SO_ATTACH_FILTER", err)
	}
	return s, nil
}

// bigEndian returns v as a BPF load sees it: filters read in network order.
func bigEndian(v uint32) uint32 {
	if native.Uint16([]byte{0, 1}) == 1 {
		return v
	}
	return bits.ReverseBytes32(v)
}

// Watch tells what others do to routes, devices and addresses, from the opening
// of k on, until ctx ends; then the channel is closed. It never waits for its
// reader: what is not fetched yet is merged with what comes. Call it once.
func (k *Netlink) Watch(ctx context.Context) (<-chan Events, error) {
	if err := unix.SetNonblock(k.notice.fd, true); err != nil {
		return nil, os.NewSyscallError("fcntl O_NONBLOCK", err)
	}
	f := os.NewFile(uintptr(k.notice.fd), "netlink")
	k.notice = nil // the file's now
	out := make(chan Events, 1)
	stop := context.AfterFunc(ctx, func() { f.Close() })
	go func() {
		defer stop()
		defer f.Close()
		defer close(out)
		k.read(f, out)
	}()
	return out, nil
}

// read parses notifications until f is closed.
func (k *Netlink) read(f *os.File, out chan Events) {
	buf := make([]byte, readBuffer)
	for {
		var ev Events
		n, err := f.Read(buf)
		switch {
		case errors.Is(err, syscall.ENOBUFS):
			ev.Lost = true
		case errors.Is(err, syscall.EINTR), errors.Is(err, syscall.EAGAIN):
			continue
		case err != nil:
			return
		}
		for m := range messages(buf[:max(n, 0)]) {
			k.take(m, &ev)
		}
		if ev.Empty() {
			continue
		}
		merge(out, ev)
	}
}

// take adds a notification to ev.
func (k *Netlink) take(m message, ev *Events) {
	switch m.typ {
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		k.takeRoute(m, ev)
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		if l, ok := parseLink(m.body); ok {
			ev.Links = append(ev.Links, LinkEvent{Link: l, Gone: m.typ == unix.RTM_DELLINK})
		}
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		if len(m.body) >= unix.SizeofIfAddrmsg {
			ev.Addrs = append(ev.Addrs, AddrEvent{
				Link: int(int32(native.Uint32(m.body[4:]))),
				IPv4: m.body[0] == unix.AF_INET, Gone: m.typ == unix.RTM_DELADDR,
			})
		}
	case unix.RTM_NEWRULE, unix.RTM_DELRULE:
		ev.ForeignMany = true // any address may be reached another way now
	}
}

func (k *Netlink) takeRoute(m message, ev *Events) {
	h, ok := parseHead(m.body)
	if !ok {
		return
	}
	own := h.own(k.mark)
	inWay := h.table == k.mark.Table && h.metric == k.mark.Metric && h.tos == 0
	if own || inWay {
		var r Read
		parseRoute(&h, &r, false)
		ev.Routes = append(ev.Routes, RouteEvent{
			Route: r.Route, Own: own, Protocol: h.protocol,
			Gone: m.typ == unix.RTM_DELROUTE,
			// NLM_F_EXCL: there was no such route (fib_table_insert). IPv6
			// appends a hop to the route that is there, and tells the whole.
			Beside: h.family == unix.AF_INET && m.flags&(unix.NLM_F_REPLACE|unix.NLM_F_EXCL) == 0,
		})
	}
	if !own {
		ev.addForeign(h.dst)
	}
}
