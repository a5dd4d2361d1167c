package fib

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"caracal.dev/caracal/internal/sysctl"
)

// SysctlNeeds is what kernel settings depend on.
type SysctlNeeds struct {
	// IPv4 and IPv6 say which families are routed.
	IPv4, IPv6 bool
	// Workloads are the devices of local workloads, Uplinks those that lead to
	// other machines.
	Workloads, Uplinks []string
	// ECMP says that routes with several next hops are expected.
	ECMP bool
	// Neighbors is how many machines and workloads this one talks to directly,
	// Routes6 how many IPv6 routes are expected; 0 if that is not known.
	Neighbors, Routes6 int
}

// SysctlFinding is a setting that is not as it should be.
type SysctlFinding struct {
	// Key is the path below /proc/sys, which sysctl(8) takes too; slashes,
	// because a device's name may have dots.
	Key      string
	Is, Must string
	// Why is for an operator: what goes wrong otherwise.
	Why string
	// Advice is set for what may be meant so: it is reported, never written.
	Advice bool
	// Done says that it was written; Err why that failed.
	Done bool
	Err  error
}

// String returns the finding as a sentence with the command that mends it.
func (s SysctlFinding) String() string {
	text := fmt.Sprintf("%s is %s, should be %s: %s (sysctl -w %s=%s)", s.Key, s.Is, s.Must, s.Why, s.Key, s.Must)
	if s.Err != nil {
		text += fmt.Sprintf("; setting it failed: %v", s.Err)
	}
	return text
}

// CheckSysctls returns what is not as needed, in the order in which it is to be
// written. read returns a setting's value, and false if the kernel has no such
// setting, which is passed over: devices come and go. It is pure but for read.
func CheckSysctls(needs SysctlNeeds, read func(key string) (string, bool)) []SysctlFinding {
	c := sysctlCheck{read: read}
	if needs.IPv4 {
		c.must("net/ipv4/ip_forward", "1", "without it this machine forwards no IPv4 packet of a workload")
	}
	if needs.IPv6 {
		c.keepAdvertised(needs.Uplinks)
		c.must("net/ipv6/conf/all/forwarding", "1", "without it this machine forwards no IPv6 packet of a workload")
	}
	for _, dev := range needs.Workloads {
		c.workload(dev, needs)
	}
	if needs.IPv4 {
		c.reversePath(needs.Uplinks)
	}
	if needs.ECMP {
		c.multipath(needs)
	}
	c.limits(needs)
	return c.found
}

type sysctlCheck struct {
	read  func(string) (string, bool)
	found []SysctlFinding
}

func (c *sysctlCheck) must(key, want, why string) {
	if is, ok := c.read(key); ok && is != want {
		c.found = append(c.found, SysctlFinding{Key: key, Is: is, Must: want, Why: why})
	}
}

// keepAdvertised comes before forwarding is switched on: at that moment the
// kernel drops the default routes that it learned from router advertisements,
// and from then on ignores them, except where accept_ra is 2
// (net/ipv6/addrconf.c, accept_ra in Documentation/networking/ip-sysctl). Where
// forwarding is on already, things are as the operator knows them.
func (c *sysctlCheck) keepAdvertised(uplinks []string) {
	if is, ok := c.read("net/ipv6/conf/all/forwarding"); !ok || is == "1" {
		return
	}
	for _, dev := range uplinks {
		if key := "net/ipv6/conf/" + dev + "/accept_ra"; c.value(key) == 1 {
			c.must(key, "2", "with forwarding on, the default route that a router advertises on "+dev+" would be lost")
		}
	}
}

// workload is what the host's end of a workload's link needs: it answers for
// every address (the workload's gateway is one that nobody has), forwards, and
// takes only packets from the workload's own addresses.
func (c *sysctlCheck) workload(dev string, needs SysctlNeeds) {
	if needs.IPv4 {
		v4 := "net/ipv4/conf/" + dev + "/"
		c.must(v4+"forwarding", "1", "packets from the workload are not forwarded")
		c.must(v4+"proxy_arp", "1", "the workload gets no answer from its gateway 169.254.1.1")
		c.must("net/ipv4/neigh/"+dev+"/proxy_delay", "0", "the gateway answers up to 0.8 s late")
		c.must(v4+"rp_filter", "1", "the workload could send from addresses that are not its own")
	}
	if needs.IPv6 {
		v6 := "net/ipv6/conf/" + dev + "/"
		c.must(v6+"forwarding", "1", "packets from the workload are not forwarded")
		c.must(v6+"proxy_ndp", "1", "the workload gets no answer from its gateway")
		c.must(v6+"accept_ra", "0", "the workload could make itself the default router of this machine")
	}
}

