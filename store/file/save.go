package file

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"caracal.dev/caracal"
	v1 "caracal.dev/caracal/api/v1"
	"caracal.dev/caracal/store"
	"caracal.dev/caracal/store/accepted"
)

// adopt notes what an outcome changes on disk. A text that is on disk already is
// not kept in memory; nor is an object twice that is in force as it was read.
func (s *Store) adopt(was []*store.Object, out outcome) {
	if len(out.fresh) >= manyObjects {
		// To decode takes many times what is kept of it, which the runtime would give
		// back over minutes. By then those who read the Snapshot have made theirs, too.
		time.AfterFunc(tidyDelay, debug.FreeOSMemory)
	}
	for _, d := range out.fresh {
		if o := out.state.accepted[d.obj.Key]; o != nil && o.Same(d.obj) {
			d.obj = o
		}
	}
	store.Changes(was, out.objects, func(old, cur *store.Object) {
		switch {
		case cur == nil:
			s.unsaved[old.Key] = true
		case old == nil || old.Sum != cur.Sum || old.RawSum != cur.RawSum || old.Source != cur.Source || !old.AcceptedAt.Equal(cur.AcceptedAt):
			s.unsaved[cur.Key] = true
		case !s.unsaved[cur.Key]:
			cur.Text = nil
		}
	})
}

const (
	// manyObjects are enough to give back the memory that it took to read them,
	// tidyDelay later.
	manyObjects = 10_000
	tidyDelay   = 10 * time.Second
)

// saveTogether is how many records are made at a time.
const saveTogether = 8192

// save brings the records on disk up to date, and returns why it could not.
func (s *Store) save() string {
	s.dirty = false
	var gone []accepted.Key
	var changed []*store.Object
	for key := range s.unsaved {
		switch o := s.state.accepted[key]; {
		case o == nil:
			gone = append(gone, accepted.Key(key))
		case o.Text == nil:
			// It was on disk, and is not surely so now: read it again.
			s.scanner.forget(o.Source)
			s.dirty = true
		default:
			changed = append(changed, o)
		}
	}
	for batch := range slices.Chunk(changed, saveTogether) {
		if err := s.kept.Save(recordsOf(batch), nil); err != nil {
			return s.unkept(err)
		}
		for _, o := range batch {
			o.Text = nil
			delete(s.unsaved, o.Key)
		}
	}
	if err := s.kept.Save(nil, gone); err != nil {
		return s.unkept(err)
	}
	for _, key := range gone {
		delete(s.unsaved, store.Key(key))
	}
	return ""
}

func (s *Store) unkept(err error) string {
	s.dirty = true
	return fmt.Sprintf("the accepted configuration cannot be kept on disk, so a restart could not fall back on it: %v", err)
}

func recordsOf(objects []*store.Object) []accepted.Record {
	records := make([]accepted.Record, len(objects))
	for i, o := range objects {
		records[i] = accepted.Record{
			Kind: o.Kind, Name: o.Name, Source: o.Source, AcceptedAt: o.AcceptedAt,
			Object: json.RawMessage(o.Text.Canonical), Raw: o.Text.Raw,
		}
	}
	return records
}

// rawOf returns an accepted document as it was written; empty if that is not known.
func (s *Store) rawOf(key store.Key) string {
	r, err := s.kept.Read(accepted.Key(key))
	if err != nil {
		return ""
	}
	return r.Raw
}

// loadAccepted takes what the last run accepted as what is in force.
func (s *Store) loadAccepted() {
	s.state.accepted = map[store.Key]*store.Object{}
	var mu sync.Mutex // guards s.state.accepted
	corrupt, err := s.kept.Load(func(r accepted.Record) error {
		o, err := s.fromRecord(r)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		s.state.accepted[o.Key] = o
		return nil
	})
	s.state.objects = slices.SortedFunc(maps.Values(s.state.accepted), func(a, b *store.Object) int {
		if a.Kind != b.Kind {
			return strings.Compare(a.Kind, b.Kind)
		}
		return strings.Compare(a.Name, b.Name)
	})
	for _, c := range corrupt {
		s.state.lost = true
		s.loading = append(s.loading, caracal.Problem{Severity: caracal.Warning, Source: c.File, Message: fmt.Sprintf(
			"%s: the record of an accepted object was damaged and is not used: %s; delete the file when you have seen this", c.File, c.Reason)})
	}
	if err != nil {
		s.state.lost = true
		s.loading = append(s.loading, caracal.Problem{Severity: caracal.Warning, Message: fmt.Sprintf(
			"the configuration accepted by the last run cannot be read whole: %v", err)})
	}
}

func (s *Store) fromRecord(r accepted.Record) (*store.Object, error) {
	value, _, err := v1.DecodeCanonical(r.Object)
	if err != nil {
		return nil, err
	}
	if value == nil {
		return nil, errors.New("it holds no object")
	}
	o, err := store.NewObject(value, filepath.Clean(r.Source), r.Raw, s.scanner.words)
	if err != nil {
		return nil, err
	}
	if want := (store.Key{Kind: r.Kind, Name: r.Name}); o.Key != want {
		return nil, fmt.Errorf("it holds %s, not %s", o.Key, want)
	}
	// The record has it; if it reads otherwise now, the file is read before long.
	o.AcceptedAt, o.Text = r.AcceptedAt, nil
	return o, nil
}
