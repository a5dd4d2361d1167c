package cni

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestInstall(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "net.d")
	path := filepath.Join(dir, ConflistName)
	write := func(o Options, want bool) {
		t.Helper()
		if did, err := Install(dir, o); err != nil || did != want {
			t.Fatalf("written %t, want %t: %v", did, want, err)
		}
	}
	write(Options{}, true)
	before, err := os.Stat(path)
	if err != nil || before.Mode() != 0o644 {
		t.Fatalf("mode %v: %v", before.Mode(), err)
	}
	write(Options{}, false)
	write(Options{Socket: DefaultSocket, StateDir: DefaultStateDir, CNIVersion: DefaultCNIVersion}, false)
	if after, _ := os.Stat(path); !os.SameFile(before, after) {
		t.Error("it was written again")
	}
	const golden = `{
  "cniVersion": "1.1.0",
  "name": "caracal",
  "plugins": [
    {
      "capabilities": {
        "io.kubernetes.cri.pod-annotations": true,
        "ips": true,
        "mac": true
      },
      "logFile": "/var/log/caracal-cni.log",
      "mtu": 1400,
      "pools": [
        "general"
      ],
      "socket": "/run/c.sock",
      "stateDir": "/state",
      "type": "caracal-cni"
    },
    {
      "capabilities": {
        "portMappings": true
      },
      "snat": true,
      "type": "portmap"
    },
    {
      "capabilities": {
        "bandwidth": true
      },
      "type": "bandwidth"
    }
  ]
}
`
	write(Options{CNIVersion: "1.1.0", Socket: "/run/c.sock", StateDir: "/state", LogFile: "/var/log/caracal-cni.log", MTU: 1400, Pools: []string{"general"}, Bandwidth: true}, true)
	if b, _ := os.ReadFile(path); string(b) != golden {
		t.Errorf("%s\nwant\n%s", b, golden)
	}
	if files, _ := os.ReadDir(dir); len(files) != 1 {
		t.Errorf("left %v", files)
	}
	for _, want := range []bool{true, false} {
		if did, err := Uninstall(dir); err != nil || did != want {
			t.Errorf("removed %t, want %t: %v", did, want, err)
		}
	}
	if _, err := Install(dir, Options{CNIVersion: "9.9.9"}); err == nil || !strings.Contains(err.Error(), `"9.9.9"`) {
		t.Errorf("version 9.9.9: %v", err)
	}
}

// What is installed is what the plugin takes.
func TestInstalledIsTaken(t *testing.T) {
	for _, o := range []Options{{}, {Socket: "/s", StateDir: "/d", LogFile: "/l", MTU: 1400, Pools: []string{"a"}, NoPortMap: true}} {
		b, err := conflist(o)
		if err != nil {
			t.Fatal(err)
		}
		var n network
		if err := json.Unmarshal(b, &n); err != nil {
			t.Fatal(err)
		}
		n.Plugins[0]["name"], n.Plugins[0]["cniVersion"] = n.Name, n.CNIVersion
		own, err := json.Marshal(n.Plugins[0])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseConf(own, false); err != nil {
			t.Errorf("%s: %v", own, err)
		}
		if o.NoPortMap && len(n.Plugins) != 1 {
			t.Errorf("%d plugins", len(n.Plugins))
		}
	}
}

func TestInstallLeavesOthersAlone(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, ConflistName)
	for _, content := range []string{`{"name":"caracal","plugins":[{"type":"bridge"}]}`, "not JSON"} {
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Install(dir, Options{}); err == nil || !strings.Contains(err.Error(), "not of caracal-cni") {
			t.Errorf("Install over %s: %v", content, err)
		}
		if did, err := Uninstall(dir); did || err != nil {
			t.Errorf("Uninstall of %s: %t %v", content, did, err)
		}
		if b, _ := os.ReadFile(path); string(b) != content {
			t.Errorf("it became %s", b)
		}
	}
}

func TestInstallBinary(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "bin")
	for _, want := range []bool{true, false} {
		if did, err := InstallBinary(dir, pluginFile); err != nil || did != want {
			t.Errorf("written %t, want %t: %v", did, want, err)
		}
	}
	fi, err := os.Stat(filepath.Join(dir, PluginType))
	if err != nil || fi.Mode() != 0o755 {
		t.Errorf("%v: %v", fi.Mode(), err)
	}
	if _, err := InstallBinary(dir, ""); err == nil || !strings.Contains(err.Error(), "beside caracald") {
		t.Errorf("no plugin beside the test: %v", err)
	}
}
