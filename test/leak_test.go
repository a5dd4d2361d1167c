package test

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"caracal.dev/caracal/bench/sender"
	"caracal.dev/caracal/lab"
)

// leakTop is a mesh of two, a and b, and three switches on their network: good,
// which runs BIRD, frr, and bad, which leaks.
func leakTop() lab.Topology {
	top := lab.Mesh(lab.MeshOptions{Nodes: 2, PodsPerNode: 1})
	top.BGP = lab.BGPSettings{HoldTime: 9 * time.Second} // who is not heard for that long is noticed
	for i, name := range []string{"good", "bad", "frr"} {
		top.Nodes = append(top.Nodes, routerNode(name, byte(201+i), top.Nodes[0].Links[0].Switch))
	}
	return top
}

const (
	badASN    = 65002
	badRetry  = 8 * time.Second // long enough to look at what there is meanwhile
	badLimit  = 10_000          // the default
	badAddr   = "192.168.77.202"
	badAddr6  = "fd00:77::ca"
	badPrefix = "peer/bad@"
)

// illegal is what the bad switch announces beside numbers of random prefixes, and
// a part of why it is refused. Its filter lets in 198.18.0.0/15, 2001:db8:2::/48
// and, carelessly, all of 192.168.0.0/16.
func illegal() map[string]string {
	const outside, pools = "no import filter and no acceptRanges", "only with acceptPools"
	return map[string]string{
		"0.0.0.0/0": "only with acceptDefaultRoute", "::/0": "only with acceptDefaultRoute",
		"10.244.0.0/16": pools, "fd00:244::/48": pools, // the pools
		"10.244.2.0/26": pools, "fd00:244:0:2::/122": pools, // the other node's blocks
		"10.244.2.2/32": pools, "fd00:244:0:2::2/128": pools, // its pod
		"10.244.9.0/26": pools, "fd00:244:0:9::/122": pools, // nobody's
		"10.244.1.0/26": "belongs to this node", "fd00:244:0:1::/122": "belongs to this node",
		"10.244.1.2/32": "belongs to this node", "10.244.1.0/27": "belongs to this node",
		"192.168.77.1/32": "a network that this node is on", "192.168.77.2/32": "a network that this node is on",
		"192.168.77.0/24": "a network that this node is on", "192.168.77.201/32": "a network that this node is on",
		"fd00:77::1/128": outside, "fd00:77::2/128": outside, "fd00:77::/64": outside,
		"127.0.0.0/8": "not a range", "224.0.0.0/4": "not a range", "169.254.1.1/32": "not a range",
		"203.0.113.0/24": outside, "2001:db8:1::/48": outside, // what the good ones announce
		"10.96.0.0/12": outside, "0.0.0.0/1": outside, "128.0.0.0/1": outside,
	}
}

// legal is what the filter lets in.
func legal() []netip.Prefix {
	list := []netip.Prefix{netip.MustParsePrefix("2001:db8:2::/48"), netip.MustParsePrefix("2001:db8:2:7::/64")}
	for i := range 500 {
		list = append(list, netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}), 32))
	}
	return list
}

// leaked are n host prefixes of 11.0.0.0/8.
func leaked(n int) []netip.Prefix {
	list := make([]netip.Prefix, n)
	for i := range list {
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], 11<<24+uint32(i))
		list[i] = netip.PrefixFrom(netip.AddrFrom4(a), 32)
	}
	return list
}

// leak is the story of a switch that announces what it must not.
type leak struct {
	t       *testing.T
	l       *lab.Lab
	a       *lab.Node
	calm    []string // the routes on a before
	before  []neighbor
	stopped atomic.Int64 // when the last Cease/1 came, in Unix nanoseconds
}

// neighbor is more of what "show protocols" says.
type neighbor struct {
	lab.Neighbor
	Prefixes        struct{ Received, Accepted, Refused, Installed int }
	CountedPrefixes int
	Held            bool
	Refusals        []struct {
		Reason string
		Paths  int
	}
	LastNotification *struct {
		Sent          bool
		Code, Subcode int
	}
}

