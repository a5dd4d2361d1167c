package bgp

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// probeListen tries each address that the speaker is to listen on, for an error
// that says what is in the way; GoBGP's does not say which address it was.
// Where this process listens itself, as held says (the zero value for nowhere),
// only the address is tried.
//
// Addresses that no interface has are no error as long as there is another one:
// they are returned as missing, each with what to say of it.
func probeListen(ctx context.Context, g, held Global) (missing map[netip.Addr]error, err error) {
	missing = map[netip.Addr]error{}
	addrs, err := g.listenAddrs()
	if err != nil {
		return nil, err
	}
	var first error
	for _, addr := range addrs {
		at := netip.AddrPortFrom(addr, g.Port)
		try := at
		if held.listensOn(at) {
			try = netip.AddrPortFrom(addr, 0) // any free port
		}
		switch err := bind(ctx, try); {
		case errors.Is(err, syscall.EADDRNOTAVAIL):
			missing[addr] = explainListen(at, err)
			if first == nil {
				first = missing[addr]
			}
		case err != nil:
			return nil, explainListen(at, err)
		}
	}
	if len(missing) == len(addrs) {
		return nil, first
	}
	return missing, nil
}

// bind listens for a moment.
func bind(ctx context.Context, at netip.AddrPort) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", at.String())
	if err != nil {
		return err
	}
	return l.Close()
}

const (
	// dadWait is given to duplicate address detection at the start, which takes
	// one second after a random delay of at most one (RFC 4862 section 5.4.2).
	dadWait = 3 * time.Second
	dadTry  = 100 * time.Millisecond
)

// probeStart is probeListen for the start, when an IPv6 address of this machine
// is often still tentative: it waits for that, so as not to begin without it.
func probeStart(ctx context.Context, g Global) (missing map[netip.Addr]error, err error) {
	for until := time.Now().Add(dadWait); ; time.Sleep(dadTry) {
		waiting := tentative(ifInet6) // first: one whose wait ends in between is tried again
		missing, err = probeListen(ctx, g, Global{})
		if err != nil || time.Now().After(until) || ctx.Err() != nil ||
			!slices.ContainsFunc(slices.Collect(maps.Keys(missing)), func(a netip.Addr) bool { return waiting[a] }) {
			return missing, err
		}
	}
}

// ifInet6 lists the IPv6 addresses of the thread's network namespace.
const ifInet6 = "/proc/thread-self/net/if_inet6"

// tentative returns the addresses that wait for duplicate address detection, of
// a file of the form of /proc/net/if_inet6: "address index length scope flags
// name", all but the name in hex (net/ipv6/addrconf.c, if6_seq_show).
func tentative(file string) map[netip.Addr]bool {
	const flagTentative, flagFailed = 0x40, 0x08 // IFA_F_TENTATIVE, IFA_F_DADFAILED
	text, _ := os.ReadFile(file)
	waiting := map[netip.Addr]bool{}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 6 {
			continue
		}
		flags, err := strconv.ParseUint(fields[4], 16, 16)
		raw, _ := hex.DecodeString(fields[0])
		addr, ok := netip.AddrFromSlice(raw)
		if err == nil && ok && flags&flagTentative != 0 && flags&flagFailed == 0 {
			waiting[addr] = true
		}
	}
	return waiting
}

func (g Global) listenAddrs() ([]netip.Addr, error) {
	var addrs []netip.Addr
	for text := range strings.SplitSeq(g.ListenAddrs, ",") {
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return nil, fmt.Errorf("listen on %q: %w", text, err)
		}
		addrs = append(addrs, addr)
	}
	return addrs, nil
}

// without is g less the listen addresses that are missing.
func (g Global) without(missing map[netip.Addr]error) Global {
	addrs, _ := g.listenAddrs() // they were probed
	var there []string
	for _, a := range addrs {
		if missing[a] == nil {
			there = append(there, a.String())
		}
	}
	g.ListenAddrs = strings.Join(there, ",")
	return g
}

// relisten looks after the addresses that were missing at the start. GoBGP takes
// none later, so one that is there now needs a restart; what still is missing
// comes into the Result. There is no loop of restarts: the one for an address is
// asked for only when it was bound a moment ago, and then has it.
func (s *Speaker) relisten(ctx context.Context, res *Result) error {
	for addr := range s.missing {
		at := netip.AddrPortFrom(addr, s.global.Port)
		err := bind(ctx, at)
		if err == nil {
			return &RestartNeeded{Why: fmt.Sprintf("the listen address %s is there now", addr)}
		}
		s.missing[addr] = explainListen(at, err)
		res.Failed[at.String()] = fmt.Errorf("%w; BGP runs on %s meanwhile, and takes up %s by itself", s.missing[addr], s.listening.ListenAddrs, addr)
	}
	return nil
}

