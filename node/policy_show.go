package node

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/felix"
	"caracal.dev/caracal/node/api"
)

// PolicyStatus implements api.Policies.
func (a *Agent) PolicyStatus() api.PolicyStatus { return a.policy.state.Load().status() }

// ask runs f on the policy task with what is wanted.
func (a *Agent) askPolicy(ctx context.Context, f func(wanted)) error {
	if a.up.Load() == nil {
		return a.errStarting()
	}
	if a.policy.state.Load().off {
		return fmt.Errorf("%w: policy is disabled on this node (policy.enabled in the DataplaneConfiguration)", api.ErrRefused)
	}
	if err := a.policy.query(ctx, func() { f(a.policy.want) }); err != nil {
		return fmt.Errorf("node: ask the policy task: %w", err)
	}
	return nil
}

// counters returns what the rules have counted, by what they are for. That is extra
// to every answer, so where it cannot be had there is none.
func (t *policyTask) counters(ctx context.Context) map[string]api.RuleCounters {
	var kernel Rules
	if t.state.Load().off || t.query(ctx, func() { kernel = t.kernel }) != nil || kernel == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	list, err := kernel.Counters(ctx)
	if err != nil {
		t.log.Debug("policy: counters cannot be read", "err", err)
		return nil
	}
	sums := map[string]api.RuleCounters{}
	for _, c := range list { // both families, and each rule that one of a policy became
		sum := sums[c.About]
		sum.Known = true
		sum.Packets += c.Packets
		sum.Bytes += c.Bytes
		sums[c.About] = sum
	}
	return sums
}

// ExplainPolicy implements api.Policies.
func (a *Agent) ExplainPolicy(ctx context.Context, from, to string, protocol uint8, port uint16) (api.PolicyVerdict, error) {
	snap := a.o.Store.Snapshot()
	f := felix.Flow{Protocol: protocol, Port: port}
	var err error
	if f.From, err = endOf(snap, from); err != nil {
		return api.PolicyVerdict{}, err
	}
	if f.To, err = endOf(snap, to); err != nil {
		return api.PolicyVerdict{}, err
	}
	v := api.PolicyVerdict{Verdict: felix.Explain(snap, f)}
	counters := a.policy.counters(ctx)
	if v.Verdict.Egress.Node == snap.Self {
		v.Egress = counters[v.Verdict.Egress.About(false)]
	}
	if v.Verdict.Ingress.Node == snap.Self {
		v.Ingress = counters[v.Verdict.Ingress.About(true)]
	}
	return v, nil
}

// endOf finds a workload by its name, with or without its namespace, or takes an
// address.
func endOf(snap *caracal.Snapshot, text string) (felix.End, error) {
	e := api.ParseEnd(text)
	if e.Addr.IsValid() {
		return e, nil
	}
	key, err := oneOf("workload", text, keysNamed(snap.Workloads, text), "caracal show workloads")
	return felix.End{Workload: key}, err
}

// keysNamed are the keys of a table that a name can mean: itself, or any
// "namespace/name".
func keysNamed[V any](table caracal.Table[string, V], name string) []string {
	if strings.Contains(name, "/") {
		if _, ok := table.Get(name); ok {
			return []string{name}
		}
		return nil
	}
	var out []string
	for key := range table.All() {
		if strings.HasSuffix(key, "/"+name) {
			out = append(out, key)
		}
	}
	return out
}

func oneOf(kind, name string, keys []string, where string) (string, error) {
	switch len(keys) {
	case 0:
		return "", fmt.Errorf("%w: there is no %s %q on this node's list; %s has all", api.ErrNotFound, kind, name, where)
	case 1:
		return keys[0], nil
	}
	return "", fmt.Errorf("%w: %s %q is in several namespaces: %s; say which", api.ErrNotFound, kind, name, strings.Join(keys, ", "))
}