func startLeak(t *testing.T) *leak {
	l := start(t, leakTop())
	s := &leak{t: t, l: l, a: l.Node("a")}
	write(t, l, "good.yaml", "BGPPeer", "good", fmt.Sprintf("{node: a, peerIP: 192.168.77.201, asNumber: %d, acceptRanges: [203.0.113.0/24, '2001:db8:1::/48']}", torASN))
	write(t, l, "frr.yaml", "BGPPeer", "frr", "{node: a, peerIP: 192.168.77.203, asNumber: 65003, acceptRanges: [192.0.2.0/24, '2001:db8:3::/48']}")
	write(t, l, "filter.yaml", "BGPFilter", "f", `{importV4: [{action: Accept, cidr: 198.18.0.0/15, matchOperator: In}, {action: Accept, cidr: 192.168.0.0/16, matchOperator: In}],
	  importV6: [{action: Accept, cidr: "2001:db8:2::/48", matchOperator: In}]}`)
	write(t, l, "bad.yaml", "BGPPeer", "bad", fmt.Sprintf("{node: a, peerIP: %s, asNumber: %d, filters: [f], maxPrefixesRetry: %s}", badAddr, badASN, badRetry))
	must(l.Node("good").StartBIRD(birdPeer(torASN, announced{{"203.0.113.0/24"}, {"2001:db8:1::/48"}})))(t)
	frr := frrPeer(65003, announced{{"192.0.2.0/24"}, {"2001:db8:3::/48"}})
	frr.BGP = strings.NewReplacer("192.168.77.201", "192.168.77.203", "fd00:77::c9", "fd00:77::cb").Replace(frr.BGP)
	if err := l.Node("frr").StartFRR(frr); err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{"a", "b"} {
		must(l.Node(n).StartCaracald())(t)
	}
	eventually(t, 30*time.Second, func() string {
		s.calm = own(t, s.a)
		routes := strings.Join(s.calm, "\n")
		for _, p := range []string{"203.0.113.0/24", "2001:db8:1::/48", "192.0.2.0/24", "2001:db8:3::/48", "10.244.2.0/26", "fd00:244:0:2::/122"} {
			if !strings.Contains(routes, p) {
				return "no route to " + p + ":\n" + routes
			}
		}
		return ""
	})
	for _, f := range lab.Families() {
		if _, err := l.WaitPing(t.Context(), f); err != nil {
			t.Fatal(err)
		}
	}
	s.calm = own(t, s.a)
	s.before, _ = s.neighbors()
	return s
}

// neighbors returns what a says of the good neighbors, and of the bad one.
func (s *leak) neighbors() (others []neighbor, bad neighbor) {
	s.t.Helper()
	var out struct{ Neighbors []neighbor }
	text := must(s.a.CLI(s.t.Context(), "show", "protocols", "-o", "json"))(s.t)
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		s.t.Fatal(err)
	}
	for _, n := range out.Neighbors {
		if strings.HasPrefix(n.Name, badPrefix) {
			bad = n
		} else {
			others = append(others, n)
		}
	}
	return others, bad
}

// dial brings up a session of the bad switch.
func (s *leak) dial() *forger {
	s.t.Helper()
	self := netip.MustParseAddr(badAddr)
	return speak(s.t, s.l.Node("bad"), sender.Config{
		Local: self, Remote: netip.AddrPortFrom(s.a.Addr(lab.IPv4), 179), ASN: badASN, RouterID: self, IPv4: true, IPv6: true,
		OnMessage: func(kind byte, body []byte) {
			if kind == sender.Notification && len(body) > 1 && body[0] == 6 && body[1] == 1 {
				s.stopped.Store(time.Now().UnixNano())
			}
		},
	})
}

