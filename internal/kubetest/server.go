package kubetest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// errEnded means that a program ended before it was ready.
var errEnded = errors.New("ended before it was ready")

// Addresses of Services, as kubeadm chooses them, and the first of them, which is
// the API's own.
const (
	serviceRange = "10.96.0.0/16,fd00:10:96::/112"
	serviceAddr  = "10.96.0.1"
)

func (a *API) pki(name string) string { return filepath.Join(a.dir, "pki", name) }

// makeKeys writes the CA, the API server's certificate, and the key that signs the
// tokens of ServiceAccounts.
func (a *API) makeKeys() error {
	pki := filepath.Join(a.dir, "pki")
	if err := os.MkdirAll(pki, 0o755); err != nil {
		return err
	}
	var err error
	if a.ca, err = newAuthority(); err != nil {
		return err
	}
	caKey, err := encodeKey(a.ca.key)
	if err != nil {
		return err
	}
	if err := (pair{a.ca.pem, caKey}).write(pki, "ca"); err != nil {
		return err
	}
	addrs := []netip.Addr{a.opts.Addr, netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback(), netip.MustParseAddr(serviceAddr)}
	server, err := a.ca.server(addrs, "localhost", "kubernetes", "kubernetes.default.svc")
	if err != nil {
		return err
	}
	if err := server.write(pki, "apiserver"); err != nil {
		return err
	}
	// As whom it asks kubelets, for `kubectl exec` and `kubectl logs`.
	toKubelets, err := a.ca.client("kube-apiserver", "system:masters")
	if err != nil {
		return err
	}
	if err := toKubelets.write(pki, "kubelets"); err != nil {
		return err
	}
	return writeTokenKey(pki)
}

// writeTokenKey makes the key that signs tokens: tokens.key, and the public half,
// tokens.crt.
func writeTokenKey(pki string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	keyPEM, err := encodeKey(key)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return err
	}
	tokens := pair{pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}), keyPEM}
	return tokens.write(pki, "tokens")
}

// startEtcd starts etcd; the API server waits for it.
func (a *API) startEtcd() error {
	program, err := Program("etcd")
	if err != nil {
		return err
	}
	client, peer := a.etcdURL(), "http://127.0.0.1:"+strconv.Itoa(a.ports.peer)
	a.etcd, err = launch(a.opts.NetNS, filepath.Join(a.dir, "etcd.log"), program,
		"--data-dir="+filepath.Join(a.dir, "etcd"), "--unsafe-no-fsync", "--log-level=warn",
		"--listen-client-urls="+client, "--advertise-client-urls="+client,
		"--listen-peer-urls="+peer, "--initial-advertise-peer-urls="+peer, "--initial-cluster=default="+peer)
	return err
}

func (a *API) etcdURL() string { return "http://127.0.0.1:" + strconv.Itoa(a.ports.etcd) }

// startServer starts the API server and waits until it is ready.
func (a *API) startServer(ctx context.Context) error {
	program, err := Program("kube-apiserver")
	if err != nil {
		return err
	}
	a.server, err = launch(a.opts.NetNS, filepath.Join(a.dir, "kube-apiserver.log"), program, append(a.flags(), a.opts.Flags...)...)
	if err != nil {
		return err
	}
	return a.waitReady(ctx)
}

// flags returns the API server's command line.
func (a *API) flags() []string {
	bind, reconciler := "127.0.0.1", "none"
	if a.opts.NetNS != "" {
		bind = "0.0.0.0"
	}
	if !a.opts.Addr.IsLoopback() {
		reconciler = "lease" // the Endpoints of the Service "kubernetes"
	}
	if a.opts.Addr.Is6() && a.opts.NetNS != "" {
		bind = "::"
	}
	flags := []string{
		"--etcd-servers=" + a.etcdURL(),
		"--bind-address=" + bind, "--secure-port=" + strconv.Itoa(a.ports.api),
		"--advertise-address=" + a.opts.Addr.String(), "--endpoint-reconciler-type=" + reconciler,
		"--tls-cert-file=" + a.pki("apiserver.crt"), "--tls-private-key-file=" + a.pki("apiserver.key"),
		"--client-ca-file=" + a.pki("ca.crt"),
		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + a.pki("tokens.crt"), "--service-account-signing-key-file=" + a.pki("tokens.key"),
		"--service-cluster-ip-range=" + serviceRange,
		"--allow-privileged",
		"--kubelet-client-certificate=" + a.pki("kubelets.crt"), "--kubelet-client-key=" + a.pki("kubelets.key"),
		"--kubelet-preferred-address-types=InternalIP",
	}
	if !a.opts.ServiceAccounts {
		flags = append(flags, "--disable-admission-plugins=ServiceAccount")
	}
	return flags
}

// waitReady waits until the API server says that it is ready, which is after it
// has written the roles that come with Kubernetes, and until it has made the
// namespaces that come with it too, which it does not wait for.
func (a *API) waitReady(ctx context.Context) error {
	for {
		tryCtx, cancel := context.WithTimeout(ctx, 5*time.Second)
		err := a.core.CoreV1().RESTClient().Get().AbsPath("/readyz").Do(tryCtx).Error()
		for _, name := range []string{metav1.NamespaceSystem, metav1.NamespaceDefault} {
			if err == nil {
				_, err = a.core.CoreV1().Namespaces().Get(tryCtx, name, metav1.GetOptions{})
			}
		}
		cancel()
		if err == nil {
			return nil
		}
		if !a.etcd.running() {
			return fmt.Errorf("etcd %w: %s", errEnded, a.etcd.tail())
		}
		select {
		case <-a.server.done:
			return fmt.Errorf("kube-apiserver %w: %s", errEnded, a.server.tail())
		case <-ctx.Done():
			return fmt.Errorf("kube-apiserver is not ready: %w: %s", err, a.server.tail())
		case <-time.After(20 * time.Millisecond):
		}
	}
}
