package crd

import v1 "caracal.dev/caracal/api/v1"

// fields are values, right and wrong ones, for the fields of a kind.
type fields map[string][]any

type list = []any

type group = map[string]any

var (
	asNumbers   = list{0, 1, 65001, 23456, 65534, 65535, 65536, 4294967294, 4294967295, 4294967296, -1}
	durations   = list{"90s", "0s", "1s", "3s", "2s", "1m30s", "1.5m", "1500ms", "25h", "4095s", "4096s", "65535s", "65536s", "-5s", "+5s", "5", "0", "soon", "1e3s", ".5h", "5.s", "h"}
	intervals   = list{"300ms", "10ms", "9ms", "60s", "61s", "1m", "1.5s", "1.0005s", "0", "x", "0.3s", "1m1s"}
	prefixes    = list{"10.0.0.0/8", "10.0.0.1/8", "10.0.0.0", "0.0.0.0/0", "::/0", "2001:db8::/32", "2001:DB8::/32", "2001:db8::1/32", "::ffff:10.0.0.0/104", "127.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4", "0.1.0.0/16", "fe80::/64", "ff00::/8", "10.0.0.0/33", "10.0.0.0/08", "x", "", "255.255.255.255/32", "::1/128", "010.0.0.0/8", "fe80::%eth0/64"}
	hostAddrs   = list{"192.0.2.1/24", "192.0.2.2/24", "192.0.2.1/0", "2001:db8::1/64", "192.0.2.1", "127.0.0.1/8", "fe80::1/64", "192.0.2.1/33", "::ffff:192.0.2.1/120"}
	addresses   = list{"192.0.2.1", "198.51.100.1", "2001:db8::1", "2001:DB8::1", "::", "0.0.0.0", "0.1.2.3", "127.0.0.1", "::1", "224.0.0.1", "ff02::1", "fe80::1", "fe80::1%eth0", "::ffff:192.0.2.1", "240.0.0.1", "255.255.255.255", "192.0.2.1/32", "192.0.2.01", "x", ""}
	peerIPs     = list{"192.0.2.1:179", "192.0.2.1:0", "192.0.2.1:65535", "192.0.2.1:65536", "192.0.2.1:0179", "192.0.2.1:", "[2001:db8::1]:179", "[2001:db8::1]:0", "[2001:db8::1]", "[2001:db8::1]:", "[192.0.2.1]:179", "[192.0.2.1]", "[::ffff:192.0.2.1]:179", "[fe80::1]:179", "[fe80::1%eth0]:179", "[::1]:179", "defaultGateway", "DefaultGateway", "tor", "0.1.2.3:179", "fe8::1", "feb0::1", "fec0::1", "[x]:179"}
	selectors   = list{"", " ", "all()", "has(a)", "a == 'b'", "a=='b'&&!has(c)", "a = 'b'", "a == b", "a in {}", "a in {'x', \"y\"}", "a in {'x',}", "a not in {'x'}", "a notin {'x'}", "not has(a)", "a contains 'x'", "a starts with 'x'", "a startswith 'x'", "has('a')", "all", "has == 'x'", "a == 'b' c == 'd'", "&& has(a)", "has(a) ||", "!!has(a)", "!(has(a) || has(b))", "ä == 'x'", "a == 'ä'", "a/b.c-d_e != 'x'", "global()", "has(a b)", "a =='\"'"}
	names       = list{"a", "a.b", "A", "a_b", "-a", "a-", "a..b", ""}
	communities = list{"65000:1", "65536:1", "0:0", "01:1", "65000:1:2", "4294967295:0:0", "4294967294:4294967295:4294967295", "1:2:4294967296", "no-export", "no-peer", "", "1", "1:2:3:4", "1:"}
	bools       = list{true, false}
)

// objects are a valid object and values for its fields.
type objects struct {
	kind, name string
	spec       group
	of         fields
}

