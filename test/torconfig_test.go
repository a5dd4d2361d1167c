package test

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"caracal.dev/caracal/lab"
	"caracal.dev/caracal/torconfig"
)

// torSecret is the MD5 secret of both ends.
const torSecret = "between-the-two"

// withTor is a mesh of two nodes, on whose network there is a switch.
func withTor() lab.Topology {
	top := lab.Mesh(lab.MeshOptions{Nodes: 2, PodsPerNode: 1})
	top.Nodes = append(top.Nodes, lab.NodeSpec{Name: "tor", Router: true, Links: []lab.Link{{Name: "eth0", Switch: top.Switches[0],
		Addrs: []netip.Prefix{netip.MustParsePrefix("192.168.77.254/24"), netip.MustParsePrefix("fd00:77::fe/64")}}}})
	top.Objects = []string{"apiVersion: caracal.dev/v1\nkind: BGPPeer\nmetadata: {name: tor}\nspec:\n" +
		"  peerIP: 192.168.77.254\n  asNumber: 65001\n  ttlSecurity: 1\n  acceptPools: true\n" +
		"  password: {secretKeyRef: {name: tor, key: md5}}\n" +
		"  bfd: {transmitInterval: 100ms, receiveInterval: 100ms, multiplier: 3}\n"}
	return top
}

// TestTorConfig gives a switch exactly what show tor-config prints, but for the
// secret: the sessions come up with MD5, GTSM, BFD and graceful restart, and
// both ends take what the lists name and nothing else.
func TestTorConfig(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"frr", "bird"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			l := start(t, withTor())
			secret := filepath.Join(l.ConfigDir(), "local", "secrets", "tor", "md5")
			if err := os.MkdirAll(filepath.Dir(secret), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(secret, []byte(torSecret), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := l.StartAll(); err != nil {
				t.Fatal(err)
			}
			a, tor := l.Node("a"), l.Node("tor")
			var text string
			eventually(t, 10*time.Second, func() string {
				out, err := a.CLI(t.Context(), "show", "tor-config", "--selector", "all()", "--format", format)
				text = out
				if err != nil {
					return err.Error()
				}
				return ""
			})
			if strings.Contains(text, torSecret) || strings.Count(text, torconfig.Placeholder) < 2 {
				t.Fatalf("the secret is in it, or has no place:\n%s", text)
			}
			text = strings.ReplaceAll(text, torconfig.Placeholder, torSecret)
			routes := map[string]func(*testing.T, *lab.Node, string) func() (string, error){"frr": torFRR, "bird": torBIRD}[format](t, tor, text)
			torSessions(t, l)
			torRoutes(t, l, routes)
		})
	}
}

// Beside what it learns the switch has a route to a part of the pool, which the
// nodes take, and one that they don't, and should not be sent.
const (
	torWanted   = "10.244.99.0/26"
	torUnwanted = "198.51.100.0/24"
)

// torFRR loads the configuration into a running FRR, and returns a function that
// lists the routes that it has learned.
func torFRR(t *testing.T, tor *lab.Node, text string) func() (string, error) {
	t.Helper()
	blackholes := fmt.Sprintf("ip route %s blackhole\nip route %s blackhole\n", torWanted, torUnwanted)
	if err := tor.StartFRR(lab.FRRConfig{Static: blackholes, BFD: "!\n"}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(tor.Dir(), "tor.conf")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, tor, "vtysh", "--vty_socket", filepath.Join(tor.Dir(), "frr"), "-f", path)
	must(tor.VTYSH(t.Context(), "configure terminal\nrouter bgp 65001\naddress-family ipv4 unicast\nredistribute static"))(t)
	return func() (string, error) {
		v4, err := tor.VTYSH(t.Context(), "show ip route bgp")
		v6, err6 := tor.VTYSH(t.Context(), "show ipv6 route bgp")
		if err == nil {
			err = err6
		}
		return v4 + v6, err
	}
}

// torBIRD does the same with BIRD, which includes it in the least that it needs.
func torBIRD(t *testing.T, tor *lab.Node, text string) func() (string, error) {
	t.Helper()
	base := fmt.Sprintf("log stderr all;\nrouter id 192.168.77.254;\nprotocol device {}\n"+
		"protocol static own { ipv4; route %s blackhole; route %s blackhole; }\n", torWanted, torUnwanted)
	path := filepath.Join(tor.Dir(), "tor.conf")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	must(tor.StartBIRD(base + fmt.Sprintf("include %q;\n", path)))(t)
	return func() (string, error) {
		return tor.BIRDC(t.Context(), "show", "route", "where", "source", "=", "RTS_BGP")
	}
}

// torSessions waits until every node has a session with the switch, with all
// that both ends are configured for.
func torSessions(t *testing.T, l *lab.Lab) {
	t.Helper()
	for _, n := range l.Nodes() {
		eventually(t, 30*time.Second, func() string {
			out, err := n.CLI(t.Context(), "show", "protocols", "peer/tor@192.168.77.254", "all")
			if err != nil {
				return err.Error()
			}
			for _, want := range []string{": Established", "MD5 with local/secrets/tor/md5, GTSM, at most 1 hop away",
				"BFD           Up for", "detects in 300ms", "graceful, its routes are kept for"} {
				if !strings.Contains(out, want) {
					return fmt.Sprintf("%s does not say %q:\n%s", n.Name, want, out)
				}
			}
			return ""
		})
	}
}

// torRoutes: the switch has the blocks of both nodes, and not what is announced
// beyond its lists; the nodes are sent what they take.
func torRoutes(t *testing.T, l *lab.Lab, learned func() (string, error)) {
	t.Helper()
	a := l.Node("a")
	has := func(want bool, prefixes ...netip.Prefix) func() string {
		return func() string {
			out, err := learned()
			if err != nil {
				return err.Error()
			}
			for _, p := range prefixes {
				if strings.Contains(out, p.String()) != want {
					return fmt.Sprintf("%s in the switch's routes: %t\n%s", p, !want, out)
				}
			}
			return ""
		}
	}
	for _, n := range l.Nodes() {
		eventually(t, 10*time.Second, has(true, n.Blocks...))
	}
	eventually(t, 10*time.Second, func() string {
		paths, err := a.Paths(t.Context(), "table", "adj-rib-in", "peer/tor@192.168.77.254")
		if err != nil {
			return err.Error()
		}
		got := map[string]bool{}
		for _, p := range paths {
			got[p.Prefix] = p.Installed
		}
		if _, sent := got[torUnwanted]; sent || !got[torWanted] {
			return fmt.Sprintf("the switch sends %v", got)
		}
		return ""
	})
	// A block that the switch was not told of.
	extra := netip.MustParsePrefix("10.244.50.0/26")
	path := filepath.Join(l.ConfigDir(), "cluster", "node-a.yaml")
	text := string(must(os.ReadFile(path))(t))
	if err := l.WriteConfig("node-a.yaml", strings.Replace(text, "  blocks:\n", fmt.Sprintf("  blocks:\n  - %q\n", extra), 1)); err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, func() string {
		out, err := a.CLI(t.Context(), "show", "route", "table", "adj-rib-out", "peer/tor@192.168.77.254")
		if err != nil || !strings.Contains(out, extra.String()) {
			return fmt.Sprintf("%v: %s is not announced:\n%s", err, extra, out)
		}
		return ""
	})
	time.Sleep(200 * time.Millisecond) // for what must not happen
	within(t, time.Second, has(false, extra))
}
