package kubetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// Options say where an API listens. The zero value is one on 127.0.0.1.
type Options struct {
	// NetNS is the path of a network namespace in which etcd and the API server run,
	// and listen on all of its addresses; empty is this process's own namespace, and
	// 127.0.0.1 alone. The namespace's loopback device must be up.
	NetNS string
	// Addr is the address that kubeconfigs name and that the Service "kubernetes"
	// leads to: one of NetNS which the clients reach. The zero value is 127.0.0.1.
	Addr netip.Addr
	// ServiceAccounts turns on the admission plugin of that name: a Pod needs a
	// ServiceAccount that exists, and gets its token mounted. It is of use only with a
	// kube-controller-manager, which makes the ServiceAccount "default".
	ServiceAccounts bool
	// Flags are added to kube-apiserver's command line ("--v=4"); the last of two
	// that contradict each other counts.
	Flags []string
	// Port is the API server's port; 0 is one that is free. With a NetNS it may be
	// 6443 as on a real control plane.
	Port int
}

// API is a running API of Kubernetes. Its methods may be called from several
// goroutines, except those that start and stop it.
type API struct {
	opts   Options
	dir    string
	ca     *authority
	admin  *rest.Config
	core   kubernetes.Interface
	dyn    dynamic.Interface
	etcd   *process
	server *process
	ports  struct{ api, etcd, peer int }

	mu    sync.Mutex      // guards what is below
	files int             // kubeconfigs written so far
	kinds meta.RESTMapper // as the API said last; nil: not asked yet
}

// Time that a start may take: a machine that is busy with other tests takes ten
// times as long as one that is not.
const startTime = 3 * time.Minute

// Start starts an API that ends with the test. If the test fails, the end of the
// API server's log is shown.
func Start(t testing.TB, o Options) *API {
	t.Helper()
	a, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("--- the end of kube-apiserver's log\n%s", a.Log())
		}
		a.Close()
	})
	return a
}

// New is [Start] without a test, for a TestMain that shares one API among the tests
// of a package. Close ends it; a process that ends without it takes the API along.
func New(o Options) (*API, error) {
	if !o.Addr.IsValid() {
		o.Addr = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	dir, err := os.MkdirTemp("", "kubetest-")
	if err != nil {
		return nil, fmt.Errorf("kubetest: start the API: %w", err)
	}
	a := &API{opts: o, dir: dir}
	if err := a.start(); err != nil {
		a.Close()
		return nil, fmt.Errorf("kubetest: start the API: %w", err)
	}
	return a, nil
}

// Close kills the API and removes its data.
func (a *API) Close() {
	a.server.kill()
	a.etcd.kill()
	_ = os.RemoveAll(a.dir) // a temporary directory
}

// Log returns the end of the API server's log.
func (a *API) Log() string { return a.server.tail() }

// Dir returns the API's own directory, which goes when it does: kube-apiserver.log,
// etcd.log, and in pki the CA (ca.crt, ca.key) and the key that signs the tokens of
// ServiceAccounts (tokens.key).
func (a *API) Dir() string { return a.dir }

// Port returns the port that the API listens on.
func (a *API) Port() int { return a.ports.api }

// URL returns the API's address: "https://127.0.0.1:23456".
func (a *API) URL() string {
	return "https://" + net.JoinHostPort(a.opts.Addr.String(), strconv.Itoa(a.ports.api))
}

// start makes the certificates and starts etcd and the API server. Ports are
// chosen before they are taken, so somebody else may be faster: then others are
// tried.
func (a *API) start() error {
	if err := a.makeKeys(); err != nil {
		return fmt.Errorf("make certificates: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	var err error
	for range 5 {
		if err = a.choosePorts(); err != nil {
			return err
		}
		if err = a.connect(); err != nil {
			return err
		}
		if err = a.startEtcd(); err != nil {
			return err
		}
		err = a.startServer(ctx)
		if err == nil || !errors.Is(err, errEnded) {
			return err
		}
		a.server.kill()
		a.etcd.kill()
		if err := os.RemoveAll(filepath.Join(a.dir, "etcd")); err != nil {
			return err
		}
	}
	return err
}

// choosePorts finds three free ports below those that the kernel gives to outgoing
// connections (32768 and up), so that a restart finds them free again.
func (a *API) choosePorts() error {
	_, err := within(a.opts.NetNS, func() (struct{}, error) {
		for i, p := range []*int{&a.ports.api, &a.ports.etcd, &a.ports.peer} {
			if i == 0 && a.opts.Port != 0 {
				*p = a.opts.Port
				continue
			}
			var err error
			if *p, err = freePort(); err != nil {
				return struct{}{}, err
			}
		}
		return struct{}{}, nil
	})
	return err
}

func freePort() (int, error) {
	var last error
	for range 100 {
		port := 20000 + rand.IntN(12000)
		l, err := net.Listen("tcp", ":"+strconv.Itoa(port))
		if err != nil {
			last = err
			continue
		}
		return port, l.Close()
	}
	return 0, fmt.Errorf("find a free port: %w", last)
}
