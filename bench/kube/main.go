package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"caracal.dev/caracal/bench/stand"
	"caracal.dev/caracal/internal/kubetest"
)

func main() { stand.Main("kube", bench) }

// size is what the cluster has.
type size struct {
	nodes, pods, policies, services, namespaces int
}

func bench(ctx context.Context, args []string, out io.Writer) error {
	if len(args) > 0 && args[0] == "child" {
		return child(ctx, args[1:], out)
	}
	var z size
	flags := flag.NewFlagSet("kube", flag.ExitOnError)
	flags.IntVar(&z.nodes, "nodes", 100, "how many nodes, with two blocks each")
	flags.IntVar(&z.pods, "pods", 3000, "how many pods, on all nodes alike")
	flags.IntVar(&z.policies, "policies", 1000, "how many NetworkPolicies")
	flags.IntVar(&z.services, "services", 1000, "how many Services, with an EndpointSlice of ten pods each")
	flags.IntVar(&z.namespaces, "namespaces", 50, "in how many namespaces")
	crds := flags.String("crds", "manifests/base/crds.yaml", "the CustomResourceDefinitions")
	churn := flags.Duration("churn", 20*time.Second, "how long pods come and go")
	rate := flags.Int("rate", 20, "how many pods per second come, and as many go")
	writes := flags.Int("writes", 100, "how many NetworkPolicies are written one after the other")
	caracald := flags.String("caracald", "", "measure these whole caracalds, too (paths with commas between), each with the caracal-cni beside it")
	only := flags.Bool("only-caracald", false, "measure nothing else")
	profile := flags.String("profile", "", "write the heap of the process at its first whole Snapshot into this file")
	if err := flags.Parse(args); err != nil {
		return err
	}
	text, err := os.ReadFile(*crds)
	if err != nil {
		return err
	}
	world, err := stand.NewWorld(1)
	if err != nil {
		return err
	}
	defer world.Close()
	if out, err := exec.CommandContext(ctx, "ip", "-n", world.Peers, "link", "set", "lo", "up").CombinedOutput(); err != nil {
		return fmt.Errorf("ip link set lo up: %w: %s", err, out)
	}
	api, err := kubetest.New(kubetest.Options{NetNS: "/run/netns/" + world.Peers, Addr: world.Addrs[0], Flags: []string{"--max-requests-inflight=3000", "--max-mutating-requests-inflight=3000"}})
	if err != nil {
		return err
	}
	defer api.Close()
	dir, err := os.MkdirTemp("", "bench-kube-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := api.TryApply(ctx, string(text)); err != nil {
		return err
	}
	config := filepath.Join(dir, "kubeconfig")
	if err := writeConfig(api, config); err != nil {
		return err
	}
	fmt.Fprintf(out, "%s\n\n%d nodes, %d pods, %d NetworkPolicies, %d Services, %d namespaces\n\n", stand.Machine(), z.nodes, z.pods, z.policies, z.services, z.namespaces)
	began := time.Now()
	f := &filler{api: api, size: z, reflector: world.Addrs[0]}
	if err := f.fill(ctx); err != nil {
		return fmt.Errorf("fill the API: %w", err)
	}
	fmt.Fprintf(out, "filled in %v\n\n", time.Since(began).Round(time.Second))
	m := &measure{api: api, world: world, filler: f, out: out, dir: dir, config: config, profile: *profile}
	if *caracald != "" {
		for i, binary := range strings.Split(*caracald, ",") {
			w := &whole{world: world, filler: f, binary: binary, dir: filepath.Join(dir, fmt.Sprint("caracald", i)), config: config, out: out}
			if err := w.measure(ctx, func(ctx context.Context) error { _, err := f.churn(ctx, *churn, *rate); return err }); err != nil {
				return err
			}
		}
	}
	if *only {
		return nil
	}
	return m.all(ctx, *churn, *rate, *writes)
}

// all measures the store alone.
func (m *measure) all(ctx context.Context, churn time.Duration, rate, writes int) error {
	if err := m.start(ctx, "without anything on disk"); err != nil {
		return err
	}
	if err := m.stop(); err != nil {
		return err
	}
	if err := m.start(ctx, "with what it kept on disk"); err != nil {
		return err
	}
	if err := m.churn(ctx, churn, rate); err != nil {
		return err
	}
	if err := m.policies(ctx, writes); err != nil {
		return err
	}
	return m.stop()
}

// writeConfig writes a kubeconfig of the administrator.
func writeConfig(api *kubetest.API, path string) error {
	a := api.Admin()
	c := clientcmdapi.NewConfig()
	c.Clusters["bench"] = &clientcmdapi.Cluster{Server: a.Host, CertificateAuthorityData: a.CAData}
	c.AuthInfos["admin"] = &clientcmdapi.AuthInfo{ClientCertificateData: a.CertData, ClientKeyData: a.KeyData}
	c.Contexts["bench"] = &clientcmdapi.Context{Cluster: "bench", AuthInfo: "admin"}
	c.CurrentContext = "bench"
	return clientcmd.WriteToFile(*c, path)
}
