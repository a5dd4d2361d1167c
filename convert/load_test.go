package convert

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"caracal.dev/caracal"
	v1 "caracal.dev/caracal/api/v1"
	"caracal.dev/caracal/store/file"
)

// load puts a Result into a directory as an operator does, with its passwords, and
// reads it as the daemon of a node does.
func load(t *testing.T, r *Result, node string) *caracal.Snapshot {
	t.Helper()
	dir := t.TempDir()
	write := func(path, text string, mode os.FileMode) {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	write("cluster/calico.yaml", text(t, r), 0o644)
	for _, o := range r.Objects {
		var p *v1.Password
		switch v := o.(type) {
		case *v1.BGPPeer:
			p = v.Spec.Password
		case *v1.BGPConfiguration:
			p = v.Spec.NodeMeshPassword
		}
		if p != nil {
			write("local/secrets/"+p.SecretKeyRef.Name+"/"+p.SecretKeyRef.Key, "the password", 0o600)
		}
	}
	snap, err := file.Load(dir, node)
	if err != nil {
		t.Fatal(err)
	}
	return snap
}

// TestLoad: a cluster of Calico, converted, is a configuration without a problem for
// each of its nodes, and means what it meant.
func TestLoad(t *testing.T) {
	data, err := os.ReadFile("testdata/production.yaml")
	if err != nil {
		t.Fatal(err)
	}
	r := converted(t, Options{}, string(data))
	if len(r.Losses) > 0 || len(r.Exposed) > 0 {
		t.Errorf("not carried:\n%s", r.Report())
	}
	for _, node := range []string{"node1-1", "node1-2", "node1-3", "node2-1", "node2-2", "node2-3"} {
		snap := load(t, r, node)
		for _, p := range snap.Problems {
			t.Errorf("%s: %s", node, p.Message)
		}
		if snap.Nodes.Len() != 6 || snap.Pools.Len() != 1 || snap.Blocks.Len() != 6 || snap.Policies.Len() != 2 {
			t.Errorf("%s: %d nodes, %d pools, %d blocks, %d policies", node, snap.Nodes.Len(), snap.Pools.Len(), snap.Blocks.Len(), snap.Policies.Len())
		}
		if snap.BGP.MeshEnabled || snap.BGP.HoldTime.Seconds() != 240 || snap.Peers.Len() != 1 {
			t.Errorf("%s: mesh %v, hold time %s, %d peers", node, snap.BGP.MeshEnabled, snap.BGP.HoldTime, snap.Peers.Len())
		}
		for _, p := range snap.Peers.All() {
			rack := strings.Split(node, "-")[0][len("node"):]
			if !strings.HasSuffix(p.Addr.String(), "."+rack+".1") || p.Multihop || !p.AcceptPools || !p.AcceptDefault || p.Password == (caracal.Password{}) {
				t.Errorf("%s: %+v", node, p)
			}
		}
	}
}

// TestLoadAll: whatever is converted is taken by the store; what remains are
// warnings, and files that a host lacks.
func TestLoadAll(t *testing.T) {
	for _, name := range []string{"calico", "kube-router", "small-mixed"} {
		data, err := os.ReadFile("testdata/" + name + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		snap := load(t, converted(t, Options{}, string(data)), "")
		for _, p := range snap.Problems {
			if p.Severity != caracal.Warning {
				t.Errorf("%s: %s", name, p.Message)
			}
		}
	}
}
