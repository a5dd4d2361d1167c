package cluster

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"caracal.dev/caracal"
)

// object is a document of the file store.
type object map[string]any

// Write writes the cluster into the directory of a file store: cluster.yaml with
// nodes and pools, and for each namespace a file with its pods and one with its
// policies.
func (c *Cluster) Write(dir string) error {
	if err := write(filepath.Join(dir, "cluster.yaml"), c.hosts()); err != nil {
		return err
	}
	pods, policies := map[string][]object{}, map[string][]object{}
	for _, w := range c.Snapshot.Workloads.All() {
		pods[w.Namespace] = append(pods[w.Namespace], workload(w))
	}
	for _, p := range c.Snapshot.Policies.All() {
		policies[p.Namespace] = append(policies[p.Namespace], policy(p))
	}
	for name, ns := range c.Snapshot.Namespaces.All() {
		o := document("v1", "Namespace", "", name, ns.Labels, nil)
		if err := write(PodFile(dir, name), append([]object{o}, pods[name]...)); err != nil {
			return err
		}
		if err := write(filepath.Join(dir, name+"-policies.yaml"), policies[name]); err != nil {
			return err
		}
	}
	return nil
}

// PodFile is where [Cluster.Write] writes the pods of a namespace.
func PodFile(dir, namespace string) string { return filepath.Join(dir, namespace+".yaml") }

// WritePods writes the file with the pods of a namespace anew, as a Snapshot has
// them. It appears whole.
func WritePods(dir string, s *caracal.Snapshot, namespace string) error {
	ns, _ := s.Namespaces.Get(namespace)
	list := []object{document("v1", "Namespace", "", namespace, ns.Labels, nil)}
	for _, w := range s.Workloads.All() {
		if w.Namespace == namespace {
			list = append(list, workload(w))
		}
	}
	return write(PodFile(dir, namespace), list)
}

func write(path string, list []object) error {
	var b strings.Builder
	for _, o := range list {
		b.WriteString("---\n")
		block(&b, o)
	}
	tmp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path))
	if err := os.WriteFile(tmp, []byte(b.String()), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// block writes a document with a line for each of its parts, and below the second
// level in braces, as people write short ones.
func block(w io.Writer, o object) {
	for _, key := range []string{"apiVersion", "kind", "metadata", "spec"} {
		v, ok := o[key]
		if !ok {
			continue
		}
		parts, ok := v.(object)
		if !ok {
			fmt.Fprintf(w, "%s: %s\n", key, v)
			continue
		}
		fmt.Fprintf(w, "%s:\n", key)
		text, err := json.Marshal(parts)
		if err != nil {
			panic(err) // maps, strings and numbers
		}
		var members map[string]json.RawMessage
		_ = json.Unmarshal(text, &members)
		for _, name := range slices.Sorted(maps.Keys(members)) {
			fmt.Fprintf(w, "  %s: %s\n", name, members[name])
		}
	}
}

func (c *Cluster) hosts() []object {
	var list []object
	for _, p := range c.Snapshot.Pools.All() {
		list = append(list, document("caracal.dev/v1", "IPPool", "", p.Name, nil, object{
			"cidr": p.CIDR.String(), "blockSize": p.BlockSize, "ipipMode": string(p.IPIP), "natOutgoing": p.NATOutgoing}))
	}
	for _, n := range c.Snapshot.Nodes.All() {
		addrs := []string{n.IPv4.String()}
		if n.IPv6.IsValid() {
			addrs = append(addrs, n.IPv6.String())
		}
		list = append(list, document("caracal.dev/v1", "NodeConfig", "", n.Name, nil, object{
			"addresses": addrs, "podCIDRs": texts(n.PodCIDRs)}))
	}
	return list
}

func document(version, kind, namespace, name string, labels map[string]string, spec object) object {
	meta := object{"name": name}
	if namespace != "" {
		meta["namespace"] = namespace
	}
	if len(labels) > 0 {
		meta["labels"] = labels
	}
	o := object{"apiVersion": version, "kind": kind, "metadata": meta}
	if spec != nil {
		o["spec"] = spec
	}
	return o
}

// workload is the document of a pod.
func workload(w caracal.Workload) object {
	var ports []object
	for _, p := range w.Ports {
		ports = append(ports, object{"name": p.Name, "protocol": p.Protocol, "port": p.Port})
	}
	addrs := []string{}
	for _, a := range w.Addrs {
		addrs = append(addrs, a.String())
	}
	return document("caracal.dev/v1", "Workload", w.Namespace, w.Name, w.Labels, object{
		"node": w.Node, "interfaceName": w.Interface, "ipNetworks": addrs, "ports": ports})
}

// policy is the document of a policy, as Kubernetes has it.
func policy(p caracal.Policy) object {
	var directions []string
	spec := object{"podSelector": selector(p.Pods)}
	if p.Ingress {
		directions = append(directions, "Ingress")
		spec["ingress"] = rules(p.IngressRules, "from")
	}
	if p.Egress {
		directions = append(directions, "Egress")
		spec["egress"] = rules(p.EgressRules, "to")
	}
	spec["policyTypes"] = directions
	return document("networking.k8s.io/v1", "NetworkPolicy", p.Namespace, p.Name, nil, spec)
}

func rules(list []caracal.PolicyRule, direction string) []object {
	out := []object{}
	for _, r := range list {
		rule := object{}
		var peers, ports []object
		for _, p := range r.Peers {
			peers = append(peers, peer(p))
		}
		for _, p := range r.Ports {
			ports = append(ports, port(p))
		}
		if len(peers) > 0 {
			rule[direction] = peers
		}
		if len(ports) > 0 {
			rule["ports"] = ports
		}
		out = append(out, rule)
	}
	return out
}

func peer(p caracal.PolicyPeer) object {
	if p.Net.IsValid() {
		block := object{"cidr": p.Net.String()}
		if len(p.Except) > 0 {
			block["except"] = texts(p.Except)
		}
		return object{"ipBlock": block}
	}
	o := object{}
	if p.Pods != nil {
		o["podSelector"] = selector(*p.Pods)
	}
	if p.Namespaces != nil {
		o["namespaceSelector"] = selector(*p.Namespaces)
	}
	return o
}

func port(p caracal.PolicyPort) object {
	o := object{"protocol": p.Protocol}
	switch {
	case p.Name != "":
		o["port"] = p.Name
	case p.Port > 0:
		o["port"] = p.Port
		if p.EndPort > p.Port {
			o["endPort"] = p.EndPort
		}
	}
	return o
}

func selector(s caracal.LabelSelector) object {
	o, labels := object{}, object{}
	var expressions []object
	for _, r := range s.Requirements {
		if r.Op == caracal.LabelIn && len(r.Values) == 1 {
			labels[r.Key] = r.Values[0]
			continue
		}
		e := object{"key": r.Key, "operator": string(r.Op)}
		if len(r.Values) > 0 {
			e["values"] = r.Values
		}
		expressions = append(expressions, e)
	}
	if len(labels) > 0 {
		o["matchLabels"] = labels
	}
	if len(expressions) > 0 {
		o["matchExpressions"] = expressions
	}
	return o
}

func texts(list []netip.Prefix) []string {
	out := []string{}
	for _, p := range list {
		out = append(out, p.String())
	}
	return out
}
