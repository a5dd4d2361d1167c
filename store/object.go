package store

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"caracal.dev/caracal"
	v1 "caracal.dev/caracal/api/v1"
)

// Key identifies an object.
type Key struct{ Kind, Name string }

// String returns the key as messages name it: "BGPPeer rack1".
func (k Key) String() string { return k.Kind + " " + k.Name }

// Object is a valid resource and where it comes from. It is immutable, but for its
// Text.
type Object struct {
	Key
	// Value is the resource, a [v1.Object]; or, of the kinds that a cluster has a
	// hundred thousand of, the noun: a *caracal.Workload or a *caracal.Policy. The
	// resource says no more and takes three times the memory.
	Value any
	// Warnings are those of the resource by itself; nil if there are none.
	Warnings *v1.Errors
	// Sum and RawSum are of the canonical JSON, by which two objects mean the same,
	// and of the document as it was written.
	Sum, RawSum Sum
	// Source is the file it was read from, relative to the directory.
	Source string
	// AcceptedAt is when this version was first accepted; zero before that.
	AcceptedAt time.Time
	// Text is nil once it is not needed any more: when it is on disk.
	Text *Text

	placed *site // of a NodeConfig
}

// Sum identifies a text.
type Sum [16]byte

// SumOf returns the sum of a text: the first half of its SHA-256.
func SumOf(text []byte) Sum {
	h := sha256.Sum256(text)
	return Sum(h[:16])
}

// Text is an object in writing.
type Text struct {
	// Canonical is the JSON of [v1.Encode], Raw the document as it was written.
	Canonical, Raw string
}

// NewObject wraps a decoded resource. Words may be nil.
func NewObject(value v1.Object, source, raw string, words *Words) (*Object, error) {
	text, err := v1.Encode(value)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	o := &Object{
		Key: Key{value.ResourceKind(), v1.ObjectName(value)}, Value: value, Source: source,
		Sum: SumOf(text), RawSum: SumOf([]byte(raw)), Text: &Text{Canonical: string(text), Raw: raw},
	}
	if w := value.Warnings(); len(w) > 0 {
		o.Warnings = &w
	}
	switch v := value.(type) {
	case *v1.NodeConfig:
		o.placed = siteOf(v)
	case *v1.Workload:
		w := v.Workload(source)
		words.Workload(&w, o.Name)
		o.Value = &w
	case *v1.NetworkPolicy:
		p := v.Policy(source)
		words.Policy(&p, o.Name)
		o.Value = &p
	}
	return o, nil
}

// Same reports whether two objects are the same reading of the same document.
func (o *Object) Same(other *Object) bool { return o.Value == other.Value }

// RejectedPolicy is what stands in for a NetworkPolicy that was refused and has no
// accepted version; see [v1.RejectedPolicy]. It is never accepted itself.
func RejectedPolicy(p caracal.Policy) *Object {
	return &Object{Key: Key{v1.KindNetworkPolicy, p.Key()}, Value: &p, Source: p.Source}
}

// from names the object and its file in a message about another.
func (o *Object) from() string {
	if o.Source == "" {
		return o.Key.String()
	}
	return fmt.Sprintf("%s (%s)", o.Key, o.Source)
}

// Digest identifies a set of objects by what they mean: neither the names of
// files nor the order nor the way of writing count.
func Digest(objects []*Object) string {
	sorted := objects
	if !slices.IsSortedFunc(sorted, compareKeys) {
		sorted = slices.Clone(objects)
		slices.SortFunc(sorted, compareKeys)
	}
	h := sha256.New()
	var line []byte
	for _, o := range sorted {
		line = append(append(append(append(line[:0], o.Kind...), ' '), o.Name...), '\n')
		h.Write(append(line, o.Sum[:]...))
	}
	return hex.EncodeToString(h.Sum(nil))[:12]
}

func compareKeys(a, b *Object) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
}
