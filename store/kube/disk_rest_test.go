package kube

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDiskLeavesNothing loads a directory in which a daemon was killed while it wrote,
// and Secrets that are not whole.
func TestDiskLeavesNothing(t *testing.T) {
	o := Options{Node: "a", StateDir: t.TempDir()}
	v := newVault(o, func() {})
	v.remember("bgp", map[string]string{"tor": "sesame"})
	v.unkept = true
	d := openDisk(o)
	d.save(newWorld("a"), v, true)
	if len(d.problems()) != 0 {
		t.Fatal(d.problems())
	}
	path, half := filepath.Join(d.dir, fileSecrets), filepath.Join(d.dir, ".tmp-1234")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{path: strings.Replace(string(text), "sesame", "sesamo", 1), half: "sesame"} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d, v = openDisk(o), newVault(o, func() {})
	if d.load(newWorld("a"), v) {
		t.Error("taken for whole")
	}
	if len(v.secrets) != 0 {
		t.Errorf("a password of a file that is not whole is used")
	}
	if _, err := os.Stat(half); !os.IsNotExist(err) {
		t.Errorf("half a file of Secrets stays: %v", err)
	}
	for _, name := range []string{path + ".corrupt", d.dir} {
		if st, err := os.Stat(name); err != nil || st.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v %v", name, st.Mode(), err)
		}
	}
}