// Policies implements api.Policies.
func (a *Agent) Policies(ctx context.Context, name string) ([]api.Policy, error) {
	snap := a.o.Store.Snapshot()
	var keys []string
	if name != "" {
		if keys = keysNamed(snap.Policies, name); len(keys) == 0 {
			return nil, fmt.Errorf("%w: there is no NetworkPolicy %q; caracal show policy lists them", api.ErrNotFound, name)
		}
	}
	var out []api.Policy
	for key, p := range snap.Policies.All() {
		if name == "" || slices.Contains(keys, key) {
			out = append(out, policyOf(p))
		}
	}
	if a.up.Load() == nil || a.policy.state.Load().off {
		return out, nil
	}
	err := a.askPolicy(ctx, func(w wanted) { placePolicies(out, w) })
	if err == nil && name != "" {
		counters := a.policy.counters(ctx)
		for i := range out {
			for j := range out[i].Rules {
				r := &out[i].Rules[j]
				r.Counters = counters[felix.Side{Policy: out[i].Namespace + "/" + out[i].Name, Rule: r.Index}.About(r.Ingress)]
			}
		}
	}
	return out, err
}

// placePolicies adds what is of them on this node.
func placePolicies(list []api.Policy, w wanted) {
	at := map[string]*api.Policy{}
	for i := range list {
		at[list[i].Namespace+"/"+list[i].Name] = &list[i]
	}
	for e := range w.Endpoints() {
		both := slices.Concat(e.Ingress, e.Egress)
		slices.Sort(both)
		for _, key := range slices.Compact(both) {
			if p := at[key]; p != nil {
				p.Selected = append(p.Selected, e.Workload)
			}
		}
	}
	for chain := range w.Chains() {
		if key, ok := w.PolicyOf(chain.Name); ok && at[key] != nil {
			at[key].Chains = append(at[key].Chains, chain.Name)
		}
	}
	for _, p := range at {
		slices.Sort(p.Selected)
		slices.Sort(p.Chains)
		p.Chains = slices.Compact(p.Chains)
	}
}

// policyOf is a policy in words.
func policyOf(p caracal.Policy) api.Policy {
	out := api.Policy{Namespace: p.Namespace, Name: p.Name, Source: p.Source, Pods: selectorText(&p.Pods, "all"), Invalid: p.Invalid}
	add := func(ingress bool, name string, rules []caracal.PolicyRule) {
		out.Types = append(out.Types, name)
		for i, r := range rules {
			out.Rules = append(out.Rules, api.PolicyRule{Ingress: ingress, Index: i, Peers: peersText(p, r.Peers), Ports: portsText(r.Ports)})
		}
	}
	if p.Ingress || p.Invalid != "" {
		add(true, "Ingress", p.IngressRules)
	}
	if p.Egress || p.Invalid != "" {
		add(false, "Egress", p.EgressRules)
	}
	return out
}

func selectorText(s *caracal.LabelSelector, all string) string {
	if s == nil || len(s.Requirements) == 0 {
		return all
	}
	words := make([]string, len(s.Requirements))
	for i, r := range s.Requirements {
		values := strings.Join(r.Values, ", ")
		switch {
		case r.Op == caracal.LabelIn && len(r.Values) == 1:
			words[i] = r.Key + "=" + values
		case r.Op == caracal.LabelIn:
			words[i] = r.Key + " in (" + values + ")"
		case r.Op == caracal.LabelNotIn:
			words[i] = r.Key + " not in (" + values + ")"
		case r.Op == caracal.LabelExists:
			words[i] = "has " + r.Key
		default:
			words[i] = "has no " + r.Key
		}
	}
	return strings.Join(words, ", ")
}

func peersText(p caracal.Policy, peers []caracal.PolicyPeer) string {
	if len(peers) == 0 {
		return "everybody"
	}
	words := make([]string, len(peers))
	for i, pp := range peers {
		switch {
		case pp.Net.IsValid():
			words[i] = pp.Net.String()
			for j, e := range pp.Except {
				words[i] += map[bool]string{true: " except ", false: ", "}[j == 0] + e.String()
			}
		case pp.Namespaces == nil:
			words[i] = fmt.Sprintf("pods %s of %s", selectorText(pp.Pods, "all"), p.Namespace)
		default:
			words[i] = fmt.Sprintf("pods %s of namespaces %s", selectorText(pp.Pods, "all"), selectorText(pp.Namespaces, "all"))
		}
	}
	return strings.Join(words, "; or ")
}

