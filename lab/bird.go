package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// MeshBIRD returns a configuration with which BIRD 2 takes the place of a node
// in the mesh: one iBGP session to each other node over IPv4, or over IPv6
// where there is no IPv4, that carries both families (RFC 4760). announce are
// prefixes that it announces beside the node's own blocks, right or wrong; it
// has no kernel routes to them. BIRD has routes to its own pods by itself.
func MeshBIRD(t Topology, node string, announce ...netip.Prefix) string {
	self, _ := t.Node(node)
	var b strings.Builder
	fmt.Fprintf(&b, "log stderr all;\nrouter id %s;\n", routerID(self, t))
	b.WriteString("protocol device { scan time 2; }\nprotocol direct { ipv4; ipv6; }\n")
	for _, f := range Families() {
		birdFamily(&b, self, f, announce)
	}
	for _, other := range t.Nodes {
		if other.Name != node && !other.Router {
			birdNeighbor(&b, t, self, other)
		}
	}
	return b.String()
}

// birdFamily writes the kernel protocol, the static routes to pods and blocks,
// and the filter for what is announced.
func birdFamily(b *strings.Builder, self NodeSpec, f Family, announce []netip.Prefix) {
	v := strings.ToLower(f.String())
	fmt.Fprintf(b, "protocol kernel kernel%d { %s { export where source != RTS_DEVICE && proto != \"forged%d\"; }; graceful restart on; }\n", f, v, f)
	fmt.Fprintf(b, "protocol static pods%d {\n\t%s;\n", f, v)
	for _, p := range self.Pods {
		if a := p.Addr(f); a.IsValid() {
			fmt.Fprintf(b, "\troute %s/%d via \"%s\";\n", a, a.BitLen(), PodInterface(p.Name))
		}
	}
	b.WriteString("}\n")
	for _, s := range []struct {
		name     string
		prefixes []netip.Prefix
	}{{"blocks", self.Blocks}, {"forged", announce}} {
		fmt.Fprintf(b, "protocol static %s%d {\n\t%s;\n", s.name, f, v)
		for _, p := range s.prefixes {
			if f.Of(p.Addr()) {
				fmt.Fprintf(b, "\troute %s blackhole;\n", p)
			}
		}
		b.WriteString("}\n")
	}
}

func birdNeighbor(b *strings.Builder, t Topology, self, other NodeSpec) {
	over := sessionFamily(self, other)
	fmt.Fprintf(b, "protocol bgp mesh_%s {\n\tlocal %s as %d;\n\tneighbor %s as %d;\n\tconnect retry time 2; connect delay time 1;\n\tpassive %s;\n\tgraceful restart on;\n",
		other.Name, self.Addr(over), t.ASN(), other.Addr(over), t.ASN(), BIRDPassive(self.Addr(over), other.Addr(over)))
	for _, f := range Families() {
		if self.Addr(f).IsValid() && other.Addr(f).IsValid() {
			// The next hop has to be said: on a session over IPv4 BIRD has no IPv6
			// address of its own to take.
			fmt.Fprintf(b, "\t%s { import all; export where proto = \"blocks%d\" || proto = \"forged%d\"; next hop self; next hop address %s; };\n",
				strings.ToLower(f.String()), f, f, self.Addr(f))
		}
	}
	b.WriteString("}\n")
}

// BIRDPassive is "on" where the node at other is the one of the pair that dials, and
// "off" where it is the one at self: in the mesh the greater address does, as text.
func BIRDPassive(self, other netip.Addr) string {
	if other.String() > self.String() {
		return "on"
	}
	return "off"
}

// sessionFamily is the family of the session between two nodes of the mesh.
func sessionFamily(a, b NodeSpec) Family {
	if a.Addr(IPv4).IsValid() && b.Addr(IPv4).IsValid() {
		return IPv4
	}
	return IPv6
}

// routerID is the node's IPv4 address, or one made of its place in the topology.
func routerID(n NodeSpec, t Topology) netip.Addr {
	if a := n.Addr(IPv4); a.IsValid() {
		return a
	}
	for i, other := range t.Nodes {
		if other.Name == n.Name {
			return netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)})
		}
	}
	return netip.AddrFrom4([4]byte{192, 0, 2, 255})
}

// startBIRD starts BIRD with a configuration, and returns when it can be talked to.
func (n *Node) startBIRD(conf string) (*Process, error) {
	bird, err := find("bird", "bird2", "/usr/sbin/bird")
	if err != nil {
		return nil, err
	}
	path := filepath.Join(n.Dir(), "bird.conf")
	if err := writeFile(path, conf); err != nil {
		return nil, err
	}
	if p := n.Process("bird"); p == nil || !p.Running() {
		// One that was killed has left its socket, which says nothing of this one.
		if err := os.Remove(n.birdSocket()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	p, err := n.start("bird", bird, "-f", "-c", path, "-s", n.birdSocket(), "-P", filepath.Join(n.Dir(), "bird.pid"))
	if err != nil {
		return nil, err
	}
	up := func() bool {
		_, err := os.Stat(n.birdSocket())
		return err == nil || !p.Running()
	}
	if !until(30*time.Second, up) || !p.Running() {
		return nil, fmt.Errorf("it did not start: %s", p.Log())
	}
	return p, nil
}

func (n *Node) birdSocket() string { return filepath.Join(n.Dir(), "bird.ctl") }
