package shelf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func read(path, owner string) (map[string]string, error) {
	all := map[string]string{}
	_, err := Read(path, owner, func(r *Reader) error {
		for key := range r.Keys() {
			var v string
			if err := r.Value(&v); err != nil {
				return err
			}
			all[key] = v
		}
		return r.Err()
	})
	return all, err
}

func write(t *testing.T, path string, n int) {
	t.Helper()
	err := Write(path, "a", func(w *Writer) error {
		for i := range n {
			w.Put(fmt.Sprint("key ", i), strings.Repeat("x\n", i))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestReadsWhatWasWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "file")
	if _, err := read(path, "a"); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("no file: %v", err)
	}
	for _, n := range []int{0, 1, 300, 70_000 / 2} {
		if n > 1000 { // one long line
			if err := Write(path, "a", func(w *Writer) error { w.Put("long", strings.Repeat("y", 1<<20)); return nil }); err != nil {
				t.Fatal(err)
			}
			if got, err := read(path, "a"); err != nil || len(got["long"]) != 1<<20 {
				t.Fatalf("%d bytes, %v", len(got["long"]), err)
			}
			continue
		}
		write(t, path, n)
		got, err := read(path, "a")
		if err != nil || len(got) != n || n > 2 && got["key 2"] != "x\nx\n" {
			t.Fatalf("%d of %d, %v", len(got), n, err)
		}
	}
	if _, err := read(path, "b"); !errors.Is(err, ErrOther) {
		t.Errorf("another node's: %v", err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("it may hold passwords: %v %v", st.Mode(), err)
	}
}

// TestDamage flips and cuts every byte of a file.
func TestDamage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	write(t, path, 6)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	try := func(what string, text []byte) {
		t.Helper()
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := read(path, "a"); err == nil {
			t.Fatalf("%s: read as good: %v", what, got)
		}
	}
	for i := range good {
		bad := append([]byte(nil), good...)
		bad[i] ^= 4
		try(fmt.Sprint("byte ", i, " is another"), bad)
		try(fmt.Sprint("cut at ", i), good[:i])
	}
	try("something follows", append(append([]byte(nil), good...), 'x'))
	try("empty", nil)
}

func TestAFailedWriteChangesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	write(t, path, 3)
	wrong := errors.New("wrong")
	if err := Write(path, "a", func(*Writer) error { return wrong }); !errors.Is(err, wrong) {
		t.Fatal(err)
	}
	if err := Write(path, "a", func(w *Writer) error { w.Put("x", func() {}); return nil }); err == nil {
		t.Fatal("what cannot be encoded cannot be written")
	}
	if got, err := read(path, "a"); err != nil || len(got) != 3 {
		t.Errorf("%v %v", got, err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".tmp-*")); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}
