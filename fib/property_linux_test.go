package fib

import (
	"net/netip"
	"testing"
	"time"
)

// kernelMachine is a machine with the real kernel. Other programs are netlink
// sockets of their own.
type kernelMachine struct {
	*world
	others map[Mark]*Netlink
	beat   byte
}

func newKernelMachine(t *testing.T) *kernelMachine {
	m := &kernelMachine{world: newWorld(t), others: map[Mark]*Netlink{}}
	m.Device("eth0", "10.0.0.1/24", "fd00::1/64")
	m.Device("eth1", "10.0.1.1/24", "fd01::1/64")
	m.Device("cali1")
	return m
}

func (m *kernelMachine) kernel() Kernel { return m.k }

func (m *kernelMachine) other(mark Mark) *Netlink {
	if m.others[mark] == nil {
		var err error
		m.Do(func() { m.others[mark], err = OpenKernel(mark) })
		if err != nil {
			m.t.Fatal(err)
		}
		k := m.others[mark]
		m.t.Cleanup(k.Close)
	}
	return m.others[mark]
}

func (m *kernelMachine) foreign(mark Mark, op Op) error {
	failed, err := m.other(mark).Write(m.t.Context(), []Op{op})
	if err == nil && len(failed) > 0 {
		return failed[0].Errno
	}
	return err
}

func (m *kernelMachine) listForeign(mark Mark) map[netip.Prefix]string {
	return ownRoutes(m.t, m.other(mark))
}

// pump writes a route that nothing depends on and takes notifications until
// that one comes: then all that were caused before it have come too.
func (m *kernelMachine) pump(f *FIB) {
	m.t.Helper()
	m.beat++
	dst := netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 18, 0, m.beat}), 32)
	mark := Mark{Table: 100, Protocol: 99, Metric: 1}
	for _, verb := range []Verb{Replace, Delete} {
		if err := m.foreign(mark, Op{Verb: verb, Route: Route{Dst: dst, Kind: Blackhole}}); err != nil {
			m.t.Fatal(err)
		}
	}
	for {
		select {
		case ev := <-m.events:
			f.Notify(ev)
			for _, p := range ev.Foreign {
				if p == dst {
					return
				}
			}
			if ev.ForeignMany {
				return
			}
		case <-time.After(30 * time.Second):
			m.t.Fatal("a notification did not come")
		}
	}
}

func (m *kernelMachine) setLink(name string, up bool) {
	if !up {
		m.Run("ip", "link", "set", name, "down")
		return
	}
	m.Run("ip", "link", "set", name, "up")
	m.Run("ip", "addr", "replace", "fd01::1/64", "dev", name, "nodad") // went with the link
}

func (m *kernelMachine) setAddr(name, addr string, there bool) {
	if there {
		m.Addr(name, addr)
	} else {
		m.Run("ip", "addr", "del", addr, "dev", name)
	}
}

func (m *kernelMachine) recreate(name string, addrs ...string) {
	m.Run("ip", "link", "del", name)
	m.Device(name, addrs...)
}

func (m *kernelMachine) hasTable(int) bool { return true }

func (m *kernelMachine) index(name string) int {
	links, err := m.k.Links(m.t.Context())
	if err != nil {
		m.t.Fatal(err)
	}
	for _, l := range links {
		if l.Name == name {
			return l.Index
		}
	}
	m.t.Fatalf("no device %s", name)
	return 0
}

// TestRandomOnKernel runs 10,000 random operations: ours, those of an operator
// who deletes and changes our routes by hand, those of other programs, and of
// links that come and go. The kernel must end up with what a FIB made from
// scratch would want, and with every foreign route.
func TestRandomOnKernel(t *testing.T) {
	s := newStory(t, newKernelMachine(t), 7)
	for range 10_000 {
		s.step()
	}
	s.end()
}