// announce has the bad switch announce prefixes of any family.
func (s *leak) announce(f *forger, prefixes []netip.Prefix) {
	s.t.Helper()
	for _, hop := range []string{badAddr, badAddr6} {
		path := sender.Path{NextHop: netip.MustParseAddr(hop), ASPath: []uint32{badASN}}
		of := slices.DeleteFunc(slices.Clone(prefixes), func(p netip.Prefix) bool { return p.Addr().Is4() != path.NextHop.Is4() })
		if err := f.Announce(of, path); err != nil {
			s.t.Fatal(err)
		}
	}
}

// installed waits until a has its routes, and if with is set those that the bad
// switch may announce, and nothing else.
func (s *leak) installed(with bool) {
	s.t.Helper()
	want := slices.Clone(s.calm)
	for _, p := range legal() {
		hop := badAddr
		if p.Addr().Is6() {
			hop = badAddr6
		}
		if with {
			want = append(want, fmt.Sprintf("%s via %s dev eth0 proto %d metric 427", p, hop, lab.Proto))
		}
	}
	eventually(s.t, 15*time.Second, func() string { return same(own(s.t, s.a), want) })
}

// TestLeak: a switch announces what nobody asked for, then a table of prefixes,
// and then withdraws one that it never announced. Nothing of it gets into the
// kernel, and whoever else has to do with the node notices nothing.
func TestLeak(t *testing.T) {
	t.Parallel()
	leakStory(t, 200_000)
}

func leakStory(t *testing.T, n int) {
	s := startLeak(t)
	pid := s.a.Process("caracald").PID()
	changes := watchRoutes(t, s.l)
	stop := flows(t, s.l, s.a.Pods[0].Name, s.l.Node("b").Pods[0].Name)
	begin := clearPeak(t, pid)

	f := s.dial()
	s.mixed(f)
	full := s.fill(f)
	t.Logf("with %d prefixes of the switch: RSS %d MiB, before %d MiB", badLimit, clearPeak(t, pid), begin)
	s.leaks(f, full, n, "at the limit")
	s.leaks(s.again(), nil, n, "at once")
	t.Logf("two leaks of %d: RSS %d MiB at most", n, peak(t, pid))
	if grown := peak(t, pid) - begin; grown > 200 {
		t.Errorf("leaks of %d prefixes made RSS grow by %d MiB", n, grown)
	}

	f = s.again()
	s.announce(f, legal())
	s.installed(true)
	s.withdraws(f, pid, n)
	f.Close()
	s.installed(false)

	if r := stop(); r.Lost() != 0 {
		t.Errorf("packets lost: %s", r)
	}
	s.untouched(changes())
}

