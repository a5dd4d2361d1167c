package lab

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
)

// Spec says what [Up] is to build.
type Spec struct {
	// ID tells labs apart, up to 8 lower-case letters and digits; random if
	// empty.
	ID       string
	Topology Topology
	// Caracald and Caracal are the paths of the binaries, for
	// [Node.StartCaracald] and [Node.CLI].
	Caracald, Caracal string
}

// Lab is a running lab. Its methods may be called from several goroutines.
type Lab struct {
	names  names
	kernel *kernel

	mu    sync.Mutex
	st    *state
	nodes map[string]*Node
	pods  map[string]*Pod
	// adopted are the names of the pods that are not of the topology.
	adopted []string
}

// Pod is a namespace that hangs on a node.
type Pod struct {
	PodSpec
	// Node is the name of its node.
	Node string
	// NS is its namespace's name, or the path of one that was adopted.
	NS string

	lab *Lab
}

var validID = regexp.MustCompile(`^[a-z0-9]{1,8}$`)

// Up removes what dead labs left and builds a new one, without daemons. When
// it fails, or ctx ends, nothing is left of it. Without the privilege to make
// namespaces, or without ip(8), the error says so.
func Up(ctx context.Context, spec Spec) (*Lab, error) {
	if err := requirements(); err != nil {
		return nil, fmt.Errorf("lab: up: %w", err)
	}
	if spec.ID == "" {
		b := make([]byte, 3)
		rand.Read(b)
		spec.ID = hex.EncodeToString(b)
	}
	if !validID.MatchString(spec.ID) {
		return nil, fmt.Errorf("lab: up: name %q: must be 1 to 8 lower-case letters and digits", spec.ID)
	}
	if err := spec.Topology.Validate(); err != nil {
		return nil, fmt.Errorf("lab: up: %w", err)
	}
	if _, err := Prune(); err != nil {
		return nil, err
	}
	owner, _ := identify(os.Getpid())
	n := names{spec.ID}
	st := &state{ID: spec.ID, Owner: owner, Topology: spec.Topology, Namespaces: n.all(spec.Topology),
		Caracald: spec.Caracald, Caracal: spec.Caracal}
	if err := claim(st); err != nil {
		return nil, fmt.Errorf("lab: up: %w", err)
	}
	l := newLab(st)
	if err := l.build(ctx); err != nil {
		return nil, fmt.Errorf("lab: up %s: %w", spec.ID, errors.Join(err, l.Down(context.WithoutCancel(ctx))))
	}
	return l, nil
}

// requirements reports what is missing to build a lab here.
func requirements() error {
	if os.Geteuid() != 0 {
		return errors.New("network namespaces need root; run it again with sudo")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		return errors.New("the program ip is not in PATH; install it (Debian: apt-get install iproute2)")
	}
	return nil
}

func newLab(st *state) *Lab {
	l := &Lab{names: names{st.ID}, kernel: newKernel(), st: st, nodes: map[string]*Node{}, pods: map[string]*Pod{}}
	for _, n := range st.Topology.Nodes {
		l.enter(n)
	}
	return l
}

// enter adds a node and its pods to the maps.
func (l *Lab) enter(spec NodeSpec) {
	l.nodes[spec.Name] = &Node{NodeSpec: spec, NS: l.names.node(spec.Name), lab: l, procs: map[string]*Process{}}
	for _, p := range spec.Pods {
		l.pods[p.Name] = &Pod{PodSpec: p, Node: spec.Name, NS: l.names.pod(p.Name), lab: l}
	}
}

