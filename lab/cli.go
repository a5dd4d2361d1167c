package lab

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"caracal.dev/caracal/internal/dashes"
)

// DefaultID is the name of the lab that the command line builds.
const DefaultID = "lab"

// usage is what --help prints.
const usage = `caracal lab: a small cluster on this machine, each node a network namespace

usage: caracal lab COMMAND [flags]

  up      build the lab and start caracald on every node
  down    kill its daemons and remove it; with --all every lab there is
  status  list labs, nodes, pods and daemons
  exec    run a command in a node or pod: caracal lab exec a caracal show route
  ping    ping from every pod to every other
  demo    the whole story from an empty machine to a removed node, or with racks to
          switches that fail; leaves nothing behind

caracal lab COMMAND --help lists the flags of a command. All need root.
`

// command is one of the lab's words.
type command struct {
	id             string
	nodes, pods    int
	topology       string
	all, noDaemons bool
	keep, noColor  bool
	caracald       string
	args           []string
	out, errs      io.Writer
}

// exitCode is an error that has been reported already.
type exitCode int

// Error implements error.
func (e exitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// Main is "caracal lab": args are the words after it. It returns the exit
// code: 0 for success, 1 for a failure, 2 for a wrong command line. ctx ends
// with the signals that are to end the program.
func Main(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	words := map[string]func(*command, context.Context) error{
		"up": (*command).up, "down": (*command).down, "status": (*command).status,
		"exec": (*command).exec, "ping": (*command).ping, "demo": (*command).demo,
	}
	if len(args) == 0 || args[0] == "help" || args[0] == "-h" || args[0] == "--help" {
		fmt.Fprint(stdout, usage)
		return 0
	}
	run := words[args[0]]
	if run == nil {
		fmt.Fprintf(stderr, "caracal lab: there is no command %q\n\n%s", args[0], usage)
		return 2
	}
	c := &command{out: stdout, errs: stderr}
	if err := c.parse(args[0], args[1:]); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		fmt.Fprintf(stderr, "caracal lab %[1]s: %[2]v; see caracal lab %[1]s --help\n", args[0], err)
		return 2
	}
	// A closed terminal, or a reader that has seen enough ("lab demo | head"), is
	// to leave nothing behind either.
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGHUP, syscall.SIGPIPE)
	defer stop()
	err := requirements()
	if err == nil {
		err = run(c, ctx)
	}
	var code exitCode
	switch {
	case err == nil:
		return 0
	case errors.As(err, &code):
		return int(code)
	case ctx.Err() != nil:
		fmt.Fprintln(stderr, "caracal lab: interrupted; what was built has been removed")
	default:
		fmt.Fprintf(stderr, "caracal lab %s: %s\n", args[0], strings.TrimPrefix(err.Error(), "lab: "))
	}
	return 1
}

func (c *command) parse(word string, args []string) error {
	f := flag.NewFlagSet("caracal lab "+word, flag.ContinueOnError)
	f.SetOutput(io.Discard)
	id := DefaultID
	if word == "demo" {
		id = "demo"
	}
	f.StringVar(&c.id, "id", id, "the lab's `name`: several can run side by side")
	switch word {
	case "up", "demo":
		f.StringVar(&c.topology, "topology", "mesh", "`name` of the kind of lab: "+strings.Join(topologies, ", "))
		f.IntVar(&c.nodes, "nodes", 0, "how many nodes (mesh: 3, the others: 4)")
		f.IntVar(&c.pods, "pods", 2, "how many pods on each node")
		f.StringVar(&c.caracald, "caracald", "", "`path` of the daemon (default: beside this program, then in PATH)")
	case "down":
		f.BoolVar(&c.all, "all", false, "remove every lab")
	}
	switch word {
	case "up":
		f.BoolVar(&c.noDaemons, "no-daemons", false, "start no daemons")
	case "demo":
		f.BoolVar(&c.keep, "keep", false, "leave the lab running at the end")
		f.BoolVar(&c.noColor, "no-color", false, "print without colors")
	}
	err := f.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		dashes.Print(c.out, f)
	}
	if err != nil {
		return dashes.Error(err)
	}
	c.args = f.Args()
	if word != "exec" && len(c.args) > 0 {
		return fmt.Errorf("takes no argument %q", c.args[0])
	}
	if word == "up" || word == "demo" {
		explicit := false
		f.Visit(func(set *flag.Flag) { explicit = explicit || set.Name == "nodes" })
		return c.check(explicit)
	}
	return nil
}

