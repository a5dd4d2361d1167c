package file

import (
	"testing"
)

// TestViews: what is configured for another node is seen from here, without the
// secrets.
func TestViews(t *testing.T) {
	h := newHost(t)
	h.write("cluster/all.yaml", `
apiVersion: caracal.dev/v1
kind: NodeConfig
metadata: {name: a}
spec: {addresses: [192.0.2.1/24]}
---
apiVersion: caracal.dev/v1
kind: NodeConfig
metadata: {name: b, labels: {rack: r1}}
spec: {addresses: [192.0.2.2/24], podCIDRs: [10.64.2.0/26]}
---
apiVersion: caracal.dev/v1
kind: BGPPeer
metadata: {name: tor}
spec:
  nodeSelector: rack == 'r1'
  peerIP: 192.0.2.254
  asNumber: 65001
  password: {secretKeyRef: {name: tor, key: md5}}
`)
	h.start()
	if n := h.store.Snapshot().Peers.Len(); n != 0 {
		t.Fatalf("a has %d peers", n)
	}
	views, err := h.store.Views(t.Context(), []string{"b", "x"})
	if err != nil || len(views) != 2 {
		t.Fatalf("%v, %v", views, err)
	}
	p, ok := views[0].Peers.Get("tor")
	if !ok || views[0].Self != "b" || p.Password.From != "local/secrets/tor/md5" || !p.Password.Secret.IsZero() {
		t.Errorf("b's peer: %+v", p)
	}
	if v := views[0]; v.Digest == "" || v.Digest != h.store.Snapshot().Digest || v.Generation != h.store.Snapshot().Generation || !v.Synced {
		t.Errorf("the view is of %d %s, synced %t", v.Generation, v.Digest, v.Synced)
	}
	if _, ok := views[1].SelfNode(); ok {
		t.Error("a node that is not there has a NodeConfig")
	}
}
