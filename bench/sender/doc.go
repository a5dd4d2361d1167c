// Package sender is a BGP speaker for tests and benchmarks that does as little
// as a session needs: it opens, keeps the session alive, and sends UPDATEs that
// were encoded beforehand, so that what is measured is the receiver. It learns
// nothing from what it is sent, but hands every message on for a test to count.
package sender
