package cluster

import (
	"fmt"
	"maps"
	"strconv"

	"caracal.dev/caracal"
)

// Change is what happens in a cluster every day, and how it is taken back.
type Change struct {
	Name     string
	Do, Undo func(*caracal.Snapshot)
	// UndoName is what Undo is counted as; that of Do where it is empty.
	UndoName string
}

// RemoteLabel is the name of the Change of the labels of a pod that is on another
// node: sets change, if any policy here is about it, and nothing else.
const RemoteLabel = "label of a pod elsewhere"

// Apply returns the Snapshot that one of the functions of a Change makes of another.
func Apply(s *caracal.Snapshot, change func(*caracal.Snapshot)) *caracal.Snapshot {
	next := *s
	next.Generation++
	change(&next)
	return &next
}

// Changes are those that are measured, the same for the same round i; from one
// round to the next they meet other pods and policies.
func (c *Cluster) Changes(i int) []Change {
	local := c.Local[i*13%len(c.Local)]
	list := []Change{
		c.relabel("label of a local pod", local, "app", "app-9", "app-8"),
		c.add("local pod", local, false, i),
		c.addPolicy(local, i),
		c.changePolicy(local, i),
	}
	if len(c.Near) > 0 { // not in a cluster of one node
		near := c.Near[i*7919%len(c.Near)]
		list = append(list, c.relabel(RemoteLabel, near, "app", "app-9", "app-8"), c.add("pod elsewhere", near, true, i))
	}
	return list
}

// relabel gives the pod's label the first of two values, or the second if it has
// the first already.
func (c *Cluster) relabel(name, key, label, value, other string) Change {
	was, _ := c.Snapshot.Workloads.Get(key)
	if was.Labels[label] == value {
		value = other
	}
	is := was
	is.Labels = maps.Clone(was.Labels)
	is.Labels[label] = value
	return Change{
		Name: name,
		Do:   func(s *caracal.Snapshot) { s.Workloads = s.Workloads.Put(key, is) },
		Undo: func(s *caracal.Snapshot) { s.Workloads = s.Workloads.Put(key, was) },
	}
}

// add makes a new pod like another.
func (c *Cluster) add(name, like string, elsewhere bool, i int) Change {
	w, _ := c.Snapshot.Workloads.Get(like)
	id := "new-" + strconv.Itoa(i)
	w.Name += id
	w.Interface = caracal.HostInterface(id, "eth0")
	node := 0
	if elsewhere {
		node = c.Size.Pods/c.Size.Local - 1
	}
	w.Node = nodeName(node)
	w.Addrs = w.Addrs[:0:0]
	w.Addrs = append(w.Addrs, podAddr4(node, 254))
	if c.Size.IPv6 {
		w.Addrs = append(w.Addrs, podAddr6(node, 254))
	}
	return Change{
		Name: name + " added", UndoName: name + " removed",
		Do:   func(s *caracal.Snapshot) { s.Workloads = s.Workloads.Put(w.Key(), w) },
		Undo: func(s *caracal.Snapshot) { s.Workloads = s.Workloads.Delete(w.Key()) },
	}
}

// addPolicy makes a policy for the application of a local pod.
func (c *Cluster) addPolicy(local string, i int) Change {
	p := c.policyFor(local, 11+i%9)
	return Change{
		Name: "policy added", UndoName: "policy removed",
		Do:   func(s *caracal.Snapshot) { s.Policies = s.Policies.Put(p.Key(), p) },
		Undo: func(s *caracal.Snapshot) { s.Policies = s.Policies.Delete(p.Key()) },
	}
}

// changePolicy gives another port to a policy that selects a local pod.
func (c *Cluster) changePolicy(local string, i int) Change {
	w, _ := c.Snapshot.Workloads.Get(local)
	var was caracal.Policy
	for _, p := range c.Snapshot.Policies.All() {
		if p.Namespace == w.Namespace && len(p.IngressRules) > 0 && p.Pods.Matches(w.Labels) {
			was = p
			break
		}
	}
	if was.Name == "" { // as in a cluster whose namespaces have few policies
		for _, key := range c.Local {
			if key != local && c.selected(key) {
				return c.changePolicy(key, i)
			}
		}
		panic(fmt.Sprintf("cluster: no policy selects a pod of %s", Self))
	}
	is := was
	is.IngressRules = append([]caracal.PolicyRule(nil), was.IngressRules...)
	is.IngressRules[0].Ports = tcp(uint16(7000 + i))
	return Change{
		Name: "policy changed",
		Do:   func(s *caracal.Snapshot) { s.Policies = s.Policies.Put(is.Key(), is) },
		Undo: func(s *caracal.Snapshot) { s.Policies = s.Policies.Put(was.Key(), was) },
	}
}

// selected reports whether a policy with rules for ingress selects the pod.
func (c *Cluster) selected(key string) bool {
	w, _ := c.Snapshot.Workloads.Get(key)
	for _, p := range c.Snapshot.Policies.All() {
		if p.Namespace == w.Namespace && len(p.IngressRules) > 0 && p.Pods.Matches(w.Labels) {
			return true
		}
	}
	return false
}

func (c *Cluster) policyFor(local string, round int) caracal.Policy {
	w, _ := c.Snapshot.Workloads.Get(local)
	number, _ := strconv.Atoi(w.Labels["app"][len("app-"):]) // 0 where the name is another
	return c.ofApp("new", w.Namespace, w.Labels["app"], number, round)
}
