package accepted

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func record(kind, name string, v int) Record {
	return Record{
		Kind: kind, Name: name, Source: "a.yaml", AcceptedAt: time.Unix(1000, 0).UTC(),
		Object: json.RawMessage(fmt.Sprintf(`{"v":%d}`, v)),
	}
}

func list(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func loadAll(d *Dir) ([]Record, []Corrupt, error) {
	var mu sync.Mutex
	var records []Record
	bad, err := d.Load(func(r Record) error {
		mu.Lock()
		defer mu.Unlock()
		records = append(records, r)
		return nil
	})
	slices.SortFunc(records, func(a, b Record) int { return strings.Compare(FileName(a.Key()), FileName(b.Key())) })
	return records, bad, err
}

func load(t *testing.T, dir string) []Record {
	t.Helper()
	records, bad, err := loadAll(Open(dir))
	if err != nil || len(bad) > 0 {
		t.Fatalf("load: %v, corrupt %v", err, bad)
	}
	return records
}

func TestSaveAndLoad(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "lib", "accepted")
	d := Open(dir)
	if r, bad, err := loadAll(d); len(r)+len(bad) > 0 || err != nil {
		t.Fatalf("a directory that does not exist: %v %v %v", r, bad, err)
	}
	want := []Record{record("IPPool", "p", 1), record("Workload", "default/vm", 2)}
	for i := range 20 { // enough for the shared sync
		want = append(want, record("Workload", fmt.Sprintf("ns/w%02d", i), i))
	}
	if err := d.Save(want, nil); err != nil {
		t.Fatal(err)
	}
	if got := load(t, dir); !reflect.DeepEqual(got, want) {
		t.Fatalf("got %v", got)
	}
	if err := d.Save(nil, []Key{want[0].Key()}); err != nil {
		t.Fatal(err)
	}
	if got := load(t, dir); !reflect.DeepEqual(got, want[1:]) {
		t.Fatalf("after a removal: %v", got)
	}
}

func TestSaveNothing(t *testing.T) {
	// With nothing to write, even a directory that cannot be written is no error.
	if err := Open("/proc/none").Save(nil, nil); err != nil {
		t.Error(err)
	}
	// What is gone already is no error.
	if err := Open(t.TempDir()).Save(nil, []Key{{"IPPool", "p"}}); err != nil {
		t.Error(err)
	}
}

func TestRead(t *testing.T) {
	d := Open(t.TempDir())
	want := record("Workload", "ns/w", 7)
	if err := d.Save([]Record{want}, nil); err != nil {
		t.Fatal(err)
	}
	if got, err := d.Read(want.Key()); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v %v", got, err)
	}
	if _, err := d.Read(Key{"Workload", "ns/x"}); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

func TestRefusedIsSetAside(t *testing.T) {
	dir := t.TempDir()
	if err := Open(dir).Save([]Record{record("IPPool", "p", 1)}, nil); err != nil {
		t.Fatal(err)
	}
	bad, err := Open(dir).Load(func(Record) error { return errors.New("it is odd") })
	if err != nil || len(bad) != 1 || bad[0].Reason != "it is odd" || len(load(t, dir)) != 0 {
		t.Errorf("%v %v", bad, err)
	}
}

func TestCorruptIsSetAside(t *testing.T) {
	good := func(dir string) string { return filepath.Join(dir, "IPPool_p.json") }
	for name, c := range map[string]struct {
		harm func(path string, content []byte) error
		want string
	}{
		"empty":     {func(p string, b []byte) error { return os.Truncate(p, 0) }, "it is empty"},
		"torn":      {func(p string, b []byte) error { return os.Truncate(p, int64(len(b)-7)) }, "its checksum does not fit its content"},
		"head only": {func(p string, b []byte) error { return os.Truncate(p, 40) }, "its checksum does not fit its content"},
		"zeros":     {func(p string, b []byte) error { return os.WriteFile(p, make([]byte, 100), 0o600) }, "it does not begin as a record does"},
		"flipped": {func(p string, b []byte) error {
			b[len(b)-5] ^= 1
			return os.WriteFile(p, b, 0o600)
		}, "its checksum does not fit its content"},
		"of another": {func(p string, b []byte) error { return os.Rename(p, filepath.Join(filepath.Dir(p), "IPPool_x.json")) },
			"it is the record of IPPool p, and belongs into IPPool_p.json"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := Open(dir).Save([]Record{record("IPPool", "p", 1), record("IPPool", "q", 1)}, nil); err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(good(dir))
			if err != nil {
				t.Fatal(err)
			}
			if err := c.harm(good(dir), b); err != nil {
				t.Fatal(err)
			}
			d := Open(dir)
			records, bad, err := loadAll(d)
			if err != nil || len(records) != 1 || records[0].Name != "q" {
				t.Errorf("records %v, error %v", records, err)
			}
			if len(bad) != 1 || bad[0].Reason != c.want || !strings.HasSuffix(bad[0].File, ".json.corrupt") {
				t.Errorf("corrupt: %+v", bad)
			}
			if err := d.Save([]Record{record("IPPool", "p", 1), record("IPPool", "q", 1)}, nil); err != nil {
				t.Error(err)
			}
			if got := load(t, dir); len(got) != 2 {
				t.Errorf("after saving again: %v", got)
			}
		})
	}
}

func TestLeftoverTempIsRemoved(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, ".tmp-123"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := load(t, dir); len(got) != 0 || len(list(t, dir)) != 0 {
		t.Errorf("records %v, files %v", got, list(t, dir))
	}
}

func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", dir).CombinedOutput(); err != nil {
		t.Fatalf("mount a small tmpfs (the tests run as root): %v: %s", err, out)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	d := Open(dir)
	if err := d.Save([]Record{record("IPPool", "p", 1), record("IPPool", "old", 1)}, nil); err != nil {
		t.Fatal(err)
	}
	big := record("IPPool", "p", 2)
	big.Source = strings.Repeat("x", 100<<10)
	err := d.Save([]Record{big}, []Key{{"IPPool", "old"}})
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("on a full disk: %v", err)
	}
	if names := list(t, dir); !slices.Equal(names, []string{"IPPool_old.json", "IPPool_p.json"}) {
		t.Errorf("files after a failed save: %v", names)
	}
	if got := load(t, dir); len(got) != 2 {
		t.Errorf("records after a failed save: %v", got)
	}
	if err := d.Save([]Record{record("IPPool", "p", 3)}, []Key{{"IPPool", "old"}}); err != nil {
		t.Fatal(err)
	}
	if got := load(t, dir); len(got) != 1 || string(got[0].Object) != `{"v":3}` {
		t.Errorf("records when there is room again: %v", got)
	}
}

func TestFileName(t *testing.T) {
	long := strings.Repeat("a", 253)
	a, b := FileName(Key{"Workload", "ns/" + long}), FileName(Key{"Workload", "nt/" + long})
	if a == b || len(a) > 255 {
		t.Errorf("%s\n%s", a, b)
	}
	if got := FileName(Key{"Workload", "ns/vm"}); got != "Workload_ns~vm.json" {
		t.Error(got)
	}
}
