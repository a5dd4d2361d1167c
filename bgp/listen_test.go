package bgp_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"

	"caracal.dev/caracal/bgp"
)

// TestRestartOnlyIntoWhatCanListen: after a restart for an address that cannot
// be bound there would be no session at all, so none is asked for.
func TestRestartOnlyIntoWhatCanListen(t *testing.T) {
	a := newStation(t, "a", "127.0.13.1", bgp.Options{})
	n, c := neighborOf(a, "127.0.13.9")
	a.conf.Neighbors = []bgp.Neighbor{n}
	a.apply()
	s := dial(t, c)
	defer s.Abort()
	a.sequence(n.Name, "up")
	taken, err := net.Listen("tcp", "127.0.13.2:17900")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		addrs string
		port  uint16
		want  string // of the error; empty for a restart
	}{
		{"127.0.13.3,192.0.2.77", testPort, "no interface has the address 192.0.2.77"},
		{"192.0.2.77", testPort, "no interface has the address 192.0.2.77"},
		{"127.0.13.1,127.0.13.2", testPort, "127.0.13.2:17900: the port is in use by"},
		{"127.0.13.1,127.0.13.3", testPort, ""},
		{"127.0.13.1", testPort + 1, ""},
		{"0.0.0.0", testPort, ""}, // taken in part by ourselves
	} {
		conf := a.conf
		conf.Global.ListenAddrs, conf.Global.Port = tc.addrs, tc.port
		conf.Neighbors = nil
		_, err := a.Apply(context.Background(), conf)
		var restart *bgp.RestartNeeded
		switch is := errors.As(err, &restart); {
		case err == nil:
			t.Errorf("%s: no error", tc.addrs)
		case is != (tc.want == ""):
			t.Errorf("%s: %v", tc.addrs, err)
		case !is && (!strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), "sessions stay")):
			t.Errorf("%s: %v", tc.addrs, err)
		}
	}
	taken.Close()
	conf := a.conf
	conf.Global.ListenAddrs = "127.0.13.1,127.0.13.2"
	var restart *bgp.RestartNeeded
	if _, err := a.Apply(context.Background(), conf); !errors.As(err, &restart) {
		t.Errorf("once the port is free: %v", err)
	}
	a.sequence(n.Name, "up")
}
