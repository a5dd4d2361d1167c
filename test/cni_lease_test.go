package test

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"caracal.dev/caracal/lab"
	"caracal.dev/caracal/test/runtimes"
)

// TestCNILateDel: a container dies without a DEL, and the next one of the same
// Pod is there when the DEL comes at last. It takes away what was the dead one's
// and costs its successor not one packet.
func TestCNILateDel(t *testing.T) {
	t.Parallel()
	c := withContainers(t, 2)
	h := c.hosts["a"]
	c.add("b", "far")
	pod := [][2]string{{"IgnoreUnknown", "1"}, {"K8S_POD_NAMESPACE", "shop"}, {"K8S_POD_NAME", "web-0"}}
	dead := c.make("a", "dead")
	dead.Args = pod
	if err := h.Add(t.Context(), dead); err != nil {
		t.Fatal(err)
	}
	if err := h.Kill(dead); err != nil {
		t.Fatal(err)
	}
	next := c.make("a", "next")
	next.Args = pod
	if err := h.Add(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	c.ping(c.l.Pod("far"), c.adopt("a", "next", next.NetNS, next.Addrs))
	unique(t, []*runtimes.Container{dead, next})
	stop := flows(t, c.l, "next", "far")
	for range 3 { // as often as a kubelet tries
		if err := h.Del(t.Context(), dead); err != nil {
			t.Error(err)
		}
	}
	eventually(t, 20*time.Second, func() string { return c.hasOnly("a", 1) })
	if err := h.Check(t.Context(), next); err != nil {
		t.Error(err)
	}
	if r := stop(); r.Lost() != 0 {
		t.Errorf("the late DEL cost its successor packets: %v", r)
	}
}

// TestCNIConnectionsForgotten: when DEL has answered, the kernel no longer knows
// connections of the address, so the next container that has it gets none of
// their packets.
func TestCNIConnectionsForgotten(t *testing.T) {
	t.Parallel()
	c := withContainers(t, 2)
	h, n := c.hosts["a"], c.l.Node("a")
	for _, v := range []string{"iptables", "ip6tables"} { // the kernel keeps connections where a rule asks for them
		run(t, n, v, "-w", "-A", "FORWARD", "-m", "conntrack", "--ctstate", "INVALID", "-j", "DROP")
	}
	_, far := c.add("b", "far")
	first, pod := c.add("a", "first")
	c.ping(far, pod)
	for _, a := range first.Addrs {
		send(t, far, netip.AddrPortFrom(a, 9))
		send(t, pod, netip.AddrPortFrom(far.Addr(familyOf(a)), 9))
		if known := connections(t, n, a); known == "" {
			t.Errorf("the kernel knows no connection of %s, so this tells nothing", a)
		}
	}
	if err := h.Remove(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	for _, a := range first.Addrs {
		if known := connections(t, n, a); known != "" {
			t.Errorf("after DEL the kernel still knows of %s:\n%s", a, known)
		}
	}
}

func familyOf(a netip.Addr) lab.Family {
	if a.Is6() {
		return lab.IPv6
	}
	return lab.IPv4
}

// send sends a datagram.
func send(t *testing.T, from place, to netip.AddrPort) {
	t.Helper()
	err := from.Do(func() error {
		conn, err := net.Dial("udp", to.String())
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = conn.Write([]byte("x"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// connections lists those of an address that the kernel of a node knows.
func connections(t *testing.T, n *lab.Node, a netip.Addr) string {
	t.Helper()
	var out []string
	family := map[bool]string{false: "ipv4", true: "ipv6"}[a.Is6()]
	for line := range strings.Lines(run(t, n, "conntrack", "-L", "-f", family)) {
		for _, field := range strings.Fields(line) {
			_, value, _ := strings.Cut(field, "=")
			if got, err := netip.ParseAddr(value); err == nil && got == a {
				out = append(out, line)
				break
			}
		}
	}
	return strings.Join(out, "")
}

// TestCNIExhausted: when no address is left the error names the pool, how much of
// it is in use, and who has most of it; it is no error to try again after a DEL.
func TestCNIExhausted(t *testing.T) {
	t.Parallel()
	c := withContainers(t, 1, func(top *lab.Topology) {
		top.Pools, top.Nodes[0].Blocks = top.Pools[:1], []netip.Prefix{netip.MustParsePrefix("10.244.1.0/29")}
		top.Pools[0].BlockSize = 29
		top.Objects = append(top.Objects, "apiVersion: caracal.dev/v1\nkind: IPAMConfiguration\nmetadata: {name: default}\nspec: {cooldown: 0s}\n")
	})
	h := c.hosts["a"]
	var list []*runtimes.Container
	var full error
	for i := range 9 {
		ctr := c.make("a", fmt.Sprint("p", i))
		ctr.Args = [][2]string{{"IgnoreUnknown", "1"}, {"K8S_POD_NAMESPACE", "greedy"}, {"K8S_POD_NAME", ctr.Name}}
		if full = h.Add(t.Context(), ctr); full != nil {
			break
		}
		list = append(list, ctr)
	}
	for _, want := range []string{"pods-v4", fmt.Sprintf("%d of %d", len(list), len(list)), "greedy"} {
		if !strings.Contains(said(full), want) {
			t.Errorf("the error of a full pool does not say %q: %v", want, full)
		}
	}
	if wrong := c.hasOnly("a", len(list)); wrong != "" {
		t.Error("after the ADD that failed:", wrong)
	}
	if err := h.Remove(t.Context(), list[3]); err != nil {
		t.Fatal(err)
	}
	ctr, _ := c.add("a", "again")
	if ctr.Addrs[0] != list[3].Addrs[0] {
		t.Errorf("got %v, only %v is free", ctr.Addrs, list[3].Addrs)
	}
}

// TestCNIStatic: an address and a hardware address that are asked for are given;
// the address to one at a time.
func TestCNIStatic(t *testing.T) {
	t.Parallel()
	c := withContainers(t, 1)
	h := c.hosts["a"]
	ctr := c.make("a", "p")
	ctr.Args = [][2]string{{"IP", "10.244.1.33"}, {"MAC", "02:00:00:00:00:42"}}
	ctr.Capabilities = map[string]any{"ips": []string{"fd00:244:0:1::33"}}
	if err := h.Add(t.Context(), ctr); err != nil {
		t.Fatal(err)
	}
	if got, want := asText(ctr.Addrs), "10.244.1.33 fd00:244:0:1::33"; got != want {
		t.Errorf("got %s, asked for %s", got, want)
	}
	pod := c.adopt("a", "p", ctr.NetNS, ctr.Addrs)
	err := pod.Do(func() error {
		l, err := net.InterfaceByName(runtimes.Interface)
		if err == nil && l.HardwareAddr.String() != "02:00:00:00:00:42" {
			t.Errorf("its hardware address is %s", l.HardwareAddr)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	other := c.make("a", "q")
	other.Args = [][2]string{{"IP", "10.244.1.33"}}
	if err := h.Add(t.Context(), other); !strings.Contains(said(err), "10.244.1.33") {
		t.Errorf("the address of another was asked for: %v", err)
	}
	if wrong := c.hasOnly("a", 1); wrong != "" {
		t.Error(wrong)
	}
}

// TestCNICommands: what an operator sees of addresses, and that none is taken from
// a container that exists.
func TestCNICommands(t *testing.T) {
	t.Parallel()
	c := withContainers(t, 1)
	n := c.l.Node("a")
	ctr, _ := c.add("a", "web")
	a := ctr.Addr(false).String()
	for _, look := range []struct {
		command string
		want    []string
	}{
		{"show ipam", []string{"pods-v4", "pods-v6"}},
		{"show ipam blocks", []string{n.Block(lab.IPv4).String(), n.Block(lab.IPv6).String(), "static"}},
		{"show ipam address " + a, []string{ctr.ID, "in use", ctr.NetNS}},
		{"show workloads", []string{ctr.ID, "cni"}},
		{"check ipam", nil},
	} {
		out := must(n.CLI(t.Context(), strings.Fields(look.command)...))(t)
		for _, want := range look.want {
			if !strings.Contains(out, want) {
				t.Errorf("%s does not say %q:\n%s", look.command, want, out)
			}
		}
	}
	if out, err := n.CLI(t.Context(), "release", "address", a); err == nil {
		t.Errorf("the address of a container that exists is released: %s", out)
	}
	if wrong := c.hasOnly("a", 1); wrong != "" {
		t.Error(wrong)
	}

	// It dies without a DEL.
	if err := c.hosts["a"].Kill(ctr); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, func() string {
		out, err := n.CLI(t.Context(), "check", "ipam")
		if err == nil || !strings.Contains(out, a) {
			return "check ipam does not say that the container is gone: " + out
		}
		return ""
	})
	must(n.CLI(t.Context(), "release", "address", a))(t) // and with it the container's other address
	eventually(t, 20*time.Second, func() string { return c.hasOnly("a", 0) })
}
