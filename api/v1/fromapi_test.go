package v1

import (
	"encoding/json"
	"maps"
	"testing"
)

// served is an object as an API server gives it.
func served(t *testing.T, text string) map[string]any {
	t.Helper()
	var tree map[string]any
	if err := json.Unmarshal([]byte(text), &tree); err != nil {
		t.Fatal(err)
	}
	meta := tree["metadata"].(map[string]any)
	maps.Copy(meta, map[string]any{
		"uid": "1b1", "resourceVersion": "7", "generation": int64(2), "creationTimestamp": "2026-01-01T00:00:00Z",
		"annotations":   map[string]any{"kubectl.kubernetes.io/last-applied-configuration": "{}"},
		"managedFields": []any{map[string]any{"manager": "kubectl", "fieldsV1": map[string]any{"f:spec": map[string]any{}}}},
	})
	return tree
}

func TestFromAPI(t *testing.T) {
	tree := served(t, `{"apiVersion":"caracal.dev/v1","kind":"BGPPeer","metadata":{"name":"tor","labels":{"a":"b"}},"spec":{"peerIP":"192.0.2.1","asNumber":65001,"bfd":null},"status":{"x":1}}`)
	tree["spec"].(map[string]any)["maxPrefixes"] = int64(100) // as in an unstructured.Unstructured
	o, id, err := FromAPI(tree)
	if err != nil || id != (Ident{"BGPPeer", "", "tor"}) {
		t.Fatal(id, err)
	}
	p := o.(*BGPPeer)
	if p.Spec.ASNumber != "65001" || *p.Spec.MaxPrefixes != 100 || p.Labels["a"] != "b" || p.UID != "" || p.Spec.NextHopMode != "Auto" {
		t.Errorf("%+v", p)
	}
	if _, ok := tree["metadata"].(map[string]any)["uid"]; !ok {
		t.Error("the tree was changed")
	}
	o, _, err = FromAPI(served(t, `{"apiVersion":"caracal.dev/v1","kind":"NodeConfig","metadata":{"name":"a"},"spec":{"asNumber":65001}}`))
	if err != nil || *o.(*NodeConfig).Spec.ASNumber != 65001 {
		t.Error("a NodeConfig without addresses:", err)
	}
	for text, want := range map[string]string{
		`{"apiVersion":"caracal.dev/v1","kind":"NodeConfig","metadata":{"name":"a"},"spec":{"tunnelAddress":"::1"}}`:                                          "spec.tunnelAddress: ::1 is a loopback address; other hosts cannot reach it",
		`{"apiVersion":"caracal.dev/v1","kind":"BGPPeer","metadata":{"name":"a"},"spec":{"peerIP":"192.0.2.1","asNumber":1,"new":1}}`:                         "spec.new: unknown field",
		`{"apiVersion":"caracal.dev/v1","kind":"BGPPeer","metadata":{"name":"a"},"spec":{"peerIP":"192.0.2.1","asNumber":1,"nodeSelector":"a and b"}}`:        `spec.nodeSelector: column 3: expected ==, !=, in, not in, contains, starts with or ends with after "a", found "and"`,
		`{"apiVersion":"caracal.dev/v2","kind":"BGPPeer","metadata":{"name":"a"}}`:                                                                            "apiVersion: must be caracal.dev/v1, not caracal.dev/v2",
		`{"apiVersion":"caracal.dev/v1","kind":"IPAMBlock","metadata":{"name":"a"}}`:                                                                          "kind: IPAMBlock is not known; it must be one of BGPConfiguration, BGPFilter, BGPPeer, DataplaneConfiguration, IPAMConfiguration, IPPool, IPReservation, Namespace, NetworkPolicy, NodeConfig, Workload",
		`{"apiVersion":"caracal.dev/v1","kind":"BGPPeer","metadata":{"name":"a"},"spec":{"peerIP":"192.0.2.1","asNumber":1,"password":{"secretKeyRef":"x"}}}`: "spec.password.secretKeyRef: must be {name: …, key: …}, two strings that name a Secret and its key, or the file local/secrets/NAME/KEY",
	} {
		if o, _, err := FromAPI(served(t, text)); err == nil || err.Error() != want || o != nil {
			t.Errorf("%s\ngives %v\nwant  %s", text, err, want)
		}
	}
}