// mixed is the first part: everything that must not be believed, random
// prefixes, and what the filter lets in.
func (s *leak) mixed(f *forger) {
	t := s.t
	t.Helper()
	prefixes := legal()
	for p := range illegal() {
		prefixes = append(prefixes, netip.MustParsePrefix(p))
	}
	rng := rand.New(rand.NewPCG(1, 2))
	random := map[netip.Prefix]bool{}
	for len(random) < 5000 {
		a := netip.AddrFrom4([4]byte{byte(20 + rng.IntN(80)), byte(rng.IntN(256)), byte(rng.IntN(256)), byte(rng.IntN(256))})
		random[netip.PrefixFrom(a, 9+rng.IntN(24)).Masked()] = true
	}
	for p := range random {
		prefixes = append(prefixes, p)
	}
	s.announce(f, prefixes)
	f.EndOfRIB(false)
	f.EndOfRIB(true)
	refused := len(illegal()) + len(random)
	eventually(t, 10*time.Second, func() string {
		others, bad := s.neighbors()
		sum := 0
		for _, r := range bad.Refusals {
			sum += r.Paths
		}
		if p := bad.Prefixes; len(others) != 3 || p.Received != len(prefixes) || p.Accepted != len(legal()) || p.Refused != refused || p.Installed != len(legal()) || sum != refused {
			return fmt.Sprintf("want %d refused of %d: %+v", refused, len(prefixes), bad)
		}
		return ""
	})
	s.installed(true)
	for prefix, why := range illegal() {
		paths := must(s.a.Paths(t.Context(), prefix, "all"))(t)
		i := slices.IndexFunc(paths, func(p lab.Path) bool { return p.Prefix == prefix && strings.HasPrefix(p.Neighbor, badPrefix) })
		if i < 0 || !paths[i].Refused || paths[i].Installed || !strings.Contains(paths[i].Why, why) {
			t.Errorf("%s: %+v, want refused: %s", prefix, paths, why)
		}
	}
	_, bad := s.neighbors()
	out := must(s.a.CLI(t.Context(), "show", "route", "table", "adj-rib-in", bad.Name, "all"))(t)
	if !strings.Contains(out, "only with acceptPools") {
		t.Errorf("adj-rib-in does not say why a path is refused:\n%s", out[:min(len(out), 2000)])
	}
	t.Logf("%d announced, %d installed, refused: %v", bad.Prefixes.Received, bad.Prefixes.Installed, bad.Refusals)
}

// fill announces what is missing to the limit, and returns all but that of what
// comes next.
func (s *leak) fill(f *forger) []netip.Prefix {
	s.t.Helper()
	_, bad := s.neighbors()
	full := leaked(badLimit - bad.CountedPrefixes)
	s.announce(f, full)
	eventually(s.t, 10*time.Second, func() string {
		if _, bad = s.neighbors(); bad.CountedPrefixes != badLimit || bad.State != "Established" {
			return fmt.Sprintf("not at the limit: %+v", bad)
		}
		return ""
	})
	return full
}

// leaks announces n prefixes more than those that were announced, and looks at
// how that ends.
func (s *leak) leaks(f *forger, announced []netip.Prefix, n int, how string) {
	t := s.t
	t.Helper()
	messages := sender.Encode(leaked(len(announced) + n)[len(announced):], sender.Path{NextHop: netip.MustParseAddr(badAddr), ASPath: []uint32{badASN}})
	s.stopped.Store(0)
	start := time.Now()
	go f.Send(messages...)
	select {
	case <-f.Done():
	case <-time.After(60 * time.Second):
		t.Fatal("the session lives on")
	}
	stopped := s.stopped.Load()
	if stopped == 0 {
		t.Fatalf("the session ended without Cease/1: %v", f.Err())
	}
	took := time.Duration(stopped - start.UnixNano())
	t.Logf("%d more prefixes, %s: Cease/1 after %v", n, how, took.Round(time.Millisecond))
	if took > 20*time.Second { // 0.5 s on a machine of its own
		t.Errorf("the limit was acted on after %v", took)
	}
	s.installed(false)
	// The switch may know of the end before the daemon has taken note of it.
	within(t, badRetry, func() string {
		_, bad := s.neighbors()
		if no := bad.LastNotification; bad.State != "Disabled" || !bad.Held || !strings.Contains(bad.LastError, "more than 10000 prefixes") ||
			no == nil || !no.Sent || no.Code != 6 || no.Subcode != 1 || bad.Prefixes.Received != 0 {
			return fmt.Sprintf("after the leak: %+v", bad)
		}
		return ""
	})
}

// again waits for the session that is tried again by itself.
func (s *leak) again() *forger {
	s.t.Helper()
	f := s.dial()
	after := time.Since(time.Unix(0, s.stopped.Load()))
	s.t.Logf("tried again %v after the end of the session, which was to be %v", after.Round(time.Millisecond), badRetry)
	if after < badRetry/2 || after > badRetry+30*time.Second {
		s.t.Errorf("tried again after %v", after)
	}
	return f
}

