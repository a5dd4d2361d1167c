package cli

import (
	"time"

	pb "caracal.dev/caracal/proto"
)

func sampleStatus() *pb.Status {
	return &pb.Status{
		Node: "a", Version: "v0.1.0", Pid: 4711, Asn: 64512, RouterId: "192.0.2.1", Started: ago(2*time.Hour + 13*time.Minute),
		Generation: 7, Digest: "3f2a9c0d11e8b7a6", Configured: ago(3 * time.Minute), ConfigSource: "/etc/caracal",
		Ready:  &pb.Fact{Holds: false, Reason: "waiting for End-of-RIB from mesh/c"},
		Synced: &pb.Fact{Holds: true}, Converged: &pb.Fact{Reason: "waiting for End-of-RIB from mesh/c, at most 8s more"},
		Complete: &pb.Fact{Reason: "not converged"},
		Problems: []*pb.Problem{
			{Severity: "rejected", Source: "cluster/bgppeers/rack1.yaml", Kind: "BGPPeer", Name: "rack1",
				Message: "cluster/bgppeers/rack1.yaml: BGPPeer rack1: spec.asNumber: must not be 0", Since: ago(2 * time.Minute)},
			{Severity: "warning", Source: "cluster/pools.yaml", Message: "the pool p1 is not used", Since: ago(3 * time.Second)},
		},
		Counts: &pb.Counts{Neighbors: 4, Established: 2, Nodes: 4, Pools: 1, Blocks: 4, Peers: 1, Workloads: 9, LocalWorkloads: 3,
			Prefixes: 300, Paths: 320, Refused: 2, Originated: 1, FibWanted: 300, FibInstalled: 298, FibFailed: 2, FibStale: 5,
			DriftRepaired: 1, LastAudit: ago(23 * time.Second)},
		PodMtu: 1480, Policy: samplePolicyStatus(),
	}
}

func sampleNeighbors() *pb.NeighborList {
	return &pb.NeighborList{Neighbors: []*pb.Neighbor{
		{Name: "mesh/b", Node: "b", Address: "192.0.2.2", Port: 179, Asn: 64512, LocalAddress: "192.0.2.1", Families: []string{"ipv4", "ipv6"},
			State: "Established", Since: ago(133 * time.Second), RouterId: "192.0.2.2", RemoteAsn: 64512,
			LocalEndpoint: "192.0.2.1:41234", RemoteEndpoint: "192.0.2.2:179",
			Capabilities: []string{"multiprotocol ipv4", "multiprotocol ipv6", "route refresh", "graceful restart", "4-octet AS", "enhanced route refresh", "extended message"},
			HoldSeconds:  90, KeepaliveSeconds: 30, ConfiguredHoldSeconds: 90, GracefulRestart: true, RestartSeconds: 120,
			EndOfRib: []string{"ipv4", "ipv6"}, Flaps: 1,
			Sent: &pb.Messages{Open: 1, Update: 3, Keepalive: 8}, Received: &pb.Messages{Open: 1, Update: 102, Keepalive: 8, Refresh: 1},
			LastError: "the node was restarted", LastErrorAt: ago(3 * 24 * time.Hour),
			Prefixes: &pb.PrefixCounts{Received: 100, Accepted: 98, Refused: 2, Installed: 97, Advertised: 1}, MaxPrefixes: 1000},
		{Name: "mesh/c", Node: "c", Address: "2001:db8::3", Port: 1790, Asn: 64512, LocalAddress: "2001:db8::1", Passive: true, Families: []string{"ipv6"},
			State: "Established", Since: ago(2 * time.Second), RemoteAsn: 64512, HoldSeconds: 90, KeepaliveSeconds: 30,
			GracefulRestart: true, Prefixes: &pb.PrefixCounts{}},
		{Name: "mesh/d", Node: "d", Address: "192.0.2.4", Port: 179, Asn: 64512, LocalAddress: "192.0.2.1", Families: []string{"ipv4"},
			State: "Active", Since: ago(40 * time.Second), ConfiguredHoldSeconds: 90, GracefulRestart: true, RestartSeconds: 120, Restarting: true,
			LastError: "hold timer expired", LastErrorAt: ago(40 * time.Second), Prefixes: &pb.PrefixCounts{Received: 10, Accepted: 10, Installed: 10}},
		{Name: "peer/tor@192.0.2.250", Address: "192.0.2.250", Port: 179, Asn: 65001, State: "Connect", Since: ago(25 * time.Hour),
			Multihop: true, LastError: "connection refused", LastErrorAt: ago(4 * time.Second), ConfiguredHoldSeconds: 9},
	}}
}

