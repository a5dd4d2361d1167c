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

// reversePathKey is where the kernel has the device's rp_filter.
const reversePathKey = "/proc/sys/net/ipv4/conf/" + Device + "/rp_filter"

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
	if b, err := os.ReadFile(reversePathKey); err == nil {
		st.ReversePath, _ = strconv.Atoi(strings.TrimSpace(string(b))) // a number, says the kernel
	}
	return st, nil
}

// Load implements [Kernel] by modprobe(8), the usual means on every
// distribution. In a container without the host's modules it fails.
func (n *Netlink) Load(ctx context.Context) error {
	out, err := exec.CommandContext(ctx, "modprobe", "ipip").CombinedOutput()
	if err != nil {
		return fmt.Errorf("modprobe ipip: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// Do implements [Kernel].
func (n *Netlink) Do(_ context.Context, s Step) error {
	if s.Verb == SetReversePath {
		return os.WriteFile(reversePathKey, []byte(strconv.Itoa(s.Value)), 0o644)
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
