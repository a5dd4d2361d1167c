package cluster

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// CaracalImage is the image that [Cluster.Install] has the DaemonSet run. Its tag is
// not "latest", for which a kubelet would always ask a registry.
const CaracalImage = "localhost/caracal:test"

// Caracal packs the image of Caracal from the programs in bin/ (make build).
func Caracal(t testing.TB) Image {
	t.Helper()
	root := filepath.Join(t.TempDir(), "rootfs")
	if out, err := exec.Command("../../scripts/rootfs", root).CombinedOutput(); err != nil {
		t.Fatalf("cluster: make the root file system of Caracal's image: %v: %s", err, out)
	}
	image, err := PackImage(CaracalImage, root, filepath.Join(t.TempDir(), "caracal.tar"), "/usr/local/bin/caracald")
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// Install applies manifests/caracal.yaml with the image's name in it, as an operator
// does, and this configuration.
func (c *Cluster) Install(t testing.TB, configuration string) {
	t.Helper()
	text, err := os.ReadFile("../../manifests/caracal.yaml")
	if err != nil {
		t.Fatalf("cluster: install Caracal: %v", err)
	}
	const shipped = "image: localhost/caracal:latest"
	if !strings.Contains(string(text), shipped) {
		t.Fatalf("cluster: install Caracal: manifests/caracal.yaml has no %q", shipped)
	}
	file := filepath.Join(t.TempDir(), "caracal.yaml")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(string(text), shipped, "image: "+CaracalImage)), 0o644); err != nil {
		t.Fatalf("cluster: install Caracal: %v", err)
	}
	c.API.Apply(t, file)
	c.API.ApplyYAML(t, configuration)
}
