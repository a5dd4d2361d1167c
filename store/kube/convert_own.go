package kube

import (
	"encoding/json"
	"fmt"
	"net/netip"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	v1 "caracal.dev/caracal/api/v1"
	"caracal.dev/caracal/store"
)

// own is a resource of caracal.dev, or why it cannot be read.
type own struct {
	Object *store.Object // nil if it cannot be read
	Wrong  string
}

// document returns the JSON of what a user wrote: the rest of the metadata and the
// status are others'.
func document(u *unstructured.Unstructured, spec map[string]any) ([]byte, error) {
	doc := map[string]any{
		"apiVersion": v1.APIVersion, "kind": u.GetKind(),
		"metadata": map[string]any{"name": u.GetName(), "labels": u.GetLabels()},
	}
	for k, v := range u.Object {
		switch k {
		case "apiVersion", "kind", "metadata", "status":
		default:
			doc[k] = v
		}
	}
	if spec != nil {
		doc["spec"] = spec
	}
	return json.Marshal(doc)
}

func ownOf(kind string, words *store.Words) convert {
	return func(obj metav1.Object) any {
		u, ok := obj.(*unstructured.Unstructured)
		if !ok {
			return nil
		}
		doc, err := document(u, nil)
		if err != nil {
			return &own{Wrong: err.Error()}
		}
		value, _, err := v1.DecodeCanonical(doc)
		if err != nil {
			return &own{Wrong: err.Error()}
		}
		if c, ok := value.(*v1.IPAMConfiguration); ok && c.Spec.Mode == "" {
			c.Spec.Mode = v1.IPAMBlocks // what nothing said means here
		}
		o, err := store.NewObject(value, "", "", words)
		if err != nil {
			return &own{Wrong: err.Error()}
		}
		o.Text = nil
		return &own{Object: o}
	}
}

// overlay is a NodeConfig: what it sets counts more than what the core Node says.
type overlay struct {
	Config *v1.NodeConfig // its addresses may be empty; nil if it cannot be read
	Wrong  string
}

// A NodeConfig need not name addresses here, since the Node does. So that all else
// is checked as always, one without gets these meanwhile.
const anyAddress = "192.0.2.1/32"

func overlayOf(obj metav1.Object) any {
	u, ok := obj.(*unstructured.Unstructured)
	if !ok {
		return nil
	}
	spec, _ := u.Object["spec"].(map[string]any)
	filled := map[string]any{}
	for k, v := range spec {
		filled[k] = v
	}
	list, isList := filled["addresses"].([]any)
	bare := filled["addresses"] == nil || isList && len(list) == 0
	if bare {
		filled["addresses"] = []any{anyAddress}
	}
	doc, err := document(u, filled)
	if err != nil {
		return &overlay{Wrong: err.Error()}
	}
	value, _, err := v1.DecodeCanonical(doc)
	if err != nil {
		return &overlay{Wrong: err.Error()}
	}
	config := value.(*v1.NodeConfig)
	if bare {
		config.Spec.Addresses = nil
	}
	return &overlay{Config: config}
}

// affinity is a BlockAffinity that counts: confirmed, or static.
type affinity struct {
	Node string
	CIDR netip.Prefix
	// Borrowed says that it is an address of another node's block.
	Borrowed bool
	Wrong    string
}

// The states of a BlockAffinity that say that the node has it.
const (
	stateConfirmed = "confirmed"
	stateStatic    = "static"
)

func affinityOf(words *store.Words) convert {
	return func(obj metav1.Object) any {
		u, ok := obj.(*unstructured.Unstructured)
		if !ok {
			return nil
		}
		text := func(field string) string {
			s, _, _ := unstructured.NestedString(u.Object, "spec", field)
			return s
		}
		if state := text("state"); state != stateConfirmed && state != stateStatic {
			return nil
		}
		p, err := netip.ParsePrefix(text("cidr"))
		switch {
		case err != nil || p != p.Masked() || p.Bits() == 0:
			return &affinity{Wrong: fmt.Sprintf("spec.cidr: %q is no prefix", clip(text("cidr")))}
		case text("node") == "":
			return &affinity{Wrong: "spec.node: is missing"}
		}
		return &affinity{Node: words.Word(text("node")), CIDR: p, Borrowed: text("borrowedFrom") != ""}
	}
}

// blocksByDefault is the IPAMConfiguration of a cluster without one.
func blocksByDefault() *store.Object {
	c := &v1.IPAMConfiguration{}
	c.Name, c.Spec.Mode = v1.DefaultName, v1.IPAMBlocks
	c.Default()
	return &store.Object{Key: store.Key{Kind: v1.KindIPAMConfiguration, Name: v1.DefaultName}, Value: c}
}
