package lab

import (
	"fmt"
	"os"
	"slices"
)

// container is the name of the namespace of a container.
func (n names) container(name string) string { return "cl-" + n.id + "-c-" + name }

// NewNamespace makes a namespace with nothing in it but its loopback, which is
// down: what a container runtime hands to whoever is to wire it up. It returns
// its path. It goes with the lab, or before that by [Lab.DeleteNamespace].
func (l *Lab) NewNamespace(name string) (path string, err error) {
	ns := l.names.container(name)
	if err := newNetns(ns); err != nil {
		return "", fmt.Errorf("lab: make namespace %s: %w", ns, err)
	}
	return netnsPath(ns), nil
}

// DeleteNamespace removes what [Lab.NewNamespace] made, and so the links that end
// in it, as the end of a container does. One that is not there is no error.
func (l *Lab) DeleteNamespace(name string) error {
	if err := l.kernel.remove([]string{l.names.container(name)}); err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	return nil
}

// Adopt makes a pod of a namespace that somebody else wired up, on a node of the
// lab: by its path, such as /proc/PID/ns/net. From now on it can be pinged and
// measured as the lab's own pods are, and no ping matrix of all pods leaves it
// out. A pod of the same name that was adopted before is replaced.
func (l *Lab) Adopt(node string, spec PodSpec, netns string) (*Pod, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.nodes[node] == nil {
		return nil, fmt.Errorf("lab: adopt pod %s: there is no node %s", spec.Name, node)
	}
	if old := l.pods[spec.Name]; old != nil && !slices.Contains(l.adopted, spec.Name) {
		return nil, fmt.Errorf("lab: adopt pod %s: the lab has one of that name on node %s", spec.Name, old.Node)
	}
	if _, err := os.Stat(netns); err != nil {
		return nil, fmt.Errorf("lab: adopt pod %s: %w", spec.Name, err)
	}
	p := &Pod{PodSpec: spec, Node: node, NS: netns, lab: l}
	l.pods[spec.Name] = p
	l.adopted = append(slices.DeleteFunc(l.adopted, func(n string) bool { return n == spec.Name }), spec.Name)
	return p, nil
}

// Forget undoes [Lab.Adopt]; the namespace is left as it is.
func (l *Lab) Forget(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if slices.Contains(l.adopted, name) {
		delete(l.pods, name)
		l.adopted = slices.DeleteFunc(l.adopted, func(n string) bool { return n == name })
	}
}
