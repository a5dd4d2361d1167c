package kube

import (
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

func ownOf(words *store.Words) convert {
	return func(obj metav1.Object) any {
		u, ok := obj.(*unstructured.Unstructured)
		if !ok {
			return nil
		}
		value, _, err := v1.FromAPI(u.Object)
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
	Config *v1.NodeConfig // it may have no addresses; nil if it cannot be read
	Wrong  string
}

func overlayOf(obj metav1.Object) any {
	u, ok := obj.(*unstructured.Unstructured)
	if !ok {
		return nil
	}
	value, _, err := v1.FromAPI(u.Object)
	if err != nil {
		return &overlay{Wrong: err.Error()}
	}
	config, ok := value.(*v1.NodeConfig)
	if !ok {
		return &overlay{Wrong: "kind: must be " + v1.KindNodeConfig}
	}
	return &overlay{Config: config}
}

// affinity is a BlockAffinity that counts: confirmed, or static.
type affinity struct {
	Node string
	CIDR netip.Prefix
	// Borrowed says that it is an address of another node's block, Static that the
	// configuration gives it, and not the node itself took it.
	Borrowed, Static bool
	Wrong            string
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
		state := text("state")
		if state != stateConfirmed && state != stateStatic {
			return nil
		}
		p, err := netip.ParsePrefix(text("cidr"))
		switch {
		case err != nil || p != p.Masked() || p.Bits() == 0:
			return &affinity{Wrong: fmt.Sprintf("spec.cidr: %q is no prefix", clip(text("cidr")))}
		case text("node") == "":
			return &affinity{Wrong: "spec.node: is missing"}
		}
		return &affinity{Node: words.Word(text("node")), CIDR: p, Borrowed: text("borrowedFrom") != "", Static: state == stateStatic}
	}
}

// blocksByDefault is the IPAMConfiguration of a cluster without one.
func blocksByDefault() *store.Object {
	c := &v1.IPAMConfiguration{}
	c.Name, c.Spec.Mode = v1.DefaultName, v1.IPAMBlocks
	c.Default()
	return &store.Object{Key: store.Key{Kind: v1.KindIPAMConfiguration, Name: v1.DefaultName}, Value: c}
}
