package policy

// isolationCases are about who is isolated, in which direction, and what an
// absent or empty field means.
var isolationCases = []policyCase{
	{name: "no policy", says: "spec.ingress: traffic is allowed to a pod that no policy selects", want: `
		+ * > * *`},
	{name: "default deny ingress", says: "spec.ingress: empty, it only isolates what is selected",
		policies: policies(np("x/deny", `{podSelector: {}, policyTypes: [Ingress]}`)), want: `
		- * > x/* *
		+ * > * *`},
	{name: "default deny egress", says: "spec.egress: empty, it limits all outgoing traffic",
		policies: policies(np("x/deny", `{podSelector: {}, policyTypes: [Egress]}`)), want: `
		- x/* > * *
		+ * > * *`},
	{name: "default deny both", says: "spec.policyTypes: [Ingress, Egress] affects both",
		policies: policies(np("x/deny", `{podSelector: {}, policyTypes: [Ingress, Egress]}`)), want: `
		- x/* > * *
		- * > x/* *
		+ * > * *`},
	{name: "deny in every namespace", says: "spec.podSelector: a policy is of its own namespace",
		policies: policies(np("x/deny", `{podSelector: {}}`), np("y/deny", `{podSelector: {}}`), np("z/deny", `{podSelector: {}}`)), want: `
		- * > x/*,y/*,z/* *
		+ * > * *`},
	{name: "allow all ingress", says: "spec.ingress[]: an empty rule matches all sources and ports",
		policies: policies(np("x/all", `{podSelector: {}, ingress: [{}]}`)), want: `
		+ * > * *`},
	{name: "allow all egress", says: "spec.egress[]: an empty rule matches all destinations and ports",
		policies: policies(np("x/all", `{podSelector: {}, policyTypes: [Egress], egress: [{}]}`)), want: `
		+ * > * *`},
	{name: "spec without anything", says: "spec.podSelector: absent is empty; spec.policyTypes: defaults to Ingress",
		policies: policies(np("x/nothing", `{}`)), want: `
		- * > x/* *
		+ * > * *`},
	{name: "ingress absent", says: "spec.policyTypes: all policies affect ingress, with an ingress section or without",
		policies: policies(np("x/p", `{podSelector: {matchLabels: {pod: a}}}`)), want: `
		- * > x/a *
		+ * > * *`},
	{name: "ingress an empty list", says: "spec.ingress: [] is as absent",
		policies: policies(np("x/p", `{podSelector: {matchLabels: {pod: a}}, ingress: []}`)), want: `
		- * > x/a *
		+ * > * *`},
	{name: "egress absent", says: "spec.policyTypes: without an egress section egress is not affected",
		policies: policies(np("x/p", `{podSelector: {matchLabels: {pod: a}}, ingress: [{}]}`)), want: `
		+ * > * *`},
	{name: "egress an empty list", says: "spec.policyTypes: defaults by the existence of egress rules; an empty list has none",
		policies: policies(np("x/p", `{podSelector: {matchLabels: {pod: a}}, egress: []}`)), want: `
		+ x/a > * *
		- * > x/a *
		+ * > * *`},
	{name: "egress section without policyTypes", says: "spec.policyTypes: with an egress section both directions are affected",
		policies: policies(np("x/p", `{podSelector: {matchLabels: {pod: a}}, egress: [{to: [{podSelector: {}}]}]}`)), want: `
		- * > x/a *
		+ x/a > x/* *
		- x/a > * *
		+ * > * *`},
	{name: "policyTypes an empty list", says: "spec.policyTypes: empty is not specified",
		policies: policies(np("x/p", `{podSelector: {matchLabels: {pod: a}}, policyTypes: [], egress: [{}]}`)), want: `
		- * > x/a *
		+ * > * *`},
	{name: "policyTypes Egress, with ingress rules", says: "spec.policyTypes: an egress-only policy must say so, and then its ingress section counts for nothing",
		policies: policies(np("x/p", `{podSelector: {matchLabels: {pod: a}}, policyTypes: [Egress], ingress: [{from: [{podSelector: {}}]}]}`)), want: `
		- x/a > * *
		+ * > * *`},
	{name: "policyTypes Ingress, with egress rules", says: "spec.policyTypes: named alone, Ingress leaves egress open",
		policies: policies(np("x/p", `{podSelector: {matchLabels: {pod: a}}, policyTypes: [Ingress], egress: [{to: [{podSelector: {}}]}]}`)), want: `
		- * > x/a *
		+ * > * *`},
	{name: "no egress at all", says: "spec.policyTypes: no egress is said by policyTypes with Egress and no section",
		policies: policies(np("x/p", `{podSelector: {matchLabels: {pod: a}}, policyTypes: [Ingress, Egress], ingress: [{}]}`)), want: `
		- x/a > * *
		+ * > * *`},
	{name: "from an empty list", says: "spec.ingress[].from: empty or missing matches all sources",
		policies: policies(np("x/p", `{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [], ports: [{port: 80}]}]}`)), want: `
		+ * > x/a tcp/80
		- * > x/a *
		+ * > * *`},
	{name: "from missing", says: "spec.ingress[].from: missing matches all sources, those outside the cluster too",
		policies: policies(np("x/p", `{podSelector: {matchLabels: {pod: a}}, ingress: [{ports: [{port: 81}]}]}`)), want: `
		+ * > x/a tcp/81
		- * > x/a *
		+ * > * *`},
	{name: "ports an empty list", says: "spec.ingress[].ports: empty or missing matches all ports",
		policies: policies(np("x/p", `{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{podSelector: {}}], ports: []}]}`)), want: `
		+ x/* > x/a *
		- * > x/a *
		+ * > * *`},
	{name: "to an empty list", says: "spec.egress[].to: empty or missing matches all destinations",
		policies: policies(np("x/p", `{podSelector: {matchLabels: {pod: a}}, policyTypes: [Egress], egress: [{to: [], ports: [{port: 80}]}]}`)), want: `
		+ x/a > * tcp/80
		- x/a > * *
		+ * > * *`},
	{name: "egress ports an empty list", says: "spec.egress[].ports: empty matches all ports",
		policies: policies(np("x/p", `{podSelector: {matchLabels: {pod: a}}, policyTypes: [Egress], egress: [{to: [{podSelector: {}}], ports: []}]}`)), want: `
		+ x/a > x/* *
		- x/a > * *
		+ * > * *`},
	{name: "rule of empty lists", says: "spec.ingress[]: empty lists are as missing ones",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{from: [], ports: []}]}`)), want: `
		+ * > * *`},
	{name: "egress rule of empty lists", says: "spec.egress[]: empty lists are as missing ones",
		policies: policies(np("x/p", `{podSelector: {}, policyTypes: [Egress], egress: [{to: [], ports: []}]}`)), want: `
		+ * > * *`},
	{name: "one pod selected", says: "spec.podSelector: selects the pods that the policy applies to",
		policies: policies(np("x/p", `{podSelector: {matchLabels: {pod: b}}, policyTypes: [Ingress]}`)), want: `
		- * > x/b *
		+ * > * *`},
	{name: "same labels in another namespace", says: "spec.podSelector: selects in the policy's namespace alone",
		policies: policies(np("y/p", `{podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress]}`)), want: `
		- * > y/a *
		+ * > * *`},
	{name: "nobody selected", says: "spec.podSelector: what selects no pod changes nothing",
		policies: policies(np("x/p", `{podSelector: {matchLabels: {pod: nobody}}, policyTypes: [Ingress, Egress]}`)), want: `
		+ * > * *`},
	{name: "union of two policies", says: "spec.podSelector: the rules of several policies that select a pod are combined additively",
		policies: policies(
			np("x/one", `{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{podSelector: {matchLabels: {pod: b}}}]}]}`),
			np("x/two", `{podSelector: {matchLabels: {app: web}}, ingress: [{from: [{podSelector: {matchLabels: {pod: c}}}], ports: [{port: 80}]}]}`)), want: `
		+ x/b > x/a *
		+ x/c > x/a tcp/80
		- * > x/a *
		+ * > * *`},
	{name: "union with default deny", says: "spec.ingress: one matching rule of any policy is enough, whatever the others are",
		policies: policies(
			np("x/deny", `{podSelector: {}, policyTypes: [Ingress, Egress]}`),
			np("x/in", `{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{podSelector: {matchLabels: {pod: b}}}]}]}`),
			np("x/out", `{podSelector: {matchLabels: {pod: b}}, policyTypes: [Egress], egress: [{to: [{podSelector: {matchLabels: {pod: a}}}]}]}`)), want: `
		+ x/b > x/a *
		- x/* > * *
		- * > x/* *
		+ * > * *`},
	{name: "union with allow all", says: "spec.ingress: policies do not conflict, a deny does not win",
		policies: policies(np("x/deny", `{podSelector: {}}`), np("x/all", `{podSelector: {matchLabels: {pod: c}}, ingress: [{}]}`)), want: `
		+ * > x/c *
		- * > x/* *
		+ * > * *`},
	{name: "union of egress", says: "spec.egress: rules across all policies that select the pod",
		policies: policies(
			np("y/one", `{podSelector: {}, policyTypes: [Egress], egress: [{to: [{podSelector: {}}]}]}`),
			np("y/two", `{podSelector: {matchLabels: {pod: a}}, policyTypes: [Egress], egress: [{ports: [{port: 53, protocol: UDP}]}]}`)), want: `
		+ y/* > y/* *
		+ y/a > * udp/53
		- y/* > * *
		+ * > * *`},
	{name: "three policies with three ports", says: "spec.ingress: rules across all policies",
		policies: policies(
			np("z/a", `{podSelector: {}, ingress: [{ports: [{port: 80}]}]}`),
			np("z/b", `{podSelector: {matchLabels: {pod: a}}, ingress: [{ports: [{port: 81}]}]}`),
			np("z/c", `{podSelector: {matchExpressions: [{key: app, operator: Exists}]}, ingress: [{ports: [{port: 53, protocol: UDP}]}]}`)), want: `
		+ * > z/a tcp/80 tcp/81 udp/53
		+ * > z/b tcp/80 udp/53
		+ * > z/c tcp/80
		- * > z/* *
		+ * > * *`},
	{name: "the sender allows, the receiver not", says: "spec.ingress, spec.egress: both ends must allow a connection",
		policies: policies(
			np("x/out", `{podSelector: {matchLabels: {pod: a}}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {}}]}]}`),
			np("y/in", `{podSelector: {}, policyTypes: [Ingress]}`)), want: `
		- x/a > n*,o* *
		- * > y/* *
		+ * > * *`},
	{name: "the receiver allows, the sender not", says: "spec.ingress, spec.egress: both ends must allow a connection",
		policies: policies(
			np("x/out", `{podSelector: {matchLabels: {pod: a}}, policyTypes: [Egress]}`),
			np("y/in", `{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: x}}}]}]}`)), want: `
		- x/a > * *
		+ x/* > y/* *
		- * > y/* *
		+ * > * *`},
	{name: "both ends allow", says: "spec.ingress, spec.egress: both ends must allow a connection",
		policies: policies(
			np("x/out", `{podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {matchLabels: {ns: "y"}}}], ports: [{port: 80}, {port: 53, protocol: UDP}]}]}`),
			np("y/in", `{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: x}}}], ports: [{port: 80}, {port: 81}]}]}`)), want: `
		+ x/* > y/* tcp/80
		- x/* > * *
		- * > y/* *
		+ * > * *`},
	{name: "replies to what went out", says: "spec.ingress: isolation is about connections, their replies are allowed (Isolation of pods)",
		policies: policies(np("x/p", `{podSelector: {matchLabels: {pod: a}}, policyTypes: [Ingress]}`)), want: `
		+ x/a > * *
		- * > x/a *
		+ * > * *`},
	{name: "replies to what came in", says: "spec.egress: replies to connections that ingress allowed leave all the same",
		policies: policies(np("x/p", `{podSelector: {}, policyTypes: [Egress]}`)), want: `
		- x/* > * *
		+ * > x/* *`},
	{name: "replies between two that are closed otherwise", says: "spec.ingress, spec.egress: replies need no rule of either side",
		policies: policies(
			np("x/p", `{podSelector: {}, policyTypes: [Ingress, Egress], egress: [{to: [{namespaceSelector: {matchLabels: {ns: "y"}}}]}]}`),
			np("y/p", `{podSelector: {}, policyTypes: [Ingress, Egress], ingress: [{from: [{namespaceSelector: {matchLabels: {ns: x}}}]}]}`)), want: `
		+ x/* > y/* *
		- x/*,y/* > * *
		- * > x/*,y/* *
		+ * > * *`},
	{name: "own node to an isolated pod", says: "spec.ingress: allowed if the source is the pod's local node",
		policies: policies(np("x/p", `{podSelector: {}, policyTypes: [Ingress, Egress]}`)), want: `
		+ n1 > x/a,x/b *
		+ n2 > x/c *
		- n2 > x/a,x/b *
		- n1 > x/c *`},
	{name: "an isolated pod to its own node", says: "Two sorts of isolation: traffic to and from the node of a pod is always allowed",
		policies: policies(np("z/p", `{podSelector: {}, policyTypes: [Egress]}`)), want: `
		+ z/c > n1 *
		+ z/a,z/b > n2 *
		- z/c > n2 *
		- z/a,z/b > n1 *`},
	{name: "deny of all six", says: "spec.podSelector: empty selects all pods of the namespace",
		policies: policies(np("x/d", `{policyTypes: [Ingress, Egress]}`), np("y/d", `{policyTypes: [Ingress, Egress]}`)), want: `
		- x/*,y/* > * *
		- * > x/*,y/* *
		+ * > * *`},
}
