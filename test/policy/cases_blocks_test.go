package policy

// blockCases are about ranges of addresses.
var blockCases = []policyCase{
	{name: "a block", says: "from[].ipBlock.cidr: allows that range",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 198.51.100.0/24}}]}]}`)), want: `
		+ o1 > x/* * v4
		- * > x/* *
		+ * > * *`},
	{name: "a block of IPv6", says: "from[].ipBlock.cidr: may be of IPv6, and says nothing about IPv4",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: "2001:db8:2::/64"}}]}]}`)), want: `
		+ o2 > x/* * v6
		- * > x/* *
		+ * > * *`},
	{name: "one address", says: "ipBlock.cidr: a /32 or /128 is one address",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 203.0.113.77/32}}, {ipBlock: {cidr: "2001:db8:1::10/128"}}]}]}`)), want: `
		+ o2 > x/* * v4
		+ o1 > x/* * v6
		- * > x/* *
		+ * > * *`},
	{name: "the address beside", says: "ipBlock.cidr: the range ends where its prefix says",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 203.0.113.76/32}}, {ipBlock: {cidr: 203.0.113.78/31}}]}]}`)), want: `
		- * > x/* *
		+ * > * *`},
	{name: "host bits", says: "ipBlock.cidr: bits beyond the prefix do not count",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 203.0.113.5/25}}]}]}`)), want: `
		+ o2 > x/* * v4
		- * > x/* *
		+ * > * *`},
	{name: "everything of IPv4", says: "ipBlock.cidr: 0.0.0.0/0 is all of IPv4, pods as well",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0}}]}]}`)), want: `
		+ * > x/* * v4
		- * > x/* * v6
		+ * > * *`},
	{name: "everything of IPv6", says: "ipBlock.cidr: ::/0 is all of IPv6",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: "::/0"}}]}]}`)), want: `
		+ * > x/* * v6
		- * > x/* * v4
		+ * > * *`},
	{name: "everything but", says: "ipBlock.except: is not in the range of 0.0.0.0/0",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0, except: [198.51.100.0/24]}}]}]}`)), want: `
		- o1 > x/* *
		+ * > x/* * v4
		- * > x/* * v6
		+ * > * *`},
	{name: "everything but, of IPv6", says: "ipBlock.except: is not in the range of ::/0",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: "::/0", except: ["2001:db8:2::77/128"]}}]}]}`)), want: `
		- o2 > x/* *
		+ * > x/* * v6
		- * > x/* * v4
		+ * > * *`},
	{name: "two excepts", says: "ipBlock.except: each of the list is left out",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0, except: [198.51.100.10/32, 203.0.113.64/26]}}]}]}`)), want: `
		- o1,o2 > x/* *
		+ * > x/* * v4
		- * > x/* * v6
		+ * > * *`},
	{name: "nested excepts", says: "ipBlock.except: one within another adds nothing",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 203.0.112.0/20, except: [203.0.113.0/24, 203.0.113.77/32, 203.0.113.64/26]}}, {ipBlock: {cidr: 198.51.100.0/24}}]}]}`)), want: `
		+ o1 > x/* * v4
		- * > x/* *
		+ * > * *`},
	{name: "except beside", says: "ipBlock.except: leaves out its own range alone",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 203.0.113.0/24, except: [203.0.113.76/32, 203.0.113.78/31]}}]}]}`)), want: `
		+ o2 > x/* * v4
		- * > x/* *
		+ * > * *`},
	{name: "half of a block", says: "ipBlock.except: may be as large as half of the range",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 203.0.113.0/24, except: [203.0.113.0/25]}}, {ipBlock: {cidr: 198.51.100.0/24, except: [198.51.100.128/25]}}]}]}`)), want: `
		+ o1 > x/* * v4
		- * > x/* *
		+ * > * *`},
	{name: "the halves of everything", says: "ipBlock.cidr: /1 and /1 are all",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/1}}, {ipBlock: {cidr: 128.0.0.0/1}}]}]}`)), want: `
		+ * > x/* * v4
		- * > x/* *
		+ * > * *`},
	{name: "everything but its halves", says: "ipBlock.except: nothing may be left",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0, except: [0.0.0.0/1, 128.0.0.0/1]}}]}]}`)), want: `
		- * > x/* *
		+ * > * *`},
	{name: "what one block leaves out, another has", says: "spec.ingress[].from: except counts for its own item only",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 198.51.0.0/16, except: [198.51.100.0/24]}}, {ipBlock: {cidr: 198.51.100.8/29}}]}]}`)), want: `
		+ o1 > x/* * v4
		- * > x/* *
		+ * > * *`},
	{name: "two blocks with the same excepts", says: "ipBlock.except: two items that overlap, both leave it out",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 198.51.0.0/16, except: [198.51.100.10/32]}}, {ipBlock: {cidr: 198.51.100.0/24, except: [198.51.100.0/28]}}]}]}`)), want: `
		- * > x/* *
		+ * > * *`},
	{name: "what one rule leaves out, another has", says: "spec.ingress: except counts for its own rule only",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0, except: [198.51.100.0/24]}}], ports: [{port: 80}]}, {from: [{ipBlock: {cidr: 198.51.100.0/24}}], ports: [{port: 81}]}]}`)), want: `
		+ o1 > x/* tcp/81 v4
		- o1 > x/* *
		+ * > x/* tcp/80 v4
		- * > x/* *
		+ * > * *`},
	{name: "an except that a selector selects", says: "spec.ingress[].from: ORed items: a pod that is left out of a block may be selected",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.244.0.0/16]}}, {podSelector: {matchLabels: {pod: a}}}]}]}`)), want: `
		+ x/a > x/* *
		- x/*,y/*,z/* > x/* *
		+ * > x/* * v4
		- * > x/* * v6
		+ * > * *`},
	{name: "pods by their addresses", says: "ipBlock: means addresses, whoever has them",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.244.1.13/32}}, {ipBlock: {cidr: "fd00:244:2::/64"}}]}]}`)), want: `
		+ y/a > x/* * v4
		+ x/c,y/b,y/c,z/* > x/* * v6
		- * > x/* *
		+ * > * *`},
	{name: "another node by its address", says: "ipBlock: a node that is not the pod's own is an address",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 192.168.0.0/16}}]}]}`)), want: `
		+ n1,n2 > x/* * v4
		- * > x/* *
		+ * > * *`},
	{name: "egress to a block", says: "to[].ipBlock: a range of destinations",
		policies: policies(np("x/p", `{podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 198.51.100.0/24}}, {ipBlock: {cidr: "2001:db8::/32", except: ["2001:db8:1::/64"]}}]}]}`)), want: `
		+ x/* > o1 * v4
		+ x/* > o2 * v6
		- x/* > * *
		+ * > * *`},
	{name: "egress to everything but the pods", says: "to[].ipBlock.except: the usual way to say the internet only",
		policies: policies(np("x/p", `{podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.0/8, 192.168.0.0/16]}}, {ipBlock: {cidr: "::/0", except: ["fd00::/8"]}}]}]}`)), want: `
		+ x/* > o* *
		- x/* > * *
		+ * > * *`},
	{name: "egress to a block, one port", says: "spec.egress[]: traffic must match both ports and to",
		policies: policies(np("x/p", `{podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0}}], ports: [{port: 53, protocol: UDP}]}]}`)), want: `
		+ x/* > * udp/53 v4
		- x/* > * *
		+ * > * *`},
	{name: "egress to a pod's address", says: "to[].ipBlock: may be a pod's, and the pod's own policies count as well",
		policies: policies(np("x/p", `{podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 10.244.0.0/16}}]}]}`), np("y/p", `{podSelector: {matchLabels: {pod: b}}}`)), want: `
		- * > y/b *
		+ x/* > x/*,y/*,z/* * v4
		- x/* > * *
		+ * > * *`},
	{name: "many small blocks", says: "spec.ingress[].from: any number of blocks",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{from: [
			{ipBlock: {cidr: 198.51.100.0/29}}, {ipBlock: {cidr: 198.51.100.9/32}}, {ipBlock: {cidr: 198.51.100.11/32}}, {ipBlock: {cidr: 198.51.100.12/30}}, {ipBlock: {cidr: 198.51.100.16/28}},
			{ipBlock: {cidr: 203.0.113.0/26}}, {ipBlock: {cidr: 203.0.113.77/32}}, {ipBlock: {cidr: 203.0.113.80/28}}, {ipBlock: {cidr: "2001:db8:1::/125"}}, {ipBlock: {cidr: "2001:db8:1::10/124"}}]}]}`)), want: `
		+ o2 > x/* * v4
		+ o1 > x/* * v6
		- * > x/* *
		+ * > * *`},
	{name: "many excepts", says: "ipBlock.except: any number",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 198.51.100.0/24, except: [198.51.100.0/29, 198.51.100.8/31, 198.51.100.11/32, 198.51.100.12/30, 198.51.100.16/28, 198.51.100.32/27, 198.51.100.64/26, 198.51.100.128/25]}}]}]}`)), want: `
		+ o1 > x/* * v4
		- * > x/* *
		+ * > * *`},
	{name: "deep in IPv6", says: "ipBlock.except: of a long prefix",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: "2001:db8::/32", except: ["2001:db8:1::10/127", "2001:db8:2::/120"]}}]}]}`)), want: `
		- * > x/* *
		+ * > * *`},
	{name: "the same block in two policies", says: "ipBlock: with other ports in another policy",
		policies: policies(
			np("x/p", `{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0, except: [203.0.113.0/24]}}], ports: [{port: 80}]}]}`),
			np("x/q", `{podSelector: {matchLabels: {pod: b}}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0, except: [203.0.113.0/24]}}], ports: [{port: 81}]}]}`)), want: `
		- o2 > x/a,x/b *
		+ * > x/a tcp/80 v4
		+ * > x/b tcp/81 v4
		- * > x/a,x/b *
		+ * > * *`},
	{name: "other addresses than the cluster's", says: "ipBlock: one that nobody has allows nobody",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 172.16.0.0/12}}]}]}`)), want: `
		- * > x/* *
		+ * > * *`},
}
