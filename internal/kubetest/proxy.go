package kubetest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"
)

// Request is one that a [Proxy] has seen.
type Request struct {
	At time.Time
	// Agent is the client's User-Agent.
	Agent  string
	Method string
	// Path is that of the URL ("/api/v1/pods"), Query what follows it.
	Path  string
	Query url.Values
}

// Watch reports whether it asks for a stream of changes, and not for an answer.
func (r Request) Watch() bool { return r.Query.Has("watch") }

// Fault is what a [Proxy] does to a request; the zero value passes it on.
type Fault struct {
	// Late is how much later than the API's the answer is, and each piece of a watch.
	// What was asked has been done by then, whether the client still waits or not.
	Late time.Duration
	// Status is the code of an answer that is not the API's ("Service Unavailable"),
	// RetryAfter its header of that name in seconds; 0 is none.
	Status, RetryAfter int
	// Expired answers a watch as the API does one from a resourceVersion that it knows
	// no more: with an event of type ERROR that says 410.
	Expired bool
	// Ends ends a watch that has just begun, without any event.
	Ends bool
}

// Proxy stands between clients and the API, at an address of the API's own. It passes
// on bearer tokens, not the certificates of clients, and has a clients' connection
// broken, slow or overloaded. Its methods may be called from any goroutine.
type Proxy struct {
	api    *API
	addr   string
	pass   *httputil.ReverseProxy
	server *http.Server

	mu       sync.Mutex   // guards what follows
	listener net.Listener // nil while it is down
	fault    func(Request) Fault
	rate     int // bytes per second of a connection; 0 is no limit
	conns    map[net.Conn]bool
	requests []Request
	expired  int
}

// Proxy starts a proxy that ends with the test.
func (a *API) Proxy(t testing.TB) *Proxy {
	t.Helper()
	p := &Proxy{api: a, conns: map[net.Conn]bool{}, fault: func(Request) Fault { return Fault{} }}
	if err := p.start(); err != nil {
		t.Fatalf("kubetest: start a proxy: %v", err)
	}
	t.Cleanup(func() { p.server.Close() })
	return p
}

func (p *Proxy) start() error {
	keys, err := p.api.ca.server([]netip.Addr{p.api.opts.Addr})
	if err != nil {
		return err
	}
	cert, err := tls.X509KeyPair(keys.cert, keys.key)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AddCert(p.api.ca.cert)
	target, err := url.Parse(p.api.URL())
	if err != nil {
		return err
	}
	quiet := log.New(io.Discard, "", 0) // an API that is away is what tests want
	p.pass = &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(target) },
		FlushInterval: -1, ErrorLog: quiet, ModifyResponse: p.answered,
		// Nothing is said to a client whose request got nowhere, as by a broken line.
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
		Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true,
			DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				return within(p.api.opts.NetNS, func() (net.Conn, error) { return new(net.Dialer).DialContext(ctx, network, addr) })
			},
		},
	}
	p.server = &http.Server{Handler: http.HandlerFunc(p.serve), ErrorLog: quiet, TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}}}
	// Not one that the kernel gives to outgoing connections: Up needs it again.
	port, err := within(p.api.opts.NetNS, freePort)
	if err != nil {
		return err
	}
	return p.listen(net.JoinHostPort(p.api.opts.Addr.String(), strconv.Itoa(port)))
}

// listen accepts connections at an address.
func (p *Proxy) listen(addr string) error {
	l, err := within(p.api.opts.NetNS, func() (net.Listener, error) { return net.Listen("tcp", addr) })
	if err != nil {
		return err
	}
	p.listener, p.addr = l, l.Addr().String()
	go func() { _ = p.server.ServeTLS(&slowListener{l, p}, "", "") }() // until it is closed
	return nil
}

// Kubeconfig writes a kubeconfig as the one at path, with which the API is reached
// through the proxy, and returns its path.
func (p *Proxy) Kubeconfig(t testing.TB, path string) string {
	t.Helper()
	c, err := clientcmd.LoadFromFile(path)
	if err == nil {
		for _, cluster := range c.Clusters {
			cluster.Server = "https://" + p.addr
		}
		path = filepath.Join(filepath.Dir(path), "proxied-"+filepath.Base(path))
		err = clientcmd.WriteToFile(*c, path)
	}
	if err != nil {
		t.Fatalf("kubetest: write the kubeconfig of a proxy: %v", err)
	}
	return path
}

