package v1

import (
	"bytes"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"caracal.dev/caracal"
)

// doc builds a document; spec lines are indented by the caller.
func doc(kind, name, spec string) string {
	return "apiVersion: caracal.dev/v1\nkind: " + kind + "\nmetadata:\n  name: " + name + "\nspec:\n" + spec
}

// documents splits a file of testdata: each document with the comment before it,
// if there is one.
func documents(t *testing.T, file string) (all []struct{ text, comment string }) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range strings.Split(strings.TrimSuffix(string(b), "---\n"), "\n---\n") {
		comment := ""
		if rest, ok := strings.CutPrefix(part, "# "); ok {
			comment, part, _ = strings.Cut(rest, "\n")
		}
		all = append(all, struct{ text, comment string }{part + "\n", comment})
	}
	return all
}

// TestRefused holds Decode to the words that stand before each document. Package
// test/crd asks an API server about the same documents.
func TestRefused(t *testing.T) {
	for _, d := range documents(t, "testdata/refused.yaml") {
		o, _, err := Decode([]byte(d.text))
		if err == nil || err.Error() != d.comment || o != nil {
			t.Errorf("Decode of\n%s\ngives %v\nwant    %s", d.text, err, d.comment)
		}
	}
}

func TestAccepted(t *testing.T) {
	for _, d := range documents(t, "testdata/accepted.yaml") {
		if o, _, err := Decode([]byte(d.text)); err != nil || o == nil {
			t.Errorf("%v\n%s", err, d.text)
		}
	}
}

func TestDecodeIdent(t *testing.T) {
	for in, want := range map[string]Ident{
		doc("IPPool", "p", "  cidr: x\n"):                            {"IPPool", "", "p"},
		"kind: IPPool\nmetadata: {name: a}\nmetadata: {name: b}\n":   {"IPPool", "", "b"},
		"kind: Workload\nmetadata: {name: a, namespace: ns}\nx: 1\n": {"Workload", "ns", "a"},
	} {
		if _, id, err := Decode([]byte(in)); id != want || err == nil || IsSyntax(err) {
			t.Errorf("Decode(%q): identity %+v, error %v", in, id, err)
		}
	}
	for _, in := range []string{"", "# nothing\n", "---\n", "null"} {
		if o, _, err := Decode([]byte(in)); o != nil || err != nil {
			t.Errorf("Decode(%q): %v, %v; want nothing", in, o, err)
		}
	}
}

