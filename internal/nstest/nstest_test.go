package nstest

import (
	"net"
	"os"
	"strings"
	"testing"
)

func TestDoEntersAndLeaves(t *testing.T) {
	a, b := New(t), New(t)
	Veth(t, a, "eth0", b, "eth0")
	a.Addr("eth0", "10.0.0.1/24", "fd00::1/64")
	b.Addr("eth0", "10.0.0.2/24", "fd00::2/64")
	b.Device("pod", "10.9.9.9/32")

	before, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	a.Do(func() {
		if _, err := net.InterfaceByName("pod"); err == nil {
			t.Error("a sees the device of b")
		}
		b.Do(func() {
			if _, err := net.InterfaceByName("pod"); err != nil {
				t.Error(err)
			}
		})
		if _, err := net.InterfaceByName("eth0"); err != nil {
			t.Errorf("after a nested Do: %v", err)
		}
	})
	a.Run("ping", "-c1", "-W30", "10.0.0.2")
	a.Run("ping", "-c1", "-W30", "fd00::2")

	a.Sysctl("net/ipv4/ip_forward", "1")
	if got := a.Run("cat", "/proc/sys/net/ipv4/ip_forward"); got != "1" {
		t.Errorf("ip_forward %q in a, want 1", got)
	}
	if _, err := a.Try("ip", "link", "show", "nosuch"); err == nil || !strings.Contains(err.Error(), "nosuch") {
		t.Errorf("Try of a failing command: %v", err)
	}
	if after, _ := os.Readlink("/proc/thread-self/ns/net"); after != before {
		// The goroutine may have moved to another thread, but every thread
		// that is not locked in a Do is in the first namespace.
		t.Errorf("left in %s, came from %s", after, before)
	}
}

func TestNamespacesEndWithTheTest(t *testing.T) {
	var path string
	t.Run("inner", func(t *testing.T) { path = New(t).Path() })
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", path, err)
	}
}

func TestSweepRemovesWhatADeadProcessLeft(t *testing.T) {
	n := New(t)
	// No process has this id: it is beyond the kernel's limit of 2^22.
	const left = "nst99999999-000000"
	if out, err := n.Try("true"); err != nil {
		t.Fatal(out, err)
	}
	if err := os.WriteFile(dir+"/"+left, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	New(t)
	if _, err := os.Stat(dir + "/" + left); !os.IsNotExist(err) {
		os.Remove(dir + "/" + left)
		t.Errorf("%s was not removed: %v", left, err)
	}
}
