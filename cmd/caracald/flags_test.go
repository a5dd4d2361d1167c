package main

import (
	"strings"
	"testing"
)

func TestFlags(t *testing.T) {
	for args, want := range map[string]string{
		"":                   "",
		"--store file":       "",
		"--store kubernetes": "",
		"--store kubernetes --kubeconfig /k --address-from interface=eth*,bond0": "",
		"--store etcd":                 "--store is file or kubernetes",
		"--kubeconfig /k":              "--kubeconfig is for --store kubernetes",
		"--address-from first-found":   "it is kubernetes-internal-ip",
		"--log-format xml":             "--log-format",
		"--store kubernetes something": "takes flags only",
	} {
		f, err := parse(strings.Fields(args))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want %q", args, err, want)
		}
		if args == "" && (f.store != storeFile || f.config != "/etc/caracal") {
			t.Errorf("by default %+v", f)
		}
	}
}

// The node's name is that of the flag, then what the DaemonSet says, then the host's.
func TestNodeName(t *testing.T) {
	t.Setenv("NODE_NAME", "of-the-pod")
	for flagged, want := range map[string]string{"x": "x --node", "": "of-the-pod NODE_NAME"} {
		name, from, err := nodeName(flagged)
		if got := name + " " + from; err != nil || got != want {
			t.Errorf("%q: %s, %v; want %s", flagged, got, err, want)
		}
	}
	t.Setenv("NODE_NAME", "")
	if name, from, err := nodeName(""); err != nil || name == "" || from != "hostname" {
		t.Errorf("%s %s %v", name, from, err)
	}
}

func TestPodNamespace(t *testing.T) {
	t.Setenv("POD_NAMESPACE", "net")
	if got := podNamespace(); got != "net" {
		t.Error(got)
	}
	t.Setenv("POD_NAMESPACE", "")
	if got := podNamespace(); got != "caracal-system" {
		t.Error(got)
	}
}
