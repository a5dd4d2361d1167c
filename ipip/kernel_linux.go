package ipip

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"caracal.dev/caracal/internal/sysctl"
)

// Netlink is the device in the network namespace that [NewNetlink] was called in.
type Netlink struct {
	handle *netlink.Handle
}

// NewNetlink opens the kernel's side of the device; Close ends it.
func NewNetlink() (*Netlink, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("ipip: open netlink: %w", err)
	}
	return &Netlink{h}, nil
}

// Close releases the socket.
func (n *Netlink) Close() { n.handle.Close() }

// reversePathKey is where the kernel has a device's rp_filter, below /proc/sys.
func reversePathKey(device string) string {
	return "net/ipv4/conf/" + device + "/rp_filter"
}

// reversePath is the value that is in force: the larger of the device's and of
// that for all (Documentation/networking/ip-sysctl).
func reversePath() (value int) {
	for _, device := range []string{"all", Device} {
		if b, err := os.ReadFile("/proc/sys/" + reversePathKey(device)); err == nil {
			n, _ := strconv.Atoi(strings.TrimSpace(string(b))) // a number, says the kernel
			value = max(value, n)
		}
	}
	return value
}

// Read implements [Kernel].
func (n *Netlink) Read(context.Context) (State, error) {
	link, err := n.handle.LinkByName(Device)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return State{}, nil
	}
	if err != nil {
		return State{}, err
	}
	if link.Type() != "ipip" {
		return State{}, fmt.Errorf("it is a device of type %s, not ipip; rename that device", link.Type())
	}
	a := link.Attrs()
	st := State{Exists: true, Index: a.Index, Up: a.Flags&net.FlagUp != 0, MTU: a.MTU}
	if c := a.Statistics; c != nil {
		st.RX = Counters{c.RxPackets, c.RxBytes, c.RxErrors, c.RxDropped}
		st.TX = Counters{c.TxPackets, c.TxBytes, c.TxErrors, c.TxDropped}
	}
	addrs, err := n.handle.AddrList(link, netlink.FAMILY_V4)
	if err != nil {
		return State{}, fmt.Errorf("list its addresses: %w", err)
	}
	for _, a := range addrs {
		ip, ok := netip.AddrFromSlice(a.IP.To4())
		if bits, _ := a.Mask.Size(); ok {
			st.Addrs = append(st.Addrs, Addr{netip.PrefixFrom(ip, bits), a.Label == label})
		}
	}
	st.ReversePath = reversePath()
	return st, nil
}

// Load implements [Kernel]. Whoever has CAP_NET_ADMIN and names a device that is
// not there has the kernel load its module (net/core/dev_ioctl.c, dev_load):
// that needs no CAP_SYS_MODULE, and no modules of the host in a container. What
// that does not bring, modprobe(8) may.
func (n *Netlink) Load(ctx context.Context) error {
	if asked() == nil {
		return nil
	}
	out, err := exec.CommandContext(ctx, "modprobe", "ipip").CombinedOutput()
	if err != nil {
		return fmt.Errorf("modprobe ipip: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// asked asks the kernel for the device's index; nil if it has it now.
func asked() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq(Device)
	if err != nil {
		return err
	}
	return unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, req)
}

// Do implements [Kernel].
func (n *Netlink) Do(_ context.Context, s Step) error {
	if s.Verb == SetReversePath {
		return os.WriteFile(sysctl.Path(reversePathKey(Device)), []byte(strconv.Itoa(s.Value)), 0o644)
	}
	link, err := n.handle.LinkByName(Device)
	if err != nil {
		return err
	}
	switch s.Verb {
	case SetMTU:
		return n.handle.LinkSetMTU(link, s.Value)
	case SetUp:
		return n.handle.LinkSetUp(link)
	case SetDown:
		return n.handle.LinkSetDown(link)
	case AddAddr:
		return n.handle.AddrAdd(link, address(s.Prefix, label))
	case DeleteAddr:
		return n.handle.AddrDel(link, address(s.Prefix, label))
	}
	return fmt.Errorf("unknown step %d", s.Verb)
}

func address(p netip.Prefix, label string) *netlink.Addr {
	return &netlink.Addr{
		IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)},
		Label: label,
		Scope: int(netlink.SCOPE_UNIVERSE),
	}
}