// sampleGateways are neighbors with everything that a ToR or reflector can have.
func sampleGateways() *pb.NeighborList {
	return &pb.NeighborList{Neighbors: []*pb.Neighbor{
		{Name: "peer/tor@192.0.2.250", Address: "192.0.2.250", Port: 179, Asn: 65001, LocalAsn: 65099, AllowLocalAs: 1, Role: "external", Peer: "tor",
			State: "Established", Since: ago(133 * time.Second), RouterId: "192.0.2.250", RemoteAsn: 65001, Families: []string{"ipv4", "ipv6"},
			EndOfRib: []string{"ipv4", "ipv6"}, LocalEndpoint: "192.0.2.1:41234", RemoteEndpoint: "192.0.2.250:179",
			HoldSeconds: 9, KeepaliveSeconds: 3, ConfiguredHoldSeconds: 90, ConfiguredKeepaliveSeconds: 30,
			GracefulRestart: true, RestartSeconds: 120, OwnRestartSeconds: 90, LongLivedSeconds: 86400,
			Capabilities:      []string{"multiprotocol ipv4", "multiprotocol ipv6", "route refresh", "graceful restart"},
			LocalCapabilities: []string{"multiprotocol ipv4", "multiprotocol ipv6", "route refresh", "graceful restart", "4-octet AS"},
			Md5:               true, Secret: "local/secrets/tor/md5", TtlSecurity: 1, Bfd: sampleBFD().Sessions[0],
			Filters: []string{"services", "no-default"}, NextHop: "Self", ExtendedNextHop: true, AddPathReceive: true, AddPathSend: 2,
			Prefixes:    &pb.PrefixCounts{Received: 7600, Accepted: 7590, Refused: 10, Installed: 7590, Advertised: 3},
			Refusals:    []*pb.Refusal{{Reason: "external", Paths: 8}, {Reason: "default-route", Paths: 1}, {Reason: "new-reason", Paths: 1}},
			MaxPrefixes: 10000, WarnPrefixes: 7500, Warned: true, CountedPrefixes: 7600, MaxPrefixesRetrySeconds: 300,
			LastNotification: &pb.Notification{Code: 6, Subcode: 2, Name: "Cease: administrative shutdown", Text: "switch upgrade at 03:00", At: ago(time.Hour)},
			LastError:        "Cease: administrative shutdown", LastErrorAt: ago(time.Hour), Flaps: 1},
		{Name: "peer/rr@192.0.2.9", Address: "192.0.2.9", Asn: 64512, Role: "reflector", Peer: "rr", State: "Active", Since: ago(40 * time.Second),
			GracefulRestart: true, RestartSeconds: 120, LongLivedStale: true, Restarting: true, StaleUntil: ago(-3 * time.Hour), LastError: "hold timer expired", LastErrorAt: ago(40 * time.Second)},
		{Name: "peer/leak@192.0.2.8", Address: "192.0.2.8", Asn: 65002, Role: "external", Peer: "leak", State: "Disabled", Since: ago(time.Minute),
			Held: true, HeldUntil: ago(-4 * time.Minute), MaxPrefixes: 100,
			LastNotification: &pb.Notification{Sent: true, Code: 6, Subcode: 1, Name: "Cease: maximum number of prefixes reached", At: ago(time.Minute)}},
		{Name: "peer/secret@192.0.2.7", Address: "192.0.2.7", Asn: 65003, Role: "external", Peer: "secret", State: "Idle", Since: ago(time.Minute),
			Md5: true, Secret: "local/secrets/tor/md5", Unusable: true, LastError: "local/secrets/tor/md5 cannot be read: permission denied", LastErrorAt: ago(time.Minute)},
		{Name: "client/x", Role: "client", State: "Established", Since: ago(time.Minute), NextHop: "Keep", Deferring: true, GracefulRestart: true,
			Bfd: &pb.BFDSession{State: "Down", RemoteState: "AdminDown"}},
	}}
}

func sampleBFD() *pb.BFDList {
	return &pb.BFDList{Sessions: []*pb.BFDSession{
		{Neighbor: "peer/tor@192.0.2.250", Address: "192.0.2.250", LocalAddress: "192.0.2.1", State: "Up", RemoteState: "Up", Since: ago(132 * time.Second),
			ConfiguredTransmitMs: 100, ConfiguredReceiveMs: 150, ConfiguredMultiplier: 3, TransmitMs: 100, DetectionMs: 450,
			RemoteTransmitMs: 100, RemoteReceiveMs: 100, RemoteMultiplier: 3, Sent: 1320, Received: 1318, LocalDiscriminator: 7, RemoteDiscriminator: 9},
		{Neighbor: "peer/tor2@fe80::2%eth1", Address: "fe80::2", Interface: "eth1", State: "Down", RemoteState: "AdminDown", RemoteDiagnostic: "administratively down",
			Since: ago(time.Minute), TransmitMs: 1000, Diagnostic: "neighbor signaled session down", Flaps: 2},
		{Neighbor: "peer/rr@203.0.113.9", Address: "203.0.113.9", Multihop: true, State: "Down"},
	}}
}

