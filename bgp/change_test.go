package bgp

import (
	"net/netip"
	"reflect"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"caracal.dev/caracal"
)

// TestWhatGoBGPIsTold holds for each field of a Neighbor that a change which
// does not reset the session changes nothing of what GoBGP is told but its
// timers: GoBGP ends the session for anything else. A new field that is not
// thought of here fails.
func TestWhatGoBGPIsTold(t *testing.T) {
	base := Neighbor{Name: "peer/tor@192.0.2.1", Addr: netip.MustParseAddr("192.0.2.1"), Port: 179, ASN: 65000,
		Local: netip.MustParseAddr("192.0.2.2"), IPv4: true, HoldTime: 90 * time.Second, KeepaliveTime: 30 * time.Second,
		ConnectRetry: time.Second, GracefulRestart: true, RestartTime: 120 * time.Second, NextHop: caracal.NextHopAuto}
	resets := map[string]bool{
		"Addr": true, "Port": true, "ASN": true, "Local": true, "Passive": true, "IPv4": true, "IPv6": true, "GracefulRestart": true,
		"RestartTime": true, "Multihop": true, "Interface": true, "LocalASN": true, "TTLSecurity": true, "Password": true,
		"LongLived": true, "AddPathReceive": true, "AddPathSend": true,
	}
	for i := range reflect.TypeFor[Neighbor]().NumField() {
		n := base
		name := reflect.TypeFor[Neighbor]().Field(i).Name
		other(t, name, reflect.ValueOf(&n).Elem().Field(i))
		if n == base {
			t.Fatalf("%s was not changed", name)
		}
		if got := needsReset(base, n); got != resets[name] {
			t.Errorf("another %s resets: %v, want %v", name, got, resets[name])
		}
		a, b := toPeer(base, peerOptions{}), toPeer(n, peerOptions{})
		a.Timers, b.Timers = nil, nil
		if same := proto.Equal(a, b); !same && !resets[name] {
			t.Errorf("another %s makes GoBGP end the session", name)
		}
	}
	secret := base
	secret.Password = caracal.Password{From: "local/secrets/a/b", Secret: caracal.NewSecret("x")}
	from := secret
	from.Password.From = "local/secrets/a/c"
	if needsReset(secret, from) {
		t.Error("the place of the secret resets")
	}
	// What runs without a password must not go on when it is to have one.
	from.Password.Secret = caracal.Secret{}
	if !needsReset(base, from) {
		t.Error("a secret that cannot be read leaves a session without one up")
	}
}

// other gives a field another value.
func other(t *testing.T, name string, v reflect.Value) {
	t.Helper()
	switch x := v.Addr().Interface().(type) {
	case *bool:
		*x = !*x
	case *string:
		*x += "x"
	case *netip.Addr:
		*x = netip.MustParseAddr("192.0.2.77")
	case *time.Duration:
		*x += 3 * time.Second
	case *caracal.Password:
		x.Secret = caracal.NewSecret("word")
	case *caracal.BFD:
		x.Enabled = true
	case *caracal.NextHopMode:
		*x = caracal.NextHopSelf
	default:
		if !v.CanUint() {
			t.Fatalf("no other value for %s", name)
		}
		v.SetUint(v.Uint() + 1)
	}
}

// TestDiffRenames holds that a neighbor with a new name at the same address is
// the same one, and that one which leaves its address is not.
func TestDiffRenames(t *testing.T) {
	at := func(name, addr string) Neighbor { return Neighbor{Name: name, Addr: netip.MustParseAddr(addr)} }
	have := Config{Neighbors: []Neighbor{at("mesh/b", "192.0.2.2"), at("mesh/c", "192.0.2.3"), at("peer/x", "192.0.2.4")}}
	want := Config{Neighbors: []Neighbor{at("mesh/c", "192.0.2.4"), at("peer/b", "192.0.2.2"), at("peer/y", "192.0.2.3")}}
	begin, end, renamed := Changed(have, want)
	if !reflect.DeepEqual(renamed, map[string]string{"mesh/b": "peer/b"}) || !reflect.DeepEqual(begin, []string{"peer/y"}) || !reflect.DeepEqual(end, []string{"peer/x"}) {
		t.Errorf("begin %v, end %v, renamed %v", begin, end, renamed)
	}
	if got := Resets(have, want); len(got) != 1 || got[0].Neighbor != "mesh/c" || !reflect.DeepEqual(got[0].Fields, []string{"peerIP"}) {
		t.Errorf("%+v", got)
	}
	want.Neighbors[1].ASN = 65000
	if got := Resets(have, want); len(got) != 2 || got[1].Neighbor != "peer/b" || !reflect.DeepEqual(got[1].Fields, []string{"asNumber"}) {
		t.Errorf("renamed and changed: %+v", got)
	}
}
