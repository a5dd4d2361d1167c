package apiserver

import (
	"fmt"
	"net/http"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Options say where the API is, and as whom we speak to it.
type Options struct {
	// Kubeconfig is the path of a kubeconfig; empty is the ServiceAccount of the Pod
	// that we run in.
	Kubeconfig string
	// UserAgent names the program and its version in the API's log.
	UserAgent string
}

// Client speaks to the API. Making one asks nothing of it.
type Client struct {
	Config *rest.Config
	// Core speaks of Kubernetes' own resources, in protobuf.
	Core kubernetes.Interface
	// Own speaks of those of caracal.dev, in JSON.
	Own dynamic.Interface
}

// Requests per second that a daemon makes at most in the long run, and in a burst.
// Watches are not counted.
const (
	qps   = 20
	burst = 40
)

// Connect returns a Client. It does not wait for the API to be there.
func Connect(o Options) (*Client, error) {
	c, err := config(o)
	if err != nil {
		return nil, fmt.Errorf("apiserver: find the API of Kubernetes: %w; --kubeconfig names the file that says where it is, and without it caracald must run in a Pod", err)
	}
	c.UserAgent, c.QPS, c.Burst = o.UserAgent, qps, burst
	c.Wrap(func(inner http.RoundTripper) http.RoundTripper { return onceTransport{inner} })
	// One connection for all: a client of its own for each would open several.
	h, err := rest.HTTPClientFor(c)
	if err != nil {
		return nil, fmt.Errorf("apiserver: connect to %s: %w", c.Host, err)
	}
	out, err := newClient(c, h)
	if err != nil {
		return nil, fmt.Errorf("apiserver: connect to %s: %w", c.Host, err)
	}
	return out, nil
}

func config(o Options) (*rest.Config, error) {
	if o.Kubeconfig != "" {
		return clientcmd.BuildConfigFromFlags("", o.Kubeconfig)
	}
	return rest.InClusterConfig()
}

func newClient(c *rest.Config, h *http.Client) (*Client, error) {
	binary := rest.CopyConfig(c)
	binary.ContentType = "application/vnd.kubernetes.protobuf"
	binary.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	core, err := kubernetes.NewForConfigAndClient(binary, h)
	if err != nil {
		return nil, err
	}
	own, err := dynamic.NewForConfigAndClient(c, h)
	if err != nil {
		return nil, err
	}
	return &Client{Config: c, Core: core, Own: own}, nil
}
