package records

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"caracal.dev/caracal/internal/kubetest"
	"caracal.dev/caracal/ipam"
	"caracal.dev/caracal/ipam/storetest"
	"caracal.dev/caracal/store/kube/apiserver"
)

// shared is one API for the tests that do it no harm.
var shared = sync.OnceValues(func() (*kubetest.API, error) { return kubetest.New(kubetest.Options{}) })

func TestMain(m *testing.M) {
	code := m.Run()
	if a, err := shared(); err == nil {
		a.Close()
	}
	os.Exit(code)
}

// cluster is an API with our kinds, and none of their objects.
type cluster struct {
	*kubetest.API
	requests atomic.Int64
	// fail, if set, has a request fail after it was carried out (or before).
	fail atomic.Pointer[func(*http.Request) (before, after error)]
}

func open(t *testing.T) *cluster {
	t.Helper()
	a, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	return on(t, a)
}

func on(t *testing.T, a *kubetest.API) *cluster {
	t.Helper()
	a.Apply(t, "../../../manifests/base/crds.yaml")
	c := &cluster{API: a}
	s := c.store(t)
	for _, res := range []resource{s.blocks, s.claims} {
		if err := res.DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// client is one whose requests are counted.
func (c *cluster) client(t *testing.T) *apiserver.Client {
	t.Helper()
	config := c.Admin()
	config.Wrap(func(rt http.RoundTripper) http.RoundTripper { return tripper{c, rt} })
	own, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return &apiserver.Client{Config: rest.CopyConfig(config), Own: own}
}

func (c *cluster) store(t *testing.T) *Store { return New(c.client(t)) }

type tripper struct {
	c  *cluster
	rt http.RoundTripper
}

func (r tripper) RoundTrip(req *http.Request) (*http.Response, error) {
	r.c.requests.Add(1)
	fail := r.c.fail.Load()
	if fail == nil {
		return r.rt.RoundTrip(req)
	}
	before, after := (*fail)(req)
	if before != nil {
		return nil, before
	}
	resp, err := r.rt.RoundTrip(req)
	if err == nil && after != nil {
		resp.Body.Close()
		return nil, after
	}
	return resp, err
}

// damager can make records unreadable.
type damager struct{ *Store }

func (d damager) Damage(key string) {
	s, _ := ipam.SubjectOf(key)
	patch, _ := json.Marshal(map[string]any{"spec": map[string]any{"record": encoded + "!"}})
	if _, err := d.of(s).Patch(context.Background(), nameOf(s), types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		panic(err)
	}
}

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) ipam.Store { return damager{open(t).store(t)} })
}

// TestNodeList: what is of one node is listed without the rest, and pages make a
// whole.
func TestNodeList(t *testing.T) {
	ctx := context.Background()
	s := open(t).store(t)
	long := strings.Repeat("n", 253)
	var want []string
	for _, node := range []string{"a", "b.example", long, "A b"} {
		want = nil
		for i := range 3 {
			key := ipam.Subject{Kind: ipam.AffinitySubject, Node: node, CIDR: pfx(fmt.Sprintf("10.0.%d.0/26", i))}.Key()
			mustPut(t, s, key, `{"version":1,"state":"confirmed"}`+"\n")
			want = append(want, key)
		}
	}
	loan := ipam.Subject{Kind: ipam.BorrowedSubject, CIDR: pfx("10.9.0.1/32")}.Key()
	mustPut(t, s, loan, `{"version":1,"state":"pending","node":"A b","block":"10.9.0.0/26"}`+"\n")
	records, bad, err := s.ListNode(ctx, "A b")
	if err != nil || len(bad) > 0 {
		t.Fatal(bad, err)
	}
	var got []string
	for _, r := range records {
		got = append(got, r.Key)
	}
	if want = append(want, loan); strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("of the node: %v; want %v", got, want)
	}
	all, bad, err := s.List(ctx, "affinity/")
	if err != nil || len(bad) > 0 || len(all) != 12 {
		t.Errorf("all claims: %d %v %v", len(all), bad, err)
	}
}

