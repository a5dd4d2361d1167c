package kube

import (
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// outOfTime says what it means that the API's certificate is not valid now: it may be
// too old, but a clock that is wrong looks the same, and is more frequent on a machine
// that has just been started. The text is the same for the whole day, so that it is
// logged once.
func outOfTime(err error, now time.Time) (string, bool) {
	bad, ok := errors.AsType[x509.CertificateInvalidError](err)
	if !ok || bad.Reason != x509.Expired || bad.Cert == nil {
		return "", false
	}
	day := func(t time.Time) string { return t.UTC().Format(time.DateOnly) }
	what := "its certificate has expired"
	if now.Before(bad.Cert.NotBefore) {
		what = "its certificate is not valid yet"
	}
	return fmt.Sprintf("%s: it is valid from %s to %s, and by the clock of this node it is %s (UTC). "+
		"If that is not the date, set the clock, and see why it is wrong (timedatectl, chronyc tracking); if it is, the certificate of the API has to be renewed",
		what, day(bad.Cert.NotBefore), day(bad.Cert.NotAfter), day(now)), true
}
