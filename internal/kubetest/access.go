package kubetest

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// connect makes the clients of the administrator.
func (a *API) connect() error {
	p, err := a.ca.client("admin", "system:masters")
	if err != nil {
		return err
	}
	a.admin = a.config(p)
	if a.core, err = kubernetes.NewForConfig(a.admin); err != nil {
		return err
	}
	a.dyn, err = dynamic.NewForConfig(a.admin)
	return err
}

func (a *API) config(p pair) *rest.Config {
	c := &rest.Config{
		Host: a.URL(),
		TLSClientConfig: rest.TLSClientConfig{
			CAData: a.ca.pem, CertData: p.cert, KeyData: p.key,
		},
		QPS: -1, // tests are not held back
	}
	if a.opts.NetNS != "" {
		c.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			return within(a.opts.NetNS, func() (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, addr)
			})
		}
	}
	return c
}

// Admin returns the way in of somebody who may do anything, without a limit of
// requests. It works from this process, also where the API is in a namespace.
func (a *API) Admin() *rest.Config { return rest.CopyConfig(a.admin) }

// Core returns a client of the administrator for Kubernetes' own resources.
func (a *API) Core() kubernetes.Interface { return a.core }

// Dynamic returns a client of the administrator for any resource.
func (a *API) Dynamic() dynamic.Interface { return a.dyn }

// Kubeconfig writes a kubeconfig of a user in these groups, who proves it by a
// certificate, and returns its path. RBAC decides what the user may do: nothing
// yet, unless a group is "system:masters". The file lives as long as the API.
func (a *API) Kubeconfig(t testing.TB, user string, groups ...string) string {
	t.Helper()
	p, err := a.ca.client(user, groups...)
	if err != nil {
		t.Fatalf("kubetest: sign the certificate of user %s: %v", user, err)
	}
	return a.writeConfig(t, user, &clientcmdapi.AuthInfo{ClientCertificateData: p.cert, ClientKeyData: p.key})
}

// ServiceAccount returns the path of a kubeconfig with a token of a ServiceAccount,
// as a Pod gets one. Namespace and ServiceAccount are made if they are missing. If
// node is given, the token is bound to a Pod of that node, which is made: in the host
// network, named after ServiceAccount and node, and never running. The user then
// carries authentication.kubernetes.io/node-name, which admission policies can look
// at. The Node itself need not exist.
func (a *API) ServiceAccount(t testing.TB, namespace, name, node string) string {
	t.Helper()
	token, err := a.token(t.Context(), namespace, name, node)
	if err != nil {
		t.Fatalf("kubetest: get a token of ServiceAccount %s/%s: %v", namespace, name, err)
	}
	return a.writeConfig(t, namespace+"-"+name, &clientcmdapi.AuthInfo{Token: token})
}

func (a *API) token(ctx context.Context, namespace, name, node string) (string, error) {
	core := a.core.CoreV1()
	_, err := core.Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return "", err
	}
	_, err = core.ServiceAccounts(namespace).Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return "", err
	}
	request := &authenticationv1.TokenRequest{}
	if node != "" {
		pod, err := a.podOf(ctx, namespace, name, node)
		if err != nil {
			return "", err
		}
		request.Spec.BoundObjectRef = &authenticationv1.BoundObjectReference{
			APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID,
		}
	}
	got, err := core.ServiceAccounts(namespace).CreateToken(ctx, name, request, metav1.CreateOptions{})
	if err != nil {
		return "", err
	}
	return got.Status.Token, nil
}

// podOf returns the Pod that stands for a ServiceAccount's process on a node.
func (a *API) podOf(ctx context.Context, namespace, account, node string) (*corev1.Pod, error) {
	pods := a.core.CoreV1().Pods(namespace)
	name := account + "-" + node
	pod, err := pods.Get(ctx, name, metav1.GetOptions{})
	if err == nil || !apierrors.IsNotFound(err) {
		return pod, err
	}
	return pods.Create(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PodSpec{
			NodeName: node, ServiceAccountName: account, HostNetwork: true,
			Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
			Containers:  []corev1.Container{{Name: "main", Image: "none.invalid/none"}},
		},
	}, metav1.CreateOptions{})
}

func (a *API) writeConfig(t testing.TB, user string, auth *clientcmdapi.AuthInfo) string {
	t.Helper()
	a.mu.Lock()
	a.files++
	n := a.files
	a.mu.Unlock()
	c := clientcmdapi.NewConfig()
	c.Clusters["test"] = &clientcmdapi.Cluster{Server: a.URL(), CertificateAuthorityData: a.ca.pem}
	c.AuthInfos["test"] = auth
	c.Contexts["test"] = &clientcmdapi.Context{Cluster: "test", AuthInfo: "test"}
	c.CurrentContext = "test"
	name := strings.NewReplacer("/", "-", ":", "-").Replace(user)
	path := filepath.Join(a.dir, fmt.Sprintf("kubeconfig-%d-%s", n, name))
	if err := clientcmd.WriteToFile(*c, path); err != nil {
		t.Fatalf("kubetest: write the kubeconfig of %s: %v", user, err)
	}
	return path
}

// Kubectl runs kubectl as the administrator and returns what it printed, without the
// last newline. The test fails if kubectl does.
func (a *API) Kubectl(t testing.TB, args ...string) string {
	t.Helper()
	out, err := a.TryKubectl(t, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TryKubectl is [API.Kubectl] for a command that may fail: the error holds what
// kubectl printed.
func (a *API) TryKubectl(t testing.TB, args ...string) (string, error) {
	t.Helper()
	program, err := Program("kubectl")
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(a.dir, "kubeconfig-admin")
	if _, err := os.Stat(config); err != nil {
		if err := os.Rename(a.Kubeconfig(t, "admin", "system:masters"), config); err != nil {
			t.Fatalf("kubetest: write the administrator's kubeconfig: %v", err)
		}
	}
	args = append([]string{program, "--kubeconfig=" + config, "--cache-dir=" + filepath.Join(a.dir, "kubectl")}, args...)
	if a.opts.NetNS != "" {
		args = append([]string{"nsenter", "--net=" + a.opts.NetNS, "--"}, args...)
	}
	b, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput()
	out := strings.TrimRight(string(b), "\n")
	if err != nil {
		return out, fmt.Errorf("kubetest: run %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return out, nil
}
