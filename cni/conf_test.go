package cni

import (
	"errors"
	"slices"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
)

func TestFamilies(t *testing.T) {
	yes, no := true, false
	for _, tc := range []struct {
		v4, v6 *bool
		want   [2]bool
	}{
		{nil, nil, [2]bool{false, false}},
		{&yes, nil, [2]bool{true, false}},
		{&no, nil, [2]bool{false, true}},
		{nil, &yes, [2]bool{false, true}},
		{nil, &no, [2]bool{true, false}},
		{&yes, &yes, [2]bool{true, true}},
	} {
		v4, v6 := conf{IPv4: tc.v4, IPv6: tc.v6}.families()
		if got := [2]bool{v4, v6}; got != tc.want {
			t.Errorf("ipv4 %v, ipv6 %v: %v, want %v", tc.v4, tc.v6, got, tc.want)
		}
	}
}

func TestListOf(t *testing.T) {
	for text, want := range map[string][]string{
		"":               nil,
		`["a","b"]`:      {"a", "b"},
		"a,b":            {"a", "b"},
		" a , b ":        {"a", "b"},
		`["a"`:           {`["a"`}, // which is no address, and said so
		"10.0.0.1":       {"10.0.0.1"},
		"fd00::1,fd00::": {"fd00::1", "fd00::"},
	} {
		if got := listOf(text); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// Whatever a runtime gives, the answer is an error of CNI's kind or a
// configuration that can be used.
func FuzzConf(f *testing.F) {
	for _, seed := range []string{
		`{"cniVersion":"1.1.0","name":"net","type":"caracal-cni"}`,
		`{"name":"n","pools":["a"],"mtu":1400,"ipv4":true,"ipv6":false,"socket":"/s","stateDir":"/d","logFile":"/l"}`,
		`{"name":"n","runtimeConfig":{"ips":["10.0.0.1/24","fd00::1"],"mac":"02:00:00:00:00:01","io.kubernetes.cri.pod-annotations":{"caracal.dev/ipAddrs":"[\"10.0.0.1\"]"}}}`,
		`{"name":"n","args":{"cni":{"labels":[{"key":"a","value":"b"}],"ips":["x"]}}}`,
		`{"name":"n","prevResult":{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","sandbox":"/x"}],"ips":[{"address":"10.0.0.1/32","interface":0}]}}`,
		`{"name":"n","cni.dev/valid-attachments":[{"containerID":"a","ifname":"eth0"}],"cni.dev/attachments":null}`,
		`{"unknown":1}`, `null`, `[]`, `{"mtu":-1}`, `{"dns":{"nameservers":["1.1.1.1"]},"ipam":{}}`,
	} {
		f.Add([]byte(seed), "IgnoreUnknown=1;IP=10.0.0.1;MAC=02:00:00:00:00:01;K8S_POD_NAME=p")
	}
	f.Fuzz(func(t *testing.T, b []byte, env string) {
		if _, err := parseConf(b, true); err != nil {
			t.Errorf("a DEL would fail: %v", err)
		}
		c, err := parseConf(b, false)
		var told *types.Error
		if err != nil {
			if !errors.As(err, &told) || told.Code == 0 || told.Msg == "" {
				t.Errorf("error %#v is none of CNI", err)
			}
			return
		}
		if c.Socket == "" || c.StateDir == "" || c.MTU < 0 || c.MTU > 65535 {
			t.Errorf("accepted %+v", c)
		}
		if v4, v6 := c.families(); (c.IPv4 != nil || c.IPv6 != nil) && !v4 && !v6 {
			t.Errorf("no family of %s", b)
		}
		c.valid()
		if p, err := c.prevResult(); err == nil && p != nil {
			find(p, "eth0", "")
		}
		a, err := parseArgs(env)
		if err != nil && !errors.As(err, &told) {
			t.Errorf("error %#v is none of CNI", err)
		}
		if got, err := ask(c, a); err == nil {
			for _, addr := range got.addrs {
				if _, err := parseAddr(addr); err != nil {
					t.Errorf("accepted address %q", addr)
				}
			}
		} else if !errors.As(err, &told) {
			t.Errorf("error %#v is none of CNI", err)
		}
	})
}
