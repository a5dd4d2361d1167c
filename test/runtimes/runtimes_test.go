package runtimes

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"caracal.dev/caracal/lab"
)

// reference is a host with the network "ref" of the reference plugins, without a
// daemon of ours.
func reference(t *testing.T) *Host {
	t.Helper()
	top := lab.Mesh(lab.MeshOptions{Nodes: 1, NoIPv6: true})
	top.Nodes[0].Pods = nil
	l, err := lab.Up(t.Context(), lab.Spec{Topology: top})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Down(context.Background()); err != nil {
			t.Error(err)
		}
	})
	h, err := NewHost(l, "a")
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Configure("ref", CNI10, h.PTP(), Portmap()); err != nil {
		t.Fatal(err)
	}
	return h
}

// inBlock fails the test unless all addresses are of the host's block.
func inBlock(t *testing.T, h *Host, addrs ...netip.Addr) {
	t.Helper()
	if len(addrs) == 0 || slices.ContainsFunc(addrs, func(a netip.Addr) bool { return !h.Node.Blocks[0].Contains(a) }) {
		t.Errorf("addresses %v, want some of %v", addrs, h.Node.Blocks)
	}
}

func TestLibcni(t *testing.T) {
	h := reference(t)
	c, err := h.New("ref", "one", "id-one")
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Add(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	inBlock(t, h, c.Addrs...)
	if c.Addr(false) != c.Addrs[0] || c.Addr(true).IsValid() {
		t.Errorf("addresses by family: %v, %v", c.Addr(false), c.Addr(true))
	}
	if err := h.Check(t.Context(), c); err != nil {
		t.Error(err)
	}
	if err := h.Remove(t.Context(), c); err != nil {
		t.Error(err)
	}
	err = h.Add(t.Context(), c)
	if err == nil || !strings.Contains(err.Error(), c.NetNS) || Code(err) == 0 {
		t.Errorf("ADD without a namespace: code %d: %v", Code(err), err)
	}
}

func TestPodman(t *testing.T) {
	h := reference(t)
	p, err := NewPodman(h)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.RemoveAll(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	if _, _, err := p.Run(t.Context(), "ref", "one"); err != nil {
		t.Fatal(err)
	}
	out, err := p.Do(t.Context(), "exec", "one", "ip", "-4", "-o", "addr", "show", "dev", Interface)
	if err != nil {
		t.Fatal(err)
	}
	inBlock(t, h, netip.MustParsePrefix(strings.Fields(out)[3]).Addr())
}

func TestContainerd(t *testing.T) {
	h := reference(t)
	c, err := StartContainerd(t.Context(), h, "ref")
	if err != nil {
		if p := h.Node.Process("containerd"); p != nil {
			t.Log(p.Log())
		}
		t.Fatal(err)
	}
	defer func() {
		if err := c.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	pod, err := c.RunPod(t.Context(), "shop", "web", [2]int32{8080, 80})
	if err != nil {
		t.Fatal(err)
	}
	inBlock(t, h, pod.Addrs...)
	if err := c.RemovePod(t.Context(), pod.ID); err != nil {
		t.Error(err)
	}
}