// reversePath reports strict filtering on uplinks. Whether it does harm depends
// on the network, so it is not changed. The kernel takes the larger of a
// device's value and that of all.
func (c *sysctlCheck) reversePath(uplinks []string) {
	all := "net/ipv4/conf/all/rp_filter"
	for _, dev := range uplinks {
		key := "net/ipv4/conf/" + dev + "/rp_filter"
		if max(c.value(key), c.value(all)) != 1 {
			continue
		}
		c.advise(key, "2", "strict filtering drops packets that come in on "+dev+" while the route back leads elsewhere, as with several uplinks or ECMP")
	}
}

// multipath has flows spread over next hops by their ports too, as switches do.
// By addresses alone (0, the kernel's default) all that two hosts say to each
// other goes one way. 2 and 3 are somebody's own choice and left alone.
func (c *sysctlCheck) multipath(needs SysctlNeeds) {
	for _, family := range []struct {
		name   string
		routed bool
	}{{"ipv4", needs.IPv4}, {"ipv6", needs.IPv6}} {
		if key := "net/" + family.name + "/fib_multipath_hash_policy"; family.routed && c.value(key) == 0 {
			c.must(key, "1", "all connections between two addresses take the same of several next hops")
		}
	}
}

func (c *sysctlCheck) limits(needs SysctlNeeds) {
	for _, family := range []string{"ipv4", "ipv6"} {
		key := "net/" + family + "/neigh/default/gc_thresh3"
		if is := c.value(key); is > 0 && is < 2*needs.Neighbors {
			c.advise(key, strconv.Itoa(4*needs.Neighbors), fmt.Sprintf("the neighbor table is too small for %d neighbors; when it is full, packets are dropped", needs.Neighbors))
		}
	}
	const key = "net/ipv6/route/max_size"
	if is := c.value(key); is > 0 && is < 2*needs.Routes6 {
		c.advise(key, strconv.Itoa(4*needs.Routes6), fmt.Sprintf("the kernel would refuse some of %d IPv6 routes", needs.Routes6))
	}
}

func (c *sysctlCheck) advise(key, want, why string) {
	is, _ := c.read(key)
	c.found = append(c.found, SysctlFinding{Key: key, Is: is, Must: want, Why: why, Advice: true})
}

// value returns a setting as a number, -1 without one.
func (c *sysctlCheck) value(key string) int {
	s, _ := c.read(key)
	n, err := strconv.Atoi(s)
	if err != nil {
		return -1
	}
	return n
}

// SetSysctls writes what was found, except what is only advice, with write, and
// returns the findings with what became of them. One that fails does not stop
// the others.
func SetSysctls(found []SysctlFinding, write func(key, value string) error) []SysctlFinding {
	out := make([]SysctlFinding, len(found))
	for i, s := range found {
		if !s.Advice {
			s.Err = write(s.Key, s.Must)
			s.Done = s.Err == nil
		}
		out[i] = s
	}
	return out
}

const sysctlDir = "/proc/sys"

// ReadSysctl reads a setting of the calling thread's network namespace, for
// [CheckSysctls].
func ReadSysctl(key string) (string, bool) {
	b, err := os.ReadFile(filepath.Join(sysctlDir, key))
	return strings.TrimSpace(string(b)), err == nil
}

// WriteSysctl writes a setting of the calling thread's network namespace, for
// [SetSysctls].
func WriteSysctl(key, value string) error {
	if err := os.WriteFile(sysctl.Path(key), []byte(value), 0); err != nil {
		return fmt.Errorf("fib: write sysctl: %w", err)
	}
	return nil
}