// cases are all that [TestSameVerdict] asks about.
func cases() []objects {
	rules4, anyRules := filterRules()
	return []objects{
		{v1.KindBGPPeer, "p", group{"peerIP": "198.51.100.1", "asNumber": 65001}, fields{
			"peerIP": append(append(list{nil}, peerIPs...), addresses...), "peerSelector": selectors, "interface": {"eth0", "a/b", "averyveryverylongname", ".", "a b", "", "ä", "a:1"},
			"asNumber": append(list{nil, "internal", "external", "inside", "65001", 1.5, true}, asNumbers...), "asNumberFromLabel": {"a", "a/b", "a/b/c", "A.b/C_d", "-a", "", "a b"}, "localASNumberFromLabel": {"a", ""},
			"localASNumber": asNumbers, "numAllowedLocalASNumbers": {-1, 0, 10, 11}, "node": names, "nodeSelector": selectors, "reversePeering": {"Auto", "Manual", "auto"},
			"sourceAddress": append(list{"UseNodeIP"}, addresses...), "reachableBy": addresses, "ebgpMultihop": bools, "passive": bools, "ttlSecurity": {-1, 0, 1, 2, 254, 255},
			"holdTime": durations, "keepaliveTime": durations, "maxPrefixesRetry": durations, "maxPrefixes": {0, 1, 4294967295, 4294967296}, "maxPrefixesWarning": {0, 1, 100, 101}, "nextHopMode": {"Auto", "Self", "Keep", "self"},
			"bfd": {group{}, group{"multiplier": 0}, group{"multiplier": 255}, group{"multiplier": 256}}, "addPath": {group{"sendMax": 256}, group{"sendMax": -1}, group{"receive": true, "sendMax": 8}},
			"gracefulRestart": {group{}, group{"enabled": false, "longLivedStaleTime": "1h"}, group{"longLivedStaleTime": "16777216s"}, group{"restartTime": "0s"}}, "filters": {list{}, list{"a", "b"}, list{"a", "a"}, list{"A"}, list{""}},
			"password": {group{}, group{"secretKeyRef": group{"name": "a", "key": "b"}}, group{"secretKeyRef": group{"name": ".a", "key": "b"}}, group{"secretKeyRef": group{"name": "a"}}},
		}},
		{v1.KindBGPConfiguration, "default", group{}, fields{
			"nodeSelector": selectors, "asNumber": asNumbers, "listenPort": {0, 1, 65535, 65536}, "listenAddresses": each(addresses), "routerID": append(list{"address", "hash"}, addresses...),
			"holdTime": durations, "keepaliveTime": durations, "gracefulRestart": wrap("restartTime", durations), "bfd": wrap("transmitInterval", intervals),
			"communities":          {list{group{"name": "x", "value": "1:2"}}, list{group{"name": "", "value": "1:2"}}, list{group{"name": "x:y", "value": "1:2"}}, list{group{"name": "no-llgr", "value": "1:2"}}, list{group{"name": "x", "value": "1"}}},
			"prefixAdvertisements": append(advertisements(prefixes, "65000:1"), append(communitiesOf(communities), communitiesOf(list{"x"})...)...), "serviceClusterIPs": eachIn("cidr", prefixes), "serviceLoadBalancerIPs": eachIn("cidr", prefixes),
		}},
		{v1.KindBGPConfiguration, "rack", group{"nodeSelector": "has(rack)"}, fields{"nodeSelector": append(list{nil}, selectors...), "bfd": wrap("receiveInterval", intervals)}},
		{v1.KindIPPool, "p", group{"cidr": "10.0.0.0/16"}, fields{"cidr": append(list{nil}, prefixes...), "blockSize": {-1, 0, 15, 16, 26, 32, 33, 122, 128, 129}, "ipipMode": {"Never", "Always", "CrossSubnet", "never"}, "nodeSelector": selectors, "advertise": {"blocks", "hosts", "all"}}},
		{v1.KindNodeConfig, "a", group{"addresses": list{"192.0.2.1/24"}}, fields{
			"addresses": append(each(hostAddrs), list{"192.0.2.1/24", "2001:db8::1/64"}, list{"192.0.2.1/24", "192.0.2.2/24"}), "asNumber": asNumbers, "routeReflectorClusterID": addresses, "tunnelAddress": addresses,
			"podCIDRs": append(each(prefixes), list{"10.0.0.0/8", "10.1.0.0/16"}), "blocks": append(each(prefixes), list{"10.0.0.0/26", "10.0.0.64/26"}), "anycastPrefixes": append(each(prefixes), list{"192.0.2.0/30"}, list{"203.0.113.0/24", "203.0.113.1/32"}),
		}},
		{v1.KindIPAMConfiguration, "default", group{}, fields{"mode": {"blocks", "podCIDR", "podcidr"}, "maxBlocksPerHost": {-1, 0, 5}, "cooldown": durations, "strictAffinity": bools}},
		{v1.KindIPAMConfiguration, "other", group{}, fields{"mode": {"blocks"}}},
		{v1.KindIPReservation, "r", group{"reservedCIDRs": list{"10.0.0.1"}}, fields{"reservedCIDRs": append(append(each(prefixes), each(addresses)...), list{})}},
		{v1.KindDataplaneConfiguration, "default", group{}, fields{"table": {0, 1, 255, 254, 4294967295, 4294967296}, "protocol": {0, 4, 5, 11, 12, 16, 17, 67, 80, 99, 185, 186, 192, 193, 255, 256}, "metric": {0, 1, 4294967295, 4294967296}, "auditInterval": durations, "tunnelMTU": {575, 576, 65515, 65516}, "policy": {group{}, group{"iptablesBackend": "NFT"}, group{"iptablesBackend": "nft"}, group{"enabled": false}}}},
		{v1.KindBGPFilter, "f", group{}, fields{"importV4": append(rules4, anyRules...), "exportV4": anyRules, "importV6": append(rules4, anyRules...), "exportV6": anyRules}},
	}
}

