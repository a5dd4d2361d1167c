package cli

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	pb "caracal.dev/caracal/proto"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares whole output with a file.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
	}
}

func TestRender(t *testing.T) {
	sorted := func() *pb.RouteList {
		r := sampleRoutes()
		sortByPrefix(r.Paths, (*pb.Path).GetPrefix)
		return r
	}
	ready := sampleStatus()
	ready.Ready, ready.Converged, ready.Complete = &pb.Fact{Holds: true}, &pb.Fact{Holds: true, Reason: "since 2h12m"}, &pb.Fact{Holds: true}
	ready.Problems, ready.Counts = nil, &pb.Counts{}
	changes := &pb.ConfigureReply{
		Applied: true, Generation: 8, Digest: "0123456789abcdef", Changes: []string{"BGPPeer tor: added", "NodeConfig b: asNumber 64512 -> 64513"},
		Resets: []*pb.Reset{{Neighbor: "mesh/b", Reason: "its AS number changes"}},
		Ends:   []string{"mesh/c"}, Starts: []string{"peer/tor@192.0.2.250"},
		Restart: "AS number 64512 -> 64513", Held: []string{"NodeConfig: 40 of 60 objects would be removed"},
		Problems: append(sampleStatus().Problems, &pb.Problem{Severity: "held", Message: "NodeConfig: 40 of 60 objects would be removed"}),
	}
	heldOnly := &pb.ConfigureReply{Generation: 7, Held: changes.Held, Problems: changes.Problems[2:]}
	amiss := sampleStatus()
	amiss.Ready, amiss.Converged, amiss.Complete = ready.Ready, ready.Converged, ready.Complete
	amiss.Problems = append(amiss.Problems, amiss.Problems[0])
	stuck := sampleStatus()
	why := "BGP has not started: listen on 192.0.2.1 port 179: address already in use; stop what uses it"
	stuck.Ready, stuck.Complete = &pb.Fact{Reason: why}, &pb.Fact{Reason: why}
	stuck.Problems = []*pb.Problem{{Severity: "warning", Message: strings.TrimPrefix(why, "BGP has not started: ")}}
	drained := sampleStatus()
	drained.Ready, drained.Drain, drained.Problems = ready.Ready, sampleDrain(), nil
	drained.Drain.Problem = "node: write drain: no space left on device"
	for name, render := range map[string]func(io.Writer){
		"status-drained":         func(w io.Writer) { renderStatus(w, now, drained, nil) },
		"protocols-gateways":     func(w io.Writer) { renderNeighbors(w, now, sampleGateways()) },
		"protocols-all-gateways": func(w io.Writer) { renderDrained(w, now, sampleDrain()); renderNeighborsAll(w, now, sampleGateways()) },
		"bfd":                    func(w io.Writer) { renderBFD(w, now, sampleBFD()) },
		"filters":                func(w io.Writer) { renderFilters(w, sampleFilters()) },
		"status":                 func(w io.Writer) { renderStatus(w, now, sampleStatus(), sampleNeighbors()) },
		"status-ready":           func(w io.Writer) { renderStatus(w, now, ready, nil) },
		"status-amiss":           func(w io.Writer) { renderStatus(w, now, amiss, sampleNeighbors()) },
		"status-stuck":           func(w io.Writer) { renderStatus(w, now, stuck, nil) },
		"configure-held":         func(w io.Writer) { renderConfigure(w, now, heldOnly, true) },
		"protocols":              func(w io.Writer) { renderNeighbors(w, now, sampleNeighbors()) },
		"protocols-all":          func(w io.Writer) { renderNeighborsAll(w, now, sampleNeighbors()) },
		"route":                  func(w io.Writer) { renderRoutes(w, now, sorted(), false) },
		"route-all":              func(w io.Writer) { renderRoutes(w, now, sorted(), true) },
		"route-adj-rib-out":      func(w io.Writer) { renderAdjOut(w, now, &pb.RouteList{Paths: sorted().Paths[2:4]}, false) },
		"fib":                    func(w io.Writer) { renderFIB(w, now, sampleFIB()) },
		"nodes":                  func(w io.Writer) { renderNodes(w, sampleNodes()) },
		"workloads":              func(w io.Writer) { renderWorkloads(w, sampleWorkloads()) },
		"interfaces":             func(w io.Writer) { renderInterfaces(w, sampleInterfaces()) },
		"configure":              func(w io.Writer) { renderConfigure(w, now, changes, false) },
		"configure-check":        func(w io.Writer) { renderConfigure(w, now, changes, true) },
		"configure-same":         func(w io.Writer) { renderConfigure(w, now, &pb.ConfigureReply{Generation: 7}, false) },
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			render(&out)
			golden(t, name, out.String())
			for line := range strings.Lines(out.String()) {
				if trimmed := strings.TrimRight(line, " \n"); trimmed != strings.TrimSuffix(line, "\n") {
					t.Errorf("blanks at the end of %q", line)
				}
			}
		})
	}
}