func sampleFilters() *pb.FilterList {
	lowest, highest := uint32(24), uint32(28)
	return &pb.FilterList{Filters: []*pb.Filter{
		{Name: "gone", Neighbors: []string{"peer/leak@192.0.2.8"}, Missing: true},
		{Name: "none"},
		{Name: "services", Neighbors: []string{"peer/tor@192.0.2.250", "peer/tor2@192.0.2.251"}, Rules: []*pb.FilterRule{
			{Direction: "import", Family: "ipv4", Action: "accept", Cidr: "203.0.113.0/24", Match: "In", MinLength: &lowest, MaxLength: &highest,
				Communities: []string{"65001:7", "65001:1:2"}, AsPathPrefix: []uint32{65001, 65002}, Source: "RemotePeers", PeerType: "eBGP",
				Operations: []string{"set local preference 50", "add community 64512:1"}},
			{Direction: "import", Family: "ipv4", Action: "reject"},
			{Direction: "export", Family: "ipv6", Action: "reject", Cidr: "2001:db8::/32", Match: "NotEqual"},
		}},
	}}
}

func sampleDrain() *pb.DrainState {
	return &pb.DrainState{Stage: "away", Since: ago(2 * time.Minute), Workloads: 14,
		Message: "services and transit are withdrawn; 14 workloads still here, their routes kept; --force withdraws them"}
}

func sampleRoutes() *pb.RouteList {
	med := uint32(10)
	return &pb.RouteList{Paths: []*pb.Path{
		{Prefix: "2001:db8:64::/122", Neighbor: "mesh/b", Source: "bgp", Received: ago(133 * time.Second), Best: true, Installed: true, Stale: true,
			Hops: []*pb.Hop{{Gateway: "2001:db8::2", Link: "eth0"}}, Kernel: "ok", KernelAt: ago(132 * time.Second),
			Attributes: &pb.Attributes{NextHop: "2001:db8::2", Origin: "i", LocalPref: 100}},
		{Prefix: "10.64.1.0/26", Neighbor: "mesh/b", Source: "bgp", Received: ago(133 * time.Second), Best: true, Installed: true,
			Hops: []*pb.Hop{{Gateway: "192.0.2.2", Link: "eth0"}}, Kernel: "ok", KernelAt: ago(132 * time.Second),
			Attributes: &pb.Attributes{NextHop: "192.0.2.2", Origin: "i", AsPath: "65001 64999", LocalPref: 100, Med: &med,
				Communities: []string{"64512:1", "64512:2"}, LargeCommunities: []string{"64512:1:2"},
				OriginatorId: "192.0.2.9", ClusterList: []string{"192.0.2.10"}}},
		{Prefix: "10.64.1.0/26", Neighbor: "peer/tor@192.0.2.250", Source: "bgp", Received: ago(3 * time.Second), Multipath: true, Installed: true,
			Hops: []*pb.Hop{{Gateway: "192.0.2.250", Link: "eth1", OnLink: true}}, Attributes: &pb.Attributes{NextHop: "198.51.100.7", Origin: "?", LocalPref: 100}},
		{Prefix: "10.64.1.0/26", Neighbor: "mesh/c", Source: "bgp", Received: ago(10 * time.Second), Refused: true,
			Why:        "10.64.1.0/26 belongs to node b, and the next hop 192.0.2.3 is node c's",
			Attributes: &pb.Attributes{NextHop: "192.0.2.3", Origin: "i", LocalPref: 100}},
		{Prefix: "10.64.1.0/26", Neighbor: "mesh/d", Source: "bgp", Received: ago(10 * time.Second),
			Why: "lost to mesh/b: local-pref 50 < 100", Attributes: &pb.Attributes{NextHop: "192.0.2.4", Origin: "i", LocalPref: 50}},
		{Prefix: "10.64.0.0/26", Source: "block", Received: ago(2 * time.Hour), Best: true, Installed: true, Kernel: "ok"},
		{Prefix: "10.64.0.3/32", Source: "workload", Received: ago(time.Hour), Best: true, Installed: true, Hops: []*pb.Hop{{Link: "cali0a1b2c3"}}},
		{Prefix: "10.64.2.0/26", Neighbor: "mesh/c", Source: "bgp", Received: ago(70 * time.Second), Best: true,
			Why: "next hop 192.0.2.3 is not reachable: no route to it", Kernel: "network is unreachable", KernelAt: ago(time.Second),
			Attributes: &pb.Attributes{NextHop: "192.0.2.3", Origin: "i", LocalPref: 100}},
	}}
}