func (l *Lab) build(ctx context.Context) error {
	if err := shareNetnsDir(); err != nil {
		return err
	}
	t := l.st.Topology
	for _, dir := range []string{l.clusterDir(), filepath.Join(l.ConfigDir(), "local")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	for name, text := range documents(t) {
		if err := writeFile(filepath.Join(l.clusterDir(), name), text); err != nil {
			return err
		}
	}
	for _, n := range t.Nodes {
		if err := os.MkdirAll(l.nodeDir(n.Name), 0o755); err != nil {
			return err
		}
	}
	return l.run(ctx, plan(l.names, t))
}

// run applies steps until ctx ends.
func (l *Lab) run(ctx context.Context, steps []step) error {
	for chunk := range slices.Chunk(steps, 16) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := l.kernel.run(chunk); err != nil {
			return err
		}
	}
	return nil
}

// Open returns a lab that another process built, with its daemons.
func Open(id string) (*Lab, error) {
	if err := requirements(); err != nil {
		return nil, fmt.Errorf("lab: open: %w", err)
	}
	st, err := loadState(id)
	if err != nil {
		return nil, fmt.Errorf("lab: open: %w", err)
	}
	l := newLab(st)
	for _, p := range st.Processes {
		if n := l.nodes[p.Node]; n != nil && p.alive() {
			n.procs[p.Name] = adopt(p, filepath.Join(l.nodeDir(p.Node), p.Name+".log"))
		}
	}
	return l, nil
}

// Keep lets the lab outlive this process.
func (l *Lab) Keep() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.st.Kept = true
	if err := l.st.save(); err != nil {
		return fmt.Errorf("lab: keep %s: %w", l.st.ID, err)
	}
	return nil
}

// Down kills the daemons and removes namespaces and files. Whatever can be
// removed is, also when something else fails; then the lab's directory stays
// and Down may be called again.
func (l *Lab) Down(context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kernel.close()
	if err := demolish(l.st); err != nil {
		return fmt.Errorf("lab: down %s: %w", l.st.ID, err)
	}
	if unlock, err := lock(); err == nil {
		unlock() // removes the directory of all labs if this was the last
	}
	return nil
}

// ID returns the name of the lab.
func (l *Lab) ID() string { return l.st.ID }

// Dir returns the lab's own directory, with its configuration, sockets and logs.
func (l *Lab) Dir() string { return labDir(l.st.ID) }

// ConfigDir returns the configuration directory that the daemons of all nodes
// read.
func (l *Lab) ConfigDir() string { return filepath.Join(l.Dir(), "config") }

func (l *Lab) clusterDir() string { return filepath.Join(l.ConfigDir(), "cluster") }

func (l *Lab) nodeDir(node string) string { return filepath.Join(l.Dir(), "nodes", node) }

// WriteConfig replaces a file of the cluster's configuration in one rename.
func (l *Lab) WriteConfig(name, text string) error {
	if err := writeFile(filepath.Join(l.clusterDir(), name), text); err != nil {
		return fmt.Errorf("lab: write configuration: %w", err)
	}
	return nil
}

// RemoveConfig deletes a file of the cluster's configuration.
func (l *Lab) RemoveConfig(name string) error {
	if err := os.Remove(filepath.Join(l.clusterDir(), name)); err != nil {
		return fmt.Errorf("lab: remove configuration: %w", err)
	}
	return nil
}

// Topology returns what the lab is made of now.
func (l *Lab) Topology() Topology {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.st.Topology
	t.Nodes = slices.Clone(t.Nodes)
	return t
}

// Node returns a node; nil if there is none of that name.
func (l *Lab) Node(name string) *Node {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.nodes[name]
}

// Nodes returns the nodes in the order of the topology, routers left out.
func (l *Lab) Nodes() []*Node {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []*Node
	for _, n := range l.st.Topology.Nodes {
		if !n.Router {
			out = append(out, l.nodes[n.Name])
		}
	}
	return out
}

// Pod returns a pod; nil if there is none of that name.
func (l *Lab) Pod(name string) *Pod {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pods[name]
}

// Pods returns the pods in the order of the topology, and then those adopted.
func (l *Lab) Pods() []*Pod {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []*Pod
	for _, n := range l.st.Topology.Nodes {
		for _, p := range n.Pods {
			out = append(out, l.pods[p.Name])
		}
	}
	for _, name := range l.adopted {
		out = append(out, l.pods[name])
	}
	return out
}

