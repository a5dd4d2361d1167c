package cni

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"caracal.dev/caracal"
)

// fresh is what there is before a container is wired, on a kernel with the
// settings of a machine that forwards.
func fresh(s Spec) State {
	have := State{Host: End{Sysctls: map[string]string{}}, Pod: End{Sysctls: map[string]string{}}}
	for key := range hostSysctls(s) {
		have.Host.Sysctls[key] = "0"
		if strings.HasSuffix(key, "/forwarding") || strings.HasSuffix(key, "accept_ra") || strings.HasSuffix(key, "accept_dad") {
			have.Host.Sysctls[key] = "1"
		}
	}
	for key := range podSysctls(s) {
		have.Pod.Sysctls[key] = "1"
	}
	return have
}

// wired is what there is once a container is wired.
func wired(s Spec) State {
	have := State{LoopbackUp: true}
	have.Host = End{Exists: true, Veth: true, Paired: true, Up: true, MAC: s.HostMAC, MTU: s.MTU, Sysctls: hostSysctls(s), Neighbors: map[netip.Addr]string{}}
	have.Pod = End{
		Exists: true, Veth: true, Paired: true, Up: true, MAC: s.MAC, MTU: s.MTU, Sysctls: podSysctls(s),
		Neighbors: map[netip.Addr]string{}, Routes: map[netip.Prefix]netip.Addr{},
	}
	for _, a := range s.Addrs {
		have.Host.Neighbors[a] = s.MAC.String()
		have.Pod.Addrs = append(have.Pod.Addrs, caracal.HostPrefix(a))
	}
	for _, g := range s.Gateways {
		have.Pod.Neighbors[g] = s.HostMAC.String()
		for _, r := range routesBy(g) {
			have.Pod.Routes[r.Dst] = r.Gateway
		}
	}
	return have
}

const (
	hostOf = "car4b47b310df8" // caracal.HostInterface(testID, "eth0")
	macIs  = "3a:2b:c1:d7:a3:a8"
)

var makeDual = []string{
	"host: make interface car4b47b310df8 with its pair in the container",
	"host: set net/ipv4/conf/car4b47b310df8/proxy_arp to 1",
	"host: set net/ipv4/conf/car4b47b310df8/rp_filter to 1",
	"host: set net/ipv6/conf/car4b47b310df8/accept_dad to 0",
	"host: set net/ipv6/conf/car4b47b310df8/accept_ra to 0",
	"host: set net/ipv6/conf/car4b47b310df8/proxy_ndp to 1",
	"host: set permanent neighbor 10.65.0.5 at 3a:2b:c1:d7:a3:a8 on car4b47b310df8",
	"host: set permanent neighbor fd00:65::5 at 3a:2b:c1:d7:a3:a8 on car4b47b310df8",
	"container: set interface lo up",
	"container: set net/ipv6/conf/eth0/accept_dad to 0",
	"container: set net/ipv6/conf/eth0/disable_ipv6 to 0",
	"container: add address 10.65.0.5/32 to eth0",
	"container: add address fd00:65::5/128 to eth0",
	"container: set interface eth0 up",
	"container: set permanent neighbor 169.254.1.1 at ee:ee:ee:ee:ee:ee on eth0",
	"container: add route 169.254.1.1/32 on eth0",
	"container: add route 0.0.0.0/0 via 169.254.1.1 on eth0",
	"container: set permanent neighbor fe80::ecee:eeff:feee:eeee at ee:ee:ee:ee:ee:ee on eth0",
	"container: add route ::/0 via fe80::ecee:eeff:feee:eeee on eth0",
}

// redone is makeDual after the old pair is gone, whose settings are not those of
// the new one.
var redone = []string{
	"host: remove interface car4b47b310df8",
	"host: make interface car4b47b310df8 with its pair in the container",
	"host: set net/ipv4/conf/car4b47b310df8/forwarding to 1",
	"host: set net/ipv4/conf/car4b47b310df8/proxy_arp to 1",
	"host: set net/ipv4/conf/car4b47b310df8/rp_filter to 1",
	"host: set net/ipv4/neigh/car4b47b310df8/proxy_delay to 0",
	"host: set net/ipv6/conf/car4b47b310df8/accept_dad to 0",
	"host: set net/ipv6/conf/car4b47b310df8/accept_ra to 0",
	"host: set net/ipv6/conf/car4b47b310df8/disable_ipv6 to 0",
	"host: set net/ipv6/conf/car4b47b310df8/forwarding to 1",
	"host: set net/ipv6/conf/car4b47b310df8/proxy_ndp to 1",
}

