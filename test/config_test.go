package test

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"caracal.dev/caracal/lab"
)

const terminate = syscall.SIGTERM

// badFile is a file that is to be rejected, with what the message has to say.
type badFile struct{ file, text, want string }

func badFiles() []badFile {
	head := "apiVersion: caracal.dev/v1\n"
	return []badFile{
		{"torn.yaml", head + "kind: Workload\nmetadata: {name: x", "torn.yaml"},
		{"field.yaml", head + "kind: IPPool\nmetadata: {name: x}\nspec: {cidr: 10.99.0.0/16, blocksize: 26}\n", "spec.blocksize: unknown field (did you mean blockSize?)"},
		{"kind.yaml", head + "kind: Podd\nmetadata: {name: x}\n", "Podd"},
		{"pool.yaml", head + "kind: IPPool\nmetadata: {name: overlap}\nspec: {cidr: 10.244.128.0/17}\n", "overlap"},
		{"samenode.yaml", head + "kind: NodeConfig\nmetadata: {name: z}\nspec: {addresses: [192.168.77.2/24]}\n", "192.168.77.2"},
		{"sameblock.yaml", head + "kind: NodeConfig\nmetadata: {name: zz}\nspec: {addresses: [192.168.77.77/24], blocks: [10.244.2.0/26]}\n", "10.244.2.0/26"},
		{"peer.yaml", head + "kind: BGPPeer\nmetadata: {name: p}\nspec: {peerIP: 192.168.77.9, asNumber: 0}\n", "spec.asNumber: must not be 0"},
	}
}

// TestBadConfig writes bad files into a running cluster: each is reported with
// file and reason, and nothing else changes, also over a restart.
func TestBadConfig(t *testing.T) {
	t.Parallel()
	l := mesh(t, lab.MeshOptions{PodsPerNode: 1}, lab.BGPSettings{})
	a := l.Node("a")
	eventually(t, 5*time.Second, func() string { return same(own(t, a), wantRoutes(l, a)) })
	changes, stop := watchRoutes(t, l), flows(t, l, "a1", "b1")
	before := session(t, a, "b")
	cases := badFiles()
	for _, c := range cases {
		if err := l.WriteConfig(c.file, c.text); err != nil {
			t.Fatal(err)
		}
	}
	reported := func() string {
		st := must(a.Status(t.Context()))(t)
		for _, c := range cases {
			if !mentions(st.Problems, c.file, c.want) {
				return c.file + " is not reported with " + c.want + ":\n" + lines(st.Problems)
			}
		}
		return ""
	}
	eventually(t, 5*time.Second, reported)
	for _, p := range must(a.Status(t.Context()))(t).Problems {
		t.Logf("%s %s %s/%s: %s", p.Severity, p.Source, p.Kind, p.Name, p.Message)
	}

	// The node's own file torn in the middle, and then a restart on it.
	text := must(l.Node("b").Exec(t.Context(), "cat", l.ConfigDir()+"/cluster/node-b.yaml"))(t)
	if err := l.WriteConfig("node-b.yaml", text[:len(text)/2]); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, func() string {
		if st := must(a.Status(t.Context()))(t); !mentions(st.Problems, "node-b.yaml", "") {
			return "node-b.yaml is not reported:\n" + lines(st.Problems)
		}
		return ""
	})
	must(a.Restart(syscall.SIGKILL))(t)
	settle(t, l)
	eventually(t, 5*time.Second, reported)
	time.Sleep(6 * time.Second)
	if got := changes(); len(got) != 0 {
		t.Errorf("routes changed:\n%s", lines(got))
	}
	if r := stop(); r.Lost() != 0 {
		t.Errorf("packets lost: %s", r)
	}
	if now := session(t, l.Node("b"), "c"); now.Flaps != 0 {
		t.Errorf("the session b-c was reset: %+v (a-b was %+v)", now, before)
	}
}

func mentions(problems []lab.Problem, file, text string) bool {
	for _, p := range problems {
		if strings.Contains(p.Source, file) && strings.Contains(p.Message, text) {
			return true
		}
	}
	return false
}

// TestNodeWithoutConfig starts a daemon under a name that has no NodeConfig: it
// says which there are.
func TestNodeWithoutConfig(t *testing.T) {
	t.Parallel()
	l := start(t, lab.Mesh(lab.MeshOptions{Nodes: 2, PodsPerNode: 1}))
	a := l.Node("a")
	must(a.StartCaracald("--node", "web1.example.com"))(t)
	want := `node "web1.example.com" (from --node) has no NodeConfig in ` + l.ConfigDir() + `; it has a, b. Start with --node `
	eventually(t, 5*time.Second, func() string {
		log := a.Process("caracald").Log()
		if plain := strings.ReplaceAll(log, `\"`, `"`); !strings.Contains(plain, want) {
			return "the log does not say " + want + ":\n" + log
		}
		return ""
	})
	if routes := own(t, a); len(routes) != 0 {
		t.Errorf("a node that is none has routes: %v", routes)
	}
}

// TestPortInUse has another program on port 179: the daemon says what is wrong,
// keeps the pods' routes in, and takes the port when it is free.
func TestPortInUse(t *testing.T) {
	t.Parallel()
	l := start(t, lab.Mesh(lab.MeshOptions{Nodes: 2, PodsPerNode: 1}))
	a := l.Node("a")
	must(a.StartBIRD("log stderr all;\nrouter id 192.0.2.1;\nprotocol device {}\n" +
		"protocol bgp squatter { local 192.168.77.1 as 65000; neighbor 192.168.77.99 as 65000; ipv4 {}; }\n"))(t)
	eventually(t, 5*time.Second, func() string {
		if out := run(t, a, "ss", "-Hltn", "sport = :179"); out == "" {
			return "BIRD does not listen yet"
		}
		return ""
	})
	must(a.StartCaracald())(t)
	must(l.Node("b").StartCaracald())(t)
	eventually(t, 10*time.Second, func() string {
		log := a.Process("caracald").Log()
		if !strings.Contains(log, "179") || !strings.Contains(log, "in use") {
			return "the log does not say that port 179 is in use:\n" + log
		}
		return ""
	})
	eventually(t, 5*time.Second, func() string {
		if routes := strings.Join(own(t, a), "\n"); !strings.Contains(routes, l.Pod("a1").Addr(lab.IPv4).String()) {
			return "a's own pod has no route: " + routes
		}
		return ""
	})
	if err := a.Process("bird").Kill(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	settle(t, l)
}

// TestSecondDaemon starts a second daemon on one node: it refuses, and the first
// goes on.
func TestSecondDaemon(t *testing.T) {
	t.Parallel()
	l := mesh(t, lab.MeshOptions{Nodes: 2, PodsPerNode: 1}, lab.BGPSettings{})
	a := l.Node("a")
	before := own(t, a)
	out, err := a.Exec(t.Context(), "timeout", "30", built.caracald, "--config", l.ConfigDir(), "--state-dir", a.StateDir(),
		"--socket", a.Socket(), "--node", "a", "--http", "")
	if err == nil || strings.Contains(err.Error(), "exit status 124") {
		t.Errorf("the second daemon ran: %s%v", out, err)
	} else {
		t.Log(err)
	}
	if diff := same(own(t, a), before); diff != "" {
		t.Errorf("routes changed:\n%s", diff)
	}
	must(a.Neighbors(t.Context()))(t)
}
