package convert

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"caracal.dev/caracal/selector"
)

// policies exposes what protects something and cannot be carried: our policies are
// those of Kubernetes.
func (c *conversion) policies() {
	var rules []*fields // that may refer to sets
	tiers := map[string]bool{}
	for _, kind := range []string{"CalicoNetworkPolicy", "GlobalNetworkPolicy"} {
		for _, d := range c.byKind[kind] {
			// So Calico shows the policies of Kubernetes: they stay in force.
			if kind == "CalicoNetworkPolicy" && strings.HasPrefix(d.name, "knp.default.") {
				continue
			}
			f := c.spec(d)
			if t := f.str("tier"); t != "" {
				tiers[t] = true
			}
			c.expose(d.kind, d.id(), c.describe(d, f))
			rules = append(rules, f.groups("ingress")...)
			rules = append(rules, f.groups("egress")...)
		}
	}
	for _, kind := range []string{"AdminNetworkPolicy", "BaselineAdminNetworkPolicy", "ClusterNetworkPolicy"} {
		for _, d := range c.byKind[kind] {
			f := c.spec(d)
			what := "the pods of " + shown("", f.take("subject"))
			if n := f.number("priority"); n != nil {
				what = fmt.Sprintf("priority %d, %s", *n, what)
			}
			if t := f.str("tier"); t != "" {
				what = "tier " + t + ", " + what
			}
			c.expose(d.kind, d.name, what+"; "+counted(f))
		}
	}
	c.hostEndpoints()
	c.sets(rules)
	c.tiersAndProfiles(tiers)
	for _, kind := range []string{"StagedNetworkPolicy", "StagedGlobalNetworkPolicy", "StagedKubernetesNetworkPolicy"} {
		for _, d := range c.byKind[kind] {
			c.lose(d.key(), "", "", "a staged policy is not enforced by Calico, and is not known here", "nothing")
		}
	}
}

// describe says what a policy protects, as far as it says so itself.
func (c *conversion) describe(d *document, f *fields) string {
	who := "all endpoints, those of hosts included"
	if d.namespace != "" {
		who = "all pods of namespace " + d.namespace
	}
	var which []string
	for _, name := range []string{"selector", "namespaceSelector", "serviceAccountSelector"} {
		if s := f.str(name); s != "" && s != "all()" {
			which = append(which, fmt.Sprintf("%s %s", name, s))
		}
	}
	if len(which) > 0 {
		who += " with " + strings.Join(which, ", ")
	}
	if t := f.str("tier"); t != "" && t != "default" {
		who = "tier " + t + ", " + who
	}
	types := f.strs("types")
	if len(types) == 0 {
		if types = []string{"Ingress"}; f.has("egress") {
			types = append(types, "Egress")
		}
	}
	for _, name := range []string{"preDNAT", "doNotTrack", "applyOnForward"} {
		if f.yes(name) {
			who += ", " + name
		}
	}
	return who + "; " + strings.Join(types, " and ") + "; " + counted(f)
}

// counted says how many rules of which actions there are.
func counted(f *fields) string {
	var parts []string
	for _, dir := range []string{"ingress", "egress"} {
		count := map[string]int{}
		var actions []string
		for _, r := range f.groups(dir) {
			a := r.str("action")
			if count[a]++; count[a] == 1 {
				actions = append(actions, a)
			}
		}
		slices.Sort(actions)
		var said []string
		for _, a := range actions {
			said = append(said, fmt.Sprintf("%d %s", count[a], a))
		}
		if len(said) == 0 {
			said = []string{"no rules"}
		}
		parts = append(parts, dir+": "+strings.Join(said, ", "))
	}
	return strings.Join(parts, ", ")
}

// hostEndpoints exposes those that people wrote. Those that Calico makes by itself
// let everything through: what policies make of them is listed with the policies.
func (c *conversion) hostEndpoints() {
	for _, d := range c.byKind["HostEndpoint"] {
		f := c.spec(d)
		meta := c.fields(d.key(), "metadata", d.tree["metadata"])
		if strings.HasPrefix(stringMap(meta.m["labels"])["projectcalico.org/created-by"], "calico-kube-controllers") {
			continue
		}
		what := "of node " + f.str("node")
		if i := f.str("interfaceName"); i != "" {
			what = "interface " + i + " " + what
		}
		if ips := f.strs("expectedIPs"); len(ips) > 0 {
			what += ", " + strings.Join(ips, ", ")
		}
		c.expose(d.kind, d.id(), what+": policies protected the host itself, and will not")
	}
}

