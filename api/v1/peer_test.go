package v1

import (
	"strings"
	"testing"

	"caracal.dev/caracal"
)

// In each row a BGPPeer is right but for what the error says.
func TestPeerErrors(t *testing.T) {
	const at = "  peerIP: 198.51.100.1\n"
	const as = "  asNumber: 65001\n"
	for _, c := range []struct{ spec, want string }{
		{as, "spec.peerIP: is missing; it, peerSelector or interface must say where the neighbor is"},
		{at + as + "  interface: eth1\n", "spec.peerIP: only one of peerIP, peerSelector and interface must say where the neighbor is"},
		{at, "spec.asNumber: is missing; it must be the AS number of the neighbor, internal or external"},
		{at + as + "  asNumberFromLabel: tor\n", "spec.asNumberFromLabel: must not be set together with spec.asNumber"},
		{at + "  asNumber: inside\n", `spec.asNumber: must be a whole number, internal or external, not the string "inside"`},
		{at + "  asNumber: true\n", "spec.asNumber: must be a whole number, internal or external, not true"},
		{at + "  asNumber: 1.5\n", "spec.asNumber: must be a whole number from 0 to 4294967295, not 1.5"},
		{at + "  asNumber: -1\n", "spec.asNumber: must be a whole number from 0 to 4294967295, not -1"},
		{at + "  asNumberFromLabel: \"a b\"\n", `spec.asNumberFromLabel: "a b" is not a label: name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')`},
		{at + as + "  localASNumber: 65001\n", "spec.localASNumber: is 65001 as the neighbor's; a local AS number is for a neighbor in another AS"},
		{at + "  asNumber: internal\n  localASNumber: 65001\n", "spec.localASNumber: is for a neighbor in another AS; an internal one sees the node's own"},
		{at + as + "  localASNumber: 65002\n  localASNumberFromLabel: x\n", "spec.localASNumberFromLabel: must not be set together with spec.localASNumber"},
		{at + as + "  numAllowedLocalASNumbers: 11\n", "spec.numAllowedLocalASNumbers: 11 must be from 0 to 10"},
		{"  peerSelector: has(rr)\n" + as, "spec.asNumber: must not be set together with spec.peerSelector: nodes have the AS numbers of their NodeConfigs"},
		{"  peerSelector: has(rr)\n  numAllowedLocalASNumbers: 300\n", "spec.numAllowedLocalASNumbers: 300 must be from 0 to 10"},
		{"  peerSelector: has(\n", "spec.peerSelector: column 5: expected a label in has(...), found the end"},
		{"  peerSelector: has(rr)\n  reversePeering: auto\n", `spec.reversePeering: "auto" must be Auto or Manual`},
		{"  peerSelector: has(rr)\n  passive: true\n", "spec.passive: must not be set together with spec.peerSelector: of two nodes one dials by itself"},
		{"  peerSelector: has(rr)\n  sourceAddress: 192.0.2.1\n", "spec.sourceAddress: must be UseNodeIP where the neighbor is not given by its address"},
		{at + as + "  reversePeering: Auto\n", "spec.reversePeering: is for a peerSelector only; remove it"},
		{"  peerIP: fe80::1\n" + as, "spec.peerIP: fe80::1 is a link-local address; name the device with interface, and the neighbor is found on it"},
		{"  peerIP: fe80::1%eth1\n" + as, "spec.peerIP: fe80::1 is a link-local address; name the device with interface, and the neighbor is found on it"},
		{"  interface: a/b\n" + as, `spec.interface: "a/b" is not a name of an interface: at most 15 bytes, no blanks, no / and no :`},
		{"  interface: eth1\n  ebgpMultihop: true\n" + as, "spec.ebgpMultihop: a neighbor on an interface is one hop away; remove it"},
		{"  interface: eth1\n  ttlSecurity: 2\n" + as, "spec.ttlSecurity: a neighbor on an interface is one hop away; write 1"},
		{"  peerIP: defaultGateway\n  reachableBy: 192.0.2.1\n" + as, "spec.reachableBy: is for a neighbor that is given by its address; remove it"},
		{at + as + "  reachableBy: 2001:db8::1\n", "spec.reachableBy: 2001:db8::1 and the peerIP 198.51.100.1 are not of the same family"},
		{at + as + "  reachableBy: 198.51.100.1\n", "spec.reachableBy: 198.51.100.1 is the neighbor itself; it must be the gateway to it"},
		{at + as + "  ttlSecurity: 255\n", "spec.ttlSecurity: 255 must be from 1 (a neighbor on the same network) to 254, or 0 for off"},
		{at + as + "  ttlSecurity: 1\n  ebgpMultihop: true\n", "spec.ttlSecurity: 1 lets in neighbors on the same network only, which ebgpMultihop is not for; remove one"},
		{at + as + "  bfd: {transmitInterval: 5ms, receiveInterval: 2m, multiplier: 0}\n", "spec.bfd.transmitInterval: 5ms must be from 10ms to 60s; spec.bfd.receiveInterval: 2m0s must be from 10ms to 60s; spec.bfd.multiplier: 0 must be from 1 to 255"},
		{at + as + "  bfd: {transmitInterval: 300us}\n", "spec.bfd.transmitInterval: 300µs must be whole milliseconds"},
		{at + as + "  gracefulRestart: {restartTime: 2h, longLivedStaleTime: 5000h}\n", "spec.gracefulRestart.restartTime: 2h0m0s must be from 1s to 4095s; spec.gracefulRestart.longLivedStaleTime: 5000h0m0s must be from 0s to 16777215s"},
		{at + as + "  gracefulRestart: {enabled: false, longLivedStaleTime: 1h}\n", "spec.gracefulRestart.longLivedStaleTime: needs graceful restart, which enabled: false turns off"},
		{at + as + "  nextHopMode: self\n", `spec.nextHopMode: "self" must be Auto, Self or Keep`},
		{at + as + "  addPath: {sendMax: 300}\n", "spec.addPath.sendMax: 300 must be from 0 to 255"},
		{at + as + "  maxPrefixes: 0\n  maxPrefixesWarning: 101\n  maxPrefixesRetry: 48h\n", "spec.maxPrefixes: must be 1 or more; a neighbor without a limit could fill the memory; spec.maxPrefixesWarning: 101 must be a percentage from 1 to 100; spec.maxPrefixesRetry: 48h0m0s must be from 0s to 86400s"},
		{at + as + "  filters: [a, A, a]\n", `spec.filters[1]: "A" must be lower-case letters, digits, - and ., beginning and ending with a letter or digit, at most 253 of them; spec.filters[2]: a is listed twice`},
		{at + as + "  acceptRanges: [10.0.0.1/8]\n", "spec.acceptRanges[0]: 10.0.0.1/8 has bits set beyond its length; did you mean 10.0.0.0/8?"},
		{at + as + "  keepOriginalNextHop: true\n", "spec.keepOriginalNextHop: unknown field (write nextHopMode: Keep)"},
		{at + as + "  maxRestartTime: 60s\n", "spec.maxRestartTime: unknown field (write gracefulRestart: {restartTime: …})"},
		{at + as + "  filter: [a]\n", "spec.filter: unknown field (did you mean filters?)"},
		{at + as + "  bfd: {transmitIntervall: 1s}\n", "spec.bfd.transmitIntervall: unknown field (did you mean transmitInterval?)"},
		{at + as + "  password: {}\n", "spec.password: " + wantRef},
		{at + as + "  password: {secretKeyRef: {name: a/b, key: ..}}\n", "spec.password.secretKeyRef.name: is missing, or no name of a secret: at most 253 letters, digits, -, _ and ., the first one no .; spec.password.secretKeyRef.key: is missing, or no key of a secret: at most 253 letters, digits, -, _ and ., the first one no ."},
	} {
		o, _, err := Decode([]byte(doc("BGPPeer", "p", c.spec)))
		if err == nil || err.Error() != c.want || o != nil {
			t.Errorf("%s\ngives %v\nwant  %s", c.spec, err, c.want)
		}
	}
}

