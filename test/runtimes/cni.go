package runtimes

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/version"
)

// Container is what a runtime tells the plugins about a container.
type Container struct {
	ID string
	// Name is that of its namespace in the lab, for [Host.Remove]; empty if the lab
	// did not make it.
	Name    string
	Network string
	NetNS   string // path
	// Args are pairs of CNI_ARGS, such as K8S_POD_NAME.
	Args [][2]string
	// Capabilities are runtime arguments by capability, such as portMappings.
	Capabilities map[string]any
	// Addrs are its addresses, once [Host.Add] has succeeded.
	Addrs []netip.Addr
	// Result is the answer to ADD.
	Result *types100.Result
}

// Interface is the name that containers have for their interface.
const Interface = "eth0"

// New makes a container without a process: a namespace of the lab and an ID. Its
// name is not to be used twice at a time, its ID never.
func (h *Host) New(network, name, id string) (*Container, error) {
	ns, err := h.lab.NewNamespace(name)
	if err != nil {
		return nil, fmt.Errorf("runtimes: %w", err)
	}
	return &Container{ID: id, Name: name, Network: network, NetNS: ns}, nil
}

// Kill removes the namespace of a container without a word to the plugins, as
// the end of its last process does to one that nobody else holds.
func (h *Host) Kill(c *Container) error {
	if err := h.lab.DeleteNamespace(c.Name); err != nil {
		return fmt.Errorf("runtimes: %w", err)
	}
	return nil
}

// Add calls the plugins of the container's network with ADD, one after the
// other. The error of a plugin is a *types.Error with its code (CNI 1.1, section
// 5).
func (h *Host) Add(ctx context.Context, c *Container) error {
	list, rt, err := h.prepare(c)
	if err != nil {
		return err
	}
	raw, err := h.cni().AddNetworkList(ctx, list, rt)
	if err != nil {
		return fmt.Errorf("runtimes: ADD %s on %s: %w", c.ID, h.Node.Name, err)
	}
	if c.Result, err = types100.NewResultFromResult(raw); err != nil {
		return fmt.Errorf("runtimes: result of ADD %s on %s: %w", c.ID, h.Node.Name, err)
	}
	c.Addrs = nil
	for _, ip := range c.Result.IPs {
		a, _ := netip.AddrFromSlice(ip.Address.IP)
		c.Addrs = append(c.Addrs, a.Unmap())
	}
	return nil
}

// Addr returns the container's address of a family; invalid if it has none.
func (c *Container) Addr(is6 bool) netip.Addr {
	for _, a := range c.Addrs {
		if a.Is6() == is6 {
			return a
		}
	}
	return netip.Addr{}
}

// Del calls the plugins with DEL, the last first.
func (h *Host) Del(ctx context.Context, c *Container) error {
	list, rt, err := h.prepare(c)
	if err != nil {
		return err
	}
	if err := h.cni().DelNetworkList(ctx, list, rt); err != nil {
		return fmt.Errorf("runtimes: DEL %s on %s: %w", c.ID, h.Node.Name, err)
	}
	return nil
}

// Remove ends a container as runtimes do: DEL, then its namespace.
func (h *Host) Remove(ctx context.Context, c *Container) error {
	return errors.Join(h.Del(ctx, c), h.Kill(c))
}

// Check calls the plugins with CHECK.
func (h *Host) Check(ctx context.Context, c *Container) error {
	list, rt, err := h.prepare(c)
	if err != nil {
		return err
	}
	if err := h.cni().CheckNetworkList(ctx, list, rt); err != nil {
		return fmt.Errorf("runtimes: CHECK %s on %s: %w", c.ID, h.Node.Name, err)
	}
	return nil
}

// GC tells the plugins of a network which containers there are; what they have of
// others they are to remove.
func (h *Host) GC(ctx context.Context, network string, keep ...*Container) error {
	list, err := libcni.LoadNetworkConf(h.ConfDir(), network)
	if err != nil {
		return fmt.Errorf("runtimes: GC of %s on %s: %w", network, h.Node.Name, err)
	}
	args := &libcni.GCArgs{ValidAttachments: []types.GCAttachment{}}
	for _, c := range keep {
		args.ValidAttachments = append(args.ValidAttachments, types.GCAttachment{ContainerID: c.ID, IfName: Interface})
	}
	if err := h.cni().GCNetworkList(ctx, list, args); err != nil {
		return fmt.Errorf("runtimes: GC of %s on %s: %w", network, h.Node.Name, err)
	}
	return nil
}

// Status asks the plugins of a network whether ADD would work.
func (h *Host) Status(ctx context.Context, network string) error {
	list, err := libcni.LoadNetworkConf(h.ConfDir(), network)
	if err == nil {
		err = h.cni().GetStatusNetworkList(ctx, list)
	}
	if err != nil {
		return fmt.Errorf("runtimes: STATUS of %s on %s: %w", network, h.Node.Name, err)
	}
	return nil
}

// Forget drops what the runtime remembers of a container, as a machine's restart
// does, which empties /run.
func (h *Host) Forget(c *Container) error {
	path := filepath.Join(h.cacheDir(), "results", fmt.Sprintf("%s-%s-%s", c.Network, c.ID, Interface))
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("runtimes: forget %s: %w", c.ID, err)
	}
	return nil
}

// Code returns the CNI error code in an error of a plugin; 0 if it has none.
func Code(err error) uint {
	if e, ok := errors.AsType[*types.Error](err); ok {
		return e.Code
	}
	return 0
}

func (h *Host) prepare(c *Container) (*libcni.NetworkConfigList, *libcni.RuntimeConf, error) {
	list, err := libcni.LoadNetworkConf(h.ConfDir(), c.Network)
	if err != nil {
		return nil, nil, fmt.Errorf("runtimes: network %s on %s: %w", c.Network, h.Node.Name, err)
	}
	return list, &libcni.RuntimeConf{ContainerID: c.ID, NetNS: c.NetNS, IfName: Interface,
		Args: c.Args, CapabilityArgs: c.Capabilities}, nil
}

func (h *Host) cni() *libcni.CNIConfig {
	return libcni.NewCNIConfigWithCacheDir(h.Plugins, h.cacheDir(), &inNode{host: h})
}

// inNode runs plugins in the node's network namespace.
type inNode struct {
	version.PluginDecoder
	host *Host
}

// FindInPath implements [invoke.Exec].
func (*inNode) FindInPath(plugin string, paths []string) (string, error) {
	return invoke.FindInPath(plugin, paths)
}

// ExecPlugin implements [invoke.Exec]: a plugin that fails says why on its
// standard output, as JSON.
func (e *inNode) ExecPlugin(ctx context.Context, path string, stdin []byte, env []string) ([]byte, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, path)
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = env, bytes.NewReader(stdin), &stdout, &stderr
	if err := e.host.Node.Do(cmd.Start); err != nil {
		return nil, fmt.Errorf("start plugin %s: %w", path, err)
	}
	err := cmd.Wait()
	if err == nil {
		return stdout.Bytes(), nil
	}
	said := &types.Error{}
	if json.Unmarshal(stdout.Bytes(), said) == nil && said.Code != 0 {
		return nil, said
	}
	return nil, fmt.Errorf("plugin %s: %w: stdout %q, stderr %q", filepath.Base(path), err, stdout.String(), stderr.String())
}
