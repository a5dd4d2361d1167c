package policy

import (
	"net/netip"
	"slices"
)

// changeCases are about pods of other kinds, and about what changes while the
// rules are in force.
var changeCases = []policyCase{
	{name: "a pod in the node's network is no peer", says: "from[].podSelector: a hostNetwork pod is known by its node's address only",
		policies: policies(np("x/p", `{podSelector: {matchLabels: {pod: b}}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]}`)),
		change:   func(c *cluster) { c.pod("x/host").labels["pod"] = "a" }, want: `
		+ x/a > x/b *
		- * > x/b *
		+ * > * *`},
	{name: "a pod in the node's network is not isolated", says: "spec.podSelector: hostNetwork pods are as the node is",
		policies: policies(np("x/p", `{podSelector: {matchLabels: {pod: host}}, policyTypes: [Ingress, Egress]}`)), want: `
		+ * > * *`},
	{name: "a pod in the node's network by its address", says: "ipBlock: a hostNetwork pod has the address of its node",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 192.168.2.1/32}}]}]}`)), want: `
		+ n2 > x/* * v4
		- * > x/* *
		+ * > * *`},
	{name: "a pod that has ended is no peer", says: "from[].podSelector: its addresses may be another's",
		policies: policies(np("z/p", `{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {pod: done}}, namespaceSelector: {}}]}]}`)), want: `
		- * > z/* *
		+ * > * *`},
	{name: "a pod that has ended is not isolated", says: "spec.podSelector: what has ended isolates nobody who has its addresses now",
		policies: policies(np("x/p", `{podSelector: {matchLabels: {pod: done}}, policyTypes: [Ingress, Egress]}`)), want: `
		+ * > * *`},
	{name: "the addresses of one that has ended", says: "spec.podSelector: who has the addresses now is judged as itself",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{}]}`), np("y/p", `{podSelector: {matchLabels: {pod: b}}, ingress: [{ports: [{port: web}]}]}`)), want: `
		- * > y/b *
		+ * > * *`},
	{name: "a pod ends", says: "from[].podSelector: one that ends is no peer any more",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}, namespaceSelector: {}}]}]}`)), want: `
		+ x/a,y/a,z/a > x/* *
		- * > x/* *
		+ * > * *`,
		then: []turn{{func(c *cluster) { c.pod("z/a").labels["app"] = "gone" }, `
		+ x/a,y/a > x/* *
		- * > x/* *
		+ * > * *`}, {func(c *cluster) { c.pod("z/a").labels["app"] = "web" }, `
		+ x/a,y/a,z/a > x/* *
		- * > x/* *
		+ * > * *`}}},
	{name: "a peer's label changes", says: "from[].podSelector: selects by the labels of now",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {role: friend}}, namespaceSelector: {}}]}]}`)), want: `
		- * > x/* *
		+ * > * *`,
		then: []turn{{func(c *cluster) { c.pod("y/b").labels["role"] = "friend" }, `
		+ y/b > x/* *
		- * > x/* *
		+ * > * *`}, {func(c *cluster) {
			delete(c.pod("y/b").labels, "role")
			c.pod("z/c").labels["role"] = "friend"
		}, `
		+ z/c > x/* *
		- * > x/* *
		+ * > * *`}, {func(c *cluster) { c.pod("z/c").labels["role"] = "foe" }, `
		- * > x/* *
		+ * > * *`}}},
	{name: "a pod's own label changes", says: "spec.podSelector: applies to the pods selected now",
		policies: policies(np("x/p", `{podSelector: {matchLabels: {role: closed}}, policyTypes: [Ingress, Egress]}`)), want: `
		+ * > * *`,
		then: []turn{{func(c *cluster) { c.pod("x/a").labels["role"] = "closed" }, `
		- x/a > * *
		- * > x/a *
		+ * > * *`}, {func(c *cluster) {
			delete(c.pod("x/a").labels, "role")
			c.pod("x/c").labels["role"] = "closed"
		}, `
		- x/c > * *
		- * > x/c *
		+ * > * *`}, {func(c *cluster) { delete(c.pod("x/c").labels, "role") }, `
		+ * > * *`}}},
	{name: "a pod goes from one policy to another", says: "spec.podSelector: applies to the pods selected now",
		policies: policies(
			np("x/one", `{podSelector: {matchLabels: {role: one}}, ingress: [{from: [{podSelector: {}}]}]}`),
			np("x/two", `{podSelector: {matchLabels: {role: two}}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: z}}}]}]}`)),
		change: func(c *cluster) { c.pod("x/a").labels["role"] = "one" }, want: `
		+ x/* > x/a *
		- * > x/a *
		+ * > * *`,
		then: []turn{{func(c *cluster) { c.pod("x/a").labels["role"] = "two" }, `
		+ z/* > x/a *
		- * > x/a *
		+ * > * *`}}},
	{name: "a namespace's label changes", says: "from[].namespaceSelector: selects by the labels of now",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: green}}}]}]}`)), want: `
		- * > x/* *
		+ * > * *`,
		then: []turn{{func(c *cluster) { c.namespaces["z"]["team"] = "green" }, `
		+ z/* > x/* *
		- * > x/* *
		+ * > * *`}, {func(c *cluster) {
			delete(c.namespaces["z"], "team")
			c.namespaces["y"]["team"] = "green"
		}, `
		+ y/* > x/* *
		- * > x/* *
		+ * > * *`}, {func(c *cluster) { c.namespaces["x"]["team"] = "green" }, `
		+ x/*,y/* > x/* *
		- * > x/* *
		+ * > * *`}}},
	{name: "a namespace loses its label", says: "namespaceSelector: NotIn takes in what lacks the label",
		policies: policies(np("z/p", `{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: db}}, namespaceSelector: {matchExpressions: [{key: team, operator: NotIn, values: [red, blue]}]}}]}]}`)), want: `
		+ z/b > z/* *
		- * > z/* *
		+ * > * *`,
		then: []turn{{func(c *cluster) { delete(c.namespaces["x"], "team") }, `
		+ z/b,x/b > z/* *
		- * > z/* *
		+ * > * *`}}},
	{name: "a named port gets another number", says: "ports[].port: a name is looked up on the pod as it is now",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{ports: [{port: web}]}]}`)), want: `
		+ * > x/a tcp/80
		+ * > x/b tcp/81
		- * > x/* *
		+ * > * *`,
		then: []turn{{func(c *cluster) { c.pod("x/a").ports = []namedPort{{"web", "TCP", 8080}} }, `
		+ * > x/a tcp/8080
		+ * > x/b tcp/81
		- * > x/* *
		+ * > * *`}, {func(c *cluster) { c.pod("x/a").ports = nil }, `
		+ * > x/b tcp/81
		- * > x/* *
		+ * > * *`}}},
	{name: "a peer's named port changes", says: "spec.egress[].ports[].port: a name is looked up on the destination as it is now",
		policies: policies(np("x/p", `{podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {matchLabels: {ns: z}}}], ports: [{port: web}]}]}`)), want: `
		+ x/* > z/a tcp/80
		+ x/* > z/b tcp/81
		- x/* > * *
		+ * > * *`,
		then: []turn{{func(c *cluster) {
			c.pod("z/a").ports[0].number = 81
			c.pod("z/c").ports = []namedPort{{"web", "TCP", 80}, {"web", "UDP", 80}}
		}, `
		+ x/* > z/a,z/b tcp/81
		+ x/* > z/c tcp/80
		- x/* > * *
		+ * > * *`}}},
	{name: "a policy comes and goes", says: "spec.ingress: traffic to a pod that no policy selects is allowed", want: `
		+ * > * *`,
		then: []turn{{func(c *cluster) { c.policies = policies(np("x/p", `{podSelector: {}}`)) }, `
		- * > x/* *
		+ * > * *`}, {func(c *cluster) { c.policies = nil }, `
		+ * > * *`}, {func(c *cluster) { c.policies = policies(np("x/p", `{podSelector: {}, policyTypes: [Egress]}`)) }, `
		- x/* > * *
		+ * > * *`}}},
	{name: "a policy is widened and narrowed", says: "spec.ingress[].ports: as they are now",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{ports: [{port: 80}]}]}`)), want: `
		+ * > x/* tcp/80
		- * > x/* *
		+ * > * *`,
		then: []turn{{func(c *cluster) {
			c.policies = policies(np("x/p", `{podSelector: {}, ingress: [{ports: [{port: 80}, {port: 81}]}]}`))
		}, `
		+ * > x/* tcp/80 tcp/81
		- * > x/* *
		+ * > * *`}, {func(c *cluster) {
			c.policies = policies(np("x/p", `{podSelector: {}, ingress: [{ports: [{port: 81}], from: [{podSelector: {}}]}]}`))
		}, `
		+ x/* > x/* tcp/81
		- * > x/* *
		+ * > * *`}}},
	{name: "a policy changes its direction", says: "spec.policyTypes: as they are now",
		policies: policies(np("x/p", `{podSelector: {}, policyTypes: [Ingress]}`)), want: `
		- * > x/* *
		+ * > * *`,
		then: []turn{{func(c *cluster) { c.policies = policies(np("x/p", `{podSelector: {}, policyTypes: [Egress]}`)) }, `
		- x/* > * *
		+ * > * *`}}},
	{name: "a policy is replaced by two", says: "spec.podSelector: rules are combined additively",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{ports: [{port: 80}]}]}`)), want: `
		+ * > x/* tcp/80
		- * > x/* *
		+ * > * *`,
		then: []turn{{func(c *cluster) {
			c.policies = policies(np("x/q", `{podSelector: {matchLabels: {pod: a}}, ingress: [{ports: [{port: 81}]}]}`), np("x/r", `{podSelector: {}, ingress: [{ports: [{port: 8080}]}]}`))
		}, `
		+ * > x/a tcp/81
		+ * > x/* tcp/8080
		- * > x/* *
		+ * > * *`}}},
	{name: "a block is changed", says: "ipBlock.except: as it is now",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0, except: [198.51.100.0/24]}}]}]}`)), want: `
		- o1 > x/* *
		+ * > x/* * v4
		- * > x/* *
		+ * > * *`,
		then: []turn{{func(c *cluster) {
			c.policies = policies(np("x/p", `{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0, except: [203.0.113.0/24]}}]}]}`))
		}, `
		- o2 > x/* *
		+ * > x/* * v4
		- * > x/* *
		+ * > * *`}}},
	{name: "a peer goes", says: "from[].podSelector: selects pods that are there",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: "y"}}}]}]}`)), want: `
		+ y/* > x/* *
		- * > x/* *
		+ * > * *`,
		then: []turn{{func(c *cluster) {
			c.pods = slices.DeleteFunc(c.pods, func(p *pod) bool { return p.key() == "y/b" })
		}, `
		+ y/a,y/c > x/* *
		- * > x/* *
		+ * > * *`}}},
	{name: "addresses change hands", says: "from[].podSelector: the addresses of a pod are those that it has now",
		policies: policies(np("x/p", `{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{podSelector: {matchLabels: {pod: b}}, namespaceSelector: {matchLabels: {ns: "y"}}}]}]}`)), want: `
		+ y/b > x/a *
		- * > x/a *
		+ * > * *`,
		// y/c is now what was y/b, as to its namespace; the place that the harness
		// calls y/b has the addresses, which are what counts.
		then: []turn{{func(c *cluster) {
			b, y := c.pod("y/b"), c.pod("y/c")
			b.labels, y.labels = y.labels, b.labels
		}, `
		+ y/c > x/a *
		- * > x/a *
		+ * > * *`}}},
	{name: "one of both families", says: "ipBlock, podSelector: a policy is about all addresses of a pod",
		policies: policies(np("z/p", `{podSelector: {}, ingress: [{from: [{podSelector: {}}], ports: [{port: 80}]}]}`)), want: `
		+ z/* > z/* tcp/80
		- * > z/* *
		+ * > * *`},
	{name: "a pod of one family isolated", says: "spec.podSelector: whatever addresses the pod has",
		policies: policies(np("z/p", `{podSelector: {matchExpressions: [{key: pod, operator: In, values: [b, c]}]}, policyTypes: [Ingress, Egress]}`)), want: `
		- z/b,z/c > * *
		- * > z/b,z/c *
		+ * > * *`},
	{name: "a rejected policy", says: "no sentence of the API: what it would refuse closes the pods that it may select, both ways",
		policies: policies(rejected(np("x/p", `{podSelector: {matchLabels: {pod: a}}}`)), np("x/all", `{podSelector: {matchLabels: {pod: b}}, ingress: [{}]}`)), want: `
		- x/a > * *
		- * > x/a *
		+ * > * *`},
	{name: "a rejected policy beside another", says: "spec.ingress: rules of the policies that are in force count all the same",
		policies: policies(rejected(np("x/p", `{podSelector: {}}`)), np("x/q", `{podSelector: {matchLabels: {pod: a}}, ingress: [{ports: [{port: 80}], from: [{namespaceSelector: {matchLabels: {ns: z}}}]}]}`)), want: `
		- x/* > * *
		+ z/* > x/a tcp/80
		- * > x/* *
		+ * > * *`},
	{name: "a pod with many policies", says: "spec.ingress: rules across all policies", ports: "tcp/3001 tcp/3010 tcp/3020 tcp/3021",
		policies: manyPolicies(20), want: `
		+ * > x/a tcp/3001 tcp/3010 tcp/3020
		- * > x/a *
		+ * > * *`},
	{name: "an address that no pod has", says: "from[].podSelector: selects pods; their addresses are not those of others",
		policies: policies(np("x/p", `{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {pod: spare}}}]}]}`)),
		change: func(c *cluster) {
			spare := *c.pod("x/c")
			spare.name, spare.labels = "spare", map[string]string{"pod": "spare"}
			spare.addrs = []netip.Addr{netip.MustParseAddr("10.244.2.99")}
			c.pods = append(c.pods, &spare)
		}, want: `
		- * > x/* *
		+ * > * *`},
}

// manyPolicies allow a port each, to one pod.
func manyPolicies(n int) (out []*netpol) {
	for i := range n {
		p := np("x/p"+string(rune('a'+i)), `{podSelector: {matchLabels: {pod: a}}}`)
		p.Spec.Ingress = []ingress{{Ports: []portRule{{Port: 3001 + i}}}}
		out = append(out, p)
	}
	return out
}
