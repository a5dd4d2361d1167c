package disk

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"caracal.dev/caracal/ipam"
	"caracal.dev/caracal/ipam/storetest"
)

// reopenable is a Store whose tests can restart and damage it.
type reopenable struct{ *Store }

func (r reopenable) Reopen(t *testing.T) ipam.Store {
	t.Helper()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	return reopenable{mustOpen(t, r.path)}
}

func (r reopenable) Damage(key string) {
	path := filepath.Join(r.path, fileName(key))
	text, err := os.ReadFile(path)
	if err != nil {
		panic(err)
	}
	text[len(text)-1] ^= 1
	if err := os.WriteFile(path, text, 0o600); err != nil {
		panic(err)
	}
}

func mustOpen(t *testing.T, path string) *Store {
	t.Helper()
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) ipam.Store {
		return reopenable{mustOpen(t, filepath.Join(t.TempDir(), "state", "ipam"))}
	})
}

func TestLocked(t *testing.T) {
	path := t.TempDir()
	s := mustOpen(t, path)
	if _, err := Open(path); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "second caracald") {
		t.Fatalf("opened twice: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(context.Background(), ipam.Record{Key: "block/a"}); err == nil {
		t.Error("a closed store was written to")
	}
	mustOpen(t, path)
}
