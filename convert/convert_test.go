package convert

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the goldens")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (go test -update writes it):\n%s", path, got)
	}
}

func converted(t *testing.T, o Options, texts ...string) *Result {
	t.Helper()
	var in []Input
	for _, text := range texts {
		in = append(in, Input{Name: "test", Data: []byte(text)})
	}
	r, err := Convert(in, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func text(t *testing.T, r *Result) string {
	t.Helper()
	b, err := r.YAML()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestGoldens: whole clusters.
func TestGoldens(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		base, isInput := strings.CutSuffix(filepath.Base(file), ".yaml")
		if !isInput || strings.Contains(base, ".") {
			continue
		}
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		r := converted(t, Options{Mixed: strings.HasSuffix(base, "-mixed")}, string(data))
		golden(t, base+".golden", []byte(text(t, r)))
		golden(t, base+".report.golden", []byte(r.Report()))
	}
}
