package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"caracal.dev/caracal/cli"
)

// TestConvert: what is written, what is said, and the exit codes.
func TestConvert(t *testing.T) {
	const pool = "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: p}\nspec: {cidr: 10.244.0.0/16%s}\n"
	const policy = "---\napiVersion: projectcalico.org/v3\nkind: NetworkPolicy\nmetadata: {name: db, namespace: shop}\nspec: {selector: all()}\n"
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	plain := file("plain.yaml", strings.Replace(pool, "%s", "", 1))
	lossy := file("lossy.yaml", strings.Replace(pool, "%s", ", madeUp: 1", 1))
	broken := file("broken.yaml", "kind: [\n")
	for _, tc := range []struct {
		args, stdin string
		code        int
		out, err    string
	}{
		{args: "-f " + plain, out: "cidr: 10.244.0.0/16", err: "2 objects written, 0 passed on unchanged, 0 things not carried, 0 unprotected"},
		{args: "-f " + lossy, out: "cidr: 10.244.0.0/16", err: "not carried: IPPool p: spec.madeUp (1)"},
		{args: "-f " + plain + " --mixed", out: "disabled: true", err: "note: IPPool p is written disabled"},
		{args: "-f " + plain + " -f -", stdin: policy, code: exitUnprotected, out: "cidr: 10.244.0.0/16", err: "UNPROTECTED AFTER MIGRATION: NetworkPolicy shop/db: all pods of namespace shop"},
		{args: "-f " + plain + " --only BGPConfiguration", out: "kind: BGPConfiguration", err: "1 objects written"},
		{args: "--only Nodes -f x", code: cli.ExitUsage, err: `"Nodes" is no kind`},
		{args: "--help", out: "usage: caracal convert"},
		{args: "", code: cli.ExitUsage, err: "-f must say what to read"},
		{args: "x", code: cli.ExitUsage, err: `"x" is not a flag`},
		{args: "--bogus", code: cli.ExitUsage, err: "there is no flag --bogus"},
		{args: "-f - -f -", code: cli.ExitFailed, err: "standard input is given twice"},
		{args: "-f " + broken, code: cli.ExitFailed, err: broken + ", document 1 (line 1): is not YAML"},
		{args: "-f /nonexistent/calico.yaml", code: cli.ExitFailed, err: "no such file"},
	} {
		var out, errs bytes.Buffer
		code := convertFrom(strings.NewReader(tc.stdin))(t.Context(), strings.Fields(tc.args), &out, &errs)
		if code != tc.code || !strings.Contains(out.String(), tc.out) || !strings.Contains(errs.String(), tc.err) {
			t.Errorf("%s: code %d, want %d\n%s\n%s", tc.args, code, tc.code, out.String(), errs.String())
		}
		if code == cli.ExitFailed && out.Len() > 0 {
			t.Errorf("%s: failed, and wrote\n%s", tc.args, out.String())
		}
	}
}
