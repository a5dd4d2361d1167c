package endpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"caracal.dev/caracal"
)

// Host is the machine itself, as [Ground]: its interfaces and connections are
// those of one network namespace. Make it with [NewHost].
type Host struct {
	links *netlink.Handle
	// conntrack is nil where the kernel has none.
	conntrack *netlink.Handle
}

// kernelTimeout bounds each answer of the kernel, which may have to wait for its lock
// while many links are made at once.
const kernelTimeout = 20 * time.Second

// NewHost returns the machine as it is seen from the network namespace of the
// calling thread.
func NewHost() (*Host, error) {
	links, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("endpoint: open netlink: %w", err)
	}
	conntrack, err := netlink.NewHandle(unix.NETLINK_NETFILTER)
	if err != nil && !noConntrack(err) {
		links.Close()
		return nil, fmt.Errorf("endpoint: open netlink for connections: %w", err)
	}
	if err != nil {
		conntrack = nil
	}
	for _, h := range []*netlink.Handle{links, conntrack} {
		if h == nil {
			continue
		}
		if err := h.SetSocketTimeout(kernelTimeout); err != nil {
			return nil, fmt.Errorf("endpoint: set the timeout of a netlink socket: %w", err)
		}
	}
	return &Host{links, conntrack}, nil
}

// bootIDFile is in random(4).
const bootIDFile = "/proc/sys/kernel/random/boot_id"

// BootID implements [Ground].
func (h *Host) BootID() (string, error) {
	b, err := os.ReadFile(bootIDFile)
	if err != nil {
		return "", fmt.Errorf("read the boot ID: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// NetNS implements [Ground]. A path that is no namespace, as the empty file that
// a mount of one leaves behind, has none.
func (h *Host) NetNS(path string) (string, error) {
	var on unix.Statfs_t
	err := unix.Statfs(path, &on)
	if absent(err) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("look at network namespace %s: %w", path, err)
	}
	if on.Type != unix.NSFS_MAGIC {
		return "", nil
	}
	var st unix.Stat_t
	err = unix.Stat(path, &st)
	if absent(err) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("look at network namespace %s: %w", path, err)
	}
	return fmt.Sprintf("%d:%d", st.Dev, st.Ino), nil
}

// absent reports whether there is nothing at a path; a process that is gone has
// no files either.
func absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ESRCH)
}

// Links implements [Ground]. A listing that a change of links interrupted may lack
// some, so it is made again.
func (h *Host) Links() (map[string]bool, error) {
	list, err := h.links.LinkList()
	for i := 0; i < 20 && errors.Is(err, netlink.ErrDumpInterrupted); i++ {
		list, err = h.links.LinkList()
	}
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	out := map[string]bool{}
	for _, l := range list {
		if a := l.Attrs(); caracal.IsHostInterface(a.Name) {
			out[a.Name] = a.RawFlags&unix.IFF_UP != 0
		}
	}
	return out, nil
}

// DeleteLink implements [Ground].
func (h *Host) DeleteLink(name string) error {
	if !caracal.IsHostInterface(name) {
		return fmt.Errorf("interface %s is not one of ours", name)
	}
	l, err := h.links.LinkByName(name)
	if _, gone := errors.AsType[netlink.LinkNotFoundError](err); gone {
		return nil
	}
	if err == nil && l.Type() != "veth" {
		return fmt.Errorf("interface %s is a %s and no veth, so it is not caracal's: remove it with ip link delete %s if nobody needs it", name, l.Type(), name)
	}
	if err == nil {
		err = h.links.LinkDel(l)
	}
	if err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("delete interface %s: %w", name, err)
	}
	return nil
}

// AddrsOf returns the addresses of which there is a permanent neighbor entry on a
// link: those that were given to the container at its other end.
func (h *Host) AddrsOf(link string) ([]netip.Addr, error) {
	l, err := h.links.LinkByName(link)
	if err != nil {
		return nil, fmt.Errorf("endpoint: look for interface %s: %w", link, err)
	}
	list, err := h.links.NeighList(l.Attrs().Index, netlink.FAMILY_ALL)
	for i := 0; i < 20 && errors.Is(err, netlink.ErrDumpInterrupted); i++ {
		list, err = h.links.NeighList(l.Attrs().Index, netlink.FAMILY_ALL)
	}
	if err != nil {
		return nil, fmt.Errorf("endpoint: list neighbors on %s: %w", link, err)
	}
	var addrs []netip.Addr
	for _, n := range list {
		if a, ok := netip.AddrFromSlice(n.IP); ok && n.State == netlink.NUD_PERMANENT && n.Family != unix.AF_BRIDGE {
			addrs = append(addrs, a.Unmap())
		}
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	return addrs, nil
}

// Forget implements [Ground]. It reads the kernel's whole table of connections,
// so addresses are best handed over together. Without conntrack there is nothing
// to forget.
func (h *Host) Forget(addrs []netip.Addr) error {
	if h.conntrack == nil {
		return nil
	}
	var v4, v6 []netip.Addr
	for _, a := range addrs {
		if a.Is4() {
			v4 = append(v4, a)
		} else {
			v6 = append(v6, a)
		}
	}
	var errs []error
	for family, list := range map[netlink.InetFamily][]netip.Addr{unix.AF_INET: v4, unix.AF_INET6: v6} {
		if len(list) == 0 {
			continue
		}
		_, err := h.conntrack.ConntrackDeleteFilters(netlink.ConntrackTable, family, ofAddrs(list))
		if err != nil && !noConntrack(err) {
			errs = append(errs, fmt.Errorf("forget the connections of %v: %w", list, err))
		}
	}
	return errors.Join(errs...)
}

// noConntrack reports whether the kernel has no connection tracking, or not for
// this family.
func noConntrack(err error) bool {
	for _, no := range []syscall.Errno{unix.EPROTONOSUPPORT, unix.EOPNOTSUPP, unix.ENOENT, unix.EINVAL, unix.EAFNOSUPPORT, unix.ENOSYS, unix.ECONNREFUSED} {
		if errors.Is(err, no) {
			return true
		}
	}
	return false
}

// ofAddrs matches the connections from or to one of the addresses, before or
// after translation.
type ofAddrs []netip.Addr

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (list ofAddrs) MatchConntrackFlow(f *netlink.ConntrackFlow) bool {
	for _, ip := range [][]byte{f.Forward.SrcIP, f.Forward.DstIP, f.Reverse.SrcIP, f.Reverse.DstIP} {
		a, ok := netip.AddrFromSlice(ip)
		if !ok {
			continue
		}
		for _, of := range list {
			if a.Unmap() == of {
				return true
			}
		}
	}
	return false
}