// topologies are the kinds of lab that up and demo build.
var topologies = []string{"mesh", "reflector", "racks", "subnets"}

// check reports what is wrong with the sizes; explicit says that nodes was
// given.
func (c *command) check(explicit bool) error {
	if !slices.Contains(topologies, c.topology) {
		return fmt.Errorf("there is no topology %q; there are %s", c.topology, strings.Join(topologies, ", "))
	}
	if explicit && (c.nodes < 1 || c.nodes > maxMesh) || c.pods < 1 || c.pods > 50 {
		return fmt.Errorf("from 1 to %d nodes and from 1 to 50 pods on each", maxMesh)
	}
	if c.topology == "racks" && (c.nodes%rackCount != 0 || c.nodes > 2*maxRack) {
		return fmt.Errorf("racks have the same number of nodes each, up to %d", maxRack)
	}
	return nil
}

// build is the topology that the flags describe.
func (c *command) build() Topology {
	o := MeshOptions{Nodes: c.nodes, PodsPerNode: c.pods}
	switch c.topology {
	case "reflector":
		return Reflector(o)
	case "subnets":
		return Subnets(SubnetOptions{Nodes: c.nodes, PodsPerNode: c.pods})
	case "racks":
		return Racks(RackOptions{NodesPerRack: c.nodes / rackCount, PodsPerNode: c.pods})
	}
	return Mesh(o)
}

// spec is the lab that the flags describe.
func (c *command) spec() (Spec, error) {
	s := Spec{ID: c.id, Topology: c.build(), Caracald: c.caracald}
	self, err := os.Executable()
	if err != nil {
		return s, err
	}
	s.Caracal = self
	if s.Caracald == "" {
		if s.Caracald, err = exec.LookPath(filepath.Join(filepath.Dir(self), "caracald")); err != nil {
			s.Caracald, err = exec.LookPath("caracald")
		}
	} else {
		s.Caracald, err = filepath.Abs(s.Caracald)
	}
	if err != nil {
		return s, fmt.Errorf("find the program caracald: %w; build it with \"make build\" or name it with --caracald", err)
	}
	return s, nil
}

func (c *command) up(ctx context.Context) error {
	spec, err := c.spec()
	if err != nil {
		return err
	}
	start := time.Now()
	l, err := Up(ctx, spec)
	if err != nil {
		return err
	}
	if err := c.populate(ctx, l); err != nil {
		return errors.Join(err, l.Down(context.WithoutCancel(ctx)))
	}
	fmt.Fprintf(c.out, "lab %s is up after %v: %s in %s\n", l.ID(), since(start), count(len(l.Nodes()), "node"), l.Dir())
	word := ""
	if c.id != DefaultID {
		word = " --id " + c.id
	}
	fmt.Fprintf(c.out, "try: %[1]s lab ping%[2]s\n     %[1]s lab exec%[2]s a caracal show route\n     %[1]s lab down%[2]s\n", os.Args[0], word)
	return nil
}

// populate starts the daemons and lets the lab outlive the program.
func (c *command) populate(ctx context.Context, l *Lab) error {
	if !c.noDaemons {
		if err := errors.Join(l.StartRouters(), l.StartAll()); err != nil {
			return err
		}
		wait, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		if err := l.WaitSessions(wait); err != nil {
			return fmt.Errorf("%w\n%s", err, l.lastWords())
		}
	}
	return l.Keep()
}

// lastWords are the ends of the logs of daemons that have ended.
func (l *Lab) lastWords() string {
	var b strings.Builder
	for _, n := range l.Nodes() {
		if p := n.Process("caracald"); p != nil && !p.Running() {
			log := strings.TrimSpace(p.Log())
			fmt.Fprintf(&b, "caracald on %s has ended; its log ends with:\n%s\n", n.Name, log[max(0, len(log)-1000):])
		}
	}
	return b.String()
}

