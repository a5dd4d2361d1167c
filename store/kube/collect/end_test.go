package collect

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"caracal.dev/caracal/store/kube/apiserver"
)

const (
	kubeconfig = `{"apiVersion":"v1","kind":"Config","current-context":"c","contexts":[{"name":"c","context":{"cluster":"c","user":"u"}}],
"users":[{"name":"u","user":{}}],"clusters":[{"name":"c","cluster":{"server":"SERVER"}}]}`
	lease = `{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"namespace":"n","name":"caracal-collector","resourceVersion":"1"},
"spec":{"holderIdentity":"a","leaseDurationSeconds":900}}`
)

// TestEndsWithoutAPI ends an elected collector while the API does not answer: the
// daemon must not wait for the Lease to be given up.
func TestEndsWithoutAPI(t *testing.T) {
	var frozen atomic.Bool
	thaw := make(chan struct{})
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if frozen.Load() {
			<-thaw
		}
		w.Header().Set("Content-Type", "application/json")
		if r.Method != http.MethodPost {
			w.WriteHeader(http.StatusNotFound)
			_, _ = w.Write([]byte(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404}`))
			return
		}
		w.WriteHeader(http.StatusCreated)
		_, _ = w.Write([]byte(lease))
	}))
	defer api.Close()
	defer close(thaw)
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(path, []byte(strings.Replace(kubeconfig, "SERVER", api.URL, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	client, err := apiserver.Connect(apiserver.Options{Kubeconfig: path})
	if err != nil {
		t.Fatal(err)
	}
	c := New(Options{Client: client, Node: "a", Namespace: "n"})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	for deadline := time.Now().Add(60 * time.Second); !c.Counts().Leading; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not elected")
		}
	}
	frozen.Store(true)
	cancel()
	select {
	case <-done:
	case <-time.After(60 * time.Second):
		t.Fatal("the collector does not end")
	}
}
