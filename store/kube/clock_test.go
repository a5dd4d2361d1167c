package kube

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestOutOfTime asks a server of TLS with clocks that are years wrong: what is wrong is
// said, and the same all the time; anything else about a certificate is not the clock.
func TestOutOfTime(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	cert := server.Certificate()
	ask := func(now time.Time, roots *x509.CertPool) string {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Time: func() time.Time { return now }}}}
		_, err := client.Get(server.URL)
		if err == nil {
			return ""
		}
		if why, ok := outOfTime(err, now); ok {
			return why
		}
		return "other: " + network(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	if why := ask(cert.NotBefore.Add(time.Hour), roots); why != "" {
		t.Fatal(why)
	}
	if why := ask(cert.NotBefore.Add(time.Hour), x509.NewCertPool()); !strings.HasPrefix(why, "other: ") {
		t.Errorf("a certificate that nobody signed: %s", why)
	}
	for now, what := range map[time.Time]string{
		cert.NotBefore.Add(-30 * 24 * time.Hour): "its certificate is not valid yet",
		cert.NotAfter.Add(30 * 24 * time.Hour):   "its certificate has expired",
	} {
		why := ask(now, roots)
		want := fmt.Sprintf("%s: it is valid from %s to %s, and by the clock of this node it is %s (UTC). If that is not the date, set the clock",
			what, cert.NotBefore.UTC().Format(time.DateOnly), cert.NotAfter.UTC().Format(time.DateOnly), now.UTC().Format(time.DateOnly))
		if !strings.HasPrefix(why, want) {
			t.Errorf("%s\nwant %s", why, want)
		}
	}
}
