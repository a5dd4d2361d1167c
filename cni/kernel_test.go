package cni

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"caracal.dev/caracal"
	"caracal.dev/caracal/internal/nstest"
)

// tryWire is Wire from inside a node's namespace, its error included.
func tryWire(node *nstest.NS, pod string, s Spec) (done []Step, err error) {
	node.Do(func() { done, err = Wire(context.Background(), pod, s) })
	return done, err
}

// A plugin that is killed at any point of its work leaves what the next one
// completes.
func TestWireAfterADeath(t *testing.T) {
	node := nstest.New(t)
	forwarding(node)
	s := dual()
	dead := errors.New("killed")
	for n := 0; ; n++ {
		pod := nstest.New(t)
		at := 0
		var err error
		node.Do(func() {
			_, err = wire(context.Background(), pod.Path(), s, hooks{before: func(Step) error {
				if at++; at > n {
					return dead
				}
				return nil
			}})
		})
		if err != nil && !errors.Is(err, dead) {
			t.Fatalf("after %d steps: %v", n, err)
		}
		wireIn(t, node, pod.Path(), s)
		if again := wireIn(t, node, pod.Path(), s); len(again) != 0 {
			t.Errorf("died after %d steps: a third Wire did %v", n, again)
		}
		if err == nil {
			if n < 10 {
				t.Errorf("the whole was only %d steps", n)
			}
			return
		}
		node.Do(func() { err = Unwire(context.Background(), testID, "eth0") })
		if err != nil {
			t.Fatal(err)
		}
	}
}

// The same container in a new namespace: the old link goes, also while the old
// namespace lives on.
func TestWireAnew(t *testing.T) {
	node, old, pod := nstest.New(t), nstest.New(t), nstest.New(t)
	s := dual()
	wireIn(t, node, old.Path(), s)
	wireIn(t, node, pod.Path(), s)
	if _, err := old.Try("ip", "link", "show", "eth0"); err == nil {
		t.Error("the old namespace has its interface still")
	}
	if again := wireIn(t, node, pod.Path(), s); len(again) != 0 {
		t.Errorf("the second Wire did %v", again)
	}
	// Another address and MTU of the same container.
	s.Addrs, s.MTU = testSpec("10.65.0.6").Addrs, 1400
	wireIn(t, node, pod.Path(), s)
	if got := pod.Run("ip", "addr", "show", "eth0"); strings.Contains(got, "10.65.0.5") || !strings.Contains(got, "10.65.0.6/32") || !strings.Contains(got, "mtu 1400") {
		t.Errorf("the container has %s", got)
	}
}

// What others made is left alone, and said.
func TestWireBesideOthers(t *testing.T) {
	node := nstest.New(t)
	s := dual()
	for _, tc := range []struct {
		name string
		prep func(pod *nstest.NS)
		spec func(*Spec)
		want string
	}{
		{name: "eth0 is taken", prep: func(pod *nstest.NS) { pod.Device("eth0") }, want: "the container has an interface eth0 already"},
		{name: "a default route", prep: func(pod *nstest.NS) {
			pod.Device("net0", "192.168.7.2/24")
			pod.Run("ip", "route", "add", "default", "via", "192.168.7.1")
		}, want: "the container has this route already"},
		{name: "an IPv6 default route", prep: func(pod *nstest.NS) {
			pod.Device("net0", "fd00:7::2/64")
			pod.Run("ip", "route", "add", "default", "via", "fd00:7::1")
		}, want: "the container has this route already"},
		{name: "the host's end is a bridge", prep: func(*nstest.NS) {
			node.Run("ip", "link", "add", s.HostInterface, "type", "bridge")
		}, want: "that is no veth"},
		{name: "the name is of another container", prep: func(*nstest.NS) {
			node.Device(s.HostInterface)
		}, spec: func(s *Spec) { s.ContainerID = "another" }, want: "that name is not of this container"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			pod := nstest.New(t)
			tc.prep(pod)
			s := s
			if tc.spec != nil {
				tc.spec(&s)
			}
			_, err := tryWire(node, pod.Path(), s)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
			node.Try("ip", "link", "del", s.HostInterface) // what Wire had made so far
		})
	}
}

func TestWireNamespaces(t *testing.T) {
	node := nstest.New(t)
	s := dual()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"/run/netns/nobody": "does not exist",
		file:                "is no network namespace",
		node.Path():         "the host's own",
	} {
		if _, err := tryWire(node, path, s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	if _, err := Inspect(context.Background(), "/run/netns/nobody", s); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Inspect of a namespace that is gone: %v", err)
	}
}

// A container whose runtime switched IPv6 off has it if it has an IPv6 address,
// and only then.
func TestWireIPv6Off(t *testing.T) {
	node := nstest.New(t)
	for _, tc := range []struct {
		spec Spec
		want string
	}{{dual(), "0"}, {testSpec("10.65.0.5"), "1"}} {
		pod := nstest.New(t)
		for _, sub := range []string{"all", "default"} {
			pod.Sysctl("net/ipv6/conf/"+sub+"/disable_ipv6", "1")
			node.Sysctl("net/ipv6/conf/"+sub+"/disable_ipv6", "1")
		}
		wireIn(t, node, pod.Path(), tc.spec)
		if again := wireIn(t, node, pod.Path(), tc.spec); len(again) != 0 {
			t.Errorf("the second Wire did %v", again)
		}
		if got := pod.Run("cat", "/proc/sys/net/ipv6/conf/eth0/disable_ipv6"); got != tc.want {
			t.Errorf("disable_ipv6 is %s with %v, want %s", got, tc.spec.Addrs, tc.want)
		}
		node.Run("ip", "link", "del", tc.spec.HostInterface)
	}
}

// Only the link of the very container goes.
func TestUnwireIsOfOneContainer(t *testing.T) {
	node, pod := nstest.New(t), nstest.New(t)
	s := dual()
	wireIn(t, node, pod.Path(), s)
	var err error
	node.Do(func() {
		err = errors.Join(Unwire(context.Background(), testID, "eth1"), Unwire(context.Background(), testID+"0", "eth0"))
	})
	if err != nil {
		t.Fatal(err)
	}
	pod.Run("ip", "link", "show", "eth0")
	node.Run("ip", "link", "del", s.HostInterface)
	node.Run("ip", "link", "add", caracal.HostInterface(testID, "eth0"), "type", "bridge")
	node.Do(func() { err = Unwire(context.Background(), testID, "eth0") })
	if err == nil || !strings.Contains(err.Error(), "no veth") {
		t.Errorf("Unwire of a bridge: %v", err)
	}
}
