package test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	types100 "github.com/containernetworking/cni/pkg/types/100"

	"caracal.dev/caracal/lab"
	"caracal.dev/caracal/test/runtimes"
)

// TestCNITool holds the plugin's protocol, CNI 1.1, against cnitool.
func TestCNITool(t *testing.T) {
	t.Parallel()
	c := withContainers(t, 1)
	h := c.hosts["a"]
	tool := runtimes.Tool{Host: h, Program: built.cnitool}
	do := func(command string) string {
		t.Helper()
		return must(tool.Do(t.Context(), command, alone, c.netns("x")))(t)
	}
	do("status")
	var result types100.Result
	if err := json.Unmarshal([]byte(do("add")), &result); err != nil {
		t.Fatal(err)
	}
	if result.CNIVersion != runtimes.CNI11 || len(result.IPs) != 2 || len(result.Interfaces) != 2 || len(result.Routes) == 0 {
		t.Errorf("result of ADD: %+v", result)
	}
	for _, ip := range result.IPs {
		ones, bits := ip.Address.Mask.Size()
		if ones != bits || ip.Interface == nil || result.Interfaces[*ip.Interface].Sandbox != c.netns("x") {
			t.Errorf("%v is not a host address of the interface in the container: %+v", ip, result.Interfaces)
		}
	}
	do("check")
	if wrong := c.hasOnly("a", 1); wrong != "" {
		t.Error(wrong)
	}

	// What was broken behind its back CHECK says.
	run(t, c.l.Node("a"), "ip", "link", "set", result.Interfaces[0].Name, "down")
	if out, err := tool.Do(t.Context(), "check", alone, c.netns("x")); err == nil {
		t.Error("CHECK passes although the host's interface is down:", out)
	}

	do("del")
	do("del")
	if wrong := c.hasOnly("a", 0); wrong != "" {
		t.Error(wrong)
	}
	do("add")
	do("gc")
	if wrong := c.hasOnly("a", 0); wrong != "" {
		t.Error("after GC:", wrong)
	}
}

// netns makes a namespace, or returns the path of the one that was made.
func (c *containers) netns(name string) string {
	c.t.Helper()
	path, err := c.l.NewNamespace(name)
	if err != nil && !strings.Contains(err.Error(), "file exists") {
		c.t.Fatal(err)
	}
	if path == "" {
		path = filepath.Join("/run/netns", "cl-"+c.l.ID()+"-c-"+name)
	}
	return path
}

// TestCNIDaemonDown: without the daemon ADD fails at once with code 11 and a
// sentence, STATUS says that it would, and DEL succeeds and is carried out as
// soon as the daemon is back.
func TestCNIDaemonDown(t *testing.T) {
	t.Parallel()
	c := withContainers(t, 1)
	h := c.hosts["a"]
	gone, _ := c.add("a", "gone")
	stays, pod := c.add("a", "stays")
	if err := c.l.Node("a").Kill(os.Kill); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	err := h.Add(t.Context(), c.make("a", "new"))
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("ADD without the daemon took %v", took)
	}
	if runtimes.Code(err) != 11 || !strings.Contains(said(err), "caracald") {
		t.Errorf("ADD without the daemon: code %d: %v", runtimes.Code(err), err)
	}
	if err := h.Status(t.Context(), alone); runtimes.Code(err) == 0 {
		t.Errorf("STATUS without the daemon: %v", err)
	}
	if err := h.Remove(t.Context(), gone); err != nil {
		t.Errorf("DEL without the daemon: %v", err)
	}
	must(c.l.Node("a").Restart(os.Kill))(t)
	eventually(t, 20*time.Second, func() string { return c.hasOnly("a", 1) })
	if err := h.Check(t.Context(), stays); err != nil {
		t.Error(err)
	}
	for _, f := range lab.Families() {
		if cell, err := pod.Ping(t.Context(), c.l.Node("a").Addr(f)); err != nil || !cell.OK {
			t.Errorf("%s: %+v %v", f, cell, err)
		}
	}
}

// TestCNIFirstPacket: when ADD has answered, the first packet of each family
// arrives: to the node, to another container, and to one of another node.
func TestCNIFirstPacket(t *testing.T) {
	t.Parallel()
	c := withContainers(t, 2)
	_, far := c.add("b", "far")
	_, near := c.add("a", "near")
	c.ping(near, far) // the two nodes know the way and each other
	for i := range 5 {
		_, pod := c.add("a", fmt.Sprint("p", i))
		for _, f := range lab.Families() {
			for to, a := range map[string]netip.Addr{"its node": c.l.Node("a").Addr(f), "its neighbor": near.Addr(f), "another node's": far.Addr(f)} {
				if cell, err := pod.Ping(t.Context(), a); err != nil || !cell.OK {
					t.Errorf("the first ping of container %d to %s, %s: %+v %v", i, to, a, cell, err)
				}
			}
		}
	}
}

// TestInstallCNI: what caracald --install-cni writes is all that podman needs.
func TestInstallCNI(t *testing.T) {
	t.Parallel()
	c := withContainers(t, 1)
	n, bin := c.l.Node("a"), filepath.Join(c.l.Node("a").Dir(), "bin")
	if err := n.Kill(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	c.hosts["a"] = must(runtimes.NewHost(c.l, "a", bin))(t) // which finds the plugin there alone
	must(n.StartCaracald("--install-cni", c.hosts["a"].ConfDir(), "--cni-bin-dir", bin))(t)
	eventually(t, 20*time.Second, func() string {
		_, err := os.Stat(filepath.Join(c.hosts["a"].ConfDir(), "10-caracal.conflist"))
		return said(err)
	})
	pod := c.podman("a", "caracal", "web", "--publish", "8080:80")
	reaches(t, n, []netip.Addr{n.Addr(lab.IPv4), n.Addr(lab.IPv6)}, pod, pod.Addrs)
	l := listen(t, pod, pod.Addr(lab.IPv4), 80)
	if _, called := dialled(t, n, netip.AddrPortFrom(n.Addr(lab.IPv4), 8080), l); called != pod.Addr(lab.IPv4) {
		t.Errorf("the port of the node leads to %s", called)
	}
}
