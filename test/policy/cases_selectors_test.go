package policy

// selectorCases are about whom the selectors of a policy and of its peers select.
var selectorCases = []policyCase{
	{name: "peer podSelector", says: "from[].podSelector: alone, it selects in the policy's own namespace",
		policies: policies(np("x/p", `{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{podSelector: {matchLabels: {pod: b}}}]}]}`)), want: `
		+ x/b > x/a *
		- * > x/a *
		+ * > * *`},
	{name: "peer podSelector empty", says: "from[].podSelector: present but empty, it selects all pods of the namespace",
		policies: policies(np("x/p", `{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{podSelector: {}}]}]}`)), want: `
		+ x/* > x/a *
		- * > x/a *
		+ * > * *`},
	{name: "peer namespaceSelector", says: "from[].namespaceSelector: alone, it selects all pods of the namespaces",
		policies: policies(np("x/p", `{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: "y"}}}]}]}`)), want: `
		+ y/* > x/a *
		- * > x/a *
		+ * > * *`},
	{name: "peer namespaceSelector empty", says: "from[].namespaceSelector: present but empty, it selects all namespaces, but only pods",
		policies: policies(np("x/p", `{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{namespaceSelector: {}}]}]}`)), want: `
		- n2,o1,o2 > x/a *
		+ * > * *`},
	{name: "own namespace is not selected", says: "from[].namespaceSelector: the policy's own namespace is in only if it is selected",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: blue}}}]}]}`)), want: `
		+ y/* > x/* *
		- * > x/* *
		+ * > * *`},
	{name: "both selectors in one peer", says: "from[].podSelector with namespaceSelector: the pods selected, in the namespaces selected",
		policies: policies(np("x/p", `{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{podSelector: {matchLabels: {pod: b}}, namespaceSelector: {matchLabels: {ns: "y"}}}]}]}`)), want: `
		+ y/b > x/a *
		- * > x/a *
		+ * > * *`},
	{name: "both selectors in two peers", says: "spec.ingress[].from: items are combined by OR",
		policies: policies(np("x/p", `{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{podSelector: {matchLabels: {pod: b}}}, {namespaceSelector: {matchLabels: {ns: "y"}}}]}]}`)), want: `
		+ x/b,y/* > x/a *
		- * > x/a *
		+ * > * *`},
	{name: "both empty", says: "from[]: both selectors empty are all pods of all namespaces",
		policies: policies(np("z/p", `{podSelector: {}, ingress: [{from: [{podSelector: {}, namespaceSelector: {}}]}]}`)), want: `
		- n*,o* > z/* *
		+ * > * *`},
	{name: "pods of all namespaces", says: "from[]: an empty namespaceSelector with a podSelector",
		policies: policies(np("z/p", `{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}, namespaceSelector: {}}]}]}`)), want: `
		+ x/a,y/a,z/a > z/* *
		- * > z/* *
		+ * > * *`},
	{name: "namespace by its name", says: "namespaceSelector: each namespace has the label kubernetes.io/metadata.name",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: z}}}]}]}`)), want: `
		+ z/* > x/* *
		- * > x/* *
		+ * > * *`},
	{name: "namespaces by In of names", says: "namespaceSelector.matchExpressions: In with several values",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchExpressions: [{key: kubernetes.io/metadata.name, operator: In, values: [x, z]}]}}]}]}`)), want: `
		+ x/*,z/* > x/* *
		- * > x/* *
		+ * > * *`},
	{name: "egress podSelector", says: "to[].podSelector: alone, it selects in the policy's own namespace",
		policies: policies(np("x/p", `{podSelector: {matchLabels: {pod: a}}, policyTypes: [Egress], egress: [{to: [{podSelector: {matchLabels: {pod: c}}}]}]}`)), want: `
		+ x/a > x/c *
		- x/a > * *
		+ * > * *`},
	{name: "egress namespaceSelector", says: "to[].namespaceSelector: all pods of the namespaces",
		policies: policies(np("x/p", `{podSelector: {matchLabels: {pod: a}}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {matchLabels: {ns: z}}}]}]}`)), want: `
		+ x/a > z/* *
		- x/a > * *
		+ * > * *`},
	{name: "egress to all pods", says: "to[].namespaceSelector: empty selects all namespaces, not what is outside",
		policies: policies(np("y/p", `{podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {}}]}]}`)), want: `
		- y/* > n*,o* *
		+ * > * *`},
	{name: "egress by both selectors", says: "to[]: the pods selected, in the namespaces selected",
		policies: policies(np("y/p", `{podSelector: {}, policyTypes: [Egress], egress: [{to: [{podSelector: {matchLabels: {app: db}}, namespaceSelector: {matchExpressions: [{key: ns, operator: In, values: [x, z]}]}}]}]}`)), want: `
		+ y/* > x/b,z/b *
		- y/* > * *
		+ * > * *`},
	{name: "matchLabels of two", says: "LabelSelector: requirements are ANDed",
		policies: policies(np("x/p", `{podSelector: {matchLabels: {pod: a, app: web}}, ingress: [{from: [{podSelector: {matchLabels: {pod: b, app: web}}}]}]}`)), want: `
		- * > x/a *
		+ * > * *`},
	{name: "matchLabels and matchExpressions", says: "LabelSelector: matchLabels and matchExpressions are ANDed",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{from: [{namespaceSelector: {}, podSelector: {matchLabels: {app: web}, matchExpressions: [{key: pod, operator: NotIn, values: [b]}]}}]}]}`)), want: `
		+ x/a,y/a,z/a > x/* *
		- * > x/* *
		+ * > * *`},
	{name: "In", says: "matchExpressions: In holds if the value is one of those",
		policies: policies(np("x/p", `{podSelector: {matchExpressions: [{key: pod, operator: In, values: [a, b]}]}}`)), want: `
		- * > x/a,x/b *
		+ * > * *`},
	{name: "In without the key", says: "matchExpressions: In does not hold for what lacks the label",
		policies: policies(np("x/p", `{podSelector: {matchExpressions: [{key: app, operator: In, values: [web, db, ""]}]}}`)), want: `
		- * > x/a,x/b *
		+ * > * *`},
	{name: "NotIn", says: "matchExpressions: NotIn holds for other values and for what lacks the label",
		policies: policies(np("x/p", `{podSelector: {matchExpressions: [{key: app, operator: NotIn, values: [web]}]}}`)), want: `
		- * > x/b,x/c *
		+ * > * *`},
	{name: "NotIn of several", says: "matchExpressions: NotIn with several values",
		policies: policies(np("x/p", `{podSelector: {matchExpressions: [{key: app, operator: NotIn, values: [web, db]}]}}`)), want: `
		- * > x/c *
		+ * > * *`},
	{name: "NotIn of a namespace", says: "namespaceSelector: NotIn selects namespaces without the label too",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchExpressions: [{key: team, operator: NotIn, values: [blue]}]}}]}]}`)), want: `
		+ x/*,z/* > x/* *
		- * > x/* *
		+ * > * *`},
	{name: "Exists", says: "matchExpressions: Exists holds for any value",
		policies: policies(np("x/p", `{podSelector: {matchExpressions: [{key: app, operator: Exists}]}}`)), want: `
		- * > x/a,x/b *
		+ * > * *`},
	{name: "Exists with an empty value", says: "matchExpressions: a label with an empty value exists",
		policies: policies(np("x/p", `{podSelector: {matchExpressions: [{key: mark, operator: Exists}]}}`)),
		change:   func(c *cluster) { c.pod("x/c").labels["mark"] = "" }, want: `
		- * > x/c *
		+ * > * *`},
	{name: "In of the empty value", says: "matchExpressions: the empty value is a value",
		policies: policies(np("x/p", `{podSelector: {matchLabels: {mark: ""}}}`)),
		change:   func(c *cluster) { c.pod("x/c").labels["mark"] = "" }, want: `
		- * > x/c *
		+ * > * *`},
	{name: "DoesNotExist", says: "matchExpressions: DoesNotExist holds for what lacks the label",
		policies: policies(np("x/p", `{podSelector: {matchExpressions: [{key: app, operator: DoesNotExist}]}}`)), want: `
		- * > x/c *
		+ * > * *`},
	{name: "DoesNotExist of a namespace", says: "namespaceSelector: DoesNotExist",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchExpressions: [{key: team, operator: DoesNotExist}]}}]}]}`)), want: `
		+ z/* > x/* *
		- * > x/* *
		+ * > * *`},
	{name: "contradiction", says: "matchExpressions: requirements that cannot hold together select nothing",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{from: [{podSelector: {matchExpressions: [{key: app, operator: Exists}, {key: app, operator: DoesNotExist}]}}]}]}`)), want: `
		- * > x/* *
		+ * > * *`},
	{name: "two requirements of one key", says: "matchExpressions: In and NotIn of one key are ANDed",
		policies: policies(np("x/p", `{podSelector: {matchExpressions: [{key: pod, operator: In, values: [a, b, c]}, {key: pod, operator: NotIn, values: [b]}]}}`)), want: `
		- * > x/a,x/c *
		+ * > * *`},
	{name: "the same selector twice", says: "spec.ingress[].from: an item that is there twice changes nothing",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {pod: a}}}, {podSelector: {matchExpressions: [{key: pod, operator: In, values: [a]}]}}]}]}`)), want: `
		+ x/a > x/* *
		- * > x/* *
		+ * > * *`},
	{name: "one selector, two namespaces", says: "from[].podSelector: the same words mean other pods in another namespace's policy",
		policies: policies(
			np("x/p", `{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]}`),
			np("y/p", `{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]}`)), want: `
		+ x/a > x/* *
		+ y/a > y/* *
		- * > x/*,y/* *
		+ * > * *`},
	{name: "a peer that selects nobody", says: "spec.ingress[].from: with an item it allows only what matches an item",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {no: body}}}]}]}`)), want: `
		- * > x/* *
		+ * > * *`},
	{name: "a namespace that is not there", says: "from[].namespaceSelector: selects none",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: nowhere}}}]}]}`)), want: `
		- * > x/* *
		+ * > * *`},
	{name: "itself as a peer", says: "from[].podSelector: may select those that the policy selects",
		policies: policies(np("x/p", `{podSelector: {matchLabels: {app: web}}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}, namespaceSelector: {}}]}]}`)), want: `
		+ y/a,z/a > x/a *
		- * > x/a *
		+ * > * *`},
	{name: "two rules", says: "spec.ingress: one matching rule is enough; peers of one do not go with ports of another",
		policies: policies(np("x/p", `{podSelector: {matchLabels: {pod: a}}, ingress: [
			{from: [{podSelector: {matchLabels: {pod: b}}}], ports: [{port: 80}]},
			{from: [{namespaceSelector: {matchLabels: {ns: "y"}}}], ports: [{port: 81}]}]}`)), want: `
		+ x/b > x/a tcp/80
		+ y/* > x/a tcp/81
		- * > x/a *
		+ * > * *`},
	{name: "two rules of egress", says: "spec.egress: peers of one rule do not go with ports of another",
		policies: policies(np("x/p", `{podSelector: {matchLabels: {pod: a}}, policyTypes: [Egress], egress: [
			{to: [{podSelector: {matchLabels: {pod: b}}}], ports: [{port: 80}]},
			{to: [{namespaceSelector: {matchLabels: {ns: "y"}}}], ports: [{port: 53, protocol: UDP}]}]}`)), want: `
		+ x/a > x/b tcp/80
		+ x/a > y/* udp/53
		- x/a > * *
		+ * > * *`},
	{name: "peers and ports of one rule", says: "spec.ingress[]: traffic must match both ports and from",
		policies: policies(np("x/p", `{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{podSelector: {matchLabels: {pod: b}}}, {namespaceSelector: {matchLabels: {ns: z}}}], ports: [{port: 80}, {port: 53, protocol: UDP}]}]}`)), want: `
		+ x/b,z/* > x/a tcp/80 udp/53
		- * > x/a *
		+ * > * *`},
	{name: "many peers", says: "spec.ingress[].from: any number of items",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{from: [
			{podSelector: {matchLabels: {pod: a}}}, {podSelector: {matchLabels: {pod: b}}}, {podSelector: {matchLabels: {num: "1"}}}, {podSelector: {matchLabels: {num: "2"}}},
			{podSelector: {matchLabels: {num: "3"}}}, {podSelector: {matchLabels: {num: "4"}}}, {podSelector: {matchLabels: {num: "5"}}}, {podSelector: {matchLabels: {num: "6"}}},
			{podSelector: {matchLabels: {num: "7"}}}, {podSelector: {matchLabels: {num: "8"}}}, {podSelector: {matchLabels: {num: "9"}}}, {podSelector: {matchLabels: {num: "10"}}},
			{podSelector: {matchLabels: {num: "11"}}}, {podSelector: {matchLabels: {num: "12"}}}, {podSelector: {matchLabels: {num: "13"}}}, {podSelector: {matchLabels: {num: "14"}}},
			{podSelector: {matchLabels: {pod: c}}, namespaceSelector: {matchLabels: {ns: "y"}}}, {namespaceSelector: {matchLabels: {ns: z}}, podSelector: {matchLabels: {pod: a}}}]}]}`)), want: `
		+ x/a,x/b,y/c,z/a > x/* *
		- * > x/* *
		+ * > * *`},
	{name: "label with a prefix", says: "LabelSelector: keys may have a DNS prefix",
		policies: policies(np("x/p", `{podSelector: {matchLabels: {app.kubernetes.io/name: web}}}`)),
		change:   func(c *cluster) { c.pod("x/b").labels["app.kubernetes.io/name"] = "web" }, want: `
		- * > x/b *
		+ * > * *`},
	{name: "both kinds of peers", says: "spec.ingress[].from: selectors and blocks in one list are ORed",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{from: [{podSelector: {}}, {ipBlock: {cidr: 198.51.100.0/24}}, {ipBlock: {cidr: "2001:db8:1::/64"}}]}]}`)), want: `
		+ x/*,o1 > x/* *
		- * > x/* *
		+ * > * *`},
}
