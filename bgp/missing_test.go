package bgp_test

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"caracal.dev/caracal/bgp"
	"caracal.dev/caracal/internal/nstest"
)

// TestMissingAddress: BGP runs on the addresses that are there, says which one is
// not, and asks for a restart when that one has come, not before.
func TestMissingAddress(t *testing.T) {
	if os.Getenv(childEnv) == "" { // a namespace for the whole process; see interop_test.go
		ns := nstest.New(t)
		ns.Run("ip", "link", "set", "lo", "up")
		ns.Run("ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1")
		ns.Run("ip", "link", "set", "v1", "up")
		ns.Run("ip", "link", "set", "v0", "up")
		ns.Sysctl("net/ipv6/conf/v0/router_solicitation_delay", "0") // no random second before duplicate address detection
		child := ns.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", childTimeout)
		child.Env = append(os.Environ(), childEnv+"="+ns.Path())
		if out, err := child.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	const late, tentative = "fd00:77::1", "fd00:77::2"
	ctx := context.Background()
	conf := bgp.Config{Global: bgp.Global{ASN: asn, RouterID: addr("127.0.0.1"), Port: testPort, ListenAddrs: "127.0.0.1," + late},
		Neighbors: []bgp.Neighbor{{Name: "mesh/b", Addr: addr("127.0.0.2"), Port: testPort, ASN: asn, Local: addr("127.0.0.1"), IPv4: true, Passive: true, ConnectRetry: time.Second, HoldTime: time.Minute}}}
	a := bgp.New(bgp.Options{Log: quiet()})
	apply := func(what, want string) {
		t.Helper()
		res, err := a.Apply(ctx, conf)
		var restart *bgp.RestartNeeded
		switch failed := res.Failed["["+late+"]:17900"]; {
		case errors.As(err, &restart):
			t.Fatalf("%s: %v", what, err)
		case failed == nil || !strings.Contains(failed.Error(), want) || !strings.Contains(failed.Error(), "runs on 127.0.0.1 meanwhile"):
			t.Fatalf("%s: failed %v, error %v; want %q", what, failed, err, want)
		}
		if all, err := a.Neighbors(ctx); len(all) != 1 || err != nil {
			t.Fatalf("%s: neighbors %v, %v", what, all, err)
		}
	}
	apply("at the start", "no interface has the address "+late)
	apply("a second time", "no interface has the address "+late)
	if c, err := net.Dial("tcp", "127.0.0.1:17900"); err != nil {
		t.Errorf("BGP does not listen on the other address: %v", err)
	} else {
		c.Close()
	}

	// The address missing already holds up no restart for something else, but
	// another one would.
	var restart *bgp.RestartNeeded
	other := conf
	other.Global.ASN++
	if _, err := a.Apply(ctx, other); !errors.As(err, &restart) {
		t.Errorf("another AS number: %v", err)
	}
	other.Global.ListenAddrs += ",fd00:77::9"
	if _, err := a.Apply(ctx, other); err == nil || errors.As(err, &restart) {
		t.Errorf("another missing address: %v", err)
	}

	// What is no longer wanted needs no restart, wanted again it does not hurt.
	other = conf
	other.Global.ListenAddrs = "127.0.0.1"
	if _, err := a.Apply(ctx, other); err != nil {
		t.Errorf("without the missing address: %v", err)
	}
	if _, err := a.Apply(ctx, conf); err == nil || errors.As(err, &restart) || !strings.Contains(err.Error(), "no interface has the address") {
		t.Errorf("with it again: %v", err)
	}
	if err := a.Leave(ctx); err != nil {
		t.Fatal(err)
	}

	a = bgp.New(bgp.Options{Log: quiet()})
	apply("in a new process", "no interface has the address "+late)
	ip(t, "-6", "addr", "add", late+"/64", "dev", "lo", "nodad")
	l, err := net.Listen("tcp", "["+late+"]:17900")
	if err != nil {
		t.Fatal(err)
	}
	apply("there, but the port is taken", "the port is in use by")
	l.Close()
	if _, err := a.Apply(ctx, conf); !errors.As(err, &restart) || !strings.Contains(restart.Why, late+" is there now") {
		t.Fatalf("once it is there: %v", err)
	}
	if err := a.Leave(ctx); err != nil {
		t.Fatal(err)
	}

	// The successor has it; a tentative address is waited for.
	ip(t, "-6", "addr", "add", tentative+"/64", "dev", "v0")
	conf.Global.ListenAddrs += "," + tentative
	a = bgp.New(bgp.Options{Log: quiet()})
	began := time.Now()
	if _, err := a.Apply(ctx, conf); err != nil {
		t.Errorf("with both: %v", err)
	}
	t.Logf("waited %s for duplicate address detection", time.Since(began))
	for _, at := range []string{late, tentative} {
		c, err := net.Dial("tcp", "["+at+"]:17900")
		if err != nil {
			t.Error(err)
			continue
		}
		c.Close()
	}
	if err := a.Leave(ctx); err != nil {
		t.Fatal(err)
	}
}

func ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}