// sets exposes the sets of addresses that a rule refers to; others protect nothing.
func (c *conversion) sets(rules []*fields) {
	var used []*selector.Selector
	for _, r := range rules {
		for _, end := range []string{"source", "destination"} {
			g := r.group(end)
			if g == nil {
				continue
			}
			for _, name := range []string{"selector", "notSelector"} {
				if s := g.str(name); s != "" {
					if parsed, err := selector.Parse(s); err == nil {
						used = append(used, parsed)
					}
				}
			}
		}
	}
	for _, kind := range []string{"GlobalNetworkSet", "NetworkSet"} {
		for _, d := range c.byKind[kind] {
			meta := c.fields(d.key(), "metadata", d.tree["metadata"])
			labels := stringMap(meta.m["labels"])
			nets := c.spec(d).strs("nets")
			if slices.ContainsFunc(used, func(s *selector.Selector) bool { return s.Matches(labels) }) {
				c.expose(d.kind, d.id(), fmt.Sprintf("%d ranges that rules of the policies above refer to", len(nets)))
				continue
			}
			c.lose(d.key(), "", "", "no policy that was given refers to it, and here none can", "write its ranges as ipBlocks of the NetworkPolicies that need them")
		}
	}
}

func (c *conversion) tiersAndProfiles(used map[string]bool) {
	for _, d := range c.byKind["Tier"] {
		switch {
		case slices.Contains([]string{"default", "adminnetworkpolicy", "baselineadminnetworkpolicy", "kube-admin", "kube-baseline"}, d.name):
			// Calico's own.
		case used[d.name]:
			f := c.spec(d)
			action := f.str("defaultAction")
			if action == "" {
				action = "Deny"
			}
			c.expose(d.kind, d.name, "what its policies select and no rule of them matches is met with "+action)
		default:
			c.lose(d.key(), "", "", "no policy that was given is in it, and here there are no tiers", "nothing")
		}
	}
	for _, d := range c.byKind["Profile"] {
		f := c.spec(d)
		own := strings.HasPrefix(d.name, "kns.") || strings.HasPrefix(d.name, "ksa.") || d.name == "projectcalico-default-allow"
		if !own && (f.has("ingress") || f.has("egress")) {
			c.expose(d.kind, d.name, "the endpoints that have the profile; "+counted(f))
		}
	}
}

// kubernetes passes on what is in force here as it is.
func (c *conversion) kubernetes() {
	for _, kind := range []string{"Namespace", "NetworkPolicy"} {
		for _, d := range c.byKind[kind] {
			c.result.Passed = append(c.result.Passed, passed(d))
		}
	}
	if n := len(c.byKind["NetworkPolicy"]); n > 0 {
		c.note("%d NetworkPolicies of Kubernetes are written unchanged, for the file store; with the API as the store they are in force as they are, and need not be applied", n)
	}
	for _, d := range c.byKind["Secret"] {
		c.note("%s was among the documents; secrets are never written", d.key())
	}
}

// passed is a document without what a cluster keeps about it.
func passed(d *document) map[string]any {
	meta := map[string]any{"name": d.name}
	if d.namespace != "" {
		meta["namespace"] = d.namespace
	}
	if m, ok := d.tree["metadata"].(map[string]any); ok && !empty(m["labels"]) {
		meta["labels"] = m["labels"]
	}
	out := map[string]any{"apiVersion": d.tree["apiVersion"], "kind": d.kind, "metadata": meta}
	if d.kind == "NetworkPolicy" {
		out["spec"] = plain(d.tree["spec"])
	}
	return out
}

// plain turns json.Numbers into numbers, which the writer of YAML takes for strings.
func plain(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, e := range v {
			out[k] = plain(e)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = plain(e)
		}
		return out
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		f, _ := v.Float64()
		return f
	}
	return v
}