func TestFilterErrors(t *testing.T) {
	for _, c := range []struct{ spec, want string }{
		{"importV4: [{}]", "spec.importV4[0].action: is missing; it must be Accept or Reject"},
		{"importV4: [{action: accept}]", `spec.importV4[0].action: "accept" must be Accept or Reject`},
		{"importV4: [{action: Accept, cidr: 10.0.0.0/8}]", "spec.importV4[0].matchOperator: is missing; it must be Equal, NotEqual, In or NotIn"},
		{"importV4: [{action: Accept, matchOperator: In}]", "spec.importV4[0].cidr: is missing; matchOperator In compares with it"},
		{"importV4: [{action: Accept, cidr: 10.0.0.0/8, matchOperator: Within}]", `spec.importV4[0].matchOperator: "Within" must be Equal, NotEqual, In or NotIn`},
		{"importV4: [{action: Accept, cidr: \"2001:db8::/32\", matchOperator: In}]", "spec.importV4[0].cidr: 2001:db8::/32 must be IPv4, as the rules of spec.importV4 are"},
		{"exportV6: [{action: Accept, cidr: 10.0.0.0/8, matchOperator: In}]", "spec.exportV6[0].cidr: 10.0.0.0/8 must be IPv6, as the rules of spec.exportV6 are"},
		{"exportV4: [{action: Accept, cidr: 10.0.0.0/8, matchOperator: In, prefixLength: {min: 4}}]", "spec.exportV4[0].prefixLength.min: 4 must be from 8 to 32"},
		{"exportV4: [{action: Accept, cidr: 10.0.0.0/8, matchOperator: In, prefixLength: {min: 24, max: 16}}]", "spec.exportV4[0].prefixLength.max: 16 must be from 24 to 32"},
		{"exportV4: [{action: Accept, cidr: 10.0.0.0/8, matchOperator: Equal, prefixLength: {min: 24}}]", "spec.exportV4[0].prefixLength: with matchOperator Equal there is one length only; remove it, or write In"},
		{"exportV4: [{action: Accept, prefixLength: {}}]", "spec.exportV4[0].prefixLength: must have min, max or both"},
		{"exportV4: [{action: Accept, communities: {}}]", "spec.exportV4[0].communities.values: is missing"},
		{"exportV4: [{action: Accept, communities: {values: [\"65536:1\"]}}]", `spec.exportV4[0].communities.values[0]: "65536:1" must be two numbers up to 65535 (65000:1), three numbers up to 4294967295 (65000:1:2), or graceful-shutdown, llgr-stale, no-advertise, no-export, no-llgr`},
		{"exportV4: [{action: Accept, communities: {values: [\"4294967295:0:1\"]}}]", `spec.exportV4[0].communities.values[0]: "4294967295:0:1" must not begin with 4294967295, which is reserved`},
		{"exportV4: [{action: Accept, asPathPrefix: [0]}]", "spec.exportV4[0].asPathPrefix[0]: must not be 0"},
		{"exportV4: [{action: Accept, source: local}]", `spec.exportV4[0].source: "local" must be RemotePeers or Local`},
		{"importV6: [{action: Accept, source: Local}]", "spec.importV6[0].source: nothing that comes from a neighbor is Local; this rule would never match"},
		{"importV6: [{action: Accept, peerType: ebgp}]", `spec.importV6[0].peerType: "ebgp" must be eBGP or iBGP`},
		{"importV6: [{action: Reject, operations: [{setMED: {value: 1}}]}]", "spec.importV6[0].operations: what is rejected cannot be changed; remove them, or write action: Accept"},
		{"importV6: [{action: Accept, operations: [{}]}]", "spec.importV6[0].operations[0]: must have exactly one of addCommunity, prependASPath, setLocalPreference and setMED; write one operation for each change"},
		{"importV6: [{action: Accept, operations: [{setMED: {}}]}]", "spec.importV6[0].operations[0].setMED.value: is missing"},
		{"importV6: [{action: Accept, operations: [{addCommunity: {}}]}]", "spec.importV6[0].operations[0].addCommunity.value: is missing"},
		{"importV6: [{action: Accept, operations: [{prependASPath: {prefix: []}}]}]", "spec.importV6[0].operations[0].prependASPath.prefix: must list from 1 to 20 AS numbers"},
		{"importV6: [{action: Accept, operations: [{setPriority: {value: 1}}]}]", "spec.importV6[0].operations[0].setPriority: unknown field (write setLocalPreference or setMED)"},
		{"imports: []", "spec.imports: unknown field (did you mean importV4?)"},
		{"importV4: [" + strings.Repeat("{action: Reject},", 1001) + "]", "spec.importV4: has 1001 rules; at most 1000 are taken, since every path is held against them"},
	} {
		o, _, err := Decode([]byte(doc("BGPFilter", "f", "  "+c.spec+"\n")))
		if err == nil || err.Error() != c.want || o != nil {
			t.Errorf("%s\ngives %v\nwant  %s", clip(c.spec), err, c.want)
		}
	}
}

