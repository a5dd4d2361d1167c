// Package storetest holds an [ipam.Store] against what allocators rely on.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"caracal.dev/caracal/ipam"
)

// Damager is a store whose records a test can make unreadable. What it does to
// them may take effect with the next [Reopener.Reopen].
type Damager interface {
	Damage(key string)
}

// Reopener is a store that outlives its process: Reopen is the start of another
// one.
type Reopener interface {
	Reopen(t *testing.T) ipam.Store
}

// Run tests the stores that open returns; each is empty and used by nobody else. Its
// keys are of the forms that [ipam.Store] lists, and its values are of any kind.
func Run(t *testing.T, open func(t *testing.T) ipam.Store) {
	for _, c := range []struct {
		name string
		test func(*testing.T, ipam.Store)
	}{
		{"empty", testEmpty}, {"compare and swap", testSwap}, {"delete", testDelete}, {"list", testList},
		{"keys", testKeys}, {"values", testValues}, {"concurrent", testConcurrent}, {"reopened", testReopened},
		{"damaged", testDamaged}, {"damaged and deleted", testDamagedDelete},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t)) })
	}
}

func put(t *testing.T, s ipam.Store, key, value, revision string) string {
	t.Helper()
	r, err := s.Put(context.Background(), ipam.Record{Key: key, Value: []byte(value), Revision: revision})
	if err != nil {
		t.Fatalf("put %s: %v", key, err)
	}
	if r == "" {
		t.Fatalf("put %s: an empty revision means that there is no record", key)
	}
	return r
}

func wantValue(t *testing.T, s ipam.Store, key, value, revision string) {
	t.Helper()
	r, err := s.Get(context.Background(), key)
	if err != nil || r.Key != key || string(r.Value) != value || revision != "" && r.Revision != revision {
		t.Fatalf("get %s: %q revision %q, %v; want %q revision %q", key, r.Value, r.Revision, err, value, revision)
	}
}

func wantError(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%s: %v; want %v", what, err, want)
	}
}

func tryPut(s ipam.Store, key, value, revision string) error {
	_, err := s.Put(context.Background(), ipam.Record{Key: key, Value: []byte(value), Revision: revision})
	return err
}

func testEmpty(t *testing.T, s ipam.Store) {
	_, err := s.Get(context.Background(), "block/10.0.0.0-26")
	wantError(t, "get", err, ipam.ErrNotFound)
	records, damaged, err := s.List(context.Background(), "")
	if len(records)+len(damaged) > 0 || err != nil {
		t.Fatalf("list: %v %v %v", records, damaged, err)
	}
	if err := s.Delete(context.Background(), "block/10.0.0.0-26", ""); err != nil {
		t.Fatalf("delete what is not there: %v", err)
	}
	wantError(t, "put with a revision where there is nothing", tryPut(s, "block/10.0.0.0-26", "x", "1"), ipam.ErrConflict)
}

func testSwap(t *testing.T, s ipam.Store) {
	const key = "block/10.0.0.0-26"
	first := put(t, s, key, "one", "")
	wantValue(t, s, key, "one", first)
	wantError(t, "create twice", tryPut(s, key, "x", ""), ipam.ErrConflict)
	second := put(t, s, key, "two", first)
	if second == first {
		t.Fatal("the revision did not change")
	}
	wantValue(t, s, key, "two", second)
	wantError(t, "put with an old revision", tryPut(s, key, "x", first), ipam.ErrConflict)
	wantError(t, "create again", tryPut(s, key, "x", ""), ipam.ErrConflict)
	wantValue(t, s, key, "two", second)
}

func testDelete(t *testing.T, s ipam.Store) {
	ctx := context.Background()
	const key = "block/10.0.0.0-26"
	first := put(t, s, key, "one", "")
	second := put(t, s, key, "two", first)
	wantError(t, "delete with an old revision", s.Delete(ctx, key, first), ipam.ErrConflict)
	wantValue(t, s, key, "two", second)
	if err := s.Delete(ctx, key, second); err != nil {
		t.Fatal(err)
	}
	_, err := s.Get(ctx, key)
	wantError(t, "get", err, ipam.ErrNotFound)
	wantError(t, "put with the revision of what is gone", tryPut(s, key, "x", second), ipam.ErrConflict)
	if err := s.Delete(ctx, key, second); err != nil {
		t.Fatalf("delete again: %v", err)
	}
	third := put(t, s, key, "three", "")
	if third == second || third == first {
		t.Fatal("a revision came back: whoever has the old one would overwrite")
	}
}

