package kubetest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// Compact has etcd forget what it was before now: a watch or a page of a list from an
// earlier resourceVersion gets 410 Gone, once the API server does not remember it
// either ([API.Restart]). It returns the resourceVersion of now.
func (a *API) Compact(t testing.TB) string {
	t.Helper()
	var now struct{ Header struct{ Revision string } }
	// etcd's JSON gateway (etcd documentation, "gRPC gateway"); bytes are in base64.
	err := a.askEtcd(t.Context(), "/v3/kv/range", map[string]any{"key": []byte("/")}, &now)
	if err == nil {
		err = a.askEtcd(t.Context(), "/v3/kv/compaction", map[string]any{"revision": now.Header.Revision, "physical": true}, nil)
	}
	if err != nil {
		t.Fatalf("kubetest: compact etcd: %v", err)
	}
	return now.Header.Revision
}

func (a *API) askEtcd(ctx context.Context, path string, question, answer any) error {
	body, err := json.Marshal(question)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, a.etcdURL()+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	c := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return within(a.opts.NetNS, func() (net.Conn, error) { return new(net.Dialer).DialContext(ctx, network, addr) })
		}}}
	got, err := c.Do(r)
	if err != nil {
		return err
	}
	defer got.Body.Close()
	text, err := io.ReadAll(got.Body)
	if err != nil {
		return err
	}
	if got.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %s", path, got.Status, text)
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(text, answer)
}
