package ipam

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"strings"

	"caracal.dev/caracal"
)

// Subject is what a record of a [Store] is about, as its key says.
type Subject struct {
	Kind SubjectKind
	// Node is set for an affinity alone: whose it is.
	Node string
	// CIDR is the block, or the borrowed address as a /32 or /128.
	CIDR netip.Prefix
}

// SubjectKind tells the records of a [Store] apart.
type SubjectKind int

// The kinds of records.
const (
	BlockSubject SubjectKind = iota
	AffinitySubject
	BorrowedSubject
)

// Key returns the key of the record about s.
func (s Subject) Key() string {
	switch s.Kind {
	case AffinitySubject:
		return affinityKey(s.Node, s.CIDR)
	case BorrowedSubject:
		return borrowedKey(s.CIDR.Addr())
	}
	return BlockKey(s.CIDR)
}

// SubjectOf returns what a key is about; false for one that no Allocator uses. Of
// two keys that it takes, no two are about the same.
func SubjectOf(key string) (s Subject, ok bool) {
	if s.CIDR, ok = blockOfKey(key); ok {
		return s, s.Key() == key
	}
	if s.Node, s.CIDR, ok = affinityOfKey(key); ok {
		s.Kind = AffinitySubject
		return s, s.Key() == key
	}
	text, ok := strings.CutPrefix(key, borrowedKeys)
	a, err := netip.ParseAddr(text)
	if !ok || err != nil || a.Zone() != "" {
		return Subject{}, false
	}
	s = Subject{Kind: BorrowedSubject, CIDR: caracal.HostPrefix(a)}
	return s, s.Key() == key
}

// Summary is what a record says, for people. What is truth is its text.
type Summary struct {
	// Node has the block, the claim or the borrowed address.
	Node string
	// State is that of a claim or a borrowed address.
	State Affinity
	// Borrowed is the block that a borrowed address is of.
	Borrowed netip.Prefix
	// Allocated counts the addresses of a block that somebody has.
	Allocated int
}

// Summarize returns what a record says; false if that cannot be understood. It is
// cheap, and no proof that the record is whole.
func Summarize(r Record) (Summary, bool) {
	s, ok := SubjectOf(r.Key)
	if !ok {
		return Summary{}, false
	}
	first, rest, _ := bytes.Cut(r.Value, []byte("\n"))
	if s.Kind == BlockSubject {
		var head blockHead
		if json.Unmarshal(first, &head) != nil {
			return Summary{}, false
		}
		// A quote within a text is escaped, so this is a field's name.
		given := bytes.Count(rest, []byte("\n")) - bytes.Count(rest, []byte(`,"freed":"`))
		return Summary{Node: head.Node, Allocated: given}, true
	}
	var line stateLine
	if json.Unmarshal(first, &line) != nil {
		return Summary{}, false
	}
	if s.Kind == AffinitySubject {
		line.Node = s.Node
	}
	return Summary{Node: line.Node, State: line.State, Borrowed: line.Block}, true
}