func (c *command) down(ctx context.Context) error {
	ids := []string{c.id}
	if c.all {
		var err error
		if ids, err = list(); err != nil {
			return err
		}
	}
	for _, id := range ids {
		l, err := Open(id)
		if c.all && errors.Is(err, errNoLab) {
			continue // somebody else removed it, or has just begun to make it
		}
		if err != nil {
			return err
		}
		if s := l.st; !s.Kept && s.Owner.alive() {
			return fmt.Errorf("lab %s is in use by process %d; end that first", id, s.Owner.PID)
		}
		if err := l.Down(ctx); err != nil {
			return err
		}
		fmt.Fprintf(c.out, "lab %s is removed\n", id)
	}
	if len(ids) == 0 {
		fmt.Fprintln(c.out, "there is no lab")
	}
	return nil
}

func (c *command) status(context.Context) error {
	ids, err := list()
	if err != nil {
		return err
	}
	if len(ids) == 0 {
		fmt.Fprintln(c.out, "there is no lab; \"caracal lab up\" makes one")
	}
	for _, id := range ids {
		l, err := Open(id)
		if errors.Is(err, errNoLab) {
			continue // somebody else removed it, or has just begun to make it
		}
		if err != nil {
			return err
		}
		c.describe(l)
		l.kernel.close()
	}
	return nil
}

func (c *command) describe(l *Lab) {
	use := "left by a process that died: the next \"lab up\" removes it"
	switch s := l.st; {
	case s.Kept:
		use = "up"
	case s.Owner.alive():
		use = fmt.Sprintf("in use by process %d", s.Owner.PID)
	}
	fmt.Fprintf(c.out, "lab %s (%s), %s, %s\n", l.ID(), l.st.Topology.Name, use, l.Dir())
	for _, n := range l.Routers() {
		fmt.Fprintf(c.out, "  router %-6s AS %d%s\n", n.Name, n.ASN, l.daemons(n))
	}
	for _, n := range l.Nodes() {
		fmt.Fprintf(c.out, "  node %-6s %-18s %-22s", n.Name, n.prefix(IPv4), n.prefix(IPv6))
		fmt.Fprintln(c.out, l.daemons(n))
		for _, p := range n.Pods {
			fmt.Fprintf(c.out, "    pod %-5s %-18s %-22s %s\n", p.Name, p.Addr(IPv4), p.Addr(IPv6), PodInterface(p.Name))
		}
	}
}

// daemons lists those of a node that run.
func (l *Lab) daemons(n *Node) string {
	var b strings.Builder
	for _, p := range l.st.Processes {
		if p.Node == n.Name && p.alive() {
			fmt.Fprintf(&b, " %s (%d)", p.Name, p.PID)
		}
	}
	return b.String()
}

// exec runs a command with the program's own input and output.
func (c *command) exec(ctx context.Context) error {
	if len(c.args) == 0 {
		fmt.Fprintln(c.errs, "usage: caracal lab exec [--id NAME] NODE|POD [COMMAND [ARGUMENT…]]")
		return exitCode(2)
	}
	l, err := Open(c.id)
	if err != nil {
		return err
	}
	defer l.kernel.close()
	argv := c.args[1:]
	if len(argv) == 0 {
		argv = []string{"sh"}
	}
	node, pod := l.Node(c.args[0]), l.Pod(c.args[0])
	ns := ""
	switch {
	case node != nil:
		ns = node.NS
	case pod != nil:
		ns, node = pod.NS, l.Node(pod.Node)
	default:
		return fmt.Errorf("lab %s has no node or pod %q; \"caracal lab status\" lists them", c.id, c.args[0])
	}
	if argv[0] == "caracal" {
		argv = append([]string{l.st.Caracal}, argv[1:]...)
	}
	cmd := l.command(ctx, argv)
	cmd.Env = append(cmd.Env, "CARACAL_SOCKET="+node.Socket())
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, c.out, c.errs
	if err := inNetns(ns, cmd.Start); err != nil {
		return err
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return exitCode(exit.ExitCode())
	}
	return err
}

func (c *command) ping(ctx context.Context) error {
	l, err := Open(c.id)
	if err != nil {
		return err
	}
	defer l.kernel.close()
	failed := 0
	p := newPrinter(c.out, c.noColor)
	for _, f := range Families() {
		m, err := l.PingMatrix(ctx, f)
		if err != nil {
			return err
		}
		p.matrix(m)
		failed += len(m.Failed())
	}
	if failed > 0 {
		return exitCode(1)
	}
	return nil
}
