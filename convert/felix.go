package convert

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	v1 "caracal.dev/caracal/api/v1"
)

// felix converts the FelixConfiguration "default". Most of what it may hold is about
// Felix itself; that is not listed, for it is of no effect without Felix.
func (c *conversion) felix() {
	for _, d := range c.byKind["FelixConfiguration"] {
		f := c.spec(d)
		switch {
		case d.name != v1.DefaultName || f.has("nodeSelector"):
			f.lose("", "settings of the dataplane are the same for all nodes here; it is left out", "write what all nodes are to have into the DataplaneConfiguration default")
		default:
			c.felixDefault(d, f)
		}
	}
}

func (c *conversion) felixDefault(d *document, f *fields) {
	o := &v1.DataplaneConfiguration{}
	o.Name = v1.DefaultName
	s := &o.Spec
	if n := f.number("ipipMTU"); n != nil && *n != 0 {
		mtu := int(min(max(*n, -1), 1<<20))
		s.TunnelMTU = &mtu
	}
	if strings.EqualFold(f.str("ipForwarding"), "Disabled") {
		off := false
		s.SetSysctls = &off
	}
	if t, ok := f.seconds("routeRefreshInterval"); ok && t != 90*time.Second && t > 0 {
		s.AuditInterval = t.String()
	}
	switch strings.ToLower(f.str("iptablesBackend")) {
	case "legacy":
		s.Policy = &v1.PolicyOptions{IptablesBackend: v1.IptablesLegacy}
	case "nft":
		s.Policy = &v1.PolicyOptions{IptablesBackend: v1.IptablesNFT}
	}
	if strings.EqualFold(f.str("nftablesMode"), "Enabled") {
		s.Policy = &v1.PolicyOptions{IptablesBackend: v1.IptablesNFT}
	}
	if fmt.Sprint(*s) != fmt.Sprint(v1.DataplaneConfigurationSpec{}) {
		c.add(o)
	}
	c.felixProtection(d, f)
	c.felixOthers(f)
}

// felixProtection exposes what protects something and is no policy.
func (c *conversion) felixProtection(d *document, f *fields) {
	for _, name := range []string{"wireguardEnabled", "wireguardEnabledV6"} {
		if f.yes(name) {
			c.expose(d.kind, d.name, "spec."+name+": what pods say to pods of other nodes was encrypted by WireGuard, and will not be")
		}
	}
	if a := f.str("defaultEndpointToHostAction"); strings.EqualFold(a, "Drop") {
		c.expose(d.kind, d.name, "spec.defaultEndpointToHostAction (Drop): pods could not connect to the node that they are on, and can")
	} else if a == "" {
		c.note("%s says nothing of defaultEndpointToHostAction: unless the DaemonSet of calico-node has FELIX_DEFAULTENDPOINTTOHOSTACTION=ACCEPT, as the usual manifests have, pods could not connect to the node that they are on, and can after the migration", d.key())
	}
	if len(c.byKind["HostEndpoint"]) == 0 {
		f.skip("failsafeInboundHostPorts", "failsafeOutboundHostPorts")
	}
}

// felixOthers lists what else is set to something that is not Felix's default.
func (c *conversion) felixOthers(f *fields) {
	bpf := f.yes("bpfEnabled")
	if bpf {
		f.lose("bpfEnabled", "there is no eBPF here, and no replacement of kube-proxy", "start kube-proxy on a node before the node moves (docs/KUBE-PROXY.md)")
	}
	vxlan := slices.ContainsFunc(c.byKind["IPPool"], func(d *document) bool {
		p := c.fields(d.key(), "spec", d.tree["spec"])
		mode := p.str("vxlanMode")
		return mode != "" && mode != "Never"
	})
	for _, name := range slices.Sorted(maps.Keys(f.m)) {
		switch {
		case f.seen[name] || !f.has(name):
		case strings.HasPrefix(name, "bpf") && !bpf, strings.HasPrefix(name, "vxlan") && !vxlan, felixOwn(name):
			f.skip(name)
		case strings.HasPrefix(name, "wireguard"), strings.HasPrefix(name, "bpf"):
			f.skip(name) // what it belongs to is listed
		default:
			c.felixOther(f, name)
		}
	}
}

