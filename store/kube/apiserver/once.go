package apiserver

import (
	"context"
	"net/http"
)

// onceKey marks contexts of requests that are tried once.
type onceKey struct{}

// Once returns a context whose requests are not repeated as often as an overloaded API
// asks for by the header Retry-After (429 and 5xx; client-go repeats them up to ten
// times, each as late as the API says, which is a second). It is for those who try
// again by themselves, later and later.
func Once(ctx context.Context) context.Context { return context.WithValue(ctx, onceKey{}, true) }

// onceTransport hides Retry-After from client-go.
type onceTransport struct{ inner http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (t onceTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	got, err := t.inner.RoundTrip(r)
	if err == nil && r.Context().Value(onceKey{}) != nil {
		got.Header.Del("Retry-After")
	}
	return got, err
}