// TestNothingToRender: an answer with nothing in it, and messages without their
// parts, as another version may send them, are no accident.
func TestNothingToRender(t *testing.T) {
	var out bytes.Buffer
	renderStatus(&out, now, &pb.Status{}, nil)
	renderNeighbors(&out, now, &pb.NeighborList{Neighbors: []*pb.Neighbor{{}}})
	renderNeighborsAll(&out, now, &pb.NeighborList{Neighbors: []*pb.Neighbor{{}}})
	renderRoutes(&out, now, &pb.RouteList{Paths: []*pb.Path{{}}}, true)
	renderAdjOut(&out, now, &pb.RouteList{Paths: []*pb.Path{{}}}, true)
	renderFIB(&out, now, &pb.FIBList{Entries: []*pb.FIBEntry{{}}})
	renderBFD(&out, now, &pb.BFDList{Sessions: []*pb.BFDSession{{}}})
	renderFilters(&out, &pb.FilterList{Filters: []*pb.Filter{{Rules: []*pb.FilterRule{{}}}}})
	(&eventLines{loc: time.UTC}).text(&pb.Event{})
	out.Reset()
	renderNeighbors(&out, now, &pb.NeighborList{})
	renderRoutes(&out, now, &pb.RouteList{}, false)
	renderAdjOut(&out, now, &pb.RouteList{}, false)
	renderFIB(&out, now, &pb.FIBList{})
	renderNodes(&out, &pb.NodeList{})
	renderWorkloads(&out, &pb.WorkloadList{})
	renderInterfaces(&out, &pb.InterfaceList{})
	renderBFD(&out, now, &pb.BFDList{})
	renderFilters(&out, &pb.FilterList{})
	if want := "no neighbors\nno routes\nno routes\nno routes\nno nodes\nno workloads\nno interfaces\nno BFD sessions\nno filters\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

// TestJSON holds the field names that scripts rely on; a golden that changes
// other than by new fields is a broken promise.
func TestJSON(t *testing.T) {
	for name, m := range map[string]proto.Message{
		"status": sampleStatus(), "protocols": sampleNeighbors(), "route": sampleRoutes(), "fib": sampleFIB(),
		"nodes": sampleNodes(), "workloads": sampleWorkloads(), "interfaces": sampleInterfaces(),
		"gateways": sampleGateways(), "bfd": sampleBFD(), "filters": sampleFilters(), "drain": sampleDrain(), "tor-config": &pb.TorConfig{},
		"tunnels": sampleTunnel(), "check-tunnel": sampleCheck(false),
		"policy": samplePolicies(), "explain": sampleVerdict(true), "sets": sampleSets(), "endpoint": sampleEndpoint(false),
		"configure": &pb.ConfigureReply{Resets: []*pb.Reset{{}}}, "cleanup": &pb.CleanupReply{},
	} {
		var first string
		for range 5 { // protojson likes to vary
			var out bytes.Buffer
			if err := printMessage(&out, JSON, m); err != nil {
				t.Fatal(err)
			}
			if first == "" {
				first = out.String()
			} else if out.String() != first {
				t.Fatalf("%s: not stable", name)
			}
		}
		golden(t, name+".json", first)
	}
	var out bytes.Buffer
	if err := printMessage(&out, YAML, sampleNodes()); err != nil {
		t.Fatal(err)
	}
	golden(t, "nodes.yaml", out.String())
}

func TestWrap(t *testing.T) {
	for _, tc := range []struct{ text, want string }{
		{"", ""}, {"one", "one"}, {"one two three", "one two|three"}, {"1234567890 a", "1234567890|a"},
	} {
		if got := strings.Join(wrap(tc.text, 8), "|"); got != tc.want {
			t.Errorf("%q: got %q, want %q", tc.text, got, tc.want)
		}
	}
}

func TestDuration(t *testing.T) {
	for _, tc := range []struct {
		d    time.Duration
		want string
	}{
		{-time.Second, "0s"}, {999 * time.Millisecond, "0s"}, {59 * time.Second, "59s"}, {133 * time.Second, "2m13s"},
		{time.Hour + 2*time.Minute, "1h02m"}, {76 * time.Hour, "3d04h"},
	} {
		if got := duration(tc.d); got != tc.want {
			t.Errorf("%v: got %s, want %s", tc.d, got, tc.want)
		}
	}
}

func TestSortByPrefix(t *testing.T) {
	list := []string{"2001:db8::/32", "10.0.0.0/8", "9.0.0.0/8 ", "10.0.0.0/16", "bad", "10.0.0.0/8"}
	sortByPrefix(list, strings.TrimSpace)
	if got, want := fmt.Sprint(list), "[bad 9.0.0.0/8  10.0.0.0/8 10.0.0.0/8 10.0.0.0/16 2001:db8::/32]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// A node that can give no address says what it lacks, which depends on the mode.
func TestRenderNoAddresses(t *testing.T) {
	for mode, want := range map[string]string{"blocks": "no IPPool selects it", "podCIDR": "no blocks and no podCIDRs"} {
		var out strings.Builder
		renderIPAM(&out, &pb.IPAMUse{Mode: mode})
		if !strings.Contains(out.String(), want) {
			t.Errorf("mode %s: %s", mode, out.String())
		}
	}
}
