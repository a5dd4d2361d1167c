package store

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	v1 "caracal.dev/caracal/api/v1"
)

// Key identifies an object.
type Key struct{ Kind, Name string }

// String returns the key as messages name it: "BGPPeer rack1".
func (k Key) String() string { return k.Kind + " " + k.Name }

// Object is a valid resource and where it comes from. It is immutable.
type Object struct {
	Key
	Value v1.Object
	// Text is the canonical JSON: two objects with the same mean the same.
	Text string
	// Source is the file it was read from, relative to the directory.
	Source string
	// Raw is the document as it was written.
	Raw string
	// AcceptedAt is when this version was first accepted; zero before that.
	AcceptedAt time.Time
}

// NewObject wraps a decoded resource.
func NewObject(value v1.Object, source string) (*Object, error) {
	text, err := v1.Encode(value)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	key := Key{value.ResourceKind(), v1.ObjectName(value)}
	return &Object{Key: key, Value: value, Text: string(text), Source: source}, nil
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
	sorted := slices.Clone(objects)
	slices.SortFunc(sorted, compareKeys)
	h := sha256.New()
	for _, o := range sorted {
		fmt.Fprintf(h, "%s %s %d\n", o.Kind, o.Name, len(o.Text))
		h.Write([]byte(o.Text))
	}
	return hex.EncodeToString(h.Sum(nil))[:12]
}

func compareKeys(a, b *Object) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
}