// filterRules are lists of one rule: those of the first kind for a list of either
// family, as their prefixes are of both.
func filterRules() (rules4, anyRules list) {
	rule := func(more group) list { return list{merge(group{"action": "Accept"}, more)} }
	for _, p := range prefixes {
		rules4 = append(rules4, rule(group{"cidr": p, "matchOperator": "In"}), rule(group{"cidr": p}))
	}
	for _, com := range communities {
		anyRules = append(anyRules, rule(group{"communities": group{"values": list{com}}}), rule(group{"operations": list{group{"addCommunity": group{"value": com}}}}))
	}
	for _, n := range asNumbers {
		anyRules = append(anyRules, rule(group{"asPathPrefix": list{n}}), rule(group{"operations": list{group{"prependASPath": group{"prefix": list{65000, n}}}}}), rule(group{"operations": list{group{"setMED": group{"value": n}}}}))
	}
	lengths := list{group{}, group{"min": 8}, group{"max": 32}, group{"max": 33}, group{"min": 24, "max": 16}, group{"min": -1}, group{"max": 129}, group{"min": 0, "max": 128}}
	operators := list{"In", "NotIn", "Equal", "NotEqual", "Within"}
	for _, length := range lengths {
		for _, op := range operators {
			anyRules = append(anyRules, rule(group{"prefixLength": length, "cidr": "10.0.0.0/16", "matchOperator": op}), rule(group{"prefixLength": length, "cidr": "2001:db8::/32", "matchOperator": op}))
		}
		anyRules = append(anyRules, rule(group{"prefixLength": length}))
	}
	anyRules = append(anyRules, rule(group{"source": "Local"}), rule(group{"source": "local"}), rule(group{"peerType": "eBGP"}), rule(group{"peerType": "EBGP"}), rule(group{"action": "Reject", "operations": list{}}), rule(group{"action": "accept"}), rule(group{"matchOperator": "In"}), list{group{}})
	return rules4, anyRules
}

// merge puts what is in b into a.
func merge(a, b group) group {
	for k, v := range b {
		a[k] = v
	}
	return a
}

// each makes a list of one of each value.
func each(values list) (all list) {
	for _, v := range values {
		all = append(all, list{v})
	}
	return all
}

func wrap(field string, values list) (all list) {
	for _, v := range values {
		all = append(all, group{field: v})
	}
	return all
}

func eachIn(field string, values list) list { return each(wrap(field, values)) }

func advertisements(cidrs list, com string) (all list) {
	for _, c := range cidrs {
		all = append(all, list{group{"cidr": c, "communities": list{com}}})
	}
	return all
}

func communitiesOf(values list) (all list) {
	for _, c := range values {
		all = append(all, list{group{"cidr": "10.0.0.0/8", "communities": list{c}}})
	}
	return all
}
