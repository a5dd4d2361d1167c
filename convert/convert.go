package convert

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"caracal.dev/caracal/api/v1"
	"caracal.dev/caracal/selector"
)

// Options say what the documents themselves do not.
type Options struct {
	// Mixed says that the other program still runs on some of the nodes: it gives
	// the addresses of its pools, so the pools are written disabled.
	Mixed bool
	// PodCIDRs says that pods have their addresses from spec.podCIDRs of their Node,
	// as with kube-router or with Calico beside host-local IPAM. A Node with an
	// annotation of kube-router says so by itself.
	PodCIDRs bool
	// Only, unless it is empty, are the kinds that are written. All is read and
	// judged in any case.
	Only []string
}

// Loss is a field that has an effect and is not carried, or not as it was.
type Loss struct {
	// Object is kind and name; Field the path, empty for the object as a whole;
	// Value what the field says, as far as it may be shown.
	Object, Field, Value string
	// Why it is not carried, and what to Do about it.
	Why, Do string
}

// String is the loss as a line.
func (l Loss) String() string {
	s := "not carried: " + l.Object
	if l.Field != "" {
		s += ": " + l.Field
	}
	if l.Value != "" {
		s += " (" + l.Value + ")"
	}
	return s + ": " + l.Why + "; to do: " + l.Do
}

// Exposure is something that was protected and no longer is.
type Exposure struct{ Kind, Name, What string }

// String is the exposure as a line.
func (e Exposure) String() string {
	return fmt.Sprintf("UNPROTECTED AFTER MIGRATION: %s %s: %s", e.Kind, e.Name, e.What)
}

// Result is what became of the documents. Equal documents give an equal Result,
// whatever their order.
type Result struct {
	// Objects are ours, valid and fit for each other, in the order in which they
	// are to be read.
	Objects []v1.Object
	// Passed are the documents of Kubernetes that are in force as they are.
	Passed []map[string]any
	Losses []Loss
	// Exposed is what nothing protects any more. Unless it is empty the migration
	// opens something.
	Exposed []Exposure
	// Notes are what has to be done beside.
	Notes []string
}

// Convert converts documents. An error says which of them cannot be read.
func Convert(inputs []Input, o Options) (*Result, error) {
	docs, err := read(inputs)
	if err != nil {
		return nil, fmt.Errorf("convert: %w", err)
	}
	c := &conversion{opts: o, hosts: map[string]*host{}, byKind: map[string][]*document{}, result: &Result{}}
	c.sort(docs)
	c.gatherHosts()
	c.gatherBlocks()
	c.pools()
	c.bgpConfigurations()
	c.filters()
	c.peers()
	c.ipam()
	c.felix()
	c.routers()
	c.nodeConfigs()
	c.mixedIPv6()
	c.policies()
	c.kubernetes()
	c.remainder()
	c.settle()
	c.choose()
	return c.result, nil
}

// conversion is one run.
type conversion struct {
	opts   Options
	byKind map[string][]*document
	hosts  map[string]*host
	// asn is that of nodes without one of their own; mesh is off if noMesh.
	asn    uint32
	noMesh bool
	// meshRestart is the restart time of the mesh, where it is not the usual one.
	meshRestart string
	// wide are BGPPeers that take whatever their neighbors announce.
	wide []string

	poolObjects []*v1.IPPool
	out         []v1.Object
	result      *Result
}

func (c *conversion) add(o v1.Object) { c.out = append(c.out, o) }

func (c *conversion) lose(key, field, value, why, do string) {
	c.result.Losses = append(c.result.Losses, Loss{key, field, value, why, do})
}

func (c *conversion) note(format string, args ...any) {
	c.result.Notes = append(c.result.Notes, fmt.Sprintf(format, args...))
}

func (c *conversion) expose(kind, name, what string) {
	c.result.Exposed = append(c.result.Exposed, Exposure{kind, name, what})
}

// The groups of Calico's API: as its API server has it, and as its CRDs are.
const (
	groupCalico    = "projectcalico.org"
	groupCalicoCRD = "crd.projectcalico.org"
)

