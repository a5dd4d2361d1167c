package node

import (
	"slices"
	"testing"

	"caracal.dev/caracal/internal/nstest"
)

func TestIPVSBypassesPolicies(t *testing.T) {
	ns := nstest.New(t)
	look := func() (what []string) {
		ns.Do(func() { what = bypassed(hasDevice) })
		return what
	}
	if what := look(); len(what) > 0 {
		t.Errorf("without the device: %q", what)
	}
	ns.Device(ipvsDevice)
	if what := look(); !slices.Equal(what, []string{ipvsBypass}) {
		t.Errorf("with the device: %q", what)
	}
}