func testList(t *testing.T, s ipam.Store) {
	for _, key := range []string{"block/10.0.1.0-26", "block/10.0.0.0-26", "affinity/b/10.0.0.0-26", "affinity/a/10.0.1.0-26", "borrowed/10.0.1.3"} {
		put(t, s, key, "of "+key, "")
	}
	for prefix, want := range map[string]string{
		"":                "affinity/a/10.0.1.0-26 affinity/b/10.0.0.0-26 block/10.0.0.0-26 block/10.0.1.0-26 borrowed/10.0.1.3",
		"block/":          "block/10.0.0.0-26 block/10.0.1.0-26",
		"affinity/a/":     "affinity/a/10.0.1.0-26",
		"block/10.0.1":    "block/10.0.1.0-26",
		"borrowed/":       "borrowed/10.0.1.3",
		"borrowed/10.0.2": "",
	} {
		records, damaged, err := s.List(context.Background(), prefix)
		if err != nil || len(damaged) > 0 {
			t.Fatalf("list %q: %v %v", prefix, damaged, err)
		}
		var keys []string
		for _, r := range records {
			keys = append(keys, r.Key)
			wantValue(t, s, r.Key, "of "+r.Key, r.Revision)
			if string(r.Value) != "of "+r.Key {
				t.Errorf("list %q: %s has %q", prefix, r.Key, r.Value)
			}
		}
		if got := strings.Join(keys, " "); got != want {
			t.Errorf("list %q: %s; want %s", prefix, got, want)
		}
	}
}

func testKeys(t *testing.T, s ipam.Store) {
	names := []string{"a", "A", "a b", "ä", "a/b", "a_b", "a%b", "..", ".", "a~b", "%2f", strings.Repeat("x", 300), strings.Repeat("Ü", 200)}
	keys := []string{"block/fd00::-122", "borrowed/fd00::1"}
	for _, n := range names {
		escaped := ipam.Escape(n)
		if back, err := ipam.Unescape(escaped); back != n || err != nil || !ipam.ValidKey("affinity/"+escaped) {
			t.Errorf("%q is escaped to %q, and back to %q, %v", n, escaped, back, err)
		}
		keys = append(keys, "affinity/"+escaped+"/10.0.0.0-26")
	}
	for _, key := range keys {
		put(t, s, key, key, "")
	}
	s = reopen(t, s)
	for _, key := range keys {
		wantValue(t, s, key, key, "")
	}
	for _, key := range []string{"", "/", "block/", "/block", "a//b", "Block/a", "a b", "a_b", "a\x00", "ä"} {
		if tryPut(s, key, "x", "") == nil {
			t.Errorf("a record was written under %q", key)
		}
	}
}

func testValues(t *testing.T, s ipam.Store) {
	ctx := context.Background()
	values := []string{"", "\n", "\x00\xff", strings.Repeat("0123456789", 100_000)}
	for i, v := range values {
		put(t, s, fmt.Sprintf("block/10.0.%d.0-26", i), v, "")
	}
	text := []byte("mine")
	if _, err := s.Put(ctx, ipam.Record{Key: "block/10.8.0.0-26", Value: text}); err != nil {
		t.Fatal(err)
	}
	copy(text, "xxxx")
	r, _ := s.Get(ctx, "block/10.8.0.0-26")
	copy(r.Value, "yyyy")
	wantValue(t, s, "block/10.8.0.0-26", "mine", "")
	s = reopen(t, s)
	for i, v := range values {
		wantValue(t, s, fmt.Sprintf("block/10.0.%d.0-26", i), v, "")
	}
}