// withdraws takes back n prefixes that were never announced.
func (s *leak) withdraws(f *forger, pid, n int) {
	t := s.t
	t.Helper()
	messages := sender.EncodeWithdraw(leaked(n))
	before, used, start := clearPeak(t, pid), processorTime(t, pid), time.Now()
	if err := f.Send(append(messages, sender.EncodeEndOfRIB(false))...); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Minute, func() string {
		if _, bad := s.neighbors(); !slices.Contains(bad.EndOfRIB, "ipv4") {
			return fmt.Sprintf("not read to the end: %+v", bad)
		}
		return ""
	})
	took := time.Since(start)
	t.Logf("%d withdrawals of unknown prefixes: read in %v with %v of a processor, RSS %d MiB before, %d at most", n,
		took.Round(time.Millisecond), processorTime(t, pid)-used, before, peak(t, pid))
	if grown := peak(t, pid) - before; grown > 200 {
		t.Errorf("withdrawals made RSS grow by %d MiB", grown)
	}
	s.idle(pid)
	s.installed(true)
	if _, bad := s.neighbors(); bad.State != "Established" || bad.Prefixes.Installed != len(legal()) {
		t.Errorf("after the withdrawals: %+v", bad)
	}
}

// idle looks at what the daemon does when there is nothing to do any more.
func (s *leak) idle(pid int) {
	s.t.Helper()
	const watch = 2 * time.Second
	eventually(s.t, 15*time.Second, func() string {
		used := processorTime(s.t, pid)
		time.Sleep(watch)
		if used = processorTime(s.t, pid) - used; used > watch/4 {
			return fmt.Sprintf("the daemon is busy: %v of %v", used, watch)
		}
		s.t.Logf("afterwards: %v of a processor in %v", used, watch)
		return ""
	})
}

// untouched looks at the good neighbors' sessions, and at all changes of routes:
// none but on a, and there only of what the bad switch may announce.
func (s *leak) untouched(changes []string) {
	t := s.t
	t.Helper()
	after, _ := s.neighbors()
	for i, nb := range after {
		if i >= len(s.before) || nb.State != "Established" || nb.Flaps != 0 || !nb.Since.Equal(s.before[i].Since) {
			t.Errorf("another session was touched: %+v", nb)
		}
	}
	may := map[string]bool{}
	for _, p := range legal() {
		may[p.String()] = true
		if p.IsSingleIP() {
			may[p.Addr().String()] = true
		}
	}
	for _, c := range changes {
		if !strings.HasPrefix(c, "a: ") || !slices.ContainsFunc(strings.Fields(c), func(w string) bool { return may[w] }) {
			t.Errorf("a route changed: %s", c)
		}
	}
}

// ofStatus returns a line of /proc/PID/status, in MiB.
func ofStatus(t *testing.T, pid int, key string) int {
	t.Helper()
	text := string(must(os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)))(t))
	_, rest, _ := strings.Cut(text, key+":")
	return must(strconv.Atoi(strings.Fields(rest)[0]))(t) >> 10
}

// peak is the most memory that a process has had since clearPeak, in MiB.
func peak(t *testing.T, pid int) int {
	t.Helper()
	return ofStatus(t, pid, "VmHWM")
}

// clearPeak has the peak begin at what a process has now, which it returns.
func clearPeak(t *testing.T, pid int) int {
	t.Helper()
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0o200); err != nil { // proc(5)
		t.Fatal(err)
	}
	return ofStatus(t, pid, "VmRSS")
}

// processorTime is what a process has used so far (proc_pid_stat(5), in ticks of
// 10 ms).
func processorTime(t *testing.T, pid int) time.Duration {
	t.Helper()
	text := string(must(os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)))(t))
	fields := strings.Fields(text[strings.LastIndex(text, ")")+1:])
	return time.Duration(must(strconv.Atoi(fields[11]))(t)+must(strconv.Atoi(fields[12]))(t)) * 10 * time.Millisecond
}
