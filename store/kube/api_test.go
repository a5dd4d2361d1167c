package kube

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"caracal.dev/caracal"
	v1 "caracal.dev/caracal/api/v1"
	"caracal.dev/caracal/internal/kubetest"
	"caracal.dev/caracal/store/kube/apiserver"
)

func addNode(t testing.TB, api *kubetest.API, name, ip string) {
	t.Helper()
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"rack": "1"}}}
	n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: ip}}
	if _, err := api.Core().CoreV1().Nodes().Create(t.Context(), n, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func addPod(t testing.TB, api *kubetest.API, name, node, ip string) *corev1.Pod {
	t.Helper()
	pods := api.Core().CoreV1().Pods("default")
	p, err := pods.Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": name}},
		Spec:       corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "c", Image: "none.invalid/none"}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if ip == "" {
		return p
	}
	p.Status.PodIP, p.Status.PodIPs = ip, []corev1.PodIP{{IP: ip}}
	if p, err = pods.UpdateStatus(t.Context(), p, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	return p
}

func hasPod(s *caracal.Snapshot, name, node string) bool {
	w, ok := s.Workloads.Get("default/" + name)
	return ok && w.Node == node
}

// cluster is what most tests begin with: two nodes, a pool, a block for each, a pod
// of each, a policy and a peer with a password.
const cluster = `
{apiVersion: caracal.dev/v1, kind: IPPool, metadata: {name: pods}, spec: {cidr: 10.0.0.0/16}}
---
{apiVersion: caracal.dev/v1, kind: BlockAffinity, metadata: {name: a.10.0.0.0-26}, spec: {node: a, cidr: 10.0.0.0/26, state: confirmed, record: x}}
---
{apiVersion: caracal.dev/v1, kind: BlockAffinity, metadata: {name: b.10.0.1.0-26}, spec: {node: b, cidr: 10.0.1.0/26, state: confirmed, record: x}}
---
{apiVersion: caracal.dev/v1, kind: BGPPeer, metadata: {name: tor}, spec: {peerIP: 198.51.100.1, asNumber: 65000, password: {secretKeyRef: {name: bgp, key: tor}}}}
---
{apiVersion: v1, kind: Secret, metadata: {name: bgp, namespace: default}, stringData: {tor: sesame}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: p, namespace: default}
spec: {podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: x}}}], ports: [{port: 80}]}]}
`

func startCluster(t testing.TB) *kubetest.API {
	t.Helper()
	api := start(t)
	addNode(t, api, "a", "192.0.2.1")
	addNode(t, api, "b", "192.0.2.2")
	api.ApplyYAML(t, cluster)
	addPod(t, api, "mine", "a", "10.0.0.1")
	addPod(t, api, "theirs", "b", "10.0.1.1")
	return api
}

// settled is that all of cluster is there.
func settled(s *caracal.Snapshot) bool {
	p, _ := s.Peers.Get("tor")
	return s.Synced && s.Nodes.Len() == 2 && s.Blocks.Len() == 2 && s.Pools.Len() == 1 && s.Policies.Len() == 1 &&
		hasPod(s, "mine", "a") && hasPod(s, "theirs", "b") && p.Password.Secret.Reveal() == "sesame"
}

func complete(s *caracal.Snapshot) bool { return s.Complete() && settled(s) }

func TestFollowsAPI(t *testing.T) {
	t.Parallel()
	api := startCluster(t)
	s, _ := run(t, Options{Client: connect(t, api), Node: "a", Namespace: "default"})
	snap := until(t, s, "all of the cluster", complete)
	mine, _ := snap.Workloads.Get("default/mine")
	theirs, _ := snap.Workloads.Get("default/theirs")
	if mine.Addrs != nil || len(theirs.Addrs) != 1 || theirs.Labels["app"] != "theirs" {
		t.Errorf("%+v\n%+v", mine, theirs)
	}
	if b, _ := snap.Blocks.Get(netip.MustParsePrefix("10.0.1.0/26")); b.Node != "b" || !b.Claimed {
		t.Errorf("%+v", b)
	}
	if len(snap.Problems) != 0 {
		t.Error(show(snap))
	}
	t.Run("changes", func(t *testing.T) { changes(t, api, s) })
	t.Run("knows", func(t *testing.T) { knows(t, api, s) })
	t.Run("policies at once", func(t *testing.T) { policiesAtOnce(t, api, s) })
	t.Run("heartbeats", func(t *testing.T) { heartbeats(t, api, s) })
	t.Run("password", func(t *testing.T) { password(t, api, s) })
	views, err := s.Views(t.Context(), []string{"b"})
	if err != nil || len(views) != 1 || views[0].Self != "b" || views[0].Peers.Len() != 1 {
		t.Fatalf("%v %v", views, err)
	}
	if p, _ := views[0].Peers.Get("tor"); p.Password.From != "Secret default/bgp, key tor" || p.Password.Secret.Reveal() != "" {
		t.Errorf("the password of another node's session: %+v", p.Password)
	}
}

func changes(t *testing.T, api *kubetest.API, s *Store) {
	api.ApplyYAML(t, `{apiVersion: caracal.dev/v1, kind: BGPPeer, metadata: {name: second}, spec: {peerIP: 198.51.100.2, asNumber: 65001}}
---
{apiVersion: caracal.dev/v1, kind: IPPool, metadata: {name: bad}, spec: {cidr: 10.0.5.0/24}}
---
{apiVersion: caracal.dev/v1, kind: BGPPeer, metadata: {name: typo}, spec: {peerIP: 198.51.100.3, asNumbr: 1}}
---
{apiVersion: v1, kind: Service, metadata: {name: svc}, spec: {ports: [{port: 80}], externalTrafficPolicy: Local, type: LoadBalancer}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: svc-1, labels: {kubernetes.io/service-name: svc}}
addressType: IPv4
endpoints: [{addresses: [10.0.0.1], nodeName: a}]
`)
	until(t, s, "the new objects", func(s *caracal.Snapshot) bool {
		svc, _ := s.Services.Get("default/svc")
		text := show(s)
		return s.Peers.Len() == 2 && s.Pools.Len() == 1 && svc.ReadyHere4 && svc.ExternalLocal &&
			strings.Contains(text, "overlaps 10.0.0.0/16 of IPPool pods") && strings.Contains(text, "asNumbr: unknown field")
	})
	addNode(t, api, "c", "192.0.2.3")
	addPod(t, api, "web-0", "b", "10.0.1.9")
	until(t, s, "node and pod", func(s *caracal.Snapshot) bool { return s.Nodes.Len() == 3 && hasPod(s, "web-0", "b") })
	// A Pod is deleted and made again elsewhere under its name, and a node goes.
	now := int64(0)
	core := api.Core().CoreV1()
	if err := core.Pods("default").Delete(t.Context(), "web-0", metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
		t.Fatal(err)
	}
	addPod(t, api, "web-0", "c", "10.0.1.9")
	if err := core.Nodes().Delete(t.Context(), "c", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	api.Kubectl(t, "delete", "bgppeers/second", "bgppeers/typo", "ippools/bad", "service/svc", "endpointslice/svc-1")
	until(t, s, "all gone", func(s *caracal.Snapshot) bool {
		return s.Nodes.Len() == 2 && hasPod(s, "web-0", "c") && s.Peers.Len() == 1 && s.Services.Len() <= 1 && !strings.Contains(show(s), "rejected")
	})
}

func knows(t *testing.T, api *kubetest.API, s *Store) {
	if !s.Knows(t.Context(), "default", "mine", "") {
		t.Error("it has been there for long")
	}
	time.AfterFunc(200*time.Millisecond, func() { addPod(t, api, "late", "a", "") })
	if !s.Knows(t.Context(), "default", "late", "") {
		t.Error("it came in time")
	}
	knowsAnew(t, api, s)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if s.Knows(ctx, "default", "web-0", "") || s.Knows(ctx, "default", "nobody", "") {
		t.Error("no such Pod is here")
	}
}

// knowsAnew makes a Pod anew on its node under its name: a runtime that says which UID
// it means is not told of the one before, whatever the watch has seen by then.
func knowsAnew(t *testing.T, api *kubetest.API, s *Store) {
	t.Helper()
	pods := api.Core().CoreV1().Pods("default")
	was := addPod(t, api, "again", "a", "")
	if !s.Knows(t.Context(), "default", "again", string(was.UID)) {
		t.Error("its UID is not known")
	}
	now := int64(0)
	if err := pods.Delete(t.Context(), "again", metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
		t.Fatal(err)
	}
	is := addPod(t, api, "again", "a", "")
	before := s.Snapshot()
	if !s.Knows(t.Context(), "default", "again", string(is.UID)) || s.hasPod("default/again", string(was.UID)) {
		t.Error("of two Pods of one name, the runtime asked for the second")
	}
	if w, _ := s.Snapshot().Workloads.Get("default/again"); w.Node != "a" {
		t.Errorf("%+v, after generation %d", w, before.Generation)
	}
	// The kubelet knows a static Pod by another UID than the API knows its mirror.
	mirror := is.DeepCopy()
	mirror.ObjectMeta = metav1.ObjectMeta{Name: "mirror-a", Annotations: map[string]string{
		corev1.MirrorPodAnnotationKey: "5a17", "kubernetes.io/config.hash": "5a17", "kubernetes.io/config.source": "file"}}
	made, err := pods.Create(t.Context(), mirror, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !s.Knows(t.Context(), "default", "mirror-a", "5a17") || !s.Knows(t.Context(), "default", "mirror-a", string(made.UID)) {
		t.Error("a static Pod is known by either UID")
	}
}

// policiesAtOnce writes policies and looks how long it takes until they are published.
func policiesAtOnce(t *testing.T, api *kubetest.API, s *Store) {
	var worst time.Duration
	for i := range 20 {
		name := fmt.Sprint("quick-", i)
		began := time.Now()
		api.ApplyYAML(t, fmt.Sprintf(`{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: %s}, spec: {podSelector: {}}}`, name))
		until(t, s, name, func(s *caracal.Snapshot) bool { _, ok := s.Policies.Get("default/" + name); return ok })
		worst = max(worst, time.Since(began))
	}
	t.Logf("a policy from before its write to its Snapshot: %v at worst of 20", worst)
	if worst > 5*time.Second {
		t.Error("that is too slow on any machine")
	}
}

// heartbeats writes what changes nothing, and sees no Snapshot.
func heartbeats(t *testing.T, api *kubetest.API, s *Store) {
	nodes, pods := api.Core().CoreV1().Nodes(), api.Core().CoreV1().Pods("default")
	before := s.Snapshot().Generation
	for i := range 5 {
		n, err := nodes.Get(t.Context(), "b", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: "True", LastHeartbeatTime: metav1.NewTime(time.Now().Add(time.Duration(i) * time.Second))}}
		if _, err := nodes.UpdateStatus(t.Context(), n, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		p, err := pods.Get(t.Context(), "theirs", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		p.Status.Message = fmt.Sprint(i)
		if _, err := pods.UpdateStatus(t.Context(), p, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	addPod(t, api, "after", "b", "10.0.1.20") // behind them in the watch of Pods
	snap := until(t, s, "the pod after them", func(s *caracal.Snapshot) bool { return hasPod(s, "after", "b") })
	if snap.Generation != before+1 {
		t.Errorf("%d Snapshots for one change", snap.Generation-before)
	}
}

func password(t *testing.T, api *kubetest.API, s *Store) {
	api.ApplyYAML(t, `{apiVersion: v1, kind: Secret, metadata: {name: bgp, namespace: default}, stringData: {tor: changed}}`)
	if _, err := s.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	is := func(word, problem string) func(*caracal.Snapshot) bool {
		return func(s *caracal.Snapshot) bool {
			p, _ := s.Peers.Get("tor")
			return p.Password.Secret.Reveal() == word && strings.Contains(show(s), problem)
		}
	}
	until(t, s, "the new password", is("changed", ""))
	api.Kubectl(t, "delete", "secret/bgp")
	if _, err := s.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	until(t, s, "the old password and a warning", is("changed", "there is no such Secret; the passwords that were read before stay"))
}

func TestOutages(t *testing.T) {
	t.Parallel()
	api := startCluster(t)
	dir := t.TempDir()
	o := Options{Client: connect(t, api), Node: "a", Namespace: "default", StateDir: dir}
	s, stop := run(t, o)
	until(t, s, "all of the cluster", complete)

	api.Kill()
	snap := until(t, s, "a word about the API", func(s *caracal.Snapshot) bool { return strings.Contains(show(s), "cannot be reached") })
	if !complete(snap) {
		t.Errorf("an API that is away changes nothing: %s", show(snap))
	}
	if s.Knows(t.Context(), "default", "unknown", "") {
		t.Error("what is not known is not known")
	}
	api.Restart(t)
	addPod(t, api, "new", "b", "10.0.1.2")
	api.Kubectl(t, "delete", "networkpolicy/p")
	until(t, s, "what changed meanwhile, and no problem", func(s *caracal.Snapshot) bool {
		return hasPod(s, "new", "b") && s.Policies.Len() == 0 && len(s.Problems) == 0
	})
	api.ApplyYAML(t, cluster)
	until(t, s, "all of the cluster", complete)

	// Frozen, it is found out late; what is written after it is thawed comes.
	api.Freeze()
	api.Thaw()
	addPod(t, api, "thawed", "b", "10.0.1.3")
	kept := addPod(t, api, "kept", "a", "")
	until(t, s, "the pods after the thaw", func(s *caracal.Snapshot) bool { return hasPod(s, "thawed", "b") && hasPod(s, "kept", "a") })
	stop()

	// A start without the API has all that there was.
	api.Kill()
	s, stop = run(t, o)
	snap = until(t, s, "the cluster from disk", func(s *caracal.Snapshot) bool { return settled(s) && hasPod(s, "thawed", "b") })
	if snap.Complete() || snap.Incomplete[v1.KindWorkload] == "" {
		t.Errorf("what was not listed may lack something: %s", show(snap))
	}
	if !s.Knows(t.Context(), "default", "kept", string(kept.UID)) || s.hasPod("default/kept", "another") {
		t.Error("the UID of a Pod is not on disk")
	}
	until(t, s, "a word about the API", func(s *caracal.Snapshot) bool { return strings.Contains(show(s), "cannot be reached") })
	// When the API is back it takes its place without a change of anything.
	before := s.Snapshot()
	api.Restart(t)
	after := until(t, s, "complete", complete)
	same := 0
	after.Workloads.Diff(before.Workloads, func(a, b caracal.Workload) bool { return false }, func(string, *caracal.Workload, *caracal.Workload) { same++ })
	after.Nodes.Diff(before.Nodes, func(a, b caracal.Node) bool { return false }, func(string, *caracal.Node, *caracal.Node) { same++ })
	after.Policies.Diff(before.Policies, func(a, b caracal.Policy) bool { return false }, func(string, *caracal.Policy, *caracal.Policy) { same++ })
	if same != 0 {
		t.Errorf("%d objects were exchanged for equal ones", same)
	}
	stop()
	garbage(t, o, filepath.Join(dir, "kube"))
}

// garbage damages what is on disk.
func garbage(t *testing.T, o Options, dir string) {
	path := filepath.Join(dir, v1.KindNetworkPolicy)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(text), "default", "defauld", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	s, _ := run(t, o)
	until(t, s, "the cluster, and a word about the file", func(s *caracal.Snapshot) bool {
		return complete(s) && strings.Contains(show(s), "NetworkPolicy.corrupt: what was last known of the API cannot be used")
	})
}

// lines is a log that may be read while it is written.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// untilDenied waits until the API has denied so many more requests, whosever.
func untilDenied(t *testing.T, api *kubetest.API, more int) {
	t.Helper()
	denied := func() (n int) {
		const name = `authorization_attempts_total{result="no-opinion"} ` // which is RBAC's no
		for line := range strings.Lines(api.Kubectl(t, "get", "--raw", "/metrics")) {
			if value, ok := strings.CutPrefix(line, name); ok {
				n, _ = strconv.Atoi(strings.TrimSpace(value))
			}
		}
		return n
	}
	began := denied()
	for end := time.Now().Add(limit); denied() < began+more; time.Sleep(200 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d requests were denied, %d before", denied(), began)
		}
	}
}

func TestForbidden(t *testing.T) {
	t.Parallel()
	api := startCluster(t)
	api.ApplyYAML(t, `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: reader}
rules:
- {apiGroups: [caracal.dev, networking.k8s.io, discovery.k8s.io], resources: ["*"], verbs: [get, list, watch]}
- {apiGroups: [""], resources: [pods, namespaces, services, secrets], verbs: [get, list, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: reader}
subjects: [{kind: ServiceAccount, name: caracal, namespace: default}]
`)
	c, err := apiserver.Connect(apiserver.Options{Kubeconfig: api.ServiceAccount(t, "default", "caracal", "a")})
	if err != nil {
		t.Fatal(err)
	}
	var log lines
	s, _ := run(t, Options{Client: c, Node: "a", Namespace: "default", Log: slog.New(slog.NewTextHandler(&log, nil))})
	snap := until(t, s, "a word about Nodes", func(s *caracal.Snapshot) bool {
		return s.Incomplete[v1.KindWorkload] == "" && strings.Contains(s.Incomplete[kindNode], "apply manifests/base/rbac.yaml")
	})
	if snap.Synced || !strings.Contains(show(snap), `cannot list and watch resource "nodes"`) {
		t.Error(show(snap))
	}
	untilDenied(t, api, 6) // three tries to watch and to list
	if text := log.String(); strings.Count(text, "Node cannot be read") != 1 || strings.Contains(text, "no longer a problem: Node cannot") {
		t.Errorf("said more than once:\n%s", text)
	}
	api.Kubectl(t, "patch", "clusterrole", "reader", "--type=json", "-p", `[{"op":"add","path":"/rules/1/resources/-","value":"nodes"}]`)
	until(t, s, "all of the cluster", func(s *caracal.Snapshot) bool { return complete(s) && len(s.Problems) == 0 })
}
