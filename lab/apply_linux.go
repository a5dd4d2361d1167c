package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// kernel carries steps out. It keeps one netlink socket for each namespace.
type kernel struct {
	mu    sync.Mutex
	socks map[string]*netlink.Handle
}

func newKernel() *kernel { return &kernel{socks: map[string]*netlink.Handle{}} }

// run applies the steps in order and stops at the first that fails.
func (k *kernel) run(steps []step) error {
	for _, s := range steps {
		if err := s.apply(k); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	return nil
}

// at returns the netlink socket of a namespace.
func (k *kernel) at(ns string) (*netlink.Handle, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if h := k.socks[ns]; h != nil {
		return h, nil
	}
	f, err := os.Open(netnsPath(ns))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h, err := netlink.NewHandleAt(netns.NsHandle(f.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink in %s: %w", ns, err)
	}
	k.socks[ns] = h
	return h, nil
}

// forget closes the socket of a namespace, which would keep it alive.
func (k *kernel) forget(ns string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if h := k.socks[ns]; h != nil {
		h.Close()
		delete(k.socks, ns)
	}
}

func (k *kernel) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for ns, h := range k.socks {
		h.Close()
		delete(k.socks, ns)
	}
}

// link finds a link by name.
func (k *kernel) link(ns, dev string) (*netlink.Handle, netlink.Link, error) {
	h, err := k.at(ns)
	if err != nil {
		return nil, nil, err
	}
	l, err := h.LinkByName(dev)
	return h, l, err
}

func (s addNS) apply(*kernel) error { return newNetns(s.NS) }

func (s delNS) apply(k *kernel) error { return k.remove([]string{s.NS}) }

func (s delLink) apply(k *kernel) error {
	h, l, err := k.link(s.NS, s.Dev)
	if err != nil {
		return err
	}
	return h.LinkDel(l)
}

func (s sysctl) apply(*kernel) error {
	return inNetns(s.NS, func() error {
		return os.WriteFile(filepath.Join("/proc/sys", s.Key), []byte(s.Value), 0)
	})
}

func (s addBridge) apply(k *kernel) error {
	h, err := k.at(s.NS)
	if err != nil {
		return err
	}
	// Without a querier on the link, snooping could drop neighbor discovery.
	off := false
	return h.LinkAdd(&netlink.Bridge{LinkAttrs: attrs(s.Name), MulticastSnooping: &off})
}

// attrs are the attributes of a new link, those of the library's choice that
// mean "the kernel's default" included.
func attrs(name string) netlink.LinkAttrs {
	a := netlink.NewLinkAttrs()
	a.Name = name
	return a
}

func (s addVeth) apply(k *kernel) error {
	h, err := k.at(s.NS)
	if err != nil {
		return err
	}
	peer, err := os.Open(netnsPath(s.PeerNS))
	if err != nil {
		return err
	}
	defer peer.Close()
	v := &netlink.Veth{LinkAttrs: attrs(s.Name), PeerName: s.Peer, PeerNamespace: netlink.NsFd(peer.Fd())}
	if s.MAC != "" {
		if v.HardwareAddr, err = net.ParseMAC(s.MAC); err != nil {
			return err
		}
	}
	if s.Master != "" {
		br, err := h.LinkByName(s.Master)
		if err != nil {
			return err
		}
		v.MasterIndex = br.Attrs().Index
	}
	return h.LinkAdd(v)
}

func (s addAddr) apply(k *kernel) error {
	h, l, err := k.link(s.NS, s.Dev)
	if err != nil {
		return err
	}
	a := &netlink.Addr{IPNet: ipNet(s.Addr)}
	if s.Addr.Addr().Is6() {
		a.Flags = unix.IFA_F_NODAD
	}
	return h.AddrAdd(l, a)
}

func (s setUp) apply(k *kernel) error {
	h, l, err := k.link(s.NS, s.Dev)
	if err != nil {
		return err
	}
	return h.LinkSetUp(l)
}

func (s addRoute) apply(k *kernel) error {
	h, err := k.at(s.NS)
	if err != nil {
		return err
	}
	r := &netlink.Route{Dst: ipNet(s.Dst), Protocol: unix.RTPROT_STATIC}
	if s.Dev != "" {
		l, err := h.LinkByName(s.Dev)
		if err != nil {
			return err
		}
		r.LinkIndex = l.Attrs().Index
	}
	if s.Via.IsValid() {
		r.Gw = s.Via.AsSlice()
	} else {
		r.Scope = netlink.SCOPE_LINK
	}
	return h.RouteAdd(r)
}

func (s addNeigh) apply(k *kernel) error {
	h, l, err := k.link(s.NS, s.Dev)
	if err != nil {
		return err
	}
	mac, err := net.ParseMAC(s.MAC)
	if err != nil {
		return err
	}
	family := netlink.FAMILY_V4
	if s.Addr.Is6() {
		family = netlink.FAMILY_V6
	}
	return h.NeighSet(&netlink.Neigh{LinkIndex: l.Attrs().Index, Family: family,
		State: netlink.NUD_PERMANENT, IP: s.Addr.AsSlice(), HardwareAddr: mac})
}

// remove deletes namespaces. All are tried; what failed is joined.
func (k *kernel) remove(namespaces []string) error {
	var errs []error
	for _, ns := range namespaces {
		k.forget(ns)
		if err := deleteNetns(ns); err != nil {
			errs = append(errs, fmt.Errorf("delete namespace %s: %w", ns, err))
		}
	}
	return errors.Join(errs...)
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
