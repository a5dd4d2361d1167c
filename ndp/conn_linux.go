package ndp

import (
	"errors"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/net/ipv6"
)

// conn is a raw ICMPv6 socket that sees router advertisements and solicitations
// of every device, and a goroutine that reads it.
type conn struct {
	packets chan packet
	done    chan struct{}
	raw     net.PacketConn
	v6      *ipv6.PacketConn
}

func openConn() (*conn, error) {
	raw, err := net.ListenPacket("ip6:ipv6-icmp", "::")
	if err != nil {
		return nil, err
	}
	c := &conn{packets: make(chan packet, 16), done: make(chan struct{}), raw: raw, v6: ipv6.NewPacketConn(raw)}
	var f ipv6.ICMPFilter
	f.SetAll(true)
	f.Accept(ipv6.ICMPTypeRouterAdvertisement)
	f.Accept(ipv6.ICMPTypeRouterSolicitation)
	err = errors.Join(
		c.v6.SetICMPFilter(&f),
		c.v6.SetControlMessage(ipv6.FlagHopLimit|ipv6.FlagInterface, true),
		c.v6.SetMulticastLoopback(false), // nobody here needs to hear us
	)
	if err != nil {
		raw.Close()
		return nil, err
	}
	go c.read()
	return c, nil
}

func (c *conn) close() {
	c.raw.Close()
	for range c.packets { // until the reader has ended
	}
}

// read hands on what comes until the socket is closed.
func (c *conn) read() {
	defer close(c.packets)
	buf := make([]byte, 1500)
	for {
		n, cm, src, err := c.v6.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		ip, ok := src.(*net.IPAddr)
		if err != nil || !ok || cm == nil {
			continue
		}
		from, _ := netip.AddrFromSlice(ip.IP)
		c.packets <- packet{link: cm.IfIndex, from: from, hopLimit: cm.HopLimit, body: append([]byte(nil), buf[:n]...)}
	}
}

// join makes the device hear what is for all routers; what is for all nodes it
// hears anyway. The kernel ends it with the device.
func (c *conn) join(index int) error {
	err := c.v6.JoinGroup(&net.Interface{Index: index}, &net.IPAddr{IP: allRouters.AsSlice()})
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil // still
	}
	return err
}

func (c *conn) send(body []byte, d device, to netip.Addr) error {
	return c.sendFrom(body, d, to, hopLimit)
}

func (c *conn) sendFrom(body []byte, d device, to netip.Addr, hops int) error {
	cm := &ipv6.ControlMessage{HopLimit: hops, Src: d.local.AsSlice(), IfIndex: d.index}
	_, err := c.v6.WriteTo(body, cm, &net.IPAddr{IP: to.AsSlice()})
	return err
}

// deviceNow looks a device up; it has index 0 if there is none of that name.
func deviceNow(name string) device {
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return device{}
	}
	const running = net.FlagUp | net.FlagRunning
	d := device{index: ifi.Index, up: ifi.Flags&running == running, hardware: ifi.HardwareAddr}
	addrs, _ := ifi.Addrs()
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		ip, _ := netip.AddrFromSlice(n.IP)
		d.own = append(d.own, ip)
		if ip.Is6() && ip.IsLinkLocalUnicast() && !d.local.IsValid() {
			d.local = ip
		}
	}
	return d
}
