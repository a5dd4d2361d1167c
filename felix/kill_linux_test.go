package felix

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"caracal.dev/caracal/internal/nstest"
)

// childBackend is set for the process that TestKilled kills.
const childBackend = "FELIX_TEST_CHILD"

// twoRulesets are far enough apart that to go from one to the other takes a while.
func twoRulesets() (one, two *plainRuleset) {
	one, two = sampleRuleset(), sampleRuleset()
	for i := range 60 {
		name := fmt.Sprintf("caracal-c%d", i)
		set := fmt.Sprintf("caracal-s%d", i)
		var a, b []string
		for j := range 60 {
			a = append(a, fmt.Sprintf("10.2.%d.%d", i, j))
			b = append(b, fmt.Sprintf("10.2.%d.%d", i, j+30))
		}
		one.set(set, HashIP, IPv4, a...)
		one.chain(IPv4, FilterTable, name, "-m set --match-set "+set+" src -j ACCEPT", "-j DROP")
		if i%2 == 0 {
			two.set(set, HashIP, IPv4, b...)
			two.chain(IPv4, FilterTable, name, "-m set --match-set "+set+" dst -j ACCEPT", "-j DROP")
			two.chain(IPv6, FilterTable, name, "-j DROP")
		}
	}
	two.hook(IPv6, FilterTable, "INPUT", "-j caracal-c0")
	return one, two
}

// TestKilledChild is not a test: it writes until TestKilled kills it.
func TestKilledChild(t *testing.T) {
	backend := os.Getenv(childBackend)
	if backend == "" {
		return
	}
	one, two := twoRulesets()
	f, err := Open(FilterOptions{Backend: backend})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("ready")
	for ctx := context.Background(); ; {
		for _, step := range []func() (Result, error){
			func() (Result, error) { return f.Audit(ctx, one) },
			func() (Result, error) { return f.Apply(ctx, two, diffRulesets(one, two)) },
			func() (Result, error) { return f.Apply(ctx, one, diffRulesets(two, one)) },
			func() (Result, error) { return f.Audit(ctx, two) },
		} {
			if _, err := step(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestKilled(t *testing.T) {
	eachBackend(t, func(t *testing.T, ns *nstest.NS, backend string) {
		one, two := twoRulesets()
		f := openFilter(t, ns, FilterOptions{Backend: backend})
		right := map[*plainRuleset]string{}
		for _, rs := range []*plainRuleset{one, two} {
			settle(t, f, rs)
			right[rs] = dump(ns, backend)
		}
		random := rand.New(rand.NewPCG(1, 2))
		for i := range 6 {
			kill(t, ns, backend, time.Duration(random.IntN(400))*time.Millisecond)
			rs := []*plainRuleset{one, two}[i%2]
			settle(t, openFilter(t, ns, FilterOptions{Backend: backend}), rs)
			if got := dump(ns, backend); got != right[rs] {
				t.Fatalf("after kill %d there is\n%s\nwant\n%s", i, got, right[rs])
			}
		}
	})
}

// settle audits until all unused sets are destroyed.
func settle(t *testing.T, f *Filter, rs Ruleset) {
	t.Helper()
	for mustAudit(t, f, rs).Unused > 0 {
	}
	mustBeRight(t, f, rs)
}

// kill starts a child, and kills it and what it runs some time after it began.
func kill(t *testing.T, ns *nstest.NS, backend string, after time.Duration) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := ns.Command(exe, "-test.run=^TestKilledChild$")
	cmd.Env = append(os.Environ(), childBackend+"="+backend)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 64)); err != nil {
		t.Fatalf("the child said nothing: %v", err)
	}
	time.Sleep(after)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "signal: killed") {
		t.Fatalf("the child ended by itself: %v", err)
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		pids, err := exec.Command("ip", "netns", "pids", ns.Name()).Output()
		if err != nil {
			t.Fatal(err)
		}
		if strings.TrimSpace(string(pids)) == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the programs of the killed child still run: %s", pids)
		}
	}
}

// TestHammering has another program change its own rules, and the kernel's chains,
// without a pause.
func TestHammering(t *testing.T) {
	eachBackend(t, func(t *testing.T, ns *nstest.NS, backend string) {
		ipt(ns, backend, IPv4, "-N", "OTHER")
		stop := make(chan struct{})
		count := make(chan int)
		go func() {
			n := 0
			for ; ; n++ {
				select {
				case <-stop:
					count <- n
					return
				default:
				}
				for _, args := range [][]string{
					{"-A", "OTHER", "-j", "ACCEPT"}, {"-I", "FORWARD", "-j", "OTHER"},
					{"-D", "FORWARD", "-j", "OTHER"}, {"-F", "OTHER"},
				} {
					_, _ = ns.Try(program(backend, IPv4, ""), append([]string{"-w"}, args...)...)
				}
			}
		}()
		f := openFilter(t, ns, FilterOptions{Backend: backend})
		one, two := twoRulesets()
		mustAudit(t, f, one)
		for range 5 {
			for _, step := range [][2]*plainRuleset{{one, two}, {two, one}} {
				if _, err := f.Apply(testContext(t), step[1], diffRulesets(step[0], step[1])); err != nil {
					t.Errorf("beside another program: %v", err)
				}
			}
			mustAudit(t, f, one)
		}
		close(stop)
		if n := <-count; n == 0 {
			t.Error("the other program did nothing")
		}
		settle(t, f, one)
		ipt(ns, backend, IPv4, "-F", "OTHER")
		ipt(ns, backend, IPv4, "-X", "OTHER")
	})
}