// sort files the documents by kind. Kinds of Calico that Kubernetes has too are
// filed as "Calico" and the kind. Of an object that is there twice the first is taken.
func (c *conversion) sort(docs []*document) {
	first := map[string]*document{}
	for _, d := range docs {
		family := d.group
		if family == groupCalicoCRD {
			family = groupCalico
		}
		kind := d.kind
		switch {
		case family == groupCalico && (kind == "Node" || kind == "NetworkPolicy"):
			kind = "Calico" + kind
		case family == groupCalico && kind == "IPAMConfig":
			kind = "IPAMConfiguration"
		}
		id := family + "/" + kind + "/" + d.id()
		if d.name == "" {
			c.lose(d.key(), "metadata.name", "", "is missing in "+d.place, "leave the document out, or give it its name")
			continue
		}
		if twin := first[id]; twin != nil {
			if shown("", twin.tree["spec"]) != shown("", d.tree["spec"]) || !sameSpec(twin, d) {
				c.lose(d.key(), "", "", fmt.Sprintf("is given twice and differently; %s counts, %s does not", twin.place, d.place), "leave one of the two out")
			}
			continue
		}
		first[id] = d
		if family != groupCalico && !foreign[family+"/"+kind] {
			kind = "other"
		}
		c.byKind[kind] = append(c.byKind[kind], d)
	}
}

func sameSpec(a, b *document) bool {
	return fmt.Sprint(a.tree["spec"]) == fmt.Sprint(b.tree["spec"])
}

// foreign are the kinds that are read and are not Calico's.
var foreign = map[string]bool{
	"/Node": true, "/Namespace": true, "/Secret": true, "/Service": true, "/Pod": true,
	"networking.k8s.io/NetworkPolicy":                     true,
	"policy.networking.k8s.io/AdminNetworkPolicy":         true,
	"policy.networking.k8s.io/BaselineAdminNetworkPolicy": true,
	"policy.networking.k8s.io/ClusterNetworkPolicy":       true,
}

// isCalico reports whether anything of Calico was given.
func (c *conversion) isCalico() bool {
	for kind, docs := range c.byKind {
		if kind != "other" && docs[0].group != "" && strings.HasSuffix(docs[0].group, groupCalico) {
			return true
		}
	}
	for _, h := range c.hosts {
		if h.calico {
			return true
		}
	}
	return false
}

// selector reads a selector. It is not ok if ours cannot say it.
func (f *fields) selector(name string) (s string, ok bool) {
	s = f.str(name)
	if s == "" {
		return "", !f.has(name)
	}
	parsed, err := selector.Parse(s)
	if err != nil {
		f.lose(name, fmt.Sprintf("is a selector that cannot be said here (%v), and without it the object would be in force for more than it was written for; the object is left out", err), "write the object by hand")
		return "", false
	}
	return parsed.String(), true
}

// remainder deals with kinds that nobody asked for.
func (c *conversion) remainder() {
	for _, d := range c.byKind["other"] {
		c.lose(d.key(), "", "", "is of a kind that is not read", "nothing, unless something depends on it")
	}
	asked := map[string]bool{"other": true}
	for _, k := range kindsRead {
		asked[k] = true
	}
	var kinds []string
	for k := range c.byKind {
		if !asked[k] {
			kinds = append(kinds, k)
		}
	}
	slices.Sort(kinds)
	for _, k := range kinds {
		for _, d := range c.byKind[k] {
			c.lose(d.key(), "", "", "is of a kind of Calico that is not read", "nothing, unless something depends on it")
		}
	}
}

// kindsRead are the kinds that something above looks at, or that are Calico's own
// bookkeeping and of no effect without it.
var kindsRead = []string{
	"Node", "CalicoNode", "IPPool", "BGPConfiguration", "BGPFilter", "BGPPeer", "IPAMConfiguration",
	"IPReservation", "FelixConfiguration", "BlockAffinity", "IPAMBlock",
	"CalicoNetworkPolicy", "GlobalNetworkPolicy", "HostEndpoint", "GlobalNetworkSet", "NetworkSet", "Tier", "Profile",
	"StagedNetworkPolicy", "StagedGlobalNetworkPolicy", "StagedKubernetesNetworkPolicy",
	"AdminNetworkPolicy", "BaselineAdminNetworkPolicy", "ClusterNetworkPolicy",
	"Namespace", "NetworkPolicy", "Secret", "Service", "Pod",
	"ClusterInformation", "IPAMHandle", "CalicoNodeStatus", "KubeControllersConfiguration", "WorkloadEndpoint",
}

// compareObjects puts objects into the order in which they are written.
func compareObjects(a, b v1.Object) int {
	return cmp.Or(cmp.Compare(slices.Index(written, a.ResourceKind()), slices.Index(written, b.ResourceKind())),
		cmp.Compare(v1.ObjectName(a), v1.ObjectName(b)))
}

var written = []string{
	v1.KindDataplaneConfiguration, v1.KindIPPool, v1.KindIPAMConfiguration, v1.KindIPReservation,
	v1.KindBGPConfiguration, v1.KindBGPFilter, v1.KindNodeConfig, v1.KindBGPPeer,
}