// AddNode adds a node to the running lab: namespaces first, configuration last,
// so that the other nodes' daemons learn of a node that is there.
func (l *Lab) AddNode(ctx context.Context, spec NodeSpec) (*Node, error) {
	node, err := l.addNode(ctx, spec)
	if err != nil {
		return nil, fmt.Errorf("lab: add node %s: %w", spec.Name, err)
	}
	return node, nil
}

func (l *Lab) addNode(ctx context.Context, spec NodeSpec) (*Node, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	next := *l.st
	next.Topology.Nodes = append(slices.Clone(next.Topology.Nodes), spec)
	next.Namespaces = append(slices.Clone(next.Namespaces), l.names.ofNode(spec)...)
	if err := next.Topology.Validate(); err != nil {
		return nil, err
	}
	if err := next.save(); err != nil {
		return nil, err
	}
	// Not the whole: others read the name and the programs without the lock.
	l.st.Topology, l.st.Namespaces = next.Topology, next.Namespaces
	if err := os.MkdirAll(l.nodeDir(spec.Name), 0o755); err != nil {
		return nil, err
	}
	if err := l.run(ctx, planNode(l.names, spec)); err != nil {
		return nil, err
	}
	l.enter(spec)
	if spec.Router {
		return l.nodes[spec.Name], nil
	}
	return l.nodes[spec.Name], writeFile(filepath.Join(l.clusterDir(), nodeFile(spec.Name)), nodeDocument(spec))
}

// RemakePod deletes a pod with its link, and makes both anew under the same
// names and addresses, as a container's restart does.
func (l *Lab) RemakePod(ctx context.Context, name string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.pods[name]
	if p == nil {
		return fmt.Errorf("lab: remake pod %s: there is no such pod", name)
	}
	steps := append([]step{delLink{l.names.node(p.Node), PodInterface(name)}, delNS{p.NS}},
		planPod(l.names, p.Node, p.PodSpec)...)
	if err := l.run(ctx, steps); err != nil {
		return fmt.Errorf("lab: remake pod %s: %w", name, err)
	}
	return nil
}

// RemoveNode takes a node out of the running lab: its configuration first, as
// an operator would, then its daemons, then its namespaces.
func (l *Lab) RemoveNode(_ context.Context, name string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.nodes[name]
	if n == nil {
		return fmt.Errorf("lab: remove node %s: there is no such node", name)
	}
	var errs []error
	if err := os.Remove(filepath.Join(l.clusterDir(), nodeFile(name))); err != nil && !errors.Is(err, os.ErrNotExist) {
		errs = append(errs, err)
	}
	for _, p := range n.procs {
		errs = append(errs, p.Kill(os.Kill))
	}
	gone := l.names.ofNode(n.NodeSpec)
	errs = append(errs, l.kernel.remove(gone))
	for _, p := range n.Pods {
		delete(l.pods, p.Name)
	}
	delete(l.nodes, name)
	l.st.Topology.Nodes = slices.DeleteFunc(slices.Clone(l.st.Topology.Nodes), func(s NodeSpec) bool { return s.Name == name })
	l.st.Namespaces = slices.DeleteFunc(l.st.Namespaces, func(ns string) bool { return slices.Contains(gone, ns) })
	l.st.Processes = slices.DeleteFunc(l.st.Processes, func(p savedProcess) bool { return p.Node == name })
	errs = append(errs, l.st.save())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("lab: remove node %s: %w", name, err)
	}
	return nil
}

// remember adds a process to the state, and forgets its predecessor.
func (l *Lab) remember(p savedProcess) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.st.Processes = slices.DeleteFunc(l.st.Processes, func(q savedProcess) bool {
		return q.Node == p.Node && q.Name == p.Name
	})
	l.st.Processes = append(l.st.Processes, p)
	return l.st.save()
}
