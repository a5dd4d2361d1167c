package cluster

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"

	"caracal.dev/caracal"
)

// kinds is how many policies there are before the first kind comes again.
const kinds = 20

// policy makes the policy number i.
func (c *Cluster) policy(i int) caracal.Policy {
	var ns string
	var app, round int
	if c.Size.Hard {
		w, _ := c.Snapshot.Workloads.Get(c.Local[i%len(c.Local)])
		ns, round = w.Namespace, i/len(c.Local)
		app, _ = strconv.Atoi(w.Labels["app"][len("app-"):]) // 0 where the name is another
		if w.Labels["app"] == "prometheus" {
			return c.ofApp("p-"+strconv.Itoa(i), ns, "prometheus", 0, round)
		}
	} else {
		ns, round = namespaceName(i%c.namespaces), i/c.namespaces
		app = (i*7 + i/c.namespaces) % apps
		if ns == "monitoring" {
			return c.ofApp("p-"+strconv.Itoa(i), ns, "prometheus", 0, round)
		}
	}
	return c.ofApp("p-"+strconv.Itoa(i), ns, appName(app), app, round)
}

// ofApp makes the policy of a kind for an application, the number of which makes
// it differ from those of others.
func (c *Cluster) ofApp(name, ns, app string, number, round int) caracal.Policy {
	p := caracal.Policy{Namespace: ns, Name: name, Pods: equal("app", app), Ingress: true, Source: "bench"}
	other := appName((number + 1 + round) % apps)
	switch round % kinds {
	case 0: // what is not allowed by another is denied
		p.Pods = caracal.LabelSelector{}
	case 1: // DNS and what is outside
		p.Pods, p.Ingress, p.Egress = caracal.LabelSelector{}, false, true
		p.EgressRules = []caracal.PolicyRule{
			{Peers: []caracal.PolicyPeer{{Pods: ptr(equal("k8s-app", "kube-dns")), Namespaces: ptr(equal(caracal.NamespaceNameLabel, "kube-system"))}},
				Ports: []caracal.PolicyPort{{Protocol: "TCP", Port: 53, EndPort: 53}, {Protocol: "UDP", Port: 53, EndPort: 53}}},
			{Peers: []caracal.PolicyPeer{{Net: netip.MustParsePrefix("0.0.0.0/0"), Except: prefixes("10.0.0.0/8", "169.254.169.254/32")}}},
		}
	case 2: // the whole namespace
		p.IngressRules = []caracal.PolicyRule{{Peers: []caracal.PolicyPeer{{Pods: &caracal.LabelSelector{}}}}}
	case 3, 4, 5: // a tier of all namespaces of a team
		p.IngressRules = []caracal.PolicyRule{{
			Peers: []caracal.PolicyPeer{{Pods: ptr(equal("tier", tiers[(number+round)%len(tiers)])), Namespaces: ptr(equal("team", teamName(number*3+round)))}},
			Ports: []caracal.PolicyPort{{Protocol: "TCP", Name: "http"}},
		}}
	case 6, 7: // monitoring
		p.IngressRules = []caracal.PolicyRule{{
			Peers: []caracal.PolicyPeer{{Pods: ptr(equal("app", "prometheus")), Namespaces: ptr(equal(caracal.NamespaceNameLabel, "monitoring"))}},
			Ports: []caracal.PolicyPort{{Protocol: "TCP", Port: 9090, EndPort: 9099}},
		}}
	case 8, 9: // an address range with exceptions
		p.IngressRules = []caracal.PolicyRule{{
			Peers: []caracal.PolicyPeer{{Net: netip.MustParsePrefix("192.168.0.0/16"), Except: prefixes("192.168."+strconv.Itoa(number)+".0/24", "192.168.200.17/32")}},
			Ports: tcp(443),
		}}
	case 10: // expressions, and both directions
		p.Egress = true
		p.IngressRules = []caracal.PolicyRule{{
			Peers: []caracal.PolicyPeer{{Pods: ptr(and(in("tier", "frontend", "backend"), caracal.LabelRequirement{Key: "version", Op: caracal.LabelNotIn, Values: []string{"v1"}})),
				Namespaces: ptr(and(in("env", "prod", "staging"), in("team", teamName(number))))}},
			Ports: tcp(8080, 8443),
		}}
		p.EgressRules = []caracal.PolicyRule{{Peers: []caracal.PolicyPeer{{Pods: ptr(equal("app", other))}}, Ports: tcp(5432)}}
	default: // one application may reach another
		p.IngressRules = []caracal.PolicyRule{{Peers: []caracal.PolicyPeer{{Pods: ptr(equal("app", other))}}, Ports: tcp(uint16(8000+round), uint16(8100+number))}}
	}
	return p
}

func ptr(s caracal.LabelSelector) *caracal.LabelSelector { return &s }

// equal is matchLabels with one label.
func equal(key, value string) caracal.LabelSelector { return and(in(key, value)) }

func in(key string, values ...string) caracal.LabelRequirement {
	return caracal.LabelRequirement{Key: key, Op: caracal.LabelIn, Values: slices.Sorted(slices.Values(values))}
}

// and is a selector in the order that [caracal.LabelSelector] asks for.
func and(list ...caracal.LabelRequirement) caracal.LabelSelector {
	slices.SortFunc(list, func(a, b caracal.LabelRequirement) int {
		return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.Op, b.Op), slices.Compare(a.Values, b.Values))
	})
	return caracal.LabelSelector{Requirements: list}
}

func tcp(ports ...uint16) []caracal.PolicyPort {
	var list []caracal.PolicyPort
	for _, p := range ports {
		list = append(list, caracal.PolicyPort{Protocol: "TCP", Port: p, EndPort: p})
	}
	return list
}

func prefixes(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}
