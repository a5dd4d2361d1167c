package cluster

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// PodPort is where the pods of [Cluster.CreatePod] serve.
const PodPort = 8080

// podYAML is a Pod of a node that answers on PodPort who asked; kubelet's probe of
// that port makes it ready.
const podYAML = `
apiVersion: v1
kind: Pod
metadata: {name: %[1]s, labels: {app: %[3]s, pod: %[1]s}}
spec:
  nodeSelector: {kubernetes.io/hostname: %[2]s}
  terminationGracePeriodSeconds: 0
  containers:
  - name: main
    image: ` + Busybox + `
    command: [/bin/httpd, -f, -p, "8080", -h, /www]
    readinessProbe:
      periodSeconds: 1
      httpGet: {port: 8080, path: /cgi-bin/who}
`

// Pod is a pod of the cluster.
type Pod struct {
	Name  string
	Node  string
	Addrs []netip.Addr
}

// Addr returns its address of a family; invalid if it has none.
func (p Pod) Addr(is6 bool) netip.Addr {
	for _, a := range p.Addrs {
		if a.Is6() == is6 {
			return a
		}
	}
	return netip.Addr{}
}

// CreatePod creates a pod on a node through the API, with the label app.
func (c *Cluster) CreatePod(t testing.TB, name, node, app string) {
	t.Helper()
	c.API.ApplyYAML(t, fmt.Sprintf(podYAML, name, node, app))
}

// WaitPod waits until a pod is ready.
func (c *Cluster) WaitPod(t testing.TB, name string) Pod {
	t.Helper()
	var out Pod
	c.Wait(t, time.Minute, func() string {
		p, err := c.API.Core().CoreV1().Pods("default").Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		if !podReady(p) {
			return fmt.Sprintf("pod %s is not ready: %s %v", name, p.Status.Phase, c.events(t, name))
		}
		out = Pod{Name: name, Node: p.Spec.NodeName}
		for _, ip := range p.Status.PodIPs {
			out.Addrs = append(out.Addrs, netip.MustParseAddr(ip.IP))
		}
		return ""
	})
	return out
}

func podReady(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// events are what the cluster says of an object.
func (c *Cluster) events(t testing.TB, name string) []string {
	list, err := c.API.Core().CoreV1().Events("").List(t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.name=" + name})
	if err != nil {
		return []string{err.Error()}
	}
	var out []string
	for _, e := range list.Items {
		out = append(out, e.Reason+": "+e.Message)
	}
	return out
}

// request asks the page that says who asked, for at most two seconds. busybox's wget
// ends with a fault where its C library is linked statically.
func request(addr netip.Addr, port int) string {
	return fmt.Sprintf(`printf 'GET /cgi-bin/who HTTP/1.0\r\n\r\n' | nc -w 2 %s %d`, addr, port)
}

// AskFromPod asks a server from a pod, and returns which address the server saw; the
// error is also that nobody answers.
func (c *Cluster) AskFromPod(t testing.TB, pod string, addr netip.Addr, port int) (netip.Addr, error) {
	out, err := c.API.TryKubectl(t, "exec", pod, "--", "sh", "-c", request(addr, port))
	return answer(out, err)
}

// AskFromNode asks a server from a node of the lab, such as [Outside].
func (c *Cluster) AskFromNode(t testing.TB, node string, addr netip.Addr, port int) (netip.Addr, error) {
	out, err := c.Lab.Node(node).Exec(t.Context(), "busybox", "sh", "-c", strings.Replace(request(addr, port), "| nc", "| busybox nc", 1))
	return answer(out, err)
}

// answer takes the address out of an HTTP answer.
func answer(out string, err error) (netip.Addr, error) {
	if err != nil {
		return netip.Addr{}, err
	}
	_, body, ok := strings.Cut(strings.ReplaceAll(out, "\r", ""), "\n\n")
	if !ok {
		return netip.Addr{}, fmt.Errorf("cluster: the answer is %s", strconv.Quote(out))
	}
	text := strings.Trim(strings.TrimSpace(body), "[]")
	text = strings.TrimPrefix(text, "::ffff:") // the server's socket is of both families
	a, err := netip.ParseAddr(text)
	if err != nil {
		return a, fmt.Errorf("cluster: the answer is %s: %w", strconv.Quote(out), err)
	}
	return a, nil
}
