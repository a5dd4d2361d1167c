// Package manifests holds what is in manifests/ and the Containerfile against a real
// API and real containers: everything applies, the daemon's rights suffice and go no
// further, and its container, as the DaemonSet describes it, does the whole job.
package manifests
