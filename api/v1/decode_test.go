package v1

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"caracal.dev/caracal"
)

// doc builds a document; spec lines are indented by the caller.
func doc(kind, name, spec string) string {
	return "apiVersion: caracal.dev/v1\nkind: " + kind + "\nmetadata:\n  name: " + name + "\nspec:\n" + spec
}

func TestDecodeErrors(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"kind: [", "line 1: did not find expected node content"},
		{"a: b: c", "mapping values are not allowed in this context"},
		{"just text", `document: must have apiVersion, kind, metadata and spec, but is the string "just text"`},
		{"- a", "document: must have apiVersion, kind, metadata and spec, but is a list"},
		{"kind: IPPool\nkind: IPPool", `document: line 2: key "kind" already set in map`},
		{"kind: IPPool", "apiVersion: is missing; it must be caracal.dev/v1"},
		{"apiVersion: projectcalico.org/v3\nkind: IPPool", "apiVersion: must be caracal.dev/v1, not projectcalico.org/v3"},
		{"apiVersion: caracal.dev/v1", "kind: is missing; it must be one of BGPConfiguration, BGPFilter, BGPPeer, DataplaneConfiguration, IPAMConfiguration, IPPool, IPReservation, Namespace, NetworkPolicy, NodeConfig, Workload"},
		{"apiVersion: caracal.dev/v1\nkind: NetworkPolicy", "apiVersion: must be networking.k8s.io/v1, not caracal.dev/v1"},
		{"apiVersion: v1\nkind: NetworkPolicy", "apiVersion: must be networking.k8s.io/v1, not v1"},
		{"apiVersion: caracal.dev/v1\nkind: Service", "kind: Service is not known; it must be one of BGPConfiguration, BGPFilter, BGPPeer, DataplaneConfiguration, IPAMConfiguration, IPPool, IPReservation, Namespace, NetworkPolicy, NodeConfig, Workload"},
		{"apiVersion: caracal.dev/v1\nkind: 7", "kind: 7 is not known; it must be one of BGPConfiguration, BGPFilter, BGPPeer, DataplaneConfiguration, IPAMConfiguration, IPPool, IPReservation, Namespace, NetworkPolicy, NodeConfig, Workload"},
		{doc("IPPool", "p", "  cidr: 10.0.0.0/16\n  blocksize: 26\n"), "spec.blocksize: unknown field (did you mean blockSize?)"},
		{doc("BGPPeer", "p", "  peerIp: 10.0.0.1\n  asNumbr: 1\n  password: hunter2\n"), "spec.asNumbr: unknown field (did you mean asNumber?); spec.password: must be {secretKeyRef: {name: …, key: …}}; the password itself never stands in a resource, but in a Secret, or the file local/secrets/NAME/KEY; spec.peerIp: unknown field (did you mean peerIP?)"},
		{doc("BGPPeer", "p", "  peerIP: 192.0.2.1\n  asNumber: \"1\"\n"), `spec.asNumber: must be a whole number without quotes, not the string "1"`},
		{doc("BGPPeer", "p", "  peerIP: 192.0.2.1\n  asNumber: 5000000000\n"), "spec.asNumber: must be a whole number from 0 to 4294967295, not 5000000000"},
		{doc("BGPPeer", "p", "  peerIP: 192.0.2.1\n  asNumber: 0\n"), "spec.asNumber: must not be 0"},
		{doc("BGPPeer", "p", "  peerIP: 192.0.2.1\n"), "spec.asNumber: is missing; it must be the AS number of the neighbor, internal or external"},
		{doc("BGPPeer", "p", "  peerIP: 192.0.2.1\n  asNumber: 23456\n"), "spec.asNumber: must not be 23456, which stands for AS numbers of more than 16 bits"},
		{doc("BGPPeer", "p", "  peerIP: 192.0.2.1:0\n  asNumber: 1\n"), `spec.peerIP: "192.0.2.1:0" is not an address with an optional port, such as 192.0.2.1, 192.0.2.1:1179 or [2001:db8::1]:1179, nor the word defaultGateway`},
		{doc("BGPPeer", "p", "  peerIP: 224.0.0.1\n  asNumber: 1\n"), "spec.peerIP: 224.0.0.1 is a multicast address"},
		{doc("BGPPeer", "p", "  peerIP: ::ffff:192.0.2.1\n  asNumber: 1\n"), "spec.peerIP: ::ffff:192.0.2.1 is an IPv4 address in IPv6; write 192.0.2.1"},
		{doc("BGPPeer", "p", "  peerIP: 192.0.2.1\n  asNumber: 1\n  node: a\n  nodeSelector: all()\n"), "spec.nodeSelector: must not be set together with spec.node"},
		{doc("BGPPeer", "p", "  peerIP: 192.0.2.1\n  asNumber: 1\n  nodeSelector: rack = 'a'\n"), "spec.nodeSelector: column 6: unexpected character '='; write =="},
		{doc("BGPPeer", "p", "  peerIP: 192.0.2.1\n  asNumber: 1\n  sourceAddress: 2001:db8::1\n"), "spec.sourceAddress: 2001:db8::1 and the peerIP 192.0.2.1 are not of the same family"},
		{doc("BGPPeer", "p", "  peerIP: 192.0.2.1\n  asNumber: 1\n  holdTime: 2s\n"), "spec.holdTime: 2s must be from 3s to 65535s"},
		{doc("BGPPeer", "p", "  peerIP: 192.0.2.1\n  asNumber: 1\n  holdTime: 90\n"), "spec.holdTime: must be a string (in quotes), not the number 90; write 90s"},
		{doc("BGPPeer", "p", "  peerIP: 192.0.2.1\n  asNumber: 1\n  holdTime: soon\n"), `spec.holdTime: "soon" is not a duration, such as "90s" or "2m"`},
		{doc("BGPPeer", "p", "  peerIP: 192.0.2.1\n  asNumber: 1\n  holdTime: 9s\n  keepaliveTime: 4s\n"), "spec.keepaliveTime: 4s must be at most a third of the hold time, 3s"},
		{doc("BGPPeer", "p", "  peerIP: 192.0.2.1\n  asNumber: 1\n  passive: \"yes\"\n"), `spec.passive: must be true or false, not the string "yes"`},
		{doc("IPPool", "p", "  cdir: 10.0.0.0/16\n"), "spec.cdir: unknown field (did you mean cidr?)"},
		{doc("IPPool", "p", "\tcidr: 10.0.0.0/16\n"), "line 6: found a character that cannot start a value (a tab? YAML wants spaces)"},
		{doc("IPPool", "p", "  cidr: 10.0.0.0/16\n\tblockSize: 26\n"), "line 7: found a tab (YAML wants spaces)"},
		{doc("BGPPeer", "P_1", "  peerIP: 192.0.2.1\n  asNumber: 1\n"), `metadata.name: "P_1" must be lower-case letters, digits, - and ., beginning and ending with a letter or digit, at most 253 of them`},
		{"apiVersion: caracal.dev/v1\nkind: IPPool\nspec:\n  cidr: 10.0.0.0/16\n", "metadata.name: is missing"},
		{"apiVersion: caracal.dev/v1\nkind: IPPool\nmetadata:\n  name: p\n  namespace: x\nspec:\n  cidr: 10.0.0.0/16\n", "metadata.namespace: IPPool is in no namespace; remove it"},
		{"apiVersion: caracal.dev/v1\nkind: NodeConfig\nmetadata:\n  name: a\n  labels:\n    rack: 1\nspec:\n  addresses: [192.0.2.1/24]\n", "metadata.labels.rack: must be a string (in quotes), not the number 1"},
		{doc("IPPool", "y", "  cidr: 10.0.0.0/16\n"), "metadata.name: must be a string; put it in quotes, for y, n, yes, no, on, off, true and false mean true or false without"},
		{doc("IPPool", "p", "  cidr: 10.0.0.0\n"), "spec.cidr: 10.0.0.0 has no prefix length; write 10.0.0.0/24 or whatever fits its network"},
		{doc("IPPool", "p", "  cidr: 10.0.0.1/16\n"), "spec.cidr: 10.0.0.1/16 has bits set beyond its length; did you mean 10.0.0.0/16?"},
		{doc("IPPool", "p", "  cidr: 0.0.0.0/0\n"), "spec.cidr: 0.0.0.0/0 is the default route; pods need a range of their own"},
		{doc("IPPool", "p", "  cidr: 10.0.0.0/24\n  blockSize: 20\n"), "spec.blockSize: a /20 block does not fit into 10.0.0.0/24; it must be from 24 to 32"},
		{doc("IPPool", "p", "  cidr: 10.0.0.0/24\n  blockSize: 33\n"), "spec.blockSize: 33 must be a prefix length from 24 to 32"},
		{doc("IPPool", "p", "  cidr: fd00::/48\n  ipipMode: Always\n"), "spec.ipipMode: must be Never for an IPv6 pool; IPIP carries IPv4 only"},
		{doc("IPPool", "p", "  cidr: 10.0.0.0/24\n  advertise: all\n"), `spec.advertise: "all" must be blocks or hosts`},
		{doc("NodeConfig", "a", "  blocks: [10.0.0.0/26]\n"), "spec.addresses: is missing; it needs the node's IPv4 or IPv6 address with the prefix length of its network, such as 192.0.2.1/24"},
		{doc("NodeConfig", "a", "  addresses: [192.0.2.1/24, 192.0.2.2/24]\n"), "spec.addresses[1]: 192.0.2.2/24 is a second IPv4 address beside 192.0.2.1/24; a node has one of each family"},
		{doc("NodeConfig", "a", "  addresses: [127.0.0.1/8]\n"), "spec.addresses[0]: 127.0.0.1 is a loopback address; other hosts cannot reach it"},
		{doc("NodeConfig", "a", "  addresses: [192.0.2.1/24, null]\n"), "spec.addresses[1]: must not be empty"},
		{doc("NodeConfig", "a", "  addresses: 192.0.2.1/24\n"), `spec.addresses: must be a list, not the string "192.0.2.1/24"`},
		{doc("NodeConfig", "a", "  addresses: [192.0.2.1/24]\n  blocks: [10.0.0.0/24]\n  podCIDRs: [10.0.0.0/26]\n"), "spec.blocks[0]: 10.0.0.0/24 overlaps 10.0.0.0/26 of the same node"},
		{doc("NodeConfig", "a", "  addresses: [192.0.2.1/24]\n  routeReflectorClusterID: 0.0.0.0\n"), "spec.routeReflectorClusterID: must not be 0.0.0.0 (RFC 6286)"},
		{doc("NodeConfig", "a", "  addresses: [192.0.2.1/24]\n  tunnelAddress: 10.0.0.1/32\n"), "spec.tunnelAddress: 10.0.0.1/32 must be an address without a prefix length"},
		{doc("BGPConfiguration", "default", "  routerID: 0.0.0.0\n"), "spec.routerID: must not be 0.0.0.0 (RFC 6286)"},
		{doc("BGPConfiguration", "default", "  routerID: 224.0.0.5\n"), "spec.routerID: 224.0.0.5 is no host's address; take one that is unique in the cluster, such as an address of the node"},
		{doc("BGPConfiguration", "default", "  routerID: 2001:db8::1\n"), "spec.routerID: 2001:db8::1 is an IPv6 address; it has 32 bits and is written as an IPv4 address, such as 192.0.2.1"},
		{doc("BGPConfiguration", "default", "  routerID: loopback\n"), `spec.routerID: "loopback" must be address, hash, or an identifier written as an IPv4 address`},
		{doc("BGPConfiguration", "default", "  nodeSelector: all()\n"), `spec.nodeSelector: the BGPConfiguration "default" is for all nodes; give one with a nodeSelector another name`},
		{doc("BGPConfiguration", "rack1", "  asNumber: 64513\n"), `spec.nodeSelector: is missing; only the BGPConfiguration named "default" is for all nodes`},
		{doc("BGPConfiguration", "default", "  listenPort: 70000\n"), "spec.listenPort: 70000 must be from 1 to 65535"},
		{doc("BGPConfiguration", "default", "  gracefulRestart: {restartTime: 2h}\n"), "spec.gracefulRestart.restartTime: 2h0m0s must be from 1s to 4095s"},
		{doc("Workload", "vm", "  node: a\n  interfaceName: eth0\n  ipNetworks: [10.0.0.0/24]\n"), "spec.ipNetworks[0]: 10.0.0.0/24 is more than one address; write the address alone, or with /32 or /128"},
		{doc("Workload", "vm", "  interfaceName: averyveryverylongname\n  ipNetworks: [10.0.0.1]\n"), `spec.node: is missing; spec.interfaceName: "averyveryverylongname" is not a name of an interface: at most 15 bytes, no blanks, no / and no :`},
		{doc("Workload", "vm", "  node: a\n  interfaceName: vm+\n  ipNetworks: [10.0.0.1]\n"), `spec.interfaceName: "vm+" cannot be named in a rule of iptables, so policies could not protect the workload: use letters, digits and - _ . @, beginning with a letter or digit`},
		{doc("Workload", "vm", "  node: a\n  interfaceName: c0\n  ipNetworks: [10.0.0.1, 10.0.0.1/32]\n"), "spec.ipNetworks[1]: 10.0.0.1 is listed twice"},
		{doc("Workload", "vm", "  node: a\n  interfaceName: c0\n  ipNetworks: [10.0.0.1]\n  ports: [{name: web, port: 0, protocol: tcp}]\n"), `spec.ports[0].port: 0 must be from 1 to 65535; spec.ports[0].protocol: "tcp" must be TCP, UDP or SCTP`},
		{doc("IPAMConfiguration", "mine", "  mode: block\n  maxBlocksPerHost: -1\n  cooldown: 25h\n"), `metadata.name: "mine" must be "default"; there is one IPAMConfiguration; spec.mode: "block" must be blocks or podCIDR; spec.maxBlocksPerHost: -1 must be 0, which is no bound, or more; spec.cooldown: 25h0m0s must be from 0s to 86400s`},
		{doc("IPAMConfiguration", "default", "  cooldown: 30\n"), "spec.cooldown: must be a string (in quotes), not the number 30; write 30s"},
		{doc("IPAMConfiguration", "default", "  cooldown: 1500ms\n"), "spec.cooldown: 1.5s must be whole seconds"},
		{doc("IPAMConfiguration", "default", "  autoAllocateBlocks: false\n"), "spec.autoAllocateBlocks: unknown field (write mode: podCIDR for nodes that claim no blocks)"},
		{doc("IPAMConfiguration", "default\n  namespace: x", "  mode: blocks\n"), "metadata.namespace: IPAMConfiguration is in no namespace; remove it"},
		{doc("IPReservation", "r", "  reservedCIDRs: []\n"), "spec.reservedCIDRs: is missing; it lists ranges or addresses, such as 10.244.0.0/29 or 10.244.0.1"},
		{doc("IPReservation", "r", "  reservedCIDRs: [0.0.0.0/0, 10.0.0.1/29, 10.0.0.1, 10.0.0.1/32, x, 224.0.0.0/24]\n"), `spec.reservedCIDRs[0]: 0.0.0.0/0 is every address there is; to give none at all, set disabled: true in the IPPools; spec.reservedCIDRs[1]: 10.0.0.1/29 has bits set beyond its length; did you mean 10.0.0.0/29?; spec.reservedCIDRs[3]: 10.0.0.1/32 is listed twice; spec.reservedCIDRs[4]: 224.0.0.0 is a multicast address; spec.reservedCIDRs[5]: "x" is not an address with a prefix length, such as 10.0.0.0/24 or 2001:db8::/64`},
		{doc("IPReservation", "r", "  reservedCIDR: [10.0.0.1]\n"), "spec.reservedCIDR: unknown field (did you mean reservedCIDRs?)"},
		{doc("DataplaneConfiguration", "mine", "  table: 100\n"), `metadata.name: "mine" must be "default"; there is one DataplaneConfiguration`},
		{doc("DataplaneConfiguration", "default", "  table: 255\n  protocol: 12\n  metric: 0\n  auditInterval: 10ms\n  tunnelMTU: 100\n"), `spec.table: 255 is the kernel's own table of local addresses; spec.protocol: 12 is used by BIRD, whose routes would be taken for ours; spec.metric: 0 must be from 1 to 4294967295; spec.auditInterval: 10ms must be whole seconds; spec.tunnelMTU: 100 must be from 576 to 65515`},
	} {
		o, _, err := Decode([]byte(c.in))
		if err == nil || err.Error() != c.want || o != nil {
			t.Errorf("Decode of\n%s\ngives %v\nwant    %s", c.in, err, c.want)
		}
	}
}

