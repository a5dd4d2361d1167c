package felix

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"caracal.dev/caracal"
)

// flushWait is how long the kernel may take for one answer.
const flushWait = 10 * time.Second

// endedFor is how long a connection that was ended is remembered, so that a packet
// of its other end, which was on its way, does not begin it anew the other way
// round. UDP's replies are kept for 30 s (nf_conntrack_proto_udp.c).
const endedFor = time.Minute

// Flusher ends connections that policies forbid. It is for one goroutine.
type Flusher struct {
	handle *netlink.Handle
	ended  map[pair]time.Time
}

// pair is a connection of the kernel's table: both ends as its first packet had
// them.
type pair struct {
	protocol uint8
	src, dst netip.AddrPort
}

func (p pair) reversed() pair { return pair{p.protocol, p.dst, p.src} }

// OpenFlusher opens the kernel's table of connections in the network namespace of
// the calling thread; Close ends it.
func OpenFlusher() (*Flusher, error) {
	h, err := netlink.NewHandle(unix.NETLINK_NETFILTER, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("felix: open the table of connections: %w", err)
	}
	if err := h.SetSocketTimeout(flushWait); err != nil {
		h.Close()
		return nil, fmt.Errorf("felix: open the table of connections: %w", err)
	}
	return &Flusher{handle: h, ended: map[pair]time.Time{}}, nil
}

// Close releases the sockets.
func (f *Flusher) Close() { f.handle.Close() }

// End ends the established connections of this node's workloads that the policies
// of a Snapshot forbid, and returns how many. It reads the whole table once, and asks
// for the Snapshot after it: what that allows by then was perhaps begun meanwhile.
// Without a Snapshot it ends none.
func (f *Flusher) End(newest func() *caracal.Snapshot) (int, error) {
	if newest() == nil {
		return 0, nil
	}
	own, err := f.ownAddrs()
	if err != nil {
		return 0, fmt.Errorf("felix: end forbidden connections: %w", err)
	}
	now, n := time.Now(), 0
	for p, at := range f.ended {
		if now.Sub(at) > endedFor {
			delete(f.ended, p)
		}
	}
	for _, family := range []netlink.InetFamily{unix.AF_INET, unix.AF_INET6} {
		ended, err := f.endFamily(newest, own, family, now)
		n += ended
		if err != nil {
			return n, fmt.Errorf("felix: end forbidden connections: %w", err)
		}
	}
	return n, nil
}

func (f *Flusher) ownAddrs() ([]netip.Addr, error) {
	list, err := f.handle.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, err
	}
	var out []netip.Addr
	for _, a := range list {
		out = append(out, addrOf(a.IP))
	}
	return out, nil
}

func (f *Flusher) endFamily(newest func() *caracal.Snapshot, own []netip.Addr, family netlink.InetFamily, now time.Time) (int, error) {
	table, err := f.handle.ConntrackTableList(netlink.ConntrackTable, family)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL) {
			return 0, nil // connections are not tracked here
		}
		return 0, err
	}
	list, pairs := make([]Connection, len(table)), make([]pair, len(table))
	for i, t := range table {
		list[i], pairs[i] = connectionOf(t), pairOf(t)
	}
	doomed, snap := map[pair]bool{}, newest()
	if snap == nil {
		return 0, nil
	}
	for _, i := range Forbidden(snap, own, list) {
		doomed[pairs[i]] = true
		f.ended[pairs[i]] = now
	}
	// The other end's packets may have begun it anew, as if it were theirs. It is the
	// same connection for as long as the policies still forbid it.
	for i, p := range pairs {
		if _, was := f.ended[p.reversed()]; was && !doomed[p] && f.stillForbidden(snap, own, list[i], p) {
			doomed[p] = true
		}
	}
	if len(doomed) == 0 {
		return 0, nil
	}
	n, err := f.handle.ConntrackDeleteFilters(netlink.ConntrackTable, family, exactly(doomed))
	if errors.Is(err, netlink.ErrDumpInterrupted) {
		err = nil
	}
	return int(n), err
}

// stillForbidden judges a connection that was begun anew by its other end the way
// it was before.
func (f *Flusher) stillForbidden(snap *caracal.Snapshot, own []netip.Addr, c Connection, p pair) bool {
	return len(Forbidden(snap, own, []Connection{{Protocol: c.Protocol, From: c.To, To: c.From, Port: p.src.Port()}})) > 0
}

// exactly matches the connections of a set.
type exactly map[pair]bool

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (e exactly) MatchConntrackFlow(t *netlink.ConntrackFlow) bool { return e[pairOf(t)] }

func pairOf(t *netlink.ConntrackFlow) pair {
	return pair{t.Forward.Protocol,
		netip.AddrPortFrom(addrOf(t.Forward.SrcIP), t.Forward.SrcPort), netip.AddrPortFrom(addrOf(t.Forward.DstIP), t.Forward.DstPort)}
}

func connectionOf(t *netlink.ConntrackFlow) Connection {
	c := Connection{Protocol: t.Forward.Protocol, From: addrOf(t.Forward.SrcIP), To: addrOf(t.Reverse.SrcIP)}
	switch c.Protocol {
	case protoTCP, protoUDP, protoSCTP:
		c.Port = t.Reverse.SrcPort
	}
	return c
}

func addrOf(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}
