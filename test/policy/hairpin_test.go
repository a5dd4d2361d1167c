package policy

import (
	"testing"

	"golang.org/x/sys/unix"

	"caracal.dev/caracal/felix"
)

// TestService: policies are about the pods behind an address that the node
// translates, as kube-proxy does, and a pod may reach itself by one whatever its
// policies say ("a pod cannot block access to itself").
func TestService(t *testing.T) {
	for _, backend := range []string{felix.BackendNFT, felix.BackendLegacy} {
		t.Run(backend, func(t *testing.T) {
			t.Parallel()
			k := base()
			w := build(t, k)
			k.policies = policies(np("x/p", `{podSelector: {matchLabels: {pod: a}}, policyTypes: [Ingress, Egress]}`),
				np("x/q", `{podSelector: {matchLabels: {pod: b}}, policyTypes: [Ingress, Egress], egress: [{to: [{namespaceSelector: {matchLabels: {ns: "y"}}}]}]}`))
			ports := parsePorts("tcp/80")
			if err := w.serve(ports); err != nil {
				t.Fatal(err)
			}
			for _, p := range []struct {
				tool, service, pod, other string
			}{
				{"iptables-" + backend, "198.18.0.1", "10.244.1.10", "10.244.1.13"},
				{"ip6tables-" + backend, "fd18::1", "fd00:244:1::a", "fd00:244:1::d"},
			} {
				n := w.nodes["n1"]
				for i, to := range []string{p.pod, p.other} {
					service := parseAddr(p.service)
					if i == 1 {
						service = service.Next()
					}
					n.Run(p.tool, "-t", "nat", "-A", "PREROUTING", "-d", service.String(), "-j", "DNAT", "--to-destination", to)
					n.Run(p.tool, "-t", "nat", "-A", "POSTROUTING", "-s", to, "-d", to, "-j", "MASQUERADE")
				}
			}
			fws := w.protect(t, backend)
			if err := put(t.Context(), fws, k); err != nil {
				t.Fatal(err)
			}
			for _, c := range []struct {
				from    string
				service []string
				want    bool
			}{
				{"x/a", []string{"198.18.0.1", "fd18::1"}, true},  // itself
				{"x/a", []string{"198.18.0.2", "fd18::2"}, false}, // y/a, which its egress forbids
				{"x/b", []string{"198.18.0.2", "fd18::2"}, true},  // y/a, which its egress allows
				{"x/b", []string{"198.18.0.1", "fd18::1"}, false}, // x/a, which both forbid
				{"y/a", []string{"198.18.0.1", "fd18::1"}, false}, // x/a, whose ingress forbids it
				{"z/c", []string{"198.18.0.2"}, true},             // y/a, which nobody isolates
			} {
				for _, service := range c.service {
					if got := w.connects(t, c.from, service, 80, c.want); got != c.want {
						t.Errorf("%s to the service %s: connected %t, wanted %t", c.from, service, got, c.want)
					}
				}
			}
			audit(t, fws)
		})
	}
}

// connects tries a TCP connection to any address; it waits for one that is wanted.
func (w *world) connects(t *testing.T, from, to string, number uint16, want bool) (done bool) {
	t.Helper()
	for _, e := range w.endpoints {
		if e.name != from {
			continue
		}
		err := e.at.on(func() error {
			a := parseAddr(to)
			fd, err := unix.Socket(family(a.Is6()), unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			if err := unix.Connect(fd, sockaddr(a, number)); err != nil && err != unix.EINPROGRESS {
				return err
			}
			wait := 30000
			if !want {
				wait = 200
			}
			ready := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
			for {
				if _, err = unix.Poll(ready, wait); err != unix.EINTR {
					break
				}
			}
			if err == nil {
				done, err = connected(fd)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return done
}