func (c *conversion) felixOther(f *fields, name string) {
	e, known := felixFields[name]
	if !known {
		f.lose(name, "is no field that Calico is known to have", "if it is meant, look for its like in docs/CONFIGURATION.md")
		return
	}
	if !granted(e.granted, fmt.Sprint(f.take(name))) {
		f.lose(name, e.why, e.do)
	}
}

// granted compares a value with the default; durations by what they mean.
func granted(def, v string) bool {
	a, err1 := time.ParseDuration(def)
	b, err2 := time.ParseDuration(v)
	return strings.EqualFold(def, v) || err1 == nil && err2 == nil && a == b
}

// felixOwn reports whether a field is about the process Felix alone.
func felixOwn(name string) bool {
	for _, prefix := range []string{"debug", "usageReporting", "reporting", "endpointReporting", "endpointStatus", "go", "health", "flowLogs", "windows"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return strings.HasSuffix(name, "RefreshInterval") || slices.Contains([]string{
		"useInternalDataplaneDriver", "dataplaneDriver", "dataplaneWatchdogTimeout", "iptablesPostWriteCheckInterval",
		"iptablesLockProbeInterval", "iptablesLockFilePath", "iptablesLockTimeout", "featureDetectOverride", "featureGates", "maxIpsetSize", "netlinkTimeout",
		"policySyncPathPrefix", "iptablesMarkMask", "nftablesMarkMask", "nftablesMode", "iptablesBackend", "ipForwarding",
		"ipipEnabled", "vxlanEnabled", "mtuIfacePattern", "requireMTUFile", "programClusterRoutes", "routeSource",
		"routeTableRange", "routeTableRanges", "interfacePrefix", "interfaceExclude", "chainInsertMode", "cgroupV2Path",
		"iptablesFilterAllowAction", "iptablesMangleAllowAction", "nftablesFilterAllowAction", "nftablesMangleAllowAction",
		"liveMigrationRouteConvergenceTime", "xdpEnabled", "genericXDPEnabled", "sidecarAccelerationEnabled",
		"disableConntrackInvalidCheck", "ipv4ElevatedRoutePriority", "ipv6ElevatedRoutePriority", "defaultEndpointToHostAction",
	}, name)
}

type felixField struct{ granted, why, do string }

const (
	whyLog     = "the log is no resource here"
	doLog      = "start caracald with --log-level, and let its supervisor keep the log"
	whyMetrics = "metrics are no resource here"
	doMetrics  = "scrape /metrics of caracald (--http)"
	whyPolicy  = "policies are those of Kubernetes here, which know nothing of the kind"
	whyHost    = "the host itself has no policies here"
	whyNAT     = "what leaves the pools gets the address that the kernel has for the way out"
	doNAT      = "see what the network beyond expects of the nodes' addresses, before the first node moves"
	doNothing  = "nothing, unless something else relies on it"
)

// felixFields are the fields that are of effect beyond Felix, with its defaults
// (felix's own configuration reference).
var felixFields = map[string]felixField{
	"ipv6Support":                        {"true", "IPv6 is in force where a node has an IPv6 address", doNothing},
	"logSeverityScreen":                  {"Info", whyLog, doLog},
	"logSeverityFile":                    {"Info", whyLog, doLog},
	"logSeveritySys":                     {"Info", whyLog, doLog},
	"logFilePath":                        {"/var/log/calico/felix.log", whyLog, doLog},
	"logDebugFilenameRegex":              {"", whyLog, doLog},
	"logPrefix":                          {"calico-packet", "no rule logs packets here", doNothing},
	"logActionRateLimit":                 {"", "no rule logs packets here", doNothing},
	"logActionRateLimitBurst":            {"5", "no rule logs packets here", doNothing},
	"prometheusMetricsEnabled":           {"false", whyMetrics, doMetrics},
	"prometheusMetricsHost":              {"", whyMetrics, doMetrics},
	"prometheusMetricsPort":              {"9091", whyMetrics, doMetrics},
	"prometheusGoMetricsEnabled":         {"true", whyMetrics, doMetrics},
	"prometheusProcessMetricsEnabled":    {"true", whyMetrics, doMetrics},
	"prometheusWireGuardMetricsEnabled":  {"true", whyMetrics, doMetrics},
	"prometheusMetricsCAFile":            {"", whyMetrics, doMetrics},
	"prometheusMetricsCertFile":          {"", whyMetrics, doMetrics},
	"prometheusMetricsKeyFile":           {"", whyMetrics, doMetrics},
	"prometheusMetricsClientAuth":        {"", whyMetrics, doMetrics},
	"metadataAddr":                       {"127.0.0.1", "OpenStack's metadata is not served here", doNothing},
	"metadataPort":                       {"8775", "OpenStack's metadata is not served here", doNothing},
	"openstackRegion":                    {"", "OpenStack is not known here", doNothing},
	"iptablesFilterDenyAction":           {"Drop", "what a policy forbids is dropped", doNothing},
	"nftablesFilterDenyAction":           {"Drop", "what a policy forbids is dropped", doNothing},
	"nftablesFlowTableOffload":           {"Disabled", "packets take the usual way through the kernel", doNothing},
	"nftablesFlowTableDataIfacePattern":  {"", "packets take the usual way through the kernel", doNothing},
	"vxlanMTU":                           {"0", "there is no VXLAN here", "write tunnelMTU in the DataplaneConfiguration, if the tunnel needs one"},
	"vxlanMTUV6":                         {"0", "there is no VXLAN here", doNothing},
	"vxlanPort":                          {"4789", "there is no VXLAN here", doNothing},
	"vxlanVNI":                           {"4096", "there is no VXLAN here", doNothing},
	"allowVXLANPacketsFromWorkloads":     {"false", "packets of VXLAN from pods are packets like others", doNothing},
	"allowIPIPPacketsFromWorkloads":      {"false", "IPIP from pods is never let through", "find another encapsulation for the workload"},
	"failsafeInboundHostPorts":           {"", whyHost, doNothing},
	"failsafeOutboundHostPorts":          {"", whyHost, doNothing},
	"kubeNodePortRanges":                 {"[30000:32767]", whyHost, doNothing},
	"externalNodesList":                  {"", "IPIP is taken from nodes alone", "give the sender a NodeConfig"},
	"natPortRange":                       {"", whyNAT, doNAT},
	"natOutgoingAddress":                 {"", whyNAT, doNAT},
	"natOutgoingExclusions":              {"IPPoolsOnly", "what pods say to hosts outside of the pools leaves with the node's address, where the pool has natOutgoing", doNAT},
	"iptablesNATOutgoingInterfaceFilter": {"", whyNAT + ", on every interface", doNAT},
	"deviceRouteSourceAddress":           {"", "routes to pods have no source address of their own", doNothing},
	"deviceRouteSourceAddressIPv6":       {"", "routes to pods have no source address of their own", doNothing},
	"deviceRouteProtocol":                {"3", "our routes have a protocol of their own", "write protocol in the DataplaneConfiguration, if something else goes by it"},
	"removeExternalRoutes":               {"true", "routes of others are left alone", doNothing},
	"routeSyncDisabled":                  {"false", "routes to pods are always written", doNothing},
	"ipv4NormalRoutePriority":            {"1024", "our routes have a metric of their own", "write metric in the DataplaneConfiguration, if it matters beside other routes of the hosts"},
	"ipv6NormalRoutePriority":            {"1024", "our routes have a metric of their own", "write metric in the DataplaneConfiguration, if it matters beside other routes of the hosts"},
	"istioAmbientMode":                   {"Disabled", whyPolicy, doNothing},
	"istioDSCPMark":                      {"23", whyPolicy, doNothing},
	"awsSrcDstCheck":                     {"DoNothing", "nothing is set up in a cloud here", "turn the check of source and destination off for the instances by yourself"},
	"serviceLoopPrevention":              {"Drop", "what comes to an address in a range of Services that no Service has is dropped", doNothing},
	"workloadSourceSpoofing":             {"Disabled", "a pod cannot send from addresses that are not its own", "find another way for the workload that does"},
	"floatingIPs":                        {"Disabled", "a pod has its own addresses and no others", "put a Service before the pod"},
	"localSubnetL2Reachability":          {"Disabled", "nodes do not answer for the addresses of pods in their own networks", "take a range for pods that no host is in, and announce it"},
}
