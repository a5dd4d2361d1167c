package address

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	ktesting "k8s.io/client-go/testing"

	"caracal.dev/caracal"
)

// host is one whose addresses the test changes.
type host struct {
	mu    sync.Mutex
	addrs []On
}

func (h *host) set(addrs ...On) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.addrs = addrs
}

func (h *host) Addrs() ([]On, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.addrs, nil
}

func (*host) Source(netip.Addr) netip.Addr { return netip.Addr{} }

// snapshots is a store of this node alone.
type snapshots struct {
	mu   sync.Mutex
	snap *caracal.Snapshot
	bell chan struct{}
}

func (s *snapshots) publish(v4 string) {
	snap := caracal.NewSnapshot("a")
	snap.Nodes = snap.Nodes.Put("a", caracal.Node{Name: "a", IPv4: pfx(v4)})
	s.mu.Lock()
	s.snap = snap
	s.mu.Unlock()
	s.bell <- struct{}{}
}

func (s *snapshots) Snapshot() *caracal.Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.snap
}

func (s *snapshots) Subscribe() <-chan struct{} { return s.bell }

type world struct {
	t     *testing.T
	core  *fake.Clientset
	host  *host
	store *snapshots
	dir   string
}

func newWorld(t *testing.T) *world {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "a", Annotations: map[string]string{"other": "x"}}}
	n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: "a"}, {Type: corev1.NodeInternalIP, Address: "192.0.2.1"}}
	w := &world{t, fake.NewClientset(n), &host{}, &snapshots{snap: caracal.NewSnapshot("a"), bell: make(chan struct{}, 1)}, t.TempDir()}
	w.host.set(on("eth0", "192.0.2.1/24"), on("eth1", "203.0.113.1/28"))
	return w
}

// run starts a keeper; it ends with the test, or by what is returned.
func (w *world) run(method string) (*Keeper, func()) {
	m, err := ParseMethod(method)
	if err != nil {
		w.t.Fatal(err)
	}
	k := New(Options{Core: w.core, Node: "a", Method: m, StateDir: w.dir, Host: w.host, Look: 5 * time.Millisecond, Ask: time.Hour})
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := k.Run(ctx, w.store); err != nil {
			w.t.Error(err)
		}
	}()
	stop := sync.OnceFunc(func() { cancel(); <-done })
	w.t.Cleanup(stop)
	return k, stop
}

func (w *world) until(what string, ok func() bool) {
	w.t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if ok() {
			return
		}
	}
	w.t.Fatalf("waited in vain until %s", what)
}

func (w *world) annotation(key string) string {
	n, err := w.core.CoreV1().Nodes().Get(context.Background(), "a", metav1.GetOptions{})
	if err != nil {
		return err.Error()
	}
	if n.Annotations["other"] != "x" {
		w.t.Errorf("annotations %v", n.Annotations)
	}
	return n.Annotations[key]
}

func (w *world) patches() (n int) {
	for _, a := range w.core.Actions() {
		if a.GetVerb() == "patch" {
			n++
			if a.GetSubresource() != "status" {
				w.t.Errorf("a patch of the Node itself: %v", a)
			}
		}
	}
	return n
}

func TestKeeperKeepsTheFirstChoice(t *testing.T) {
	w := newWorld(t)
	k, stop := w.run("")
	w.until("the Node is annotated", func() bool { return w.annotation(AnnotationIPv4) == "192.0.2.1/24" })
	w.host.set(on("eth0", "192.0.2.9/24"))
	w.until("it is said that the address does not fit", func() bool { return strings.Contains(k.Problem(), "192.0.2.1 is on none") })
	stop()
	k, stop = w.run("") // as kept, though it does not fit
	w.until("it is said again", func() bool { return strings.Contains(k.Problem(), "192.0.2.1 is on none") })
	w.host.set(on("eth0", "192.0.2.1/24"))
	w.until("it fits again", func() bool { return k.Problem() == "" })
	stop()
	if got := w.annotation(AnnotationIPv4); got != "192.0.2.1/24" || w.patches() != 1 {
		t.Errorf("annotation %s after %d patches", got, w.patches())
	}
	// Another method is the operator's word.
	w.host.set(on("eth0", "192.0.2.1/24"), on("eth1", "203.0.113.1/28"))
	w.run("interface=eth1")
	w.until("the Node is annotated anew", func() bool { return w.annotation(AnnotationIPv4) == "203.0.113.1/28" })
}

func TestKeeperPutsAnnotationsBack(t *testing.T) {
	w := newWorld(t)
	w.run("")
	w.until("the Node is annotated", func() bool { return w.annotation(AnnotationIPv4) == "192.0.2.1/24" })
	w.store.publish("192.0.2.1/24")
	n, err := w.core.CoreV1().Nodes().Get(t.Context(), "a", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	delete(n.Annotations, AnnotationIPv4)
	n.Annotations[AnnotationIPv6] = "2001:db8::66/64" // which the node does not have
	if _, err := w.core.CoreV1().Nodes().Update(t.Context(), n, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	w.store.publish("192.0.2.1/32")
	w.until("it is annotated again", func() bool { return w.annotation(AnnotationIPv4) == "192.0.2.1/24" })
	if got := w.annotation(AnnotationIPv6); got != "" {
		t.Errorf("of IPv6: %s", got)
	}
}

func TestKeeperWithoutTheAPI(t *testing.T) {
	w := newWorld(t)
	away := true
	var mu sync.Mutex
	w.core.PrependReactor("get", "nodes", func(ktesting.Action) (bool, runtime.Object, error) {
		mu.Lock()
		defer mu.Unlock()
		return away, nil, errors.New("connection refused")
	})
	if err := (record{"kubernetes-internal-ip", pfx("192.0.2.1/24"), netip.Prefix{}}).save(w.dir); err != nil {
		t.Fatal(err)
	}
	w.host.set(on("eth0", "192.0.2.9/24"))
	k, _ := w.run("")
	w.until("what is on record is judged", func() bool { return strings.Contains(k.Problem(), "192.0.2.1") })
	mu.Lock()
	away = false
	mu.Unlock()
	w.until("the Node is annotated", func() bool { return w.annotation(AnnotationIPv4) == "192.0.2.1/24" })
	var r map[string]string
	b, err := os.ReadFile(filepath.Join(w.dir, FileName))
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	if err != nil || r["ipv4"] != "192.0.2.1/24" {
		t.Errorf("record %s, %v", b, err)
	}
}

func TestDamagedRecord(t *testing.T) {
	w := newWorld(t)
	if err := os.WriteFile(filepath.Join(w.dir, FileName), []byte(`{"method":"kubernetes-internal-ip","ipv4":"2001:db8::1/64"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	w.run("")
	w.until("the Node is annotated", func() bool { return w.annotation(AnnotationIPv4) == "192.0.2.1/24" })
}
