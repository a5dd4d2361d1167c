package test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"caracal.dev/caracal/lab"
	"caracal.dev/caracal/test/runtimes"
)

// TestAttach: caracal attach wires up a namespace by its path and one by a process
// in it, and detach takes that back.
func TestAttach(t *testing.T) {
	t.Parallel()
	c := withContainers(t, 2)
	_, far := c.add("b", "far")
	n := c.l.Node("a")
	cli := func(args ...string) string {
		t.Helper()
		return must(n.CLI(t.Context(), args...))(t)
	}

	path := c.netns("byhand")
	cli("attach", "--netns", path, "--name", "web", "--label", "app=shop", "--ip", "10.244.1.40")
	web := c.adopt("a", "web", path, nil)
	web.Addrs = ownAddrs(t, web, runtimes.Interface)
	if got := asText(web.Addrs); !strings.Contains(got, "10.244.1.40") || len(web.Addrs) != 2 {
		t.Errorf("attach --ip 10.244.1.40 gave %s", got)
	}
	c.ping(far, web)
	if out := cli("show", "workloads"); !strings.Contains(out, "web") || !strings.Contains(out, "attach") {
		t.Errorf("show workloads:\n%s", out)
	}

	process, path := c.sleeper("proc")
	cli("attach", "--pid", fmt.Sprint(process), "--name", "job")
	job := c.adopt("a", "job", path, nil)
	job.Addrs = ownAddrs(t, job, runtimes.Interface)
	c.ping(web, job)
	reaches(t, far, far.Addrs, job, job.Addrs)

	cli("detach", "web")
	cli("detach", "job")
	if got := ownInterfaces(t, web); got != "lo" {
		t.Errorf("after detach it has %s", got)
	}
	eventually(t, 20*time.Second, func() string { return c.hasOnly("a", 0) })
}

// sleeper starts a process in a namespace of its own.
func (c *containers) sleeper(name string) (pid int, netns string) {
	c.t.Helper()
	path := c.netns(name)
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, "nsenter", "--net="+path, "sleep", "600")
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() {
		cancel()
		cmd.Wait()
	})
	want := must(os.Stat(path))(c.t)
	eventually(c.t, 10*time.Second, func() string { // until it has entered it is in ours
		ns, err := os.Stat(fmt.Sprintf("/proc/%d/ns/net", cmd.Process.Pid))
		if err != nil || !os.SameFile(ns, want) {
			return fmt.Sprint("the process is not in its namespace; ", err)
		}
		return ""
	})
	return cmd.Process.Pid, path
}

// ownInterfaces lists the interfaces of a pod.
func ownInterfaces(t *testing.T, p *lab.Pod) string {
	t.Helper()
	var names []string
	err := p.Do(func() error {
		links, err := net.Interfaces()
		for _, l := range links {
			names = append(names, l.Name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(names, " ")
}
