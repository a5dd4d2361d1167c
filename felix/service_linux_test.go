package felix_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/felix"
	"caracal.dev/caracal/internal/nstest"
)

// TestServicesAndLoops has a client behind a node whose default route leads back to
// the client's network, as that of hosts behind a switch does. A proxy's rules take
// one address; what goes to the others must not come back, and the node's own
// connections must not suffer.
func TestServicesAndLoops(t *testing.T) {
	for _, backend := range []string{felix.BackendNFT, felix.BackendLegacy} {
		t.Run(backend, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			client, tor, node, pod := nstest.New(t), nstest.New(t), nstest.New(t), nstest.New(t)
			nstest.Veth(t, client, "eth0", tor, "client0")
			nstest.Veth(t, tor, "node0", node, "eth0")
			nstest.Veth(t, pod, "eth0", node, "pod0")
			client.Addr("eth0", "198.51.100.2/24")
			tor.Addr("client0", "198.51.100.1/24")
			tor.Addr("node0", "192.0.2.254/24")
			node.Addr("eth0", "192.0.2.1/24")
			node.Addr("pod0", "10.0.0.1/24")
			pod.Addr("eth0", "10.0.0.2/24")
			node.Run("ip", "link", "set", "lo", "up")
			node.Run("ip", "route", "add", "default", "via", "192.0.2.254")
			pod.Run("ip", "route", "add", "default", "via", "10.0.0.1")
			client.Run("ip", "route", "add", "default", "via", "198.51.100.1")
			tor.Run("ip", "route", "add", "10.96.0.0/16", "via", "192.0.2.1")
			tor.Sysctl("net/ipv6/conf/all/disable_ipv6", "1") // looks for routers, when it likes
			for _, ns := range []*nstest.NS{tor, node} {
				ns.Sysctl("net/ipv4/ip_forward", "1")
				ns.Sysctl("net/ipv4/conf/all/send_redirects", "0")
			}
			iptables := "iptables-" + backend
			for _, hook := range []string{"PREROUTING", "OUTPUT"} {
				node.Run(iptables, "-t", "nat", "-A", hook, "-d", "10.96.0.10", "-p", "tcp", "--dport", "80", "-j", "DNAT", "--to-destination", "10.0.0.2:8080")
			}
			var l net.Listener
			var err error
			pod.Do(func() { l, err = net.Listen("tcp", "10.0.0.2:8080") })
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					_, _ = conn.Write([]byte("ok"))
					_ = conn.Close()
				}
			}()

			if n := looping(t, client, tor); n < 20 {
				t.Fatalf("without rules a packet to an unused address crosses the link %d times: the test tests nothing", n)
			}
			var f *felix.Filter
			node.Do(func() { f, err = felix.Open(felix.FilterOptions{Backend: backend}) })
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			s := caracal.NewSnapshot("a")
			s.Nodes = s.Nodes.Put("a", caracal.Node{Name: "a", IPv4: netip.MustParsePrefix("192.0.2.1/24"), Port: 179})
			s.BGP.Services = serviceRanges("10.96.0.0/16", "203.0.113.7/32", "fd00:96::/112")
			c := felix.NewCompiler()
			c.Update(felix.Input{Snapshot: s})
			if _, err := f.Audit(ctx, c); err != nil {
				t.Fatal(err)
			}
			if res, err := f.Audit(ctx, c); err != nil || res.Chains+res.Hooks+res.Added+res.Removed > 0 {
				t.Errorf("a second audit wrote %+v, %v", res, err)
			}
			if n := looping(t, client, tor); n < 1 || n > 5 {
				t.Errorf("a packet to an unused address crosses the link %d times", n)
			}
			for name, ns := range map[string]*nstest.NS{"from beyond the switch": client, "from the node itself": node} {
				if err := fetch(ns, "10.96.0.10:80"); err != nil {
					t.Errorf("the Service %s: %v", name, err)
				}
			}
			// What the rules spare us: a route to discard what nobody takes would cut the
			// node off from its own Services.
			node.Run("ip", "route", "add", "unreachable", "10.96.0.0/16", "metric", "427")
			if fetch(client, "10.96.0.10:80") != nil || fetch(node, "10.96.0.10:80") == nil {
				t.Error("an unreachable route no longer stops the node's own connections alone: then it is the better way")
			}
		})
	}
}

// looping sends one packet to an address that no Service has, and returns how often
// the switch sent it to the node.
func looping(t *testing.T, client, tor *nstest.NS) int {
	t.Helper()
	// Who has which address is known, so that nothing else is sent.
	tor.Run("ping", "-n", "-c", "1", "-W", "5", "192.0.2.1")
	before := sent(t, tor)
	_, _ = client.Try("ping", "-n", "-c", "1", "-W", "1", "-t", "64", "10.96.0.99")
	return sent(t, tor) - before
}

// sent counts the packets that the switch sent to the node.
func sent(t *testing.T, tor *nstest.NS) int {
	t.Helper()
	for line := range strings.Lines(tor.Run("cat", "/proc/net/dev")) {
		if name, counters, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "node0" {
			n, err := strconv.Atoi(strings.Fields(counters)[9]) // proc(5): the second of those for transmission
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatal("the switch has no link")
	return 0
}

func fetch(ns *nstest.NS, addr string) error {
	var conn net.Conn
	var err error
	ns.Do(func() { conn, err = net.DialTimeout("tcp", addr, 10*time.Second) })
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	text, err := io.ReadAll(conn)
	if err == nil && string(text) != "ok" {
		err = fmt.Errorf("answered %q", text)
	}
	return err
}