func sampleFIB() *pb.FIBList {
	mark := func(e *pb.FIBEntry) *pb.FIBEntry { e.Table, e.Protocol, e.Metric = 254, 77, 512; return e }
	return &pb.FIBList{Entries: []*pb.FIBEntry{
		mark(&pb.FIBEntry{Prefix: "10.64.1.0/26", Type: "unicast", Source: "bgp", Neighbors: []string{"mesh/b", "mesh/c"}, State: "installed", Since: ago(132 * time.Second),
			Hops: []*pb.Hop{{Gateway: "192.0.2.2", Link: "eth0"}, {Gateway: "192.0.2.3", Link: "eth0", OnLink: true}}}),
		mark(&pb.FIBEntry{Prefix: "10.64.0.0/26", Type: "blackhole", Source: "block", State: "installed", Since: ago(2 * time.Hour)}),
		mark(&pb.FIBEntry{Prefix: "10.64.0.3/32", Type: "unicast", Source: "workload", State: "failed", Reason: "no such device: cali0a1b2c3", Since: ago(5 * time.Second), Hops: []*pb.Hop{{Link: "cali0a1b2c3"}}}),
		mark(&pb.FIBEntry{Prefix: "10.64.9.0/26", Type: "unicast", Source: "bgp", State: "stale", Hops: []*pb.Hop{{Gateway: "192.0.2.9", Link: "eth0"}}}),
		mark(&pb.FIBEntry{Prefix: "10.64.8.0/26", Type: "other", Source: "bgp", Neighbors: []string{"mesh/b"}, State: "failed", Reason: "next hop 192.0.2.2 is not reachable"}),
	}}
}

func sampleNodes() *pb.NodeList {
	return &pb.NodeList{Nodes: []*pb.Node{
		{Name: "a", Self: true, Ipv4: "192.0.2.1/24", Ipv6: "2001:db8::1/64", Asn: 64512, RouterId: "192.0.2.1", Blocks: []string{"10.64.0.0/26"}},
		{Name: "b", Ipv4: "192.0.2.2/24", Asn: 64512, RouterId: "192.0.2.2", Neighbor: "mesh/b", State: "Established",
			Blocks: []string{"10.64.1.0/26", "10.64.2.0/26", "10.64.3.0/26", "10.64.4.0/26", "10.64.5.0/26"}},
	}}
}

func sampleWorkloads() *pb.WorkloadList {
	return &pb.WorkloadList{Workloads: []*pb.Workload{
		{Namespace: "default", Name: "web", Node: "a", Interface: "cali0a1b2c3", Addresses: []string{"10.64.0.3", "2001:db8:64::3"}, Source: "local/web.yaml", Local: true, Installed: true},
		{Namespace: "default", Name: "db", Node: "a", Interface: "cali9", Addresses: []string{"10.64.0.4"}, Source: "cni", Labels: map[string]string{"app": "db", "tier": "back"}, Local: true, Why: "the interface cali9 does not exist"},
		{Namespace: "lab", Name: "box", Node: "a", Interface: "car0a1b2c3d4e5", Addresses: []string{"10.64.0.5"}, Source: "attach", Local: true, Installed: true},
		{Namespace: "prod", Name: "vm1", Node: "b", Addresses: []string{"10.64.1.9"}, Source: "cluster/vm1.yaml"},
	}}
}

func sampleInterfaces() *pb.InterfaceList {
	return &pb.InterfaceList{Interfaces: []*pb.Interface{
		{Name: "lo", Index: 1, Up: true, Carrier: true, Mtu: 65536, Type: "loopback", Addresses: []string{"127.0.0.1/8", "::1/128"}},
		{Name: "eth0", Index: 2, Up: true, Carrier: true, Mtu: 1500, Type: "device", Addresses: []string{"192.0.2.1/24"}, Use: "sessions of mesh/b, mesh/c", Problem: "rp_filter is strict"},
		{Name: "eth1", Index: 3, Up: true, Mtu: 1500, Type: "device"},
		{Name: "cali9", Index: 4, Type: "veth", Mtu: 1450, Use: "workload default/db", Addresses: []string{"fe80::1/64", "fe80::2/64", "fe80::3/64", "fe80::4/64", "fe80::5/64", "fe80::6/64"},
			Problem: "rp_filter is strict (1), so packets that come another way than their answers go are dropped; set net.ipv4.conf.cali9.rp_filter to 2 or 0"},
	}}
}
