package v1

import (
	"strings"
	"testing"

	"caracal.dev/caracal"
)

// Every path is held against every rule.
func TestTooManyRules(t *testing.T) {
	text := doc("BGPFilter", "f", "  importV4: ["+strings.Repeat("{action: Reject},", maxRules+1)+"]\n")
	const want = "spec.importV4: has 1001 rules; at most 1000 are taken, since every path is held against them"
	if _, _, err := Decode([]byte(text)); err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

// A configuration for some nodes overrides single fields, but the advertisements
// with their names as a whole.
func TestResolveGateways(t *testing.T) {
	config := func(name, spec string) *BGPConfiguration {
		o, _, err := Decode([]byte(doc("BGPConfiguration", name, spec)))
		if err != nil {
			t.Fatal(err)
		}
		return o.(*BGPConfiguration)
	}
	base := config("default", "  bfd: {multiplier: 5, nodeMeshEnabled: true}\n  nodeMeshPassword: {secretKeyRef: {name: a, key: b}}\n  communities: [{name: x, value: \"1:1\"}]\n  prefixAdvertisements: [{cidr: 10.0.0.0/8, communities: [x]}]\n")
	rack := config("rack", "  nodeSelector: has(rack)\n  bfd: {transmitInterval: 50ms}\n  communities: [{name: x, value: \"2:2\"}]\n  prefixAdvertisements: [{cidr: 10.1.0.0/16, communities: [x]}]\n")
	n := ResolveBGP([]*BGPConfiguration{rack, base})
	if n.BFD.Multiplier != 5 || n.BFD.Transmit.String() != "50ms" || n.BFD.Receive.String() != "300ms" || !n.BGP.MeshBFD.Enabled || *n.MeshPassword != (SecretKeyRef{"a", "b"}) {
		t.Errorf("%+v", n)
	}
	if a := n.BGP.Advertisements; len(a) != 1 || a[0].CIDR.String() != "10.1.0.0/16" || a[0].Communities[0] != caracal.StandardCommunity(2, 2) {
		t.Errorf("%+v", a)
	}
	for spec, want := range map[string]string{
		"  bfd: {transmitInterval: 60ms}\n":                                       "spec.bfd.transmitInterval",
		"  bfd: {receiveInterval: 60ms}\n":                                        "",
		"  prefixAdvertisements: [{cidr: 10.1.0.0/16, communities: [\"2:2\"]}]\n": "",
		"  communities: [{name: x, value: \"3:3\"}]\n  prefixAdvertisements: [{cidr: 10.1.0.0/16, communities: [x]}]\n": "spec.prefixAdvertisements",
	} {
		if got := Disagreement(rack, config("other", "  nodeSelector: has(other)\n"+spec)); got != want {
			t.Errorf("%s: disagreement about %q, want %q", spec, got, want)
		}
	}
}

func TestFilterWarnings(t *testing.T) {
	o, _, err := Decode([]byte(doc("BGPFilter", "f", "  importV4: [{action: Reject}, {action: Accept, source: RemotePeers}]\n  exportV4: [{action: Reject}]\n")))
	if err != nil {
		t.Fatal(err)
	}
	if w := o.Warnings(); len(w) != 1 || w[0].Error() != "spec.importV4[0]: it matches every path, so the rules after it are never asked" {
		t.Errorf("%v", w)
	}
}
