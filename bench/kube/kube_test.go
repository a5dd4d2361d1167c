package main

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestMain is the program itself where it starts itself as the process that it measures.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "child" {
		main()
		return
	}
	os.Exit(m.Run())
}

// TestBench measures the store in a small cluster, with all that is measured of it, and
// reads the figures: which are there, and that they are those of this cluster.
func TestBench(t *testing.T) {
	var out strings.Builder
	err := bench(t.Context(), []string{"--nodes", "5", "--pods", "50", "--policies", "5", "--services", "5", "--namespaces", "3",
		"--crds", "../../manifests/base/crds.yaml", "--churn", "3s", "--rate", "10", "--writes", "5"}, &out)
	if err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	text := out.String()
	const number, size, traffic = `([0-9.]+)`, `([0-9.]+) MiB`, `([0-9.]+) [KM]iB`
	start := `whole after ` + number + ` s and ` + number + ` s of processor time: 5 nodes, (50) pods, 5 policies; ` + number + ` Snapshots\n` +
		`  resident ` + size + ` \(` + size + ` of it the program's file\), ` + size + ` at its peak; Go's heap has ` + size + `\n` +
		`  to the API: ` + number + ` requests and streams, ` + traffic + ` received, ` + traffic + ` sent\n` +
		`  the API server: [0-9]+ requests, [0-9.]+ s of processor time, ` + size + ` in memory`
	for _, want := range []string{
		`5 nodes, 50 pods, 5 NetworkPolicies, 5 Services, 3 namespaces`,
		`A start without anything on disk:\n  ` + start,
		`A start with what it kept on disk:\n  ` + start,
		number + ` pods per second come and as many go, for ` + number + `s:\n  [0-9.]+ % of a processor, ` + number + ` Snapshots per second`,
		`A NetworkPolicy from before its write to a Snapshot, 5 of them: half within ` + number + `m?s, 99 % within ` + number + `m?s, all within ` + number + `m?s`,
	} {
		found := regexp.MustCompile(want).FindStringSubmatch(text)
		if found == nil {
			t.Errorf("no %s", want)
			continue
		}
		for _, figure := range found[1:] {
			if v, err := strconv.ParseFloat(figure, 64); err != nil || v <= 0 {
				t.Errorf("%q has the figure %s", found[0], figure)
			}
		}
	}
	if strings.Contains(text, "problem:") {
		t.Error("the store has a problem")
	}
	if t.Failed() {
		t.Log(text)
	}
}