func TestPlan(t *testing.T) {
	for _, tc := range []struct {
		name string
		spec func(*Spec)
		have func(s Spec, h *State) // from wired
		want []string
		err  string
	}{
		{name: "nothing is there", have: func(s Spec, h *State) { *h = fresh(s) }, want: makeDual},
		{name: "all is there"},
		{name: "only IPv4", spec: func(s *Spec) { s.Addrs = s.Addrs[:1] }, have: func(s Spec, h *State) { *h = fresh(s) }, want: []string{
			makeDual[0], makeDual[1], makeDual[2], makeDual[6], makeDual[8], makeDual[11], makeDual[13], makeDual[14], makeDual[15], makeDual[16],
		}},
		{name: "an address of another life", have: func(s Spec, h *State) { h.Pod.Addrs = append(h.Pod.Addrs, netip.MustParsePrefix("10.65.0.9/32")) },
			want: slices.Concat(redone, makeDual[6:8], makeDual[9:])},
		{name: "another MAC", have: func(s Spec, h *State) { h.Pod.MAC = hostMAC }, want: slices.Concat(redone, makeDual[6:8], makeDual[9:])},
		{name: "the other end is elsewhere", have: func(s Spec, h *State) { h.Host.Paired, h.Pod = false, fresh(s).Pod },
			want: slices.Concat(redone, makeDual[6:8], makeDual[9:])},
		{name: "a network by a bridge is no stranger", have: func(s Spec, h *State) { h.Pod.Addrs = append(h.Pod.Addrs, netip.MustParsePrefix("192.168.1.9/24")) }},
		{name: "MTU", have: func(s Spec, h *State) { h.Host.MTU, h.Pod.MTU = 1500, 1500 },
			want: []string{"host: set MTU of car4b47b310df8 to 1450", "container: set MTU of eth0 to 1450"}},
		{name: "down", have: func(s Spec, h *State) { h.Host.Up, h.Pod.Up = false, false },
			want: []string{"host: set interface car4b47b310df8 up", "container: set interface eth0 up"}},
		{name: "neighbors and routes lost", have: func(s Spec, h *State) {
			clear(h.Host.Neighbors)
			clear(h.Pod.Neighbors)
			clear(h.Pod.Routes)
		}, want: slices.Concat(makeDual[6:8], makeDual[14:])},
		{name: "a setting was changed", have: func(s Spec, h *State) { h.Host.Sysctls["net/ipv4/conf/"+hostOf+"/rp_filter"] = "2" }, want: makeDual[2:3]},
		{name: "a setting that the kernel does not have", have: func(s Spec, h *State) { delete(h.Host.Sysctls, "net/ipv4/conf/"+hostOf+"/rp_filter") }},
		{name: "eth0 is another's", have: func(s Spec, h *State) { h.Host = fresh(s).Host }, err: "an interface eth0 already"},
		{name: "eth0 is another's, and the host's end leads elsewhere", have: func(s Spec, h *State) { h.Host.Paired, h.Pod.Paired = false, false }, err: "an interface eth0 already"},
		{name: "the host's is no veth", have: func(s Spec, h *State) { h.Host.Veth, h.Host.Paired = false, false }, err: "no veth"},
		{name: "the host's is not of this container", spec: func(s *Spec) { s.ContainerID = "other" }, have: func(s Spec, h *State) { h.Host.Paired = false }, err: "not of this container"},
		{name: "no IPv6 in the kernel", have: func(s Spec, h *State) { *h = fresh(s); clear(h.Pod.Sysctls) }, err: "no IPv6"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := dual()
			if tc.spec != nil {
				tc.spec(&s)
			}
			have := wired(s)
			if tc.have != nil {
				tc.have(s, &have)
			}
			steps, err := Plan(have, s)
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Fatalf("error %v, want %q", err, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, s := range steps {
				got = append(got, s.String())
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("plan\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tc.want, "\n"))
			}
		})
	}
}

// A MAC of ours is locally administered, unicast and always the same.
func TestMACOf(t *testing.T) {
	if got := macOf(hostOf).String(); got != macIs {
		t.Errorf("%s, want %s", got, macIs)
	}
	for _, name := range []string{"", "a", "b", "car0"} {
		if m := macOf(name); m[0]&3 != 2 {
			t.Errorf("%s of %q", m, name)
		}
	}
}

// The settings are those that the daemon looks at as well, so it has nothing to
// write after the plugin.
func TestHostSysctlsAreTheDaemons(t *testing.T) {
	found := daemonSysctls(hostOf)
	if len(found) == 0 {
		t.Fatal("the daemon looks at nothing")
	}
	want := hostSysctls(dual())
	for key, value := range found {
		if want[key] != value {
			t.Errorf("%s is %q after the plugin, the daemon wants %q", key, want[key], value)
		}
	}
}
