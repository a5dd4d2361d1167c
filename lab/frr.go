package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// FRRConfig is what each daemon of FRR reads.
type FRRConfig struct {
	Zebra, Static, BGP string
	// BFD is for bfdd, which is started only if it is not empty.
	BFD string
}

// StartFRR starts zebra, staticd, bgpd and with a configuration for it bfdd, each in the foreground as a child of
// ours. [Node.VTYSH] talks to them.
func (n *Node) StartFRR(conf FRRConfig) error {
	if err := n.startFRR(conf); err != nil {
		return fmt.Errorf("lab: start FRR on %s: %w", n.Name, err)
	}
	return nil
}

func (n *Node) startFRR(conf FRRConfig) error {
	dir := n.frrDir()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	// The daemons give up root for the user frr, which owns their sockets.
	u, err := user.Lookup("frr")
	if err != nil {
		return fmt.Errorf("%w; install FRR (Debian: apt-get install frr)", err)
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	if err := os.Chown(dir, uid, gid); err != nil {
		return err
	}
	zserv := filepath.Join(dir, "zserv.api")
	for _, d := range []struct{ name, conf string }{{"zebra", conf.Zebra}, {"staticd", conf.Static}, {"bfdd", conf.BFD}, {"bgpd", conf.BGP}} {
		if d.name == "bfdd" && d.conf == "" {
			continue
		}
		path, err := find(d.name, "frr", "/usr/lib/frr/"+d.name)
		if err != nil {
			return err
		}
		file := filepath.Join(dir, d.name+".conf")
		if err := os.WriteFile(file, []byte(d.conf), 0o644); err != nil {
			return err
		}
		vty := filepath.Join(dir, d.name+".vty")
		// One that was killed has left its socket, which says nothing of this one.
		if err := os.Remove(vty); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		p, err := n.start(d.name, path, "-f", file, "-i", filepath.Join(dir, d.name+".pid"), "-z", zserv,
			"--vty_socket", dir, "--log", "stdout")
		if err != nil {
			return err
		}
		up := func() bool {
			_, err := os.Stat(vty)
			return err == nil && (d.name != "bfdd" || n.zebraKnows("bfd")) || !p.Running()
		}
		if !until(30*time.Second, up) || !p.Running() { // zebra may be asked again only after 10 s
			return fmt.Errorf("%s did not start: %s", d.name, p.Log())
		}
	}
	return nil
}

// zebraKnows reports whether a daemon has told zebra of itself. What bgpd asks of
// bfdd goes through zebra, and is lost as long as bfdd has not.
func (n *Node) zebraKnows(client string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	out, err := n.VTYSH(ctx, "show zebra client summary")
	if err != nil {
		return false
	}
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) > 0 && f[0] == client {
			return true
		}
	}
	return false
}

func (n *Node) frrDir() string { return filepath.Join(n.Dir(), "frr") }

// VTYSH sends FRR a command.
func (n *Node) VTYSH(ctx context.Context, command string) (string, error) {
	vtysh, err := find("vtysh", "frr", "/usr/bin/vtysh")
	if err != nil {
		return "", fmt.Errorf("lab: run vtysh on %s: %w", n.Name, err)
	}
	return n.Exec(ctx, vtysh, "--vty_socket", n.frrDir(), "-c", command)
}

// MeshFRR returns a configuration with which FRR takes the place of a node in
// the mesh, as [MeshBIRD] does for BIRD.
func MeshFRR(t Topology, node string, announce ...netip.Prefix) FRRConfig {
	self, _ := t.Node(node)
	var static, bgp strings.Builder
	for _, p := range self.Pods {
		for _, a := range p.Addrs {
			fmt.Fprintf(&static, "%s route %s/%d %s\n", frrWord(a), a, a.BitLen(), PodInterface(p.Name))
		}
	}
	for _, p := range self.Blocks {
		fmt.Fprintf(&static, "%s route %s blackhole\n", frrWord(p.Addr()), p)
	}
	fmt.Fprintf(&bgp, "router bgp %d\n bgp router-id %s\n no bgp default ipv4-unicast\n no bgp network import-check\n bgp graceful-restart\n"+
		" bgp graceful-restart preserve-fw-state\n timers bgp 10 30\n", t.ASN(), routerID(self, t))
	for _, other := range t.Nodes {
		if other.Name != node && !other.Router {
			addr := other.Addr(sessionFamily(self, other))
			fmt.Fprintf(&bgp, " neighbor %s remote-as %d\n neighbor %s timers connect 2\n", addr, t.ASN(), addr)
		}
	}
	for _, f := range Families() {
		frrFamily(&bgp, t, self, f, announce)
	}
	return FRRConfig{Static: static.String(), BGP: bgp.String()}
}

// frrFamily writes an address family of bgpd: its networks and its neighbors.
func frrFamily(b *strings.Builder, t Topology, self NodeSpec, f Family, announce []netip.Prefix) {
	if !self.Addr(f).IsValid() {
		return
	}
	fmt.Fprintf(b, " address-family %s unicast\n", strings.ToLower(f.String()))
	for _, p := range append(append([]netip.Prefix{}, self.Blocks...), announce...) {
		if f.Of(p.Addr()) {
			fmt.Fprintf(b, "  network %s\n", p)
		}
	}
	for _, other := range t.Nodes {
		if other.Name != self.Name && !other.Router && other.Addr(f).IsValid() {
			fmt.Fprintf(b, "  neighbor %s activate\n", other.Addr(sessionFamily(self, other)))
		}
	}
	b.WriteString(" exit-address-family\n")
}

// frrWord begins FRR's commands about addresses of the family of a.
func frrWord(a netip.Addr) string {
	if a.Is6() {
		return "ipv6"
	}
	return "ip"
}
