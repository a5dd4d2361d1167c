package torconfig

import (
	"net/netip"
	"time"

	"caracal.dev/caracal"
)

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// cluster is a Snapshot of two racks with two nodes each, both families, as seen
// by no node in particular. change may alter the peer that every node has.
func cluster(self string, change func(*caracal.Peer)) *caracal.Snapshot {
	s := caracal.NewSnapshot(self)
	s.Synced, s.Generation, s.Digest = true, 7, "3f2a9c0d11e8"
	s.BGP = caracal.BGP{HoldTime: 90 * time.Second, KeepaliveTime: 30 * time.Second, GracefulRestart: true, RestartTime: 2 * time.Minute}
	for i, name := range []string{"a", "b", "c-1.example", "d"} {
		n := caracal.Node{
			Name: name, ASN: 64512, Port: 179,
			IPv4: netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}), 24),
			IPv6: netip.PrefixFrom(netip.AddrFrom16([16]byte{0: 0x20, 1: 1, 2: 0xd, 3: 0xb8, 15: byte(i + 1)}), 64),
		}
		if name == "a" {
			n.Anycast = []netip.Prefix{prefix("198.51.100.53/32"), prefix("2001:db8:53::53/128")}
		}
		if name == "d" {
			n.Port = 1179
		}
		s.Nodes = s.Nodes.Put(name, n)
		for _, cidr := range []netip.Prefix{
			netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 64, byte(i), 0}), 26),
			netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 65, byte(i), 0}), 26),
			netip.PrefixFrom(netip.AddrFrom16([16]byte{0: 0xfd, 3: 0x64, 5: byte(i)}), 122),
		} {
			s.Blocks = s.Blocks.Put(cidr, caracal.Block{CIDR: cidr, Node: name})
		}
	}
	for _, p := range []caracal.Pool{
		{Name: "blocks", CIDR: prefix("10.64.0.0/16"), Advertise: caracal.AdvertiseBlocks},
		{Name: "hosts", CIDR: prefix("10.65.0.0/16"), Advertise: caracal.AdvertiseHosts},
		{Name: "v6", CIDR: prefix("fd00:64::/32"), Advertise: caracal.AdvertiseBlocks},
	} {
		s.Pools = s.Pools.Put(p.Name, p)
	}
	// An address of b's block on node a: borrowed.
	w := caracal.Workload{Namespace: "default", Name: "moved", Node: "a", Addrs: []netip.Addr{netip.MustParseAddr("10.64.1.9")}}
	s.Workloads = s.Workloads.Put(w.Key(), w)
	s.Filters = s.Filters.Put("services", caracal.Filter{Name: "services", Import4: []caracal.Rule{
		{CIDR: prefix("203.0.113.0/24"), Match: caracal.MatchIn, HasLen: true, MinLen: 28, MaxLen: 30, Accept: true},
		{Match: caracal.MatchIn},
	}})
	p := caracal.Peer{
		Name: "tor", Addr: netip.MustParseAddr("192.0.2.254"), Port: 179, ASN: 65001,
		GracefulRestart: true, RestartTime: 2 * time.Minute,
		BFD:         caracal.BFD{Enabled: true, Transmit: 100 * time.Millisecond, Receive: 150 * time.Millisecond, Multiplier: 3},
		TTLSecurity: 1, Password: caracal.Password{From: "local/secrets/tor/md5", Secret: caracal.NewSecret("hunter2")},
		AcceptPools: true, AcceptDefault: true,
	}
	if change != nil {
		change(&p)
	}
	s.Peers = s.Peers.Put(p.Key(), p)
	return s
}

// views are the Snapshots of several nodes.
func views(change func(*caracal.Peer), nodes ...string) []*caracal.Snapshot {
	var out []*caracal.Snapshot
	for _, n := range nodes {
		out = append(out, cluster(n, change))
	}
	return out
}

// cases are the configurations that the golden files hold, and that the real
// programs load.
var cases = map[string]struct {
	nodes  []string
	change func(*caracal.Peer)
}{
	"rack": {nodes: []string{"a", "b", "c-1.example", "d"}},
	"reflector": {nodes: []string{"a", "b"}, change: func(p *caracal.Peer) {
		p.ASN, p.TTLSecurity, p.BFD = 64512, 0, caracal.BFD{}
		p.AddPathReceive, p.AddPathSend, p.LongLived = true, 2, 24*time.Hour
		p.AcceptDefault, p.AcceptPools = false, false // a reflector carries the pools all the same
	}},
	"unnumbered": {nodes: []string{"a", "b"}, change: func(p *caracal.Peer) {
		p.Addr, p.Interface, p.Password = netip.Addr{}, "eth0", caracal.Password{}
	}},
	"multihop": {nodes: []string{"b"}, change: func(p *caracal.Peer) {
		p.Addr, p.TTLSecurity, p.Multihop = netip.MustParseAddr("2001:db8:ffff::1"), 0, true
		p.LocalASN, p.HoldTime, p.KeepaliveTime = 65099, 9*time.Second, 3*time.Second
		p.BFD, p.AcceptPools, p.AcceptDefault = caracal.BFD{}, false, false
		p.Filters = []string{"services"}
	}},
	"closed": {nodes: []string{"a"}, change: func(p *caracal.Peer) {
		p.DefaultGateway, p.Addr, p.AcceptPools, p.AcceptDefault, p.GracefulRestart = true, netip.Addr{}, false, false, false
	}},
	"hops": {nodes: []string{"a"}, change: func(p *caracal.Peer) { p.TTLSecurity = 3 }},
}