func TestConfigurationErrors(t *testing.T) {
	for _, c := range []struct{ kind, spec, want string }{
		{"BGPConfiguration", "  nodeMeshPassword: secret\n", "spec.nodeMeshPassword: " + wantRef},
		{"BGPConfiguration", "  bfd: {transmitInterval: soon}\n", `spec.bfd.transmitInterval: "soon" is not a duration, such as "300ms" or "1s"`},
		{"BGPConfiguration", "  bfd: {transmitInterval: 300}\n", "spec.bfd.transmitInterval: must be a string (in quotes), not the number 300; write 300ms"},
		{"BGPConfiguration", "  communities: [{name: \"1:2\", value: x}]\n", `spec.communities[0].name: "1:2" is a community itself; take another name; spec.communities[0].value: "x" must be two numbers up to 65535 (65000:1), three numbers up to 4294967295 (65000:1:2), or graceful-shutdown, llgr-stale, no-advertise, no-export, no-llgr`},
		{"BGPConfiguration", "  communities: [{name: no-export, value: \"1:2\"}, {name: a, value: \"1:2\"}, {name: a, value: \"1:3\"}]\n", `spec.communities[0].name: "no-export" is a community itself; take another name; spec.communities[2].name: "a" is used twice`},
		{"BGPConfiguration", "  prefixAdvertisements: [{cidr: 10.0.0.0/8, communities: [blue]}]\n", `spec.prefixAdvertisements[0].communities[0]: "blue" is no name in spec.communities of this object, and as a community it must be two numbers up to 65535 (65000:1), three numbers up to 4294967295 (65000:1:2), or graceful-shutdown, llgr-stale, no-advertise, no-export, no-llgr`},
		{"BGPConfiguration", "  prefixAdvertisements: [{cidr: 10.0.0.0/8}, {cidr: 10.0.0.0/8, communities: [no-export]}]\n", "spec.prefixAdvertisements[0].communities: is missing; it lists communities, or names that spec.communities gives; spec.prefixAdvertisements[1].cidr: 10.0.0.0/8 is listed twice; give it all its communities at once"},
		{"NodeConfig", "  addresses: [192.0.2.1/24]\n  blocks: [10.0.0.0/26]\n  anycastPrefixes: [10.0.0.1/32, 192.0.2.0/28, 203.0.113.1/32, 203.0.113.1/32, 0.0.0.0/0]\n",
			"spec.anycastPrefixes[0]: 0.0.0.0/0 is the default route; list the prefixes of the services; spec.anycastPrefixes[1]: 10.0.0.1/32 overlaps 10.0.0.0/26, which belongs to this node alone; an anycast prefix lies outside of all pools; spec.anycastPrefixes[2]: 192.0.2.0/28 contains 192.0.2.1, the node's own address; spec.anycastPrefixes[4]: 203.0.113.1/32 is listed twice"},
	} {
		o, _, err := Decode([]byte(doc(c.kind, "default", c.spec)))
		if err == nil || err.Error() != c.want || o != nil {
			t.Errorf("%s\ngives %v\nwant  %s", c.spec, err, c.want)
		}
	}
}

