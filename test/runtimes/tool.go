package runtimes

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
)

// Tool is cnitool, which the CNI project has for trying plugins out.
type Tool struct {
	Host *Host
	// Program is its path.
	Program string
}

// Do runs a command of cnitool, such as "add", for a network and the path of a
// namespace, and returns the result that it printed. args are pairs of CNI_ARGS.
func (t Tool) Do(ctx context.Context, command, network, netns string, args ...string) (string, error) {
	// cnitool keeps results in /var/lib/cni, whatever it is told: in a mount
	// namespace of its own that is the host's cache.
	const script = `mkdir -p /var/lib/cni && mount --bind "$1" /var/lib/cni && shift && exec "$@"`
	out, err := t.Host.Node.Exec(ctx, "env", "CNI_PATH="+strings.Join(t.Host.Plugins, string(filepath.ListSeparator)),
		"NETCONFPATH="+t.Host.ConfDir(), "CNI_ARGS="+strings.Join(args, ";"),
		"unshare", "--mount", "sh", "-c", script, "sh", t.Host.cacheDir(), t.Program, command, network, netns)
	if err != nil {
		// It says on its standard output what the plugin said.
		return out, fmt.Errorf("runtimes: cnitool %s on %s: %w: %s", command, t.Host.Node.Name, err, out)
	}
	return out, nil
}
