package file

import (
	"fmt"
	"slices"
	"strings"

	"caracal.dev/caracal"
	v1 "caracal.dev/caracal/api/v1"
	"caracal.dev/caracal/store"
)

// missingSelf reports that no NodeConfig is that of this node.
func (p *pass) missingSelf(accepted map[store.Key]*store.Object) {
	key := p.selfKey()
	if p.self == "" || accepted[key] != nil {
		return
	}
	var nodes []string
	for k := range accepted {
		if k.Kind == v1.KindNodeConfig {
			nodes = append(nodes, k.Name)
		}
	}
	slices.Sort(nodes)
	p.problem(caracal.Rejected, "", key, noSelf(p.dir, p.self, p.selfFrom, nodes))
}

// noSelf is the message for a node that has no NodeConfig. nodes is sorted.
func noSelf(dir, self, from string, nodes []string) string {
	msg := fmt.Sprintf("node %q (from %s) has no NodeConfig in %s; ", self, from, dir)
	if len(nodes) == 0 {
		return msg + fmt.Sprintf("it has none at all. Add one named %s, or write a first configuration with caracal init.", strings.ToLower(self))
	}
	msg += "it has " + enumerate(nodes) + ". "
	if name := likelySelf(self, nodes); name != "" {
		return msg + "Start with --node " + name + "."
	}
	return msg + fmt.Sprintf("Start with --node NAME if it is one of these, or add a NodeConfig named %s.", strings.ToLower(self))
}

// likelySelf returns the one node that is likely meant: the only one with the
// same name but for the case of letters, or else the only one with the same name
// up to the first dot; empty if there is not exactly one.
func likelySelf(self string, nodes []string) string {
	short := func(s string) string { s, _, _ = strings.Cut(strings.ToLower(s), "."); return s }
	for _, same := range []func(string) bool{
		func(n string) bool { return strings.EqualFold(n, self) },
		func(n string) bool { return n == short(self) },
		func(n string) bool { return short(n) == short(self) },
	} {
		var like []string
		for _, n := range nodes {
			if same(n) {
				like = append(like, n)
			}
		}
		if len(like) == 1 {
			return like[0]
		}
	}
	return ""
}