// Break has each request that comes from now on suffer what fault returns; nil ends
// that.
func (p *Proxy) Break(fault func(Request) Fault) {
	if fault == nil {
		fault = func(Request) Fault { return Fault{} }
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault = fault
}

// Throttle lets so many bytes a second through each connection in each direction; 0
// lets all through.
func (p *Proxy) Throttle(bytes int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rate = bytes
}

// Down breaks all connections, and others are refused until [Proxy.Up].
func (p *Proxy) Down() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != nil {
		p.listener.Close()
		p.listener = nil
	}
	for c := range p.conns {
		c.Close()
	}
}

// Up ends [Proxy.Down].
func (p *Proxy) Up(t testing.TB) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.listen(p.addr); err != nil {
		t.Fatalf("kubetest: start a proxy again: %v", err)
	}
}

// Requests returns those that came since a time, in their order.
func (p *Proxy) Requests(since time.Time) []Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	i, _ := slices.BinarySearchFunc(p.requests, since, func(r Request, t time.Time) int { return r.At.Compare(t) })
	return slices.Clone(p.requests[i:])
}

// Expired returns how often the API itself, and not the proxy, has answered that a
// resourceVersion is too old (410).
func (p *Proxy) Expired() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.expired
}

func (p *Proxy) serve(w http.ResponseWriter, r *http.Request) {
	seen := Request{Agent: r.UserAgent(), Method: r.Method, Path: r.URL.Path, Query: r.URL.Query()}
	p.mu.Lock()
	seen.At = time.Now() // with the lock, so that the list is in order
	p.requests = append(p.requests, seen)
	fault := p.fault
	p.mu.Unlock()
	f := fault(seen)
	if f.Status == 0 && !f.Expired && !f.Ends {
		ctx := r.Context()
		if !seen.Watch() { // what was asked is done, whether the client waits or not
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
			defer cancel()
		}
		p.pass.ServeHTTP(w, r.WithContext(context.WithValue(ctx, lateKey{}, f.Late)))
		return
	}
	wait(r.Context(), f.Late)
	switch {
	case f.Status != 0:
		if f.RetryAfter > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(f.RetryAfter))
		}
		http.Error(w, http.StatusText(f.Status)+" (by the proxy of a test)", f.Status)
	case f.Expired:
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintln(w, `{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure",`+
			`"message":"too old resource version: 1 (2) (by the proxy of a test)","reason":"Expired","code":410}}`)
	default:
		w.Header().Set("Content-Type", "application/json")
	}
}

// lateKey is under which a request carries Fault.Late.
type lateKey struct{}

// answered is called with the API's answer.
func (p *Proxy) answered(r *http.Response) error {
	if r.StatusCode == http.StatusGone {
		p.noteExpired()
	}
	late, _ := r.Request.Context().Value(lateKey{}).(time.Duration)
	wait(r.Request.Context(), late)
	if r.Request.URL.Query().Has("watch") {
		r.Body = p.lag(r.Body, late)
	}
	return nil
}

func (p *Proxy) noteExpired() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expired++
}

// wait waits for d, or until ctx ends.
func wait(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// slowListener hands out connections that are as slow as the proxy is to be.
type slowListener struct {
	net.Listener
	p *Proxy
}

// Accept implements net.Listener.
func (l *slowListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	slow := &slowConn{Conn: c, p: l.p}
	l.p.mu.Lock()
	defer l.p.mu.Unlock()
	if l.p.listener != l.Listener { // it went down after this was accepted
		c.Close()
		return nil, net.ErrClosed
	}
	l.p.conns[slow] = true
	return slow, nil
}

// isExpired reports whether a piece of a watch is the API's word that a version is too
// old: from its memory, or from etcd. It is the same in JSON and in protobuf.
func isExpired(piece []byte) bool {
	return strings.Contains(string(piece), "too old resource version") || strings.Contains(string(piece), "provided watch is too old")
}

// errClosed is what a body reads that was closed.
var errClosed = errors.New("kubetest: the body is closed")
