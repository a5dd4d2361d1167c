package cni

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/containernetworking/cni/pkg/types"
)

// What a network configuration leaves out.
const (
	// DefaultSocket is where caracald listens unless it is told otherwise.
	DefaultSocket = "/run/caracal/caracal.sock"
	// DefaultStateDir is caracald's --state-dir unless it is told otherwise.
	DefaultStateDir = "/var/lib/caracal"
)

// PluginType is the value of "type" in a network configuration, and the name of
// the plugin's binary.
const PluginType = "caracal-cni"

// Annotations of a Pod that the plugin understands, where the runtime passes
// them on (capability [AnnotationsCapability]).
const (
	AnnotationAddrs = "caracal.dev/ipAddrs" // a list of addresses, JSON or separated by commas
	AnnotationMAC   = "caracal.dev/hwAddr"
	AnnotationPools = "caracal.dev/ipPools" // a list of names of pools, likewise
)

// AnnotationsCapability is how containerd names the annotations of a Pod.
const AnnotationsCapability = "io.kubernetes.cri.pod-annotations"

// conf is a network configuration of ours, as the runtime gives it to a plugin.
type conf struct {
	CNIVersion string   `json:"cniVersion"`
	Name       string   `json:"name"`
	Type       string   `json:"type"`
	Socket     string   `json:"socket"`
	StateDir   string   `json:"stateDir"`
	LogFile    string   `json:"logFile"`
	Pools      []string `json:"pools"`
	MTU        int      `json:"mtu"`
	IPv4       *bool    `json:"ipv4"`
	IPv6       *bool    `json:"ipv6"`

	IPAM    json.RawMessage `json:"ipam"`
	IPMasq  bool            `json:"ipMasq"`
	DNS     types.DNS       `json:"dns"`
	Runtime runtimeConf     `json:"runtimeConfig"`
	Args    struct {
		CNI argsConf `json:"cni"`
	} `json:"args"`
	PrevResult json.RawMessage `json:"prevResult"`

	// Valid is nil if the runtime gave no list, which is not an empty one.
	Valid  *[]types.GCAttachment `json:"cni.dev/valid-attachments"`
	Valid0 *[]types.GCAttachment `json:"cni.dev/attachments"` // as libcni named it at first
}

// runtimeConf are the capabilities of which the runtime may say something
// (CONVENTIONS.md of CNI).
type runtimeConf struct {
	IPs         []string          `json:"ips"`
	MAC         string            `json:"mac"`
	Annotations map[string]string `json:"io.kubernetes.cri.pod-annotations"`
}

// argsConf is "args": {"cni": …}.
type argsConf struct {
	IPs    []string `json:"ips"`
	MAC    string   `json:"mac"`
	Pools  []string `json:"pools"`
	Labels labels   `json:"labels"`
}

// labels are a list of pairs, as CONVENTIONS.md has them, or an object.
type labels map[string]string

// UnmarshalJSON reads either form.
func (l *labels) UnmarshalJSON(b []byte) error {
	var pairs []struct{ Key, Value string }
	if json.Unmarshal(b, &pairs) != nil {
		return json.Unmarshal(b, (*map[string]string)(l))
	}
	*l = labels{}
	for _, p := range pairs {
		(*l)[p.Key] = p.Value
	}
	return nil
}

// known are the keys of a network configuration: ours, and those that every
// plugin must bear.
var known = []string{
	"socket", "stateDir", "logFile", "pools", "mtu", "ipv4", "ipv6",
	"cniVersion", "cniVersions", "name", "type", "capabilities", "runtimeConfig", "args", "ipam", "dns", "ipMasq", "prevResult",
	"disableCheck", "disableGC", "loadOnlyInlinedPlugins",
}

// parseConf reads a network configuration. lenient is for what must work with
// whatever the configuration has become since the container was made: taking it
// away.
func parseConf(b []byte, lenient bool) (conf, error) {
	var c conf
	if err := json.Unmarshal(b, &c); err != nil && !lenient {
		return conf{}, types.NewError(types.ErrDecodingFailure, fmt.Sprintf("caracal-cni: the network configuration cannot be read: %v; correct it in the directory of the runtime's networks (/etc/cni/net.d)", err), "")
	}
	if c.Socket == "" {
		c.Socket = DefaultSocket
	}
	if c.StateDir == "" {
		c.StateDir = DefaultStateDir
	}
	if lenient {
		return c, nil
	}
	return c, c.validate(b)
}

