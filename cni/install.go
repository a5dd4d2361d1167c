package cni

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// ConflistName is the file that [Install] writes. Runtimes take the first of
// their directory in the order of the names.
const ConflistName = "10-caracal.conflist"

// networkName is the name of the network in it.
const networkName = "caracal"

// DefaultCNIVersion is the version of the protocol in the file that [Install]
// writes. It is not the newest: containerd 1.x and podman's CNI back end know
// none after 1.0.0 and refuse the result of a network that says more, as do
// chained plugins (portmap) of their time. What 1.1.0 adds, the commands GC and
// STATUS, is no loss: the daemon finds out by itself which containers are gone.
const DefaultCNIVersion = "1.0.0"

// Options are what the installed network says. The zero value is a usable one.
type Options struct {
	// CNIVersion is [DefaultCNIVersion] if empty; "1.1.0" is for runtimes and
	// chained plugins that are new enough.
	CNIVersion string
	// Socket and StateDir are the daemon's, the defaults of this package if empty.
	Socket, StateDir string
	// LogFile gets a line for each call of the plugin; empty: none.
	LogFile string
	// MTU of the containers' interfaces in bytes; 0 leaves it to the daemon.
	MTU int
	// Pools to take addresses from, by name; empty: any.
	Pools []string
	// NoPortMap leaves out the plugin portmap, which does hostPort. It is one of
	// the reference plugins, and must be where the runtime looks for them.
	NoPortMap bool
	// Bandwidth adds the reference plugin bandwidth.
	Bandwidth bool
}

// Install writes the network's configuration into a directory of a runtime, as
// /etc/cni/net.d, and makes the directory if need be. It replaces the file in one
// step, and only if it says something else; it reports whether it did. A file of
// that name that is not ours is left alone, which is an error.
func Install(confDir string, o Options) (written bool, err error) {
	path := filepath.Join(confDir, ConflistName)
	if written, err = install(path, o); err != nil {
		return false, fmt.Errorf("cni: install %s: %w", path, err)
	}
	return written, nil
}

func install(path string, o Options) (bool, error) {
	want, err := conflist(o)
	if err != nil {
		return false, err
	}
	is, err := os.ReadFile(path)
	switch {
	case err == nil && bytes.Equal(is, want):
		return false, nil
	case err == nil && !ours(is):
		return false, fmt.Errorf("there is a file of that name which is not of %s: move it away, or take another directory", PluginType)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return false, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return false, err
	}
	return true, replaceFile(path, want, 0o644)
}

// network is the form of a conflist.
type network struct {
	CNIVersion string           `json:"cniVersion"`
	Name       string           `json:"name"`
	Plugins    []map[string]any `json:"plugins"`
}

// conflist returns the file's content.
func conflist(o Options) ([]byte, error) {
	own := map[string]any{
		"type": PluginType, "socket": DefaultSocket, "stateDir": DefaultStateDir,
		"capabilities": map[string]bool{"ips": true, "mac": true, AnnotationsCapability: true},
	}
	for key, value := range map[string]string{"socket": o.Socket, "stateDir": o.StateDir, "logFile": o.LogFile} {
		if value != "" {
			own[key] = value
		}
	}
	if o.MTU != 0 {
		own["mtu"] = o.MTU
	}
	if len(o.Pools) > 0 {
		own["pools"] = o.Pools
	}
	n := network{CNIVersion: o.CNIVersion, Name: networkName, Plugins: []map[string]any{own}}
	if n.CNIVersion == "" {
		n.CNIVersion = DefaultCNIVersion
	}
	if !slices.Contains(Versions().SupportedVersions(), n.CNIVersion) {
		return nil, fmt.Errorf("CNI version %q is none of %v", n.CNIVersion, Versions().SupportedVersions())
	}
	if !o.NoPortMap {
		n.Plugins = append(n.Plugins, map[string]any{"type": "portmap", "snat": true, "capabilities": map[string]bool{"portMappings": true}})
	}
	if o.Bandwidth {
		n.Plugins = append(n.Plugins, map[string]any{"type": "bandwidth", "capabilities": map[string]bool{"bandwidth": true}})
	}
	b, err := json.MarshalIndent(n, "", "  ")
	return append(b, '\n'), err
}

// ours reports whether a conflist is of this plugin, whoever changed it since.
func ours(b []byte) bool {
	var n network
	return json.Unmarshal(b, &n) == nil && slices.ContainsFunc(n.Plugins, func(p map[string]any) bool { return p["type"] == PluginType })
}

// Uninstall removes the file that [Install] writes, and reports whether there was
// one. A file of that name that is not ours stays, and is no error.
func Uninstall(confDir string) (removed bool, err error) {
	path := filepath.Join(confDir, ConflistName)
	is, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !ours(is) {
		return false, nil
	}
	if err == nil {
		err = os.Remove(path)
	}
	if err != nil {
		return false, fmt.Errorf("cni: uninstall %s: %w", path, err)
	}
	return true, nil
}

// InstallBinary copies the plugin to where a runtime looks for plugins, as
// /opt/cni/bin, and makes the directory if need be. from is the plugin's file;
// empty means the one beside the running program. The copy is replaced in one
// step, also while it runs, and only if it is another; InstallBinary reports
// whether it did.
func InstallBinary(binDir, from string) (written bool, err error) {
	to := filepath.Join(binDir, PluginType)
	if written, err = installBinary(to, from); err != nil {
		return false, fmt.Errorf("cni: install the plugin as %s: %w", to, err)
	}
	return written, nil
}

func installBinary(to, from string) (bool, error) {
	if from == "" {
		self, err := os.Executable()
		if err != nil {
			return false, err
		}
		from = filepath.Join(filepath.Dir(self), PluginType)
	}
	want, err := os.ReadFile(from)
	if errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("%w: %s belongs beside caracald", err, PluginType)
	}
	if err != nil {
		return false, err
	}
	is, err := os.ReadFile(to)
	if err == nil && bytes.Equal(is, want) {
		return false, os.Chmod(to, 0o755)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return false, err
	}
	return true, replaceFile(to, want, 0o755)
}
