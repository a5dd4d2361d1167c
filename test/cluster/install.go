package cluster

import (
	"os/exec"
	"path/filepath"
	"testing"
)

// CaracalImage is the image that manifests/caracal.yaml names: one that is on the node
// is not pulled.
const CaracalImage = "localhost/caracal:latest"

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

// Install applies manifests/caracal.yaml as it is, as an operator does, and this
// configuration.
func (c *Cluster) Install(t testing.TB, configuration string) {
	t.Helper()
	c.API.Apply(t, "../../manifests/caracal.yaml")
	c.API.ApplyYAML(t, configuration)
}