func (c conf) validate(b []byte) error {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(b, &all); err != nil {
		return types.NewError(types.ErrDecodingFailure, fmt.Sprintf("caracal-cni: the network configuration cannot be read: %v", err), "")
	}
	for _, key := range slices.Sorted(maps.Keys(all)) {
		if !slices.Contains(known, key) && !strings.HasPrefix(key, "cni.dev/") {
			return unsupported(c.Name, key, string(all[key]), "caracal-cni has no such key: correct its name, or remove it")
		}
	}
	switch {
	case !emptyIPAM(c.IPAM):
		return unsupported(c.Name, "ipam", string(c.IPAM), "caracald gives the addresses itself, so remove the key")
	case c.IPMasq:
		return unsupported(c.Name, "ipMasq", "true", "remove it, and set natOutgoing on the IPPool")
	case c.MTU < 0 || c.MTU != 0 && c.MTU < 68 || c.MTU > 65535:
		return unsupported(c.Name, "mtu", fmt.Sprint(c.MTU), "an MTU is 68 to 65535 bytes (1280 with IPv6), or 0 for caracald's own")
	case c.IPv4 != nil && c.IPv6 != nil && !*c.IPv4 && !*c.IPv6:
		return unsupported(c.Name, "ipv4", "false", "ipv6 is false as well, so there would be no address at all: remove one of them")
	}
	return nil
}

// unsupported is the error of CNI for a key; its message must have the key and
// the value (SPEC.md, "Error").
func unsupported(network, key, value, advice string) *types.Error {
	if len(value) > 200 {
		value = value[:200] + "…"
	}
	return types.NewError(types.ErrUnsupportedField, fmt.Sprintf("caracal-cni: network %s: %q is %s: %s", network, key, value, advice), "")
}

// emptyIPAM reports whether "ipam" says nothing: {} is what some runtimes add.
func emptyIPAM(b json.RawMessage) bool {
	var m map[string]json.RawMessage
	return len(b) == 0 || json.Unmarshal(b, &m) == nil && len(m) == 0
}

// families are those that are asked for; neither leaves it to the daemon. A key
// that says no means the other family, one that says yes this one.
func (c conf) families() (v4, v6 bool) {
	switch {
	case c.IPv4 == nil && c.IPv6 == nil:
		return false, false
	case c.IPv6 == nil:
		return *c.IPv4, !*c.IPv4
	case c.IPv4 == nil:
		return !*c.IPv6, *c.IPv6
	}
	return *c.IPv4, *c.IPv6
}

// valid are the attachments of GC; false if the runtime gave no list.
func (c conf) valid() ([]types.GCAttachment, bool) {
	for _, l := range []*[]types.GCAttachment{c.Valid, c.Valid0} {
		if l != nil {
			return *l, true
		}
	}
	return nil, false
}

// asked is what somebody asks for one container.
type asked struct {
	addrs  []string
	mac    string
	pools  []string
	labels map[string]string
}

// ask gathers what is asked for, from the configuration, its capabilities and
// args, the annotations and CNI_ARGS.
func ask(c conf, a args) (asked, error) {
	notes := c.Runtime.Annotations
	out := asked{labels: c.Args.CNI.Labels}
	for _, list := range [][]string{c.Runtime.IPs, c.Args.CNI.IPs, a.ips, listOf(notes[AnnotationAddrs])} {
		for _, text := range list {
			ip, err := parseAddr(text)
			if err != nil {
				return asked{}, types.NewError(types.ErrInvalidNetworkConfig, fmt.Sprintf("caracal-cni: network %s: the address %q that is asked for is none: give it as 192.0.2.1 or 2001:db8::1", c.Name, text), "")
			}
			if !slices.Contains(out.addrs, ip.String()) {
				out.addrs = append(out.addrs, ip.String())
			}
		}
	}
	for _, mac := range []string{c.Runtime.MAC, c.Args.CNI.MAC, a.mac, notes[AnnotationMAC]} {
		if mac == "" {
			continue
		}
		hw, err := net.ParseMAC(mac)
		if err != nil || len(hw) != 6 || hw[0]&1 != 0 {
			return asked{}, types.NewError(types.ErrInvalidNetworkConfig, fmt.Sprintf("caracal-cni: network %s: the MAC %q that is asked for is no unicast address of 6 bytes: give it as 02:00:00:00:00:01", c.Name, mac), "")
		}
		if out.mac == "" {
			out.mac = hw.String()
		}
	}
	for _, list := range [][]string{listOf(notes[AnnotationPools]), c.Args.CNI.Pools, c.Pools} {
		if len(list) > 0 { // the nearest to the container counts
			out.pools = list
			break
		}
	}
	return out, nil
}

// parseAddr reads an address, with or without a prefix length, which a workload
// with routes to hosts has no use for.
func parseAddr(text string) (netip.Addr, error) {
	if p, err := netip.ParsePrefix(text); err == nil {
		return p.Addr().Unmap(), nil
	}
	a, err := netip.ParseAddr(text)
	if err == nil && a.Zone() != "" {
		return a, fmt.Errorf("%q has a zone", text)
	}
	return a.Unmap(), err
}

// listOf reads a JSON list of strings, or a list separated by commas.
func listOf(text string) []string {
	var l []string
	if json.Unmarshal([]byte(text), &l) == nil {
		return l
	}
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' })
}