// A configuration for some nodes overrides single fields, but the advertisements
// with their names as a whole.
func TestResolveGateways(t *testing.T) {
	config := func(name, spec string) *BGPConfiguration {
		o, _, err := Decode([]byte(doc("BGPConfiguration", name, spec)))
		if err != nil {
			t.Fatal(err)
		}
		return o.(*BGPConfiguration)
	}
	base := config("default", "  bfd: {multiplier: 5, nodeMeshEnabled: true}\n  nodeMeshPassword: {secretKeyRef: {name: a, key: b}}\n  communities: [{name: x, value: \"1:1\"}]\n  prefixAdvertisements: [{cidr: 10.0.0.0/8, communities: [x]}]\n")
	rack := config("rack", "  nodeSelector: has(rack)\n  bfd: {transmitInterval: 50ms}\n  communities: [{name: x, value: \"2:2\"}]\n  prefixAdvertisements: [{cidr: 10.1.0.0/16, communities: [x]}]\n")
	n := ResolveBGP([]*BGPConfiguration{rack, base})
	if n.BFD.Multiplier != 5 || n.BFD.Transmit.String() != "50ms" || n.BFD.Receive.String() != "300ms" || !n.BGP.MeshBFD.Enabled || *n.MeshPassword != (SecretKeyRef{"a", "b"}) {
		t.Errorf("%+v", n)
	}
	if a := n.BGP.Advertisements; len(a) != 1 || a[0].CIDR.String() != "10.1.0.0/16" || a[0].Communities[0] != caracal.StandardCommunity(2, 2) {
		t.Errorf("%+v", a)
	}
	for spec, want := range map[string]string{
		"  bfd: {transmitInterval: 60ms}\n":                                       "spec.bfd.transmitInterval",
		"  bfd: {receiveInterval: 60ms}\n":                                        "",
		"  prefixAdvertisements: [{cidr: 10.1.0.0/16, communities: [\"2:2\"]}]\n": "",
		"  communities: [{name: x, value: \"3:3\"}]\n  prefixAdvertisements: [{cidr: 10.1.0.0/16, communities: [x]}]\n": "spec.prefixAdvertisements",
	} {
		if got := Disagreement(rack, config("other", "  nodeSelector: has(other)\n"+spec)); got != want {
			t.Errorf("%s: disagreement about %q, want %q", spec, got, want)
		}
	}
}

func TestFilterWarnings(t *testing.T) {
	o, _, err := Decode([]byte(doc("BGPFilter", "f", "  importV4: [{action: Reject}, {action: Accept, source: RemotePeers}]\n  exportV4: [{action: Reject}]\n")))
	if err != nil {
		t.Fatal(err)
	}
	if w := o.Warnings(); len(w) != 1 || w[0].Error() != "spec.importV4[0]: it matches every path, so the rules after it are never asked" {
		t.Errorf("%v", w)
	}
}
