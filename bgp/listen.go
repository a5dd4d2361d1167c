package bgp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// probeListen tries each address that the speaker is to listen on, for an error
// that says what is in the way; GoBGP's does not say which address it was.
// Where this process listens itself, as held says (the zero value for nowhere),
// only the address is tried.
func probeListen(ctx context.Context, g, held Global) error {
	for text := range strings.SplitSeq(g.ListenAddrs, ",") {
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return fmt.Errorf("listen on %q: %w", text, err)
		}
		at := netip.AddrPortFrom(addr, g.Port)
		try := at
		if held.listensOn(at) {
			try = netip.AddrPortFrom(addr, 0) // any free port
		}
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", try.String())
		if err != nil {
			return explainListen(at, err)
		}
		l.Close()
	}
	return nil
}

// listensOn reports whether a listener of g takes the address and port, or a part
// of it: a wildcard address takes all of its family, and :: in Go also those of
// IPv4.
func (g Global) listensOn(at netip.AddrPort) bool {
	if g.Port != at.Port() {
		return false
	}
	for text := range strings.SplitSeq(g.ListenAddrs, ",") {
		addr, err := netip.ParseAddr(text)
		if err != nil {
			continue
		}
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
		_, hex, _ := strings.Cut(fields[fieldLocal], ":")
		if n, err := strconv.ParseUint(hex, 16, 16); err == nil && uint16(n) == port {
			inodes = append(inodes, fields[fieldInode])
		}
	}
	return inodes
}