func TestDecodeIdent(t *testing.T) {
	for in, want := range map[string]Ident{
		doc("IPPool", "p", "  cidr: x\n"):                            {"IPPool", "", "p"},
		"kind: IPPool\nmetadata: {name: a}\nmetadata: {name: b}\n":   {"IPPool", "", "b"},
		"kind: Workload\nmetadata: {name: a, namespace: ns}\nx: 1\n": {"Workload", "ns", "a"},
	} {
		if _, id, err := Decode([]byte(in)); id != want || err == nil || IsSyntax(err) {
			t.Errorf("Decode(%q): identity %+v, error %v", in, id, err)
		}
	}
	for _, in := range []string{"", "# nothing\n", "---\n", "null"} {
		if o, _, err := Decode([]byte(in)); o != nil || err != nil {
			t.Errorf("Decode(%q): %v, %v; want nothing", in, o, err)
		}
	}
}

// The same meaning in other words has the same canonical text.
func TestEncodeCanonical(t *testing.T) {
	for _, c := range [][2]string{
		{doc("BGPConfiguration", "default", "  holdTime: 90s\n"), doc("BGPConfiguration", "default", "  asNumber: 64512\n  gracefulRestart: {enabled: true}\n  holdTime: 1m30s\n")},
		{doc("NodeConfig", "a", "  addresses: [2001:DB8:0::1/64, 192.0.2.1/24]\n"), doc("NodeConfig", "a", "  addresses:\n  - 192.0.2.1/24\n  - 2001:db8::1/64\n  blocks: []\n")},
		{doc("Workload", "a", "  node: web\n  interfaceName: c0\n  ipNetworks: [10.0.0.1/32]\n"), doc("Workload", "a\n  namespace: default", "  node: web\n  interfaceName: c0\n  ipNetworks: [10.0.0.1]\n")},
		{doc("BGPPeer", "a", "  peerIP: 192.0.2.1:179\n  asNumber: 1\n  nodeSelector: a==\"b\"\n"), doc("BGPPeer", "a\n  annotations: {x: why}", "  peerIP: 192.0.2.1\n  asNumber: 1\n  nodeSelector: (a == 'b')\n  sourceAddress: UseNodeIP\n")},
		{doc("IPAMConfiguration", "default", "  cooldown: 30s\n"), doc("IPAMConfiguration", "default", "  strictAffinity: false\n  maxBlocksPerHost: 0\n")},
		{doc("IPReservation", "r", "  reservedCIDRs: [10.0.0.9, 10.0.0.0/29, FD00::1]\n"), doc("IPReservation", "r", "  reservedCIDRs: [10.0.0.0/29, 10.0.0.9/32, fd00::1/128]\n")},
		{doc("IPPool", "a", "  cidr: 10.0.0.0/8\n"), doc("IPPool", "a", "  cidr: 10.0.0.0/8\n  blockSize: 26\n  ipipMode: Never\n  disabled: false\n")},
	} {
		var text [2][]byte
		for i := range c {
			o, _, err := Decode([]byte(c[i]))
			if err != nil {
				t.Fatalf("%v\n%s", err, c[i])
			}
			if text[i], err = Encode(o); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(text[0], text[1]) {
			t.Errorf("not the same:\n%s\n%s", text[0], text[1])
		}
	}
}

func TestResolve(t *testing.T) {
	config := func(name, spec string) *BGPConfiguration {
		o, _, err := Decode([]byte(doc("BGPConfiguration", name, spec)))
		if err != nil {
			t.Fatal(err)
		}
		return o.(*BGPConfiguration)
	}
	n := ResolveBGP(nil)
	if n.ASN != 64512 || n.Port != 179 || n.BGP.HoldTime != 90*time.Second || n.BGP.KeepaliveTime != 30*time.Second ||
		!n.BGP.GracefulRestart || n.BGP.RestartTime != 120*time.Second || !n.BGP.MeshEnabled || n.RouterID != "address" {
		t.Errorf("built-in settings: %+v", n)
	}
	base := config("default", "  asNumber: 65000\n  keepaliveTime: 30s\n  gracefulRestart: {restartTime: 60s}\n")
	rack := config("rack", "  nodeSelector: rack == 'a'\n  holdTime: 9s\n  nodeToNodeMeshEnabled: false\n  gracefulRestart: {enabled: false}\n")
	n = ResolveBGP([]*BGPConfiguration{rack, base})
	if n.ASN != 65000 || n.BGP.HoldTime != 9*time.Second || n.BGP.KeepaliveTime != 3*time.Second || n.BGP.MeshEnabled ||
		n.BGP.GracefulRestart || n.BGP.RestartTime != 60*time.Second {
		t.Errorf("overridden settings: %+v", n)
	}
	if !rack.Selection().Selects("x", map[string]string{"rack": "a"}) || rack.Selection().Selects("x", nil) {
		t.Error("selection by label")
	}
	byName := config("one", "  nodeSelector: kubernetes.io/hostname == 'x'\n  holdTime: 12s\n")
	if !byName.Selection().Selects("x", nil) || byName.Selection().Selects("y", nil) {
		t.Error("selection by name")
	}
	if d := Disagreement(rack, byName); d != "spec.holdTime" {
		t.Errorf("disagreement: %q", d)
	}
	if d := Disagreement(rack, rack); d != "" {
		t.Errorf("disagreement with itself: %q", d)
	}
}

func TestNodeConversion(t *testing.T) {
	o, _, err := Decode([]byte(doc("NodeConfig", "a", "  addresses: [2001:db8::1/64]\n  asNumber: 65001\n  blocks: [10.0.0.64/26, 10.0.0.0/26]\n  podCIDRs: [10.0.0.0/26]\n")))
	if err != nil {
		t.Fatal(err)
	}
	n := o.(*NodeConfig).Node(ResolveBGP(nil))
	if n.ASN != 65001 || n.IPv4.IsValid() || n.IPv6.String() != "2001:db8::1/64" || n.RouterID != HashRouterID("a") || len(n.PodCIDRs) != 2 {
		t.Errorf("%+v", n)
	}
	for _, name := range []string{"a", "b", "web1", "web2", "x.example.com"} {
		if a := HashRouterID(name); !a.Is4() || !a.IsGlobalUnicast() || a != HashRouterID(name) {
			t.Errorf("router ID of %q: %s", name, a)
		}
	}
}

func TestIPAMConversion(t *testing.T) {
	decoded := func(text string) Object {
		o, _, err := Decode([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	got := decoded(doc("IPAMConfiguration", "default", "  mode: blocks\n  strictAffinity: true\n  maxBlocksPerHost: 20\n  cooldown: 0s\n")).(*IPAMConfiguration).IPAM()
	if want := (caracal.IPAM{Mode: "blocks", StrictAffinity: true, MaxBlocks: 20}); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got, want := DefaultIPAM(), (caracal.IPAM{Cooldown: 30 * time.Second}); !reflect.DeepEqual(got, want) {
		t.Errorf("by default %+v, want %+v", got, want)
	}
	r := decoded(doc("IPReservation", "r", "  reservedCIDRs: [10.0.0.64/29, 10.0.0.9, \"fd00::1\"]\n")).(*IPReservation)
	if got, want := fmt.Sprint(r.Reserved()), "[10.0.0.9/32 10.0.0.64/29 fd00::1/128]"; got != want {
		t.Errorf("reserved %s, want %s", got, want)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(doc("IPPool", "p", "  cidr: 10.0.0.0/16\n"))
	f.Add(doc("NodeConfig", "a", "  addresses: [192.0.2.1/24]\n  blocks: [10.0.0.0/26]\n"))
	f.Add(doc("BGPPeer", "p", "  peerIP: \"[2001:db8::1]:1179\"\n  asNumber: 1\n  nodeSelector: has(a)\n"))
	f.Add(doc("BGPConfiguration", "default", "  holdTime: 9s\n  gracefulRestart: {restartTime: 60s}\n"))
	f.Add(doc("Workload", "vm", "  node: a\n  interfaceName: c0\n  ipNetworks: [10.0.0.1]\n  ports: [{name: web, port: 80}]\n"))
	f.Add(doc("DataplaneConfiguration", "default", "  table: 100\n"))
	f.Add(doc("BGPPeer", "p", "  peerSelector: has(rr)\n  bfd: {}\n  gracefulRestart: {longLivedStaleTime: 1h}\n  password: {secretKeyRef: {name: a, key: b}}\n"))
	f.Add(doc("BGPPeer", "p", "  interface: eth1\n  asNumber: external\n  localASNumber: 65001\n  acceptRanges: [10.0.0.0/8]\n  addPath: {sendMax: 2}\n"))
	f.Add(doc("BGPPeer", "p", "  peerIP: defaultGateway\n  asNumberFromLabel: tor\n  maxPrefixesRetry: 0s\n  filters: [a, b]\n"))
	f.Add(doc("BGPFilter", "f", "  importV4: [{action: Accept, cidr: 10.0.0.0/8, matchOperator: In, prefixLength: {max: 24}, operations: [{addCommunity: {value: no-export}}, {setMED: {value: 1}}]}]\n"))
	f.Add(doc("BGPConfiguration", "default", "  communities: [{name: a, value: \"1:2\"}]\n  prefixAdvertisements: [{cidr: 10.0.0.0/8, communities: [a, \"1:2:3\"]}]\n  bfd: {multiplier: 5}\n"))
	f.Add(doc("IPAMConfiguration", "default", "  mode: podCIDR\n  strictAffinity: true\n  maxBlocksPerHost: 20\n  cooldown: 1m\n"))
	f.Add(doc("IPReservation", "r", "  reservedCIDRs: [10.0.0.0/29, 10.0.0.9, \"fd00::/126\", \"::ffff:10.0.0.1\"]\n"))
	f.Add("a: &a [*a]")
	f.Add("kind: {[]: 1}")
	f.Fuzz(func(t *testing.T, in string) {
		o, _, err := Decode([]byte(in))
		if err != nil && strings.TrimSpace(err.Error()) == "" {
			t.Fatal("an error without words")
		}
		if o == nil {
			return
		}
		text, err := Encode(o)
		if err != nil {
			t.Fatal(err)
		}
		again, _, err := Decode(text)
		if err != nil {
			t.Fatalf("cannot be decoded again: %v\n%s", err, text)
		}
		if second, _ := Encode(again); !bytes.Equal(text, second) {
			t.Fatalf("not canonical:\n%s\n%s", text, second)
		}
	})
}