// restart decides about a changed Global: nil if it changes nothing after all.
func (s *Speaker) restart(ctx context.Context, g Global, why string) error {
	missing, err := probeListen(ctx, g, s.listening)
	if err == nil && g.without(missing) == s.listening {
		s.global, s.missing = g, missing
		return nil
	}
	// The successor must not be left without a session for an address that
	// cannot be listened on: there is no way back for it.
	for addr, text := range missing {
		if err == nil && s.missing[addr] == nil {
			err = text
		}
	}
	if err != nil {
		return fmt.Errorf("bgp: apply global (%s): %w; nothing of the new configuration is applied and sessions stay as they are until that is corrected", why, err)
	}
	return &RestartNeeded{Why: why}
}

// listensOn reports whether a listener of g takes the address and port, or a part
// of it: a wildcard address takes all of its family, and :: in Go also those of
// IPv4.
func (g Global) listensOn(at netip.AddrPort) bool {
	if g.Port != at.Port() {
		return false
	}
	addrs, _ := g.listenAddrs()
	for _, addr := range addrs {
		wild := addr.IsUnspecified() || at.Addr().IsUnspecified()
		if addr == at.Addr() || wild && (addr.Is6() == at.Addr().Is6() || addr == netip.IPv6Unspecified() || at.Addr() == netip.IPv6Unspecified()) {
			return true
		}
	}
	return false
}

func explainListen(at netip.AddrPort, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		who := holder(at.Port())
		if who == "" {
			who = "another program, often BIRD, FRR's bgpd or another caracald"
		}
		return fmt.Errorf("listen on %s: the port is in use by %s: stop it, or set listenPort in BGPConfiguration to another port on all nodes; who listens: ss -ltnp 'sport = :%d': %w",
			at, who, at.Port(), err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("listen on %s: no interface has the address %s (or an IPv6 address still waits for duplicate address detection): compare `ip addr` with the node's addresses in NodeConfig, or set listenAddresses in BGPConfiguration: %w",
			at, at.Addr(), err)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("listen on %s: not permitted: a port below 1024 needs root or CAP_NET_BIND_SERVICE: %w", at, err)
	}
	return fmt.Errorf("listen on %s: %w", at, err)
}

// holder names the processes that listen on a TCP port, as far as /proc shows
// them; empty if it shows none.
func holder(port uint16) string {
	inodes := map[string]bool{}
	for _, file := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		for _, inode := range listening(file, port) {
			inodes["socket:["+inode+"]"] = true
		}
	}
	if len(inodes) == 0 {
		return ""
	}
	links, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	var who []string
	seen := map[string]bool{}
	for _, link := range links {
		to, err := os.Readlink(link)
		pid := strings.Split(link, "/")[2]
		if err != nil || !inodes[to] || seen[pid] {
			continue
		}
		seen[pid] = true
		name, _ := os.ReadFile("/proc/" + pid + "/comm")
		who = append(who, fmt.Sprintf("%s (pid %s)", strings.TrimSpace(string(name)), pid))
	}
	return strings.Join(who, ", ")
}

// listening returns the inodes of the listening sockets of a port in a file of
// the form of /proc/net/tcp (proc(5)): "sl local_address rem_address st ...".
func listening(file string, port uint16) []string {
	f, err := os.Open(file)
	if err != nil {
		return nil
	}
	defer f.Close()
	const stateListen, fieldLocal, fieldState, fieldInode = "0A", 1, 3, 9
	var inodes []string
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) <= fieldInode || fields[fieldState] != stateListen {
			continue
		}
		_, digits, _ := strings.Cut(fields[fieldLocal], ":")
		if n, err := strconv.ParseUint(digits, 16, 16); err == nil && uint16(n) == port {
			inodes = append(inodes, fields[fieldInode])
		}
	}
	return inodes
}

// deviceOf returns the device that has an address; empty if there is none.
func deviceOf(addr netip.Addr) string {
	devices, err := net.Interfaces()
	if err != nil {
		return ""
	}
	for _, d := range devices {
		addrs, err := d.Addrs()
		if err != nil {
			continue
		}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr() == addr.WithZone("") {
				return d.Name
			}
		}
	}
	return ""
}