func mustPut(t *testing.T, s ipam.Store, key, value string) string {
	t.Helper()
	r, err := s.Put(context.Background(), ipam.Record{Key: key, Value: []byte(value)})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestUnanswered: a write that was done and not answered counts as done, one that
// was not done as failed, and one that was overtaken as a conflict.
func TestUnanswered(t *testing.T) {
	ctx := context.Background()
	lost := errors.New("connection lost")
	for _, key := range []string{"block/10.0.0.0-26", "affinity/a/10.0.0.0-26"} {
		for _, exists := range []bool{false, true} {
			t.Run(fmt.Sprint(key, " ", exists), func(t *testing.T) {
				c := open(t)
				s := c.store(t)
				rev := ""
				if exists {
					rev = mustPut(t, s, key, "one\n")
				}
				put := func(value string) (string, error) {
					return s.Put(ctx, ipam.Record{Key: key, Value: []byte(value), Revision: rev})
				}
				writes := func(r *http.Request) bool { return r.Method == http.MethodPost || r.Method == http.MethodPut }
				c.failing(func(r *http.Request) (error, error) {
					if writes(r) {
						return lost, nil
					}
					return nil, nil
				})
				if _, err := put("two\n"); !errors.Is(err, lost) {
					t.Fatalf("not done: %v", err)
				}
				c.failing(func(r *http.Request) (error, error) {
					if writes(r) {
						return nil, lost
					}
					return nil, nil
				})
				got, err := put("two\n")
				if err != nil {
					t.Fatalf("done and not answered: %v", err)
				}
				c.fail.Store(nil)
				if r, err := s.Get(ctx, key); err != nil || r.Revision != got || string(r.Value) != "two\n" {
					t.Fatalf("%+v %v; revision %s", r, err, got)
				}
				c.failing(func(r *http.Request) (error, error) {
					if r.Method == http.MethodDelete {
						return nil, lost
					}
					return nil, nil
				})
				if err := s.Delete(ctx, key, got); err != nil {
					t.Fatalf("deleted and not answered: %v", err)
				}
			})
		}
	}
}

func (c *cluster) failing(f func(*http.Request) (before, after error)) { c.fail.Store(&f) }

// TestEdited: claims that somebody edited, and objects that are none of ours, are
// damaged, and everything else is there.
func TestEdited(t *testing.T) {
	ctx := context.Background()
	s := open(t).store(t)
	const key = "affinity/a/10.0.0.0-26"
	mustPut(t, s, key, `{"version":1,"state":"confirmed"}`+"\n")
	mustPut(t, s, "affinity/a/10.0.1.0-26", `{"version":1,"state":"confirmed"}`+"\n")
	for _, c := range []struct{ patch, says string }{
		{`{"spec":{"state":"pending"}}`, "spec.state"},
		{`{"spec":{"node":"b"}}`, "spec.node"},
		{`{"spec":{"cidr":"10.0.0.0/8"}}`, "spec.cidr"},
		{`{"spec":{"borrowedFrom":"10.0.0.0/8"}}`, "spec.borrowedFrom"},
		{`{"spec":{"record":"base64:%%"}}`, "base64"},
	} {
		if _, err := s.claims.Patch(ctx, "a.10.0.0.0-26", types.MergePatchType, []byte(c.patch), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		r, err := s.Get(ctx, key)
		if !errors.Is(err, ipam.ErrDamaged) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "kubectl get blockaffinity a.10.0.0.0-26") {
			t.Errorf("%s: %v", c.patch, err)
		}
		records, bad, err := s.List(ctx, "affinity/")
		if err != nil || len(records) != 1 || len(bad) != 1 || bad[0].Key != key {
			t.Errorf("%s: %v %v %v", c.patch, records, bad, err)
		}
		if _, err := s.Put(ctx, ipam.Record{Key: key, Value: []byte(`{"version":1,"state":"confirmed"}` + "\n"), Revision: r.Revision}); err != nil {
			t.Fatalf("%s: mend: %v", c.patch, err)
		}
		if _, err := s.Get(ctx, key); err != nil {
			t.Errorf("%s: mended: %v", c.patch, err)
		}
	}
}

// TestAway: without an API, and with one that hangs, an error comes in time, and
// afterwards all goes on.
func TestAway(t *testing.T) {
	c := open(t)
	a, s := c.API, c.store(t)
	s.request, s.readBackIn = 2*time.Second, time.Second
	const key = "block/10.0.0.0-26"
	rev := mustPut(t, s, key, "one\n")
	for _, outage := range []struct {
		name       string
		begin, end func()
	}{{"killed", a.Kill, func() { a.Restart(t) }}, {"frozen", a.Freeze, a.Thaw}} {
		outage.begin()
		began := time.Now()
		_, err := s.Put(context.Background(), ipam.Record{Key: key, Value: []byte(outage.name), Revision: rev})
		if err == nil || errors.Is(err, ipam.ErrConflict) || errors.Is(err, ipam.ErrNotFound) || time.Since(began) > 4*(s.request+s.readBackIn) {
			t.Errorf("%s: put: %v after %v", outage.name, err, time.Since(began))
		}
		t.Logf("%s after %v: %v", outage.name, time.Since(began).Round(time.Millisecond), err)
		outage.end()
		for end := time.Now().Add(3 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
			r, err := s.Get(context.Background(), key)
			if err == nil {
				rev = r.Revision
				break
			}
			if time.Now().After(end) {
				t.Fatalf("%s: not there again: %v", outage.name, err)
			}
		}
	}
}

// TestNotAllowed: what is missing is said, and never taken for an empty store.
func TestNotAllowed(t *testing.T) {
	c := open(t)
	client, err := apiserver.Connect(apiserver.Options{Kubeconfig: c.Kubeconfig(t, "nobody")})
	if err != nil {
		t.Fatal(err)
	}
	s := New(client)
	_, err = s.Get(t.Context(), "block/10.0.0.0-26")
	if errors.Is(err, ipam.ErrNotFound) || !strings.Contains(fmt.Sprint(err), "rbac.yaml") {
		t.Errorf("forbidden: %v", err)
	}
	if _, err = s.Put(t.Context(), ipam.Record{Key: "block/10.0.0.0-26"}); !strings.Contains(fmt.Sprint(err), "rbac.yaml") {
		t.Errorf("forbidden: %v", err)
	}
	admin := c.store(t)
	admin.blocks = resource{c.client(t).Own.Resource(gvr("ipamblocksandmore")), "ipamblocksandmore", true}
	_, err = admin.Get(t.Context(), "block/10.0.0.0-26")
	if errors.Is(err, ipam.ErrNotFound) || !strings.Contains(fmt.Sprint(err), "crds.yaml") {
		t.Errorf("no such kind: %v", err)
	}
	if err = admin.Delete(t.Context(), "block/10.0.0.0-26", "1/x"); !strings.Contains(fmt.Sprint(err), "crds.yaml") {
		t.Errorf("no such kind: %v", err)
	}
}
