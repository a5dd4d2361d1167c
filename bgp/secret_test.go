package bgp_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"caracal.dev/caracal"
	"caracal.dev/caracal/bench/sender"
	"caracal.dev/caracal/bgp"
	"caracal.dev/caracal/internal/nstest"
)

// word is a secret that must not come out anywhere.
const word = "s3cret-Wort-49"

func password(w string) caracal.Password {
	return caracal.Password{From: "local/secrets/tor/bgp", Secret: caracal.NewSecret(w)}
}

// within runs the test once more in a network namespace of its own, and reports
// true there.
func within(t *testing.T, prepare func(*nstest.NS)) bool {
	t.Helper()
	if os.Getenv(childEnv) != "" {
		return true
	}
	t.Parallel()
	ns := nstest.New(t)
	prepare(ns)
	child := ns.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", childTimeout)
	child.Env = append(os.Environ(), childEnv+"="+ns.Path())
	if out, err := child.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	return false
}

// signed is a dialer that signs what it sends with a key (RFC 2385); with none
// it does not.
func signed(c sender.Config, key string) func(context.Context) (net.Conn, error) {
	d := net.Dialer{
		LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(c.Local, 0)),
		Timeout:   2 * time.Second,
		Control: func(_, _ string, raw syscall.RawConn) error {
			if key == "" {
				return nil
			}
			sig := unix.TCPMD5Sig{Keylen: uint16(len(key))}
			sig.Addr.Family = unix.AF_INET
			a := c.Remote.Addr().As4()
			copy(sig.Addr.Data[2:], a[:])
			copy(sig.Key[:], key)
			var err error
			if e := raw.Control(func(fd uintptr) {
				err = unix.SetsockoptTCPMD5Sig(int(fd), unix.IPPROTO_TCP, unix.TCP_MD5SIG, &sig)
			}); e != nil {
				return e
			}
			return err
		},
	}
	return func(ctx context.Context) (net.Conn, error) { return d.DialContext(ctx, "tcp4", c.Remote.String()) }
}

