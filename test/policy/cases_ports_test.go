package policy

// portCases are about ports, by number, range and name, and about protocols.
var portCases = []policyCase{
	{name: "a number", says: "ports[].protocol: defaults to TCP",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{ports: [{port: 80}]}]}`)), want: `
		+ * > x/* tcp/80
		- * > x/* *
		+ * > * *`},
	{name: "a number with TCP", says: "ports[].protocol: TCP",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{ports: [{port: 81, protocol: TCP}]}]}`)), want: `
		+ * > x/* tcp/81
		- * > x/* *
		+ * > * *`},
	{name: "UDP", says: "ports[].protocol: UDP",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{ports: [{port: 80, protocol: UDP}]}]}`)), want: `
		+ * > x/* udp/80
		- * > x/* *
		+ * > * *`},
	{name: "SCTP", says: "ports[].protocol: SCTP",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{ports: [{port: 80, protocol: SCTP}]}]}`)), want: `
		+ * > x/* sctp/80
		- * > x/* *
		+ * > * *`},
	{name: "one number of all three", says: "ports: items are combined by OR",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{ports: [{port: 80}, {port: 80, protocol: UDP}, {port: 80, protocol: SCTP}]}]}`)), want: `
		+ * > x/* tcp/80 udp/80 sctp/80
		- * > x/* *
		+ * > * *`},
	{name: "all of TCP", says: "ports[].port: not provided, it matches all; the protocol defaults to TCP",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{ports: [{}]}]}`)), want: `
		+ * > x/* tcp/*
		- * > x/* *
		+ * > * *`},
	{name: "all of UDP", says: "ports[].port: not provided, it matches all of the protocol",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{ports: [{protocol: UDP}]}]}`)), want: `
		+ * > x/* udp/*
		- * > x/* *
		+ * > * *`},
	{name: "all of SCTP", says: "ports[].port: not provided, it matches all of the protocol",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{ports: [{protocol: SCTP}]}]}`)), want: `
		+ * > x/* sctp/*
		- * > x/* *
		+ * > * *`},
	{name: "all of two protocols", says: "ports: items are combined by OR",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{ports: [{protocol: UDP}, {protocol: SCTP}]}]}`)), want: `
		+ * > x/* udp/* sctp/*
		- * > x/* *
		+ * > * *`},
	{name: "all of a protocol and one port", says: "ports: an item that another covers adds nothing",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{ports: [{protocol: TCP}, {port: 80}, {port: 53, protocol: UDP}]}]}`)), want: `
		+ * > x/* tcp/* udp/53
		- * > x/* *
		+ * > * *`},
	{name: "two numbers", says: "ports: items are combined by OR",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{ports: [{port: 80}, {port: 8080}]}]}`)), want: `
		+ * > x/* tcp/80 tcp/8080
		- * > x/* *
		+ * > * *`},
	{name: "a port that nobody tries", says: "ports: with an item it allows only what matches an item",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{ports: [{port: 4444}]}]}`)), want: `
		- * > x/* *
		+ * > * *`},
	{name: "egress to a number", says: "spec.egress[].ports: are those of the destination",
		policies: policies(np("x/p", `{podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: 80}]}]}`)), want: `
		+ x/* > * tcp/80
		- x/* > * *
		+ * > * *`},
	{name: "egress, UDP and SCTP", says: "spec.egress[].ports[].protocol",
		policies: policies(np("x/p", `{podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: 53, protocol: UDP}, {port: 8080, protocol: SCTP}]}]}`)), want: `
		+ x/* > * udp/53 sctp/8080
		- x/* > * *
		+ * > * *`},
	{name: "egress, all of UDP to one namespace", says: "spec.egress[]: traffic must match both ports and to",
		policies: policies(np("x/p", `{podSelector: {}, policyTypes: [Egress], egress: [{ports: [{protocol: UDP}], to: [{namespaceSelector: {matchLabels: {ns: "y"}}}]}]}`)), want: `
		+ x/* > y/* udp/*
		- x/* > * *
		+ * > * *`},
	{name: "a range", says: "ports[].endPort: the range from port to endPort, inclusive", ports: "tcp/8000 tcp/8001 tcp/7999 tcp/8099 tcp/8100 tcp/8101",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{ports: [{port: 8000, endPort: 8100}]}]}`)), want: `
		+ * > x/* tcp/8000 tcp/8001 tcp/8080 tcp/8099 tcp/8100
		- * > x/* *
		+ * > * *`},
	{name: "a range of one", says: "ports[].endPort: may equal port",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{ports: [{port: 80, endPort: 80}]}]}`)), want: `
		+ * > x/* tcp/80
		- * > x/* *
		+ * > * *`},
	{name: "a range of UDP", says: "ports[].endPort: of the protocol named", ports: "udp/54 udp/81",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{ports: [{port: 53, endPort: 80, protocol: UDP}]}]}`)), want: `
		+ * > x/* udp/53 udp/54 udp/80
		- * > x/* *
		+ * > * *`},
	{name: "a range of SCTP", says: "ports[].endPort: of the protocol named", ports: "sctp/81 sctp/82",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{ports: [{port: 80, endPort: 81, protocol: SCTP}]}]}`)), want: `
		+ * > x/* sctp/80 sctp/81
		- * > x/* *
		+ * > * *`},
	{name: "all ports as a range", says: "ports[].endPort: 1 to 65535", ports: "tcp/1 tcp/65535",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{ports: [{port: 1, endPort: 65535}]}]}`)), want: `
		+ * > x/* tcp/*
		- * > x/* *
		+ * > * *`},
	{name: "the highest port", says: "ports[].port: 65535 is one", ports: "tcp/1 tcp/65535 tcp/65534",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{ports: [{port: 65535}, {port: 1}]}]}`)), want: `
		+ * > x/* tcp/1 tcp/65535
		- * > x/* *
		+ * > * *`},
	{name: "ranges that overlap", says: "ports: items are combined by OR", ports: "tcp/82 tcp/90 tcp/101",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{ports: [{port: 80, endPort: 85}, {port: 82, endPort: 100}, {port: 81}]}]}`)), want: `
		+ * > x/* tcp/80 tcp/81 tcp/82 tcp/90
		- * > x/* *
		+ * > * *`},
	{name: "a range of egress", says: "spec.egress[].ports[].endPort", ports: "tcp/79",
		policies: policies(np("x/p", `{podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: 80, endPort: 81}], to: [{namespaceSelector: {}}]}]}`)), want: `
		+ x/* > x/*,y/*,z/* tcp/80 tcp/81
		- x/* > * *
		+ * > * *`},
	{name: "sixteen numbers", says: "ports: any number of items", ports: "tcp/1001 tcp/1015 tcp/1016 tcp/1017 tcp/1018",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{ports: [{port: 1001}, {port: 1002}, {port: 1003}, {port: 1004}, {port: 1005}, {port: 1006}, {port: 1007}, {port: 1008},
			{port: 1009}, {port: 1010}, {port: 1011}, {port: 1012}, {port: 1013}, {port: 1014}, {port: 1015}, {port: 1017}]}]}`)), want: `
		+ * > x/* tcp/1001 tcp/1015 tcp/1017
		- * > x/* *
		+ * > * *`},
	{name: "ranges and numbers, more than sixteen", says: "ports: ranges and numbers mixed", ports: "tcp/1000 tcp/1005 tcp/1011 tcp/1014 tcp/1015 tcp/1020 tcp/1025 tcp/1099 tcp/1100 tcp/1101",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{ports: [{port: 1000, endPort: 1002}, {port: 1004, endPort: 1005}, {port: 1007, endPort: 1008}, {port: 1010, endPort: 1011},
			{port: 1013, endPort: 1014}, {port: 1016, endPort: 1017}, {port: 1019, endPort: 1020}, {port: 1022, endPort: 1023}, {port: 1025}, {port: 1030}, {port: 1100}, {port: 80, protocol: UDP}]}]}`)), want: `
		+ * > x/* tcp/1000 tcp/1005 tcp/1011 tcp/1014 tcp/1020 tcp/1025 tcp/1100 udp/80
		- * > x/* *
		+ * > * *`},
	{name: "many ports for many peers", says: "spec.ingress[]: traffic must match both, however long the lists", ports: "tcp/2001 tcp/2016 tcp/2017 tcp/2018",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {pod: a}}}, {namespaceSelector: {matchLabels: {ns: z}}}, {ipBlock: {cidr: 198.51.100.0/24, except: [198.51.100.128/25]}}],
			ports: [{port: 2001}, {port: 2002}, {port: 2003}, {port: 2004}, {port: 2005}, {port: 2006}, {port: 2007}, {port: 2008}, {port: 2009}, {port: 2010}, {port: 2011}, {port: 2012}, {port: 2013}, {port: 2014}, {port: 2015}, {port: 2016}, {port: 2018}, {port: web}]}]}`)), want: `
		+ x/a,z/* > x/* tcp/2001 tcp/2016 tcp/2018
		+ o1 > x/* tcp/2001 tcp/2016 tcp/2018 v4
		+ z/* > x/a tcp/80
		+ o1 > x/a tcp/80 v4
		+ x/a,z/* > x/b tcp/81
		+ o1 > x/b tcp/81 v4
		- * > x/* *
		+ * > * *`},
	{name: "a name", says: "ports[].port: may be the name of a port on a pod",
		policies: policies(np("x/p", `{podSelector: {matchLabels: {pod: a}}, ingress: [{ports: [{port: web}]}]}`)), want: `
		+ * > x/a tcp/80
		- * > x/a *
		+ * > * *`},
	{name: "one name, other numbers", says: "ports[].port: a name is looked up on each pod",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{ports: [{port: web}]}]}`)), want: `
		+ * > x/a tcp/80
		+ * > x/b tcp/81
		- * > x/* *
		+ * > * *`},
	{name: "a name that no pod has", says: "ports[].port: a name that is not there matches no traffic",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{ports: [{port: nothing}]}]}`)), want: `
		- * > x/* *
		+ * > * *`},
	{name: "a name of another protocol", says: "ports: the protocol AND the port must match",
		policies: policies(np("x/p", `{podSelector: {matchLabels: {pod: a}}, ingress: [{ports: [{port: dns}]}]}`)), want: `
		- * > x/a *
		+ * > * *`},
	{name: "a name with its protocol", says: "ports: the protocol AND the port must match",
		policies: policies(np("x/p", `{podSelector: {matchLabels: {pod: a}}, ingress: [{ports: [{port: dns, protocol: UDP}]}]}`)), want: `
		+ * > x/a udp/53
		- * > x/a *
		+ * > * *`},
	{name: "a name of UDP and TCP", says: "ports: one name may be of two ports, told apart by protocol",
		policies: policies(np("y/p", `{podSelector: {matchLabels: {pod: b}}, ingress: [{ports: [{port: dns, protocol: UDP}]}]}`)), want: `
		+ * > y/b udp/53
		- * > y/b *
		+ * > * *`},
	{name: "a name of UDP and TCP, the TCP one", says: "ports[].protocol: defaults to TCP with a name too",
		policies: policies(np("y/p", `{podSelector: {matchLabels: {pod: b}}, ingress: [{ports: [{port: dns}]}]}`)), want: `
		+ * > y/b tcp/81
		- * > y/b *
		+ * > * *`},
	{name: "a name of all three", says: "ports: one name with each protocol",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{ports: [{port: multi}, {port: multi, protocol: UDP}, {port: multi, protocol: SCTP}]}]}`)), want: `
		+ * > x/b tcp/80 udp/80 sctp/80
		- * > x/* *
		+ * > * *`},
	{name: "a name of SCTP", says: "ports[].port: names are of SCTP too",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{ports: [{port: sig, protocol: SCTP}]}]}`)), want: `
		+ * > x/c sctp/8080
		- * > x/* *
		+ * > * *`},
	{name: "a name and a number", says: "ports: items are combined by OR",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{ports: [{port: web}, {port: 8080}]}]}`)), want: `
		+ * > x/* tcp/8080
		+ * > x/a tcp/80
		+ * > x/b tcp/81
		- * > x/* *
		+ * > * *`},
	{name: "a name for some peers", says: "spec.ingress[]: peers and a name together",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: z}}}], ports: [{port: web}]}]}`)), want: `
		+ z/* > x/a tcp/80
		+ z/* > x/b tcp/81
		- * > x/* *
		+ * > * *`},
	{name: "egress to a name", says: "spec.egress[].ports[].port: a name is of a port on the destination pod",
		policies: policies(np("x/p", `{podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {matchLabels: {ns: "y"}}}], ports: [{port: web}]}]}`)), want: `
		+ x/* > y/a tcp/8080
		- x/* > * *
		+ * > * *`},
	{name: "egress to a name, other numbers", says: "spec.egress[].ports[].port: a name is looked up on each destination",
		policies: policies(np("x/p", `{podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {}}], ports: [{port: web}]}]}`)), want: `
		+ x/* > x/a,z/a tcp/80
		+ x/* > x/b,z/b tcp/81
		+ x/* > y/a tcp/8080
		- x/* > * *
		+ * > * *`},
	{name: "egress to a name anywhere", says: "spec.egress[].to: missing, every pod that has the name is meant",
		policies: policies(np("x/p", `{podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: dns, protocol: UDP}]}]}`)), want: `
		+ x/* > x/a,y/b udp/53
		+ x/* > y/a udp/80
		- x/* > * *
		+ * > * *`},
	{name: "egress to a name within a block", says: "spec.egress[]: a name is that of the pod, its address that of the block",
		policies: policies(np("x/p", `{podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 10.244.2.0/24}}], ports: [{port: web}]}]}`)), want: `
		+ x/* > z/a tcp/80 v4
		- x/* > * *
		+ * > * *`},
	{name: "egress to a name within a block with excepts", says: "spec.egress[]: except counts with names as well",
		policies: policies(np("x/p", `{podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 10.244.0.0/16, except: [10.244.1.0/24]}}, {ipBlock: {cidr: "fd00:244::/32", except: ["fd00:244:2::/48"]}}], ports: [{port: web}]}]}`)), want: `
		+ x/* > z/a tcp/80 v4
		+ x/* > x/a tcp/80 v6
		+ x/* > x/b tcp/81 v6
		+ x/* > y/a tcp/8080 v6
		- x/* > * *
		+ * > * *`},
	{name: "egress to a name with a selector and a number", says: "spec.egress[].ports: items are combined by OR",
		policies: policies(np("x/p", `{podSelector: {}, policyTypes: [Egress], egress: [{to: [{podSelector: {matchLabels: {app: web}}, namespaceSelector: {}}], ports: [{port: web}, {port: 53, protocol: UDP}]}]}`)), want: `
		+ x/* > x/a,z/a tcp/80
		+ x/* > y/a tcp/8080
		+ x/* > x/a,y/a,z/a udp/53
		- x/* > * *
		+ * > * *`},
	{name: "names of pods without IPv4", says: "ports[].port: a name in one family only",
		policies: policies(np("z/p", `{podSelector: {}, ingress: [{ports: [{port: web}]}]}`)), want: `
		+ * > z/a tcp/80
		+ * > z/b tcp/81
		- * > z/* *
		+ * > * *`},
	{name: "a name that means a number of another pod", says: "ports[].port: the name of one pod opens nothing on another",
		policies: policies(np("y/p", `{podSelector: {}, ingress: [{ports: [{port: dns, protocol: UDP}]}]}`)), want: `
		+ * > y/a udp/80
		+ * > y/b udp/53
		- * > y/* *
		+ * > * *`},
}
