package ipam

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Memory is a [Store] that a crash loses: for tests, and for what needs no
// longer life.
type Memory struct {
	mu       sync.Mutex
	records  map[string]*Record
	damaged  map[string]Damaged
	revision uint64
}

// NewMemory returns an empty Memory.
func NewMemory() *Memory {
	return &Memory{records: map[string]*Record{}, damaged: map[string]Damaged{}}
}

// Get implements [Store].
func (m *Memory) Get(_ context.Context, key string) (Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if d, ok := m.damaged[key]; ok {
		return Record{Key: key, Revision: d.Revision}, fmt.Errorf("record %s: %w: %s", key, ErrDamaged, d.Message)
	}
	r, ok := m.records[key]
	if !ok {
		return Record{}, fmt.Errorf("record %s: %w", key, ErrNotFound)
	}
	return r.clone(), nil
}

// List implements [Store].
func (m *Memory) List(_ context.Context, prefix string) ([]Record, []Damaged, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var records []Record
	for key, r := range m.records {
		if strings.HasPrefix(key, prefix) {
			records = append(records, r.clone())
		}
	}
	var damaged []Damaged
	for key, d := range m.damaged {
		if strings.HasPrefix(key, prefix) {
			damaged = append(damaged, d)
		}
	}
	slices.SortFunc(records, func(a, b Record) int { return strings.Compare(a.Key, b.Key) })
	slices.SortFunc(damaged, func(a, b Damaged) int { return strings.Compare(a.Key, b.Key) })
	return records, damaged, nil
}

// ListNode implements [NodeStore].
func (m *Memory) ListNode(ctx context.Context, node string) ([]Record, []Damaged, error) {
	records, damaged, err := m.List(ctx, "")
	records = slices.DeleteFunc(records, func(r Record) bool {
		s, ok := SubjectOf(r.Key)
		sum, said := Summarize(r)
		return !ok || s.Kind == BlockSubject || s.Node != node && (!said || sum.Node != node)
	})
	damaged = slices.DeleteFunc(damaged, func(d Damaged) bool {
		s, ok := SubjectOf(d.Key)
		return !ok || s.Kind == BlockSubject || s.Kind == AffinitySubject && s.Node != node
	})
	return records, damaged, err
}

// Put implements [Store].
func (m *Memory) Put(_ context.Context, r Record) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	old := m.records[r.Key]
	if old == nil && !ValidKey(r.Key) {
		return "", fmt.Errorf("ipam: write record %q: it is no key", r.Key)
	}
	if err := m.check(r.Key, old, r.Revision); err != nil {
		return "", err
	}
	if old == nil {
		delete(m.damaged, r.Key)
		old = &Record{Key: r.Key}
		m.records[r.Key] = old
	}
	// Nobody but this Memory has the old value: its room can be used again.
	old.Value, old.Revision = append(old.Value[:0], r.Value...), m.next()
	return old.Revision, nil
}

// Delete implements [Store].
func (m *Memory) Delete(_ context.Context, key, revision string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, isDamaged := m.damaged[key]
	r := m.records[key]
	if r == nil && !isDamaged {
		return nil
	}
	if err := m.check(key, r, revision); err != nil {
		return err
	}
	delete(m.damaged, key)
	delete(m.records, key)
	return nil
}

// Damage makes a record unreadable, as a bad disk would.
func (m *Memory) Damage(key string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.records, key)
	m.damaged[key] = Damaged{Key: key, Message: "it was damaged on purpose", Revision: m.next()}
}

// check compares a revision with that of what is there: a record, a damage, or
// nothing.
func (m *Memory) check(key string, r *Record, revision string) error {
	have := ""
	if r != nil {
		have = r.Revision
	} else if d, ok := m.damaged[key]; ok {
		if revision == "" {
			return fmt.Errorf("record %s: %w: %s", key, ErrDamaged, d.Message)
		}
		have = d.Revision
	}
	if have != revision {
		return fmt.Errorf("record %s: %w", key, ErrConflict)
	}
	return nil
}

func (m *Memory) next() string {
	m.revision++
	return strconv.FormatUint(m.revision, 10)
}

func (r *Record) clone() Record {
	return Record{Key: r.Key, Value: bytes.Clone(r.Value), Revision: r.Revision}
}