// TestUnusablePassword: a session that is to have a password is never tried
// without, and everyone is told why.
func TestUnusablePassword(t *testing.T) {
	a := newStation(t, "a", "127.0.33.1", bgp.Options{})
	n, c := neighborOf(a, "127.0.33.9")
	for _, tc := range []struct {
		password caracal.Password
		want     string
	}{
		{caracal.Password{From: "local/secrets/tor/bgp", Err: "no such file"}, "local/secrets/tor/bgp cannot be read: no such file"},
		{password(strings.Repeat("x", 81)), "has 81 octets, and TCP-MD5 takes 80"},
	} {
		n.Password = tc.password
		a.conf.Neighbors = []bgp.Neighbor{n}
		res, err := a.Apply(t.Context(), a.conf)
		// What cannot be read has been said by the plan, and is not tried again.
		failed := res.Failed[n.Name]
		if long := tc.password.Err == ""; (err != nil) != long || (failed != nil) != long || long && !strings.Contains(failed.Error(), tc.want) {
			t.Errorf("%+v, %v; want %q", res, err, tc.want)
		}
		if st := a.status(n.Name); !st.Refused || st.State != bgp.Idle || !strings.Contains(st.LastError, tc.want) {
			t.Errorf("status: %+v", st)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		if s, err := sender.Dial(ctx, c); err == nil {
			t.Error("there is a session")
			s.Abort()
		}
		cancel()
	}

	// Once it can be read the session comes up, and without one it may again.
	for _, w := range []string{word, "another", ""} {
		n.Password = caracal.Password{}
		if w != "" {
			n.Password = password(w)
		}
		a.conf.Neighbors = []bgp.Neighbor{n}
		a.apply()
		c.Dialer = signed(c, w)
		s := dial(t, c)
		a.eventually("the session", a.in(n.Name, bgp.Established))
		if w != "" {
			s.Close()
			a.eventually("its end", func() bool { return !a.in(n.Name, bgp.Established)() })
			continue
		}
		// It is to have one from now on, which nobody can read: a session without
		// must not go on.
		a.conf.Neighbors[0].Password = caracal.Password{From: "local/secrets/tor/bgp", Err: "no such file"}
		a.apply()
		<-s.Done()
		if st := a.status(n.Name); !st.Refused || st.State != bgp.Idle {
			t.Errorf("status: %+v", st)
		}
	}
}

// TestManyPasswords: more than the kernel takes by default. As many as have room
// are protected, the others are refused rather than unprotected; with room for
// all the right ones come up and no other does.
func TestManyPasswords(t *testing.T) {
	if !within(t, func(ns *nstest.NS) { ns.Sysctl("net/core/optmem_max", "20480") }) {
		return
	}
	const many = 1100
	a := newStation(t, "a", "127.0.0.1", bgp.Options{})
	configs := make([]sender.Config, many)
	for i := range many {
		n, c := neighborOf(a, fmt.Sprintf("127.1.%d.%d", i/250, i%250+1))
		n.IPv6, c.IPv6 = false, false
		n.Password = password(fmt.Sprintf("%s-%d", word, i))
		c.Dialer = signed(c, n.Password.Secret.Reveal())
		a.conf.Neighbors = append(a.conf.Neighbors, n)
		configs[i] = c
	}
	names := make([]string, many) // apply sorts
	for i, n := range a.conf.Neighbors {
		names[i] = n.Name
	}
	res, err := a.Apply(t.Context(), a.conf)
	if err == nil || len(res.Failed) < many-200 || len(res.Failed) == many {
		t.Fatalf("%d refused: %v", len(res.Failed), err)
	}
	for name, why := range res.Failed {
		if text := why.Error(); !strings.Contains(text, "optmem_max is 20480") || strings.Contains(text, word) {
			t.Fatalf("%s: %v", name, why)
		}
	}
	refused := -1
	for i, name := range names {
		if res.Failed[name] != nil {
			refused = i
		}
	}
	// Whoever is refused cannot come in without a password either.
	c := configs[refused]
	c.Dialer = nil
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if s, err := sender.Dial(ctx, c); err == nil {
		t.Error("a neighbor whose password could not be set has a session without")
		s.Abort()
	}

	need := bgp.OptmemNeeded(a.conf.Neighbors)
	if err := os.WriteFile("/proc/sys/net/core/optmem_max", []byte(fmt.Sprint(need)), 0); err != nil {
		t.Fatal(err)
	}
	a.apply()
	const wrong = 30 // every 30th has another or none
	var wg sync.WaitGroup
	ctx, cancel = context.WithTimeout(t.Context(), 2*patient)
	defer cancel()
	for i, c := range configs {
		switch i % wrong {
		case 1:
			c.Dialer = nil
		case 2:
			c.Dialer = signed(c, "not it")
		}
		wrongCtx, cancelWrong := ctx, func() {}
		if i%wrong == 1 || i%wrong == 2 {
			wrongCtx, cancelWrong = context.WithTimeout(ctx, 5*time.Second)
		}
		wg.Go(func() {
			defer cancelWrong()
			s, err := sender.Dial(wrongCtx, c)
			if err == nil {
				t.Cleanup(s.Abort)
			}
			if right := i%wrong != 1 && i%wrong != 2; right != (err == nil) {
				t.Errorf("neighbor %d: right password %v, error %v", i, right, err)
			}
		})
	}
	wg.Wait()
}

// TestPasswordsBIRD is every combination of who dials, which password either end
// has, and of IPv4 and IPv6, with BIRD at the other end.
func TestPasswordsBIRD(t *testing.T) {
	passwords(t, func(ns string) {
		var text strings.Builder
		fmt.Fprintf(&text, "log stderr all;\nrouter id 192.0.2.100;\nprotocol device {}\n")
		for i, tc := range passwordCases() {
			ours, theirs := tc.addrs(i)
			fmt.Fprintf(&text, "protocol bgp p%d {\n\tlocal %s as 65001; neighbor %s as %d; strict bind yes; connect delay time 1; connect retry time 2;\n\tipv4 { export none; import all; };\n", i, theirs, ours, asn)
			if tc.theirs != "" {
				fmt.Fprintf(&text, "\tpassword %q;\n", tc.theirs)
			}
			if !tc.passive {
				text.WriteString("\tpassive;\n")
			}
			text.WriteString("}\n")
		}
		dir := t.TempDir()
		file := filepath.Join(dir, "bird.conf")
		write(t, file, text.String())
		run(t, ns, "bird", "-f", "-c", file, "-s", filepath.Join(dir, "ctl"), "-P", filepath.Join(dir, "pid"))
	})
}

// TestPasswordsFRR is the same with FRR.
func TestPasswordsFRR(t *testing.T) {
	passwords(t, func(ns string) {
		var text strings.Builder
		fmt.Fprintf(&text, "router bgp 65001\n bgp router-id 192.0.2.100\n no bgp ebgp-requires-policy\n")
		for i, tc := range passwordCases() {
			ours, theirs := tc.addrs(i)
			fmt.Fprintf(&text, " neighbor %[1]s remote-as %[2]d\n neighbor %[1]s update-source %[3]s\n neighbor %[1]s timers connect 2\n", ours, asn, theirs)
			if tc.theirs != "" {
				fmt.Fprintf(&text, " neighbor %s password %s\n", ours, tc.theirs)
			}
			if !tc.passive {
				fmt.Fprintf(&text, " neighbor %s passive\n", ours)
			}
		}
		(&opposite{ns: ns, dir: t.TempDir()}).frr(t, text.String())
	})
}

func passwords(t *testing.T, daemon func(ns string)) {
	const birds = "CARACAL_TEST_BIRDS"
	if os.Getenv(childEnv) == "" {
		t.Parallel()
		here, there := nstest.New(t), nstest.New(t)
		nstest.Veth(t, here, "up0", there, "up0")
		for i, tc := range passwordCases() {
			ours, theirs := tc.addrs(i)
			bits := 24
			if tc.v6 {
				bits = 64
			}
			here.Addr("up0", fmt.Sprintf("%s/%d", ours, bits))
			there.Addr("up0", fmt.Sprintf("%s/%d", theirs, bits))
		}
		child := here.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", childTimeout)
		child.Env = append(os.Environ(), childEnv+"="+here.Path(), birds+"="+there.Path())
		out, err := child.CombinedOutput()
		if err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		if strings.Contains(string(out), word) {
			t.Errorf("a password came out:\n%s", out)
		}
		return
	}
	var listen []string
	for i, tc := range passwordCases() {
		ours, _ := tc.addrs(i)
		listen = append(listen, ours.String())
	}
	a := newStationOn(t, "a", strings.Join(listen, ","), 179, bgp.Options{})
	right := map[string]bool{}
	for i, tc := range passwordCases() {
		local, theirs := tc.addrs(i)
		n, _ := neighborOf(a, theirs.String())
		n.Name, n.Local, n.Port, n.ASN, n.Passive = tc.name(), local, 179, 65001, tc.passive
		if tc.ours != "" {
			n.Password = password(tc.ours)
		}
		a.conf.Neighbors = append(a.conf.Neighbors, n)
		right[n.Name] = tc.ours == tc.theirs
	}
	daemon(os.Getenv(birds))
	a.apply()
	for _, n := range a.conf.Neighbors {
		if right[n.Name] {
			a.eventually("the session "+n.Name, a.in(n.Name, bgp.Established))
		}
	}
	// The others have had as long, and get the time of more attempts.
	time.Sleep(6 * time.Second)
	for _, n := range a.conf.Neighbors {
		if !right[n.Name] && !n.Passive {
			a.eventually("a word about the password of "+n.Name, func() bool { return strings.Contains(a.status(n.Name).LastError, "password") })
		}
	}
	list, err := a.Neighbors(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, st := range list {
		if (st.State == bgp.Established) != right[st.Name] || st.Flaps != 0 {
			t.Errorf("%s is %s, flaps %d", st.Name, st.State, st.Flaps)
		}
		if all := fmt.Sprintf("%+v %#v %s", st, st, st.Password); strings.Contains(all, word) {
			t.Errorf("the password is in the status: %s", all)
		}
	}

	// A new password touches its own session only.
	for i := range a.conf.Neighbors {
		if n := &a.conf.Neighbors[i]; right[n.Name] && !n.Password.Secret.IsZero() {
			n.Password = password(word + "-rotated")
			if res := a.apply(); len(res.Reset) != 1 || res.Reset[0] != n.Name {
				t.Errorf("rotation of %s: %+v", n.Name, res)
			}
			break
		}
	}
	a.mu.Lock()
	events := render(a.all)
	a.mu.Unlock()
	if strings.Contains(events, word) {
		t.Error("a password is in the events")
	}
}

type passwordCase struct {
	ours, theirs string
	passive, v6  bool
}

// addrs are the two ends of a case: BIRD has one session for each address at the
// other end.
func (c passwordCase) addrs(i int) (ours, theirs netip.Addr) {
	if c.v6 {
		return addr(fmt.Sprintf("2001:db8::%d", 10+i)), addr(fmt.Sprintf("2001:db8::%d", 100+i))
	}
	return addr(fmt.Sprintf("192.0.2.%d", 10+i)), addr(fmt.Sprintf("192.0.2.%d", 100+i))
}

func (c passwordCase) name() string {
	return strings.NewReplacer(word+"!", "wrong", word, "right").Replace(
		fmt.Sprintf("peer/ours=%s,theirs=%s,passive=%v,v6=%v", c.ours, c.theirs, c.passive, c.v6))
}

func passwordCases() (cases []passwordCase) {
	for _, v6 := range []bool{false, true} {
		for _, passive := range []bool{false, true} {
			for _, pair := range [][2]string{{word, word}, {word, word + "!"}, {word, ""}, {"", word}, {"", ""}} {
				cases = append(cases, passwordCase{pair[0], pair[1], passive, v6})
			}
		}
	}
	return cases
}
