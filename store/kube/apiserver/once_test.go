package apiserver

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestOnce asks an overloaded API for a list and for a watch.
func TestOnce(t *testing.T) {
	var asked atomic.Int64
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) > 1 {
			t.Error("asked again")
		}
		w.Header().Set("Retry-After", "1")
		http.Error(w, "later", http.StatusTooManyRequests)
	}))
	defer api.Close()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	config := `{"clusters": [{"name": "x", "cluster": {"server": "` + api.URL + `"}}], "contexts": [{"name": "x", "context": {"cluster": "x"}}], "current-context": "x"}`
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Connect(Options{Kubeconfig: path})
	if err != nil {
		t.Fatal(err)
	}
	nodes := c.Core.CoreV1().Nodes()
	for what, ask := range map[string]func(context.Context) error{
		"list":  func(ctx context.Context) error { _, err := nodes.List(ctx, metav1.ListOptions{}); return err },
		"watch": func(ctx context.Context) error { _, err := nodes.Watch(ctx, metav1.ListOptions{}); return err },
	} {
		asked.Store(0)
		if err := ask(Once(t.Context())); !apierrors.IsTooManyRequests(err) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
