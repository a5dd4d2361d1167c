package records

import (
	"encoding/base64"
	"fmt"
	"strings"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	v1 "caracal.dev/caracal/api/v1"
	"caracal.dev/caracal/ipam"
)

// The metadata of our objects, beside the name.
const (
	// LabelNode is the node that has the block, claim or borrowed address; a digest
	// where its name is too long for a label.
	LabelNode = group + "/node"
	// LabelBorrowed is on the BlockAffinities of single addresses alone.
	LabelBorrowed = group + "/borrowed"
	// AnnotationKey is the key of package ipam, for names that do not tell it.
	AnnotationKey = group + "/key"
)

// encoded begins a record that is no text, in base64, and one that begins so.
const encoded = "base64:"

// revision is that of an object: it stands for one version of one object, also
// where another object has taken its name.
type revision struct {
	version string
	uid     types.UID
}

func (r revision) String() string { return r.version + "/" + string(r.uid) }

// parseRevision reads what String wrote; false for what no object ever had.
func parseRevision(s string) (revision, bool) {
	version, uid, ok := strings.Cut(s, "/")
	for _, c := range version {
		ok = ok && c >= '0' && c <= '9'
	}
	return revision{version, types.UID(uid)}, ok && version != "" && uid != ""
}

func revisionOf(o *unstructured.Unstructured) string {
	return revision{o.GetResourceVersion(), o.GetUID()}.String()
}

// objectOf makes the object of a record.
func objectOf(s ipam.Subject, r ipam.Record) *unstructured.Unstructured {
	sum, _ := ipam.Summarize(r)
	if s.Kind == ipam.AffinitySubject {
		sum.Node = s.Node
	}
	spec := map[string]any{"cidr": s.CIDR.String(), "record": textOf(r.Value)}
	labels := map[string]any{}
	if sum.Node != "" {
		labels[LabelNode] = short(sum.Node, longestLabel)
	}
	kind := v1.KindBlockAffinity
	switch s.Kind {
	case ipam.BlockSubject:
		kind = v1.KindIPAMBlock
		spec["allocated"] = int64(sum.Allocated)
		if sum.Node != "" {
			spec["node"] = sum.Node
		}
	case ipam.BorrowedSubject:
		labels[LabelBorrowed] = "true"
		if sum.Borrowed.IsValid() {
			spec["borrowedFrom"] = sum.Borrowed.String()
		}
	}
	if s.Kind != ipam.BlockSubject {
		spec["node"], spec["state"] = sum.Node, string(sum.State)
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": v1.APIVersion, "kind": kind, "spec": spec,
		"metadata": map[string]any{
			"name": nameOf(s), "labels": labels, "annotations": map[string]any{AnnotationKey: r.Key},
		},
	}}
}

func textOf(value []byte) string {
	if text := string(value); utf8.ValidString(text) && !strings.HasPrefix(text, encoded) {
		return text
	}
	return encoded + base64.StdEncoding.EncodeToString(value)
}

// recordOf reads an object. Its key and revision are there even if the error says
// that it is damaged; the key is empty where it cannot be told.
func recordOf(blocks bool, o *unstructured.Unstructured) (ipam.Record, error) {
	r := ipam.Record{Revision: revisionOf(o)}
	s, ok := subjectOf(blocks, o.GetName(), o.GetAnnotations()[AnnotationKey])
	if !ok {
		return r, damaged(o, "its name says of no block, node or address; delete it if nobody knows what it is for")
	}
	r.Key = s.Key()
	spec, _ := o.Object["spec"].(map[string]any)
	text, ok := spec["record"].(string)
	if !ok {
		return r, damaged(o, "spec.record is missing, or no text")
	}
	r.Value = []byte(text)
	if rest, cut := strings.CutPrefix(text, encoded); cut {
		value, err := base64.StdEncoding.DecodeString(rest)
		if err != nil {
			return r, damaged(o, "spec.record is no base64: "+err.Error())
		}
		r.Value = value
	}
	if _, ok := ipam.Summarize(r); ok && !blocks { // if not, package ipam says what is wrong
		if wrong := differs(spec, objectOf(s, r)); wrong != "" {
			return r, damaged(o, "spec."+wrong+" is not what its record says: somebody else than Caracal changed it")
		}
	}
	return r, nil
}

// differs names the field of a claim that is not as the record has it: watches go
// by the fields, and the nodes by the record. The fields of a block are for people
// only, and are right again with the next write.
func differs(spec map[string]any, want *unstructured.Unstructured) string {
	record := want.Object["spec"].(map[string]any)
	for _, field := range []string{"node", "cidr", "state", "borrowedFrom"} {
		is, _ := spec[field].(string)
		should, _ := record[field].(string)
		if is != should {
			return field
		}
	}
	return ""
}

// damaged is the error for an object that cannot be understood.
func damaged(o *unstructured.Unstructured, why string) error {
	return fmt.Errorf("%w: %s %s: %s. kubectl get %s %s -o yaml shows it",
		ipam.ErrDamaged, o.GetKind(), o.GetName(), why, strings.ToLower(o.GetKind()), o.GetName())
}
