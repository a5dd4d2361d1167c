package bgp_test

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"caracal.dev/caracal/bgp"
	"caracal.dev/caracal/internal/nstest"
)

// hopsCase is a BIRD that is so many hops away, and how many it may be.
type hopsCase struct {
	away, allowed int
	passive, v6   bool
}

func (c hopsCase) addrs(i int) (ours, theirs netip.Addr) {
	net4, net6 := "192.0.2", "2001:db8:"
	if c.away == 2 {
		net4, net6 = "198.51.100", "2001:db8:1:"
	}
	if c.v6 {
		return addr(fmt.Sprintf("2001:db8::%d", 10+i)), addr(fmt.Sprintf("%s:%d", net6, 100+i))
	}
	return addr(fmt.Sprintf("192.0.2.%d", 10+i)), addr(fmt.Sprintf("%s.%d", net4, 100+i))
}

func hopsCases() (cases []hopsCase) {
	for _, v6 := range []bool{false, true} {
		for _, passive := range []bool{false, true} {
			cases = append(cases, hopsCase{1, 1, passive, v6}, hopsCase{2, 2, passive, v6}, hopsCase{2, 1, passive, v6})
		}
	}
	return cases
}

// TestTTLSecurity: BIRDs one and two hops away, that look at the TTL themselves,
// have a session if they are no farther than they may be, whoever dials.
func TestTTLSecurity(t *testing.T) {
	const birds = "CARACAL_TEST_BIRDS"
	if os.Getenv(childEnv) == "" {
		t.Parallel()
		here, there, far := nstest.New(t), nstest.New(t), nstest.New(t)
		nstest.Veth(t, here, "up0", there, "up0")
		nstest.Veth(t, there, "far0", far, "up0")
		there.Sysctl("net/ipv4/ip_forward", "1")
		there.Sysctl("net/ipv6/conf/all/forwarding", "1")
		there.Addr("up0", "192.0.2.1/24", "2001:db8::1/64")
		there.Addr("far0", "198.51.100.1/24", "2001:db8:1::1/64")
		for i, tc := range hopsCases() {
			ours, theirs := tc.addrs(i)
			bits := 24
			if tc.v6 {
				bits = 64
			}
			here.Addr("up0", fmt.Sprintf("%s/%d", ours, bits))
			if tc.away == 2 {
				far.Addr("up0", fmt.Sprintf("%s/%d", theirs, bits))
			} else {
				there.Addr("up0", fmt.Sprintf("%s/%d", theirs, bits))
			}
		}
		here.Run("ip", "route", "add", "198.51.100.0/24", "via", "192.0.2.1")
		here.Run("ip", "route", "add", "2001:db8:1::/64", "via", "2001:db8::1")
		far.Run("ip", "route", "add", "192.0.2.0/24", "via", "198.51.100.1")
		far.Run("ip", "route", "add", "2001:db8::/64", "via", "2001:db8:1::1")
		child := here.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", childTimeout)
		child.Env = append(os.Environ(), childEnv+"="+here.Path(), birds+"="+there.Path()+","+far.Path())
		if out, err := child.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	var listen []string
	for i, tc := range hopsCases() {
		ours, _ := tc.addrs(i)
		listen = append(listen, ours.String())
	}
	a := newStationOn(t, "a", strings.Join(listen, ","), 179, bgp.Options{})
	texts := map[int]*strings.Builder{1: {}, 2: {}}
	right := map[string]bool{}
	for i, tc := range hopsCases() {
		ours, theirs := tc.addrs(i)
		n, _ := neighborOf(a, theirs.String())
		n.Name, n.Local, n.Port, n.ASN, n.Passive = fmt.Sprintf("peer/%+v", tc), ours, 179, 65001, tc.passive
		n.TTLSecurity = uint8(tc.allowed)
		a.conf.Neighbors = append(a.conf.Neighbors, n)
		right[n.Name] = tc.away <= tc.allowed
		multihop, passive := "", ""
		if tc.away > 1 {
			multihop = "multihop 2;"
		}
		if !tc.passive {
			passive = "passive;"
		}
		fmt.Fprintf(texts[tc.away], "protocol bgp p%d {\n\tlocal %s as 65001; neighbor %s as %d; strict bind yes; %s %s ttl security on; connect delay time 1; connect retry time 2;\n\tipv4 { export none; import all; };\n}\n",
			i, theirs, ours, asn, multihop, passive)
	}
	for i, ns := range strings.Split(os.Getenv(birds), ",") {
		dir := t.TempDir()
		file := filepath.Join(dir, "bird.conf")
		write(t, file, fmt.Sprintf("log stderr all;\nrouter id 192.0.2.%d;\nprotocol device {}\n%s", 200+i, texts[i+1]))
		run(t, ns, "bird", "-f", "-c", file, "-s", filepath.Join(dir, "ctl"), "-P", filepath.Join(dir, "pid"))
	}
	a.apply()
	for _, n := range a.conf.Neighbors {
		if right[n.Name] {
			a.eventually("the session "+n.Name, a.in(n.Name, bgp.Established))
		}
	}
	time.Sleep(5 * time.Second) // as long again for the others
	list, err := a.Neighbors(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, st := range list {
		if (st.State == bgp.Established) != right[st.Name] || st.Flaps != 0 {
			t.Errorf("%s is %s, flaps %d", st.Name, st.State, st.Flaps)
		}
		// Who comes from too far does not even get a connection.
		if !right[st.Name] && (st.State == bgp.OpenSent || st.State == bgp.OpenConfirm) {
			t.Errorf("%s has a connection", st.Name)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, e := range a.all {
		if s := e.Session; s != nil && !right[s.Neighbor] && s.State > bgp.Active {
			t.Errorf("%s came to %s", s.Neighbor, s.State)
		}
	}
}
