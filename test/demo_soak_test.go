//go:build soak

package test

import (
	"bytes"
	"os/exec"
	"testing"
)

// TestSoakDemoRacks takes a switch away in three ways, and waits out a hold time
// in the third: longer than an ordinary run of the tests should.
func TestSoakDemoRacks(t *testing.T) {
	out, err := exec.Command(built.caracal, "lab", "demo", "--topology", "racks", "--id", "tracks").CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("everything was as expected")) {
		t.Errorf("%v\n%s", err, out)
	}
	t.Logf("\n%s", out)
	gone(t, "tracks")
}