// The same meaning in other words has the same canonical text.
func TestEncodeCanonical(t *testing.T) {
	for _, c := range [][2]string{
		{doc("BGPConfiguration", "default", "  holdTime: 90s\n"), doc("BGPConfiguration", "default", "  asNumber: 64512\n  gracefulRestart: {enabled: true}\n  holdTime: 1m30s\n")},
		{doc("NodeConfig", "a", "  addresses: [2001:DB8:0::1/64, 192.0.2.1/24]\n"), doc("NodeConfig", "a", "  addresses:\n  - 192.0.2.1/24\n  - 2001:db8::1/64\n  blocks: []\n")},
		{doc("Workload", "a", "  node: web\n  interfaceName: c0\n  ipNetworks: [10.0.0.1/32]\n"), doc("Workload", "a\n  namespace: default", "  node: web\n  interfaceName: c0\n  ipNetworks: [10.0.0.1]\n")},
		{doc("BGPPeer", "a", "  peerIP: 192.0.2.1:179\n  asNumber: 1\n  nodeSelector: a==\"b\"\n"), doc("BGPPeer", "a\n  annotations: {x: why}", "  peerIP: 192.0.2.1\n  asNumber: 1\n  nodeSelector: (a == 'b')\n  sourceAddress: UseNodeIP\n")},
		{doc("IPAMConfiguration", "default", "  cooldown: 30s\n"), doc("IPAMConfiguration", "default", "  strictAffinity: false\n  maxBlocksPerHost: 0\n")},
		{doc("IPReservation", "r", "  reservedCIDRs: [10.0.0.9, 10.0.0.0/29, FD00::1]\n"), doc("IPReservation", "r", "  reservedCIDRs: [10.0.0.0/29, 10.0.0.9/32, fd00::1/128]\n")},
		{doc("IPPool", "a", "  cidr: 10.0.0.0/8\n"), doc("IPPool", "a", "  cidr: 10.0.0.0/8\n  blockSize: 26\n  ipipMode: Never\n  disabled: false\n")},
	} {
		var text [2][]byte
		for i := range c {
			o, _, err := Decode([]byte(c[i]))
			if err != nil {
				t.Fatalf("%v\n%s", err, c[i])
			}
			if text[i], err = Encode(o); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(text[0], text[1]) {
			t.Errorf("not the same:\n%s\n%s", text[0], text[1])
		}
	}
}

func TestResolve(t *testing.T) {
	config := func(name, spec string) *BGPConfiguration {
		o, _, err := Decode([]byte(doc("BGPConfiguration", name, spec)))
		if err != nil {
			t.Fatal(err)
		}
		return o.(*BGPConfiguration)
	}
	n := ResolveBGP(nil)
	if n.ASN != 64512 || n.Port != 179 || n.BGP.HoldTime != 90*time.Second || n.BGP.KeepaliveTime != 30*time.Second ||
		!n.BGP.GracefulRestart || n.BGP.RestartTime != 120*time.Second || !n.BGP.MeshEnabled || n.RouterID != "address" {
		t.Errorf("built-in settings: %+v", n)
	}
	base := config("default", "  asNumber: 65000\n  keepaliveTime: 30s\n  gracefulRestart: {restartTime: 60s}\n")
	rack := config("rack", "  nodeSelector: rack == 'a'\n  holdTime: 9s\n  nodeToNodeMeshEnabled: false\n  gracefulRestart: {enabled: false}\n")
	n = ResolveBGP([]*BGPConfiguration{rack, base})
	if n.ASN != 65000 || n.BGP.HoldTime != 9*time.Second || n.BGP.KeepaliveTime != 3*time.Second || n.BGP.MeshEnabled ||
		n.BGP.GracefulRestart || n.BGP.RestartTime != 60*time.Second {
		t.Errorf("overridden settings: %+v", n)
	}
	if !rack.Selection().Selects("x", map[string]string{"rack": "a"}) || rack.Selection().Selects("x", nil) {
		t.Error("selection by label")
	}
	byName := config("one", "  nodeSelector: kubernetes.io/hostname == 'x'\n  holdTime: 12s\n")
	if !byName.Selection().Selects("x", nil) || byName.Selection().Selects("y", nil) {
		t.Error("selection by name")
	}
	if d := Disagreement(rack, byName); d != "spec.holdTime" {
		t.Errorf("disagreement: %q", d)
	}
	if d := Disagreement(rack, rack); d != "" {
		t.Errorf("disagreement with itself: %q", d)
	}
}

func TestNodeConversion(t *testing.T) {
	o, _, err := Decode([]byte(doc("NodeConfig", "a", "  addresses: [2001:db8::1/64]\n  asNumber: 65001\n  blocks: [10.0.0.64/26, 10.0.0.0/26]\n  podCIDRs: [10.0.0.0/26]\n")))
	if err != nil {
		t.Fatal(err)
	}
	n := o.(*NodeConfig).Node(ResolveBGP(nil))
	if n.ASN != 65001 || n.IPv4.IsValid() || n.IPv6.String() != "2001:db8::1/64" || n.RouterID != HashRouterID("a") || len(n.PodCIDRs) != 2 {
		t.Errorf("%+v", n)
	}
	for _, name := range []string{"a", "b", "web1", "web2", "x.example.com"} {
		if a := HashRouterID(name); !a.Is4() || !a.IsGlobalUnicast() || a != HashRouterID(name) {
			t.Errorf("router ID of %q: %s", name, a)
		}
	}
}

func TestIPAMConversion(t *testing.T) {
	decoded := func(text string) Object {
		o, _, err := Decode([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	got := decoded(doc("IPAMConfiguration", "default", "  mode: blocks\n  strictAffinity: true\n  maxBlocksPerHost: 20\n  cooldown: 0s\n")).(*IPAMConfiguration).IPAM()
	if want := (caracal.IPAM{Mode: "blocks", StrictAffinity: true, MaxBlocks: 20}); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got, want := DefaultIPAM(), (caracal.IPAM{Cooldown: 30 * time.Second}); !reflect.DeepEqual(got, want) {
		t.Errorf("by default %+v, want %+v", got, want)
	}
	r := decoded(doc("IPReservation", "r", "  reservedCIDRs: [10.0.0.64/29, 10.0.0.9, \"fd00::1\"]\n")).(*IPReservation)
	if got, want := fmt.Sprint(r.Reserved()), "[10.0.0.9/32 10.0.0.64/29 fd00::1/128]"; got != want {
		t.Errorf("reserved %s, want %s", got, want)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(doc("IPPool", "p", "  cidr: 10.0.0.0/16\n"))
	f.Add(doc("NodeConfig", "a", "  addresses: [192.0.2.1/24]\n  blocks: [10.0.0.0/26]\n"))
	f.Add(doc("BGPPeer", "p", "  peerIP: \"[2001:db8::1]:1179\"\n  asNumber: 1\n  nodeSelector: has(a)\n"))
	f.Add(doc("BGPConfiguration", "default", "  holdTime: 9s\n  gracefulRestart: {restartTime: 60s}\n"))
	f.Add(doc("Workload", "vm", "  node: a\n  interfaceName: c0\n  ipNetworks: [10.0.0.1]\n  ports: [{name: web, port: 80}]\n"))
	f.Add(doc("DataplaneConfiguration", "default", "  table: 100\n"))
	f.Add(doc("BGPPeer", "p", "  peerSelector: has(rr)\n  bfd: {}\n  gracefulRestart: {longLivedStaleTime: 1h}\n  password: {secretKeyRef: {name: a, key: b}}\n"))
	f.Add(doc("BGPPeer", "p", "  interface: eth1\n  asNumber: external\n  localASNumber: 65001\n  acceptRanges: [10.0.0.0/8]\n  addPath: {sendMax: 2}\n"))
	f.Add(doc("BGPPeer", "p", "  peerIP: defaultGateway\n  asNumberFromLabel: tor\n  maxPrefixesRetry: 0s\n  filters: [a, b]\n"))
	f.Add(doc("BGPFilter", "f", "  importV4: [{action: Accept, cidr: 10.0.0.0/8, matchOperator: In, prefixLength: {max: 24}, operations: [{addCommunity: {value: no-export}}, {setMED: {value: 1}}]}]\n"))
	f.Add(doc("BGPConfiguration", "default", "  communities: [{name: a, value: \"1:2\"}]\n  prefixAdvertisements: [{cidr: 10.0.0.0/8, communities: [a, \"1:2:3\"]}]\n  bfd: {multiplier: 5}\n"))
	f.Add(doc("IPAMConfiguration", "default", "  mode: podCIDR\n  strictAffinity: true\n  maxBlocksPerHost: 20\n  cooldown: 1m\n"))
	f.Add(doc("IPReservation", "r", "  reservedCIDRs: [10.0.0.0/29, 10.0.0.9, \"fd00::/126\", \"::ffff:10.0.0.1\"]\n"))
	f.Add("a: &a [*a]")
	f.Add("kind: {[]: 1}")
	f.Fuzz(func(t *testing.T, in string) {
		o, _, err := Decode([]byte(in))
		if err != nil && strings.TrimSpace(err.Error()) == "" {
			t.Fatal("an error without words")
		}
		if o == nil {
			return
		}
		text, err := Encode(o)
		if err != nil {
			t.Fatal(err)
		}
		again, _, err := Decode(text)
		if err != nil {
			t.Fatalf("cannot be decoded again: %v\n%s", err, text)
		}
		if second, _ := Encode(again); !bytes.Equal(text, second) {
			t.Fatalf("not canonical:\n%s\n%s", text, second)
		}
	})
}
