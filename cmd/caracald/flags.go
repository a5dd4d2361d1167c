package main

import (
	"flag"
	"fmt"
	"log/slog"
	"os"

	"caracal.dev/caracal/node/api"
	"caracal.dev/caracal/store/kube/address"
)

type flags struct {
	config, state, node, socket, group, http, logFormat string
	store, kubeconfig, addressFrom                      string
	installCNI, cniBinDir                               string
	logLevel                                            slog.Level
	version                                             bool
}

func parse(args []string) (flags, error) {
	var f flags
	fs := flag.NewFlagSet("caracald", flag.ContinueOnError)
	fs.StringVar(&f.store, "store", storeFile, "where the configuration is: file, or kubernetes")
	fs.StringVar(&f.config, "config", "/etc/caracal", "directory of YAML files to take the configuration from, with --store file")
	fs.StringVar(&f.kubeconfig, "kubeconfig", "", "how to reach the API, with --store kubernetes (default: as the Pod that this is)")
	fs.StringVar(&f.addressFrom, "address-from", string(address.InternalIP), "how this node's own address is chosen, with --store kubernetes: "+
		"kubernetes-internal-ip, interface=GLOB[,GLOB], cidr=CIDR[,CIDR] or can-reach=ADDR[,ADDR]")
	fs.StringVar(&f.state, "state-dir", "/var/lib/caracal", "directory for what outlives a restart")
	fs.StringVar(&f.node, "node", "", "name of this node's NodeConfig or Node (default: $NODE_NAME, then the hostname)")
	fs.StringVar(&f.socket, "socket", api.DefaultSocket, "unix socket for the caracal command")
	fs.StringVar(&f.group, "socket-group", "", "group that may use the socket")
	fs.StringVar(&f.http, "http", "127.0.0.1:9179", "address for /metrics, /healthz and /readyz; empty for none")
	fs.StringVar(&f.installCNI, "install-cni", "", "directory to write the CNI network configuration to, as /etc/cni/net.d; empty for none")
	fs.StringVar(&f.cniBinDir, "cni-bin-dir", "", "directory to copy the CNI plugin to, as /opt/cni/bin; empty for none")
	fs.StringVar(&f.logFormat, "log-format", "text", "text or json")
	fs.TextVar(&f.logLevel, "log-level", slog.LevelInfo, "debug, info, warn or error")
	fs.BoolVar(&f.version, "version", false, "print the version and exit")
	if err := fs.Parse(args); err != nil {
		return f, err
	}
	_, err := address.ParseMethod(f.addressFrom)
	switch {
	case err != nil:
	case f.store != storeFile && f.store != storeKubernetes:
		err = fmt.Errorf("--store is %s or %s, not %q", storeFile, storeKubernetes, f.store)
	case f.store == storeFile && f.kubeconfig != "":
		err = fmt.Errorf("--kubeconfig is for --store %s", storeKubernetes)
	case fs.NArg() > 0:
		err = fmt.Errorf("caracald takes flags only, not %q; see caracald -help", fs.Arg(0))
	case f.logFormat != "text" && f.logFormat != "json":
		err = fmt.Errorf("--log-format is text or json, not %q", f.logFormat)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	return f, err
}
