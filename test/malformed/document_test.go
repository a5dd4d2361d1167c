package malformed

import (
	"cmp"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

var rewrite = flag.Bool("update", false, "write the table of docs/RFC7606.md anew")

const (
	page  = "../../docs/RFC7606.md"
	begin = "<!-- The table is written by `go test ./test/malformed -update`. -->\n"
)

// TestDocument holds the page that people read against the list that the cases
// are judged by.
func TestDocument(t *testing.T) {
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	prose, have, ok := strings.Cut(string(text), begin)
	if !ok {
		t.Fatalf("%s has no line %q", page, begin)
	}
	want := table()
	if *rewrite {
		if err := os.WriteFile(page, []byte(prose+begin+want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if have != want {
		t.Errorf("%s does not list the deviations as they are: go test ./test/malformed -update", page)
	}
}

// table lists the deviations, those of one reason together, those that leave
// something as it was first.
func table() string {
	order := []kind{ignored, accepted, withdrawn, closed, reset}
	byWhy := map[string][]test{}
	for _, tc := range all() {
		if d, ok := deviations[tc.name]; ok {
			byWhy[d.why] = append(byWhy[d.why], tc)
		}
	}
	rank := func(why string) int { return slices.Index(order, deviations[byWhy[why][0].name].got.kind) }
	reasons := slices.SortedFunc(maps.Keys(byWhy), func(a, b string) int {
		return cmp.Or(rank(a)-rank(b), strings.Compare(a, b))
	})
	var b strings.Builder
	for _, why := range reasons {
		fmt.Fprintf(&b, "\n%s.\n\n| message | clause | asks for | happens |\n|---|---|---|---|\n", why)
		for _, tc := range byWhy[why] {
			fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", tc.name, tc.clause, tc.want, deviations[tc.name].got)
		}
	}
	return b.String()
}
