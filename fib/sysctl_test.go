package fib

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"caracal.dev/caracal/internal/nstest"
)

func TestCheckSysctls(t *testing.T) {
	good := map[string]string{
		"net/ipv4/ip_forward": "1", "net/ipv6/conf/all/forwarding": "1",
		"net/ipv4/conf/all/rp_filter": "0", "net/ipv4/conf/eth0/rp_filter": "2",
		"net/ipv6/conf/eth0/accept_ra":           "1",
		"net/ipv4/neigh/default/gc_thresh3":      "1024",
		"net/ipv4/conf/cali.1/forwarding":        "1",
		"net/ipv4/conf/cali.1/proxy_arp":         "1",
		"net/ipv4/conf/cali.1/rp_filter":         "1",
		"net/ipv4/neigh/cali.1/proxy_delay":      "0",
		"net/ipv6/conf/cali.1/forwarding":        "1",
		"net/ipv6/conf/cali.1/proxy_ndp":         "1",
		"net/ipv6/conf/cali.1/accept_ra":         "0",
		"net/ipv6/route/max_size":                "4096",
		"net/ipv6/neigh/default/gc_thresh3":      "1024",
		"net/ipv4/conf/nobody-asks/something_of": "1",
	}
	needs := SysctlNeeds{IPv4: true, IPv6: true, Workloads: []string{"cali.1", "gone"}, Uplinks: []string{"eth0"}, Neighbors: 100, Routes6: 100}
	for _, tc := range []struct {
		name string
		set  map[string]string
		need func(*SysctlNeeds)
		want []string // keys and what they should be, advice with a question mark
	}{
		{name: "all is well"},
		{name: "no forwarding", set: map[string]string{"net/ipv4/ip_forward": "0"}, want: []string{"net/ipv4/ip_forward=1"}},
		{
			name: "advertised default route is kept, first", set: map[string]string{"net/ipv6/conf/all/forwarding": "0"},
			want: []string{"net/ipv6/conf/eth0/accept_ra=2", "net/ipv6/conf/all/forwarding=1"},
		},
		{
			name: "IPv4 only", set: map[string]string{"net/ipv6/conf/all/forwarding": "0"},
			need: func(n *SysctlNeeds) { n.IPv6 = false },
		},
		{name: "strict uplink", set: map[string]string{"net/ipv4/conf/eth0/rp_filter": "1"}, want: []string{"net/ipv4/conf/eth0/rp_filter=2?"}},
		{
			name: "strict through all", set: map[string]string{"net/ipv4/conf/eth0/rp_filter": "0", "net/ipv4/conf/all/rp_filter": "1"},
			want: []string{"net/ipv4/conf/eth0/rp_filter=2?"},
		},
		{
			name: "workload", set: map[string]string{"net/ipv4/conf/cali.1/proxy_arp": "0", "net/ipv6/conf/cali.1/accept_ra": "1"},
			want: []string{"net/ipv4/conf/cali.1/proxy_arp=1", "net/ipv6/conf/cali.1/accept_ra=0"},
		},
		{
			name: "spread by addresses alone", set: map[string]string{"net/ipv4/fib_multipath_hash_policy": "0", "net/ipv6/fib_multipath_hash_policy": "0"},
			need: func(n *SysctlNeeds) { n.ECMP = true },
			want: []string{"net/ipv4/fib_multipath_hash_policy=1", "net/ipv6/fib_multipath_hash_policy=1"},
		},
		{
			name: "spread by addresses alone, of one family", set: map[string]string{"net/ipv4/fib_multipath_hash_policy": "0", "net/ipv6/fib_multipath_hash_policy": "0"},
			need: func(n *SysctlNeeds) { n.ECMP, n.IPv6 = true, false },
			want: []string{"net/ipv4/fib_multipath_hash_policy=1"},
		},
		{
			name: "spread by what an operator chose", set: map[string]string{"net/ipv4/fib_multipath_hash_policy": "2"},
			need: func(n *SysctlNeeds) { n.ECMP = true },
		},
		{name: "never several next hops", set: map[string]string{"net/ipv4/fib_multipath_hash_policy": "0"}},
		{
			name: "tables too small", need: func(n *SysctlNeeds) { n.Neighbors, n.Routes6 = 600, 5000 },
			want: []string{"net/ipv4/neigh/default/gc_thresh3=2400?", "net/ipv6/neigh/default/gc_thresh3=2400?", "net/ipv6/route/max_size=20000?"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			have, n := maps.Clone(good), needs
			maps.Copy(have, tc.set)
			if tc.need != nil {
				tc.need(&n)
			}
			read := func(key string) (string, bool) { v, ok := have[key]; return v, ok }
			found := CheckSysctls(n, read)
			var got []string
			for _, s := range found {
				line := s.Key + "=" + s.Must
				if s.Advice {
					line += "?"
				}
				got = append(got, line)
			}
			if !slices.Equal(got, tc.want) {
				t.Fatalf("found\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tc.want, "\n"))
			}
			SetSysctls(found, func(key, value string) error { have[key] = value; return nil })
			for _, s := range CheckSysctls(n, read) {
				if !s.Advice {
					t.Errorf("after setting: %v", s)
				}
			}
		})
	}
}

// TestSysctlsOnTheKernel sets what a fresh namespace needs, and finds nothing to
// do the second time.
func TestSysctlsOnTheKernel(t *testing.T) {
	ns := nstest.New(t)
	ns.Device("eth0", "10.0.0.1/24")
	ns.Device("cali1")
	needs := SysctlNeeds{IPv4: true, IPv6: true, Workloads: []string{"cali1"}, Uplinks: []string{"eth0"}}
	ns.Do(func() {
		found := CheckSysctls(needs, ReadSysctl)
		if len(found) < 8 {
			t.Errorf("a fresh namespace lacks only %v", found)
		}
		for _, s := range SetSysctls(found, WriteSysctl) {
			if !s.Done && !s.Advice {
				t.Error(s)
			}
		}
		if again := CheckSysctls(needs, ReadSysctl); len(again) != 0 {
			t.Errorf("the second time: %v", again)
		}
		if v, _ := ReadSysctl("net/ipv6/conf/eth0/accept_ra"); v != "2" {
			t.Errorf("accept_ra of the uplink is %s, want 2", v)
		}
		if err := WriteSysctl("net/ipv4/conf/nosuch/forwarding", "1"); err == nil || !strings.Contains(err.Error(), "nosuch") {
			t.Errorf("writing a setting that is not there: %v", err)
		}
	})
}