// testConcurrent: of many who count a number up, none is lost.
func testConcurrent(t *testing.T, s ipam.Store) {
	const workers, rounds = 8, 20
	ctx := context.Background()
	var wait sync.WaitGroup
	for w := range workers {
		wait.Go(func() {
			for n := 0; n < rounds; {
				r, err := s.Get(ctx, "block/10.0.0.0-26")
				if err != nil && !errors.Is(err, ipam.ErrNotFound) {
					t.Error(err)
					return
				}
				count := 0
				fmt.Sscan(string(r.Value), &count)
				switch err := tryPut(s, "block/10.0.0.0-26", fmt.Sprint(count+1), r.Revision); {
				case err == nil:
					n++
				case !errors.Is(err, ipam.ErrConflict):
					t.Error(err)
					return
				}
			}
			key := fmt.Sprintf("block/10.1.%d.0-26", w)
			if err := tryPut(s, key, "x", ""); err != nil {
				t.Error(err)
			}
			if _, _, err := s.List(ctx, "block/"); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	wantValue(t, s, "block/10.0.0.0-26", fmt.Sprint(workers*rounds), "")
}

func reopen(t *testing.T, s ipam.Store) ipam.Store {
	t.Helper()
	if r, ok := s.(Reopener); ok {
		return r.Reopen(t)
	}
	return s
}

func testReopened(t *testing.T, s ipam.Store) {
	put(t, s, "block/10.0.0.0-26", "x", "")
	kept := put(t, s, "block/10.0.1.0-26", "one", "")
	put(t, s, "block/10.0.1.0-26", "two", kept)
	r, err := s.Get(context.Background(), "block/10.0.0.0-26")
	if err == nil {
		err = s.Delete(context.Background(), "block/10.0.0.0-26", r.Revision)
	}
	if err != nil {
		t.Fatal(err)
	}
	s = reopen(t, s)
	wantValue(t, s, "block/10.0.1.0-26", "two", "")
	_, err = s.Get(context.Background(), "block/10.0.0.0-26")
	wantError(t, "get what was deleted", err, ipam.ErrNotFound)
	r, _ = s.Get(context.Background(), "block/10.0.1.0-26")
	put(t, s, "block/10.0.1.0-26", "three", r.Revision)
}

// damage makes a record unreadable, in a store whose tests can do that; nil if
// they cannot.
func damage(t *testing.T, s ipam.Store, key string) ipam.Store {
	t.Helper()
	put(t, s, key, "one", "")
	put(t, s, "block/10.9.0.0-26", "fine", "")
	d, ok := s.(Damager)
	if !ok {
		t.Logf("%T has no way to damage a record: nothing to test", s)
		return nil
	}
	d.Damage(key)
	return reopen(t, s)
}

func listDamaged(t *testing.T, s ipam.Store) []ipam.Damaged {
	t.Helper()
	records, damaged, err := s.List(context.Background(), "block/")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(records, func(r ipam.Record) bool { return r.Key == "block/10.9.0.0-26" }) {
		t.Fatal("one damaged record hides the others")
	}
	return damaged
}

func testDamaged(t *testing.T, s ipam.Store) {
	const key = "block/10.0.0.0-26"
	if s = damage(t, s, key); s == nil {
		return
	}
	for range 2 { // it is not forgotten
		damaged := listDamaged(t, s)
		if len(damaged) != 1 || damaged[0].Key != key || damaged[0].Message == "" || damaged[0].Revision == "" {
			t.Fatalf("damaged: %+v", damaged)
		}
		r, err := s.Get(context.Background(), key)
		wantError(t, "get", err, ipam.ErrDamaged)
		if r.Revision != damaged[0].Revision {
			t.Fatalf("get gives revision %q, list %q", r.Revision, damaged[0].Revision)
		}
		wantError(t, "create in its place", tryPut(s, key, "x", ""), ipam.ErrDamaged)
		wantError(t, "put with another revision", tryPut(s, key, "x", "nonsense"), ipam.ErrConflict)
		wantError(t, "delete with another revision", s.Delete(context.Background(), key, "nonsense"), ipam.ErrConflict)
		s = reopen(t, s)
	}
	put(t, s, key, "mended", listDamaged(t, s)[0].Revision)
	for range 2 {
		wantValue(t, s, key, "mended", "")
		if damaged := listDamaged(t, s); len(damaged) > 0 {
			t.Fatalf("still damaged: %+v", damaged)
		}
		s = reopen(t, s)
	}
	r, _ := s.Get(context.Background(), key)
	if err := s.Delete(context.Background(), key, r.Revision); err != nil {
		t.Fatal(err)
	}
	s = reopen(t, s)
	if damaged := listDamaged(t, s); len(damaged) > 0 {
		t.Fatalf("a damage that was mended came back: %+v", damaged)
	}
}

func testDamagedDelete(t *testing.T, s ipam.Store) {
	const key = "block/fd00::-122"
	if s = damage(t, s, key); s == nil {
		return
	}
	if err := s.Delete(context.Background(), key, listDamaged(t, s)[0].Revision); err != nil {
		t.Fatal(err)
	}
	s = reopen(t, s)
	if damaged := listDamaged(t, s); len(damaged) > 0 {
		t.Fatalf("still damaged: %+v", damaged)
	}
	put(t, s, key, "new", "")
}