func portsText(ports []caracal.PolicyPort) string {
	if len(ports) == 0 {
		return "all"
	}
	words := make([]string, len(ports))
	for i, p := range ports {
		n := p.Name
		switch {
		case n != "":
		case p.Port == 0:
			n = "all"
		case p.EndPort > p.Port:
			n = fmt.Sprintf("%d-%d", p.Port, p.EndPort)
		default:
			n = strconv.Itoa(int(p.Port))
		}
		words[i] = n + "/" + strings.ToLower(cmp.Or(p.Protocol, "TCP"))
	}
	return strings.Join(words, ", ")
}

// Sets implements api.Policies.
func (a *Agent) Sets(ctx context.Context, name string) (out []api.PolicySet, err error) {
	err = a.askPolicy(ctx, func(w wanted) {
		for s := range w.Sets() {
			if name != "" && s.Name != name {
				continue
			}
			set := api.PolicySet{Set: s, About: w.SetAbout(s.Name)}
			for m := range w.Members(s.Name) {
				set.Size++
				if name != "" {
					set.Members = append(set.Members, memberText(s, m))
				}
			}
			out = append(out, set)
		}
	})
	if err == nil && name != "" && len(out) == 0 {
		err = fmt.Errorf("%w: there is no set %q; caracal show sets lists them", api.ErrNotFound, name)
	}
	slices.SortFunc(out, func(x, y api.PolicySet) int { return cmp.Compare(x.Name, y.Name) })
	for i := range out {
		slices.Sort(out[i].Members)
		out[i].Members = out[i].Members[:min(len(out[i].Members), api.MostMembers)]
	}
	return out, err
}

// memberText is a member as ipset(8) writes it.
func memberText(s felix.Set, m felix.Member) string {
	addr := m.Net.String()
	if m.Net.IsSingleIP() {
		addr = m.Net.Addr().String()
	}
	switch s.Type {
	case felix.HashIPPort:
		name := map[uint8]string{6: "tcp", 17: "udp", 132: "sctp"}[m.Protocol]
		return fmt.Sprintf("%s,%s:%d", addr, cmp.Or(name, strconv.Itoa(int(m.Protocol))), m.Port)
	case felix.HashNetIface:
		return addr + "," + m.Iface
	}
	return addr
}

// PolicyEndpoint implements api.Policies.
func (a *Agent) PolicyEndpoint(ctx context.Context, name string) (out api.PolicyEndpoint, err error) {
	addr, _ := netip.ParseAddr(name)
	var found []felix.Endpoint
	var why error
	err = a.askPolicy(ctx, func(w wanted) {
		for e := range w.Endpoints() {
			if e.Workload == name || e.Interface == name || slices.Contains(e.Addrs, addr) || !strings.Contains(name, "/") && strings.HasSuffix(e.Workload, "/"+name) {
				found = append(found, e)
			}
		}
		if len(found) == 1 {
			w := caracal.Workload{Interface: found[0].Interface, Addrs: found[0].Addrs}
			w.Namespace, w.Name, _ = strings.Cut(found[0].Workload, "/")
			why = a.policy.missing(&policyWait{w: w, open: true, since: a.o.Store.Snapshot().Generation})
		}
	})
	if err != nil {
		return out, err
	}
	keys := make([]string, len(found))
	for i, e := range found {
		keys[i] = e.Workload
	}
	if _, err := oneOf("workload", name, keys, "caracal show workloads"); err != nil {
		return out, err
	}
	out = api.PolicyEndpoint{Endpoint: found[0], InForce: why == nil, Since: a.policy.state.Load().since}
	if why != nil {
		out.Why = why.Error()
	}
	return out, nil
}
