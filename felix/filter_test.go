package felix

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

func openFake(t *testing.T, k *Fake) *Filter {
	t.Helper()
	f, err := Open(FilterOptions{Host: k.Host(), Backend: BackendNFT})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// randomRuleset is made of few pieces, so that two of them have much in common.
func randomRuleset(r *rand.Rand) *plainRuleset {
	rs := newPlainRuleset()
	for _, f := range []Family{IPv4, IPv6} {
		rs.chain(f, FilterTable, "caracal-forward", fmt.Sprintf("-p %d -j DROP", r.IntN(3)))
		rs.hook(f, FilterTable, "FORWARD", "-j caracal-forward")
		for i := range 6 {
			if r.IntN(2) == 0 {
				continue
			}
			set := fmt.Sprintf("caracal-s%d%s", i, f)
			rs.set(set, []SetType{HashIP, HashNet}[i%2], f)
			for range r.IntN(10) {
				addr := fmt.Sprintf("10.0.0.%d", r.IntN(20))
				if f == IPv6 {
					addr = fmt.Sprintf("fd00::%d", r.IntN(20))
				}
				rs.members[set][parseMember(addr)] = true
			}
			spec := "-m set --match-set " + set + " src -j ACCEPT"
			rs.chain(f, FilterTable, fmt.Sprintf("caracal-c%d", i), spec, fmt.Sprintf("-p %d -j DROP", r.IntN(2)))
		}
	}
	return rs
}

// worldOf is what a machine has that was never anything else.
func worldOf(t *testing.T, rs Ruleset) string {
	k := NewFake()
	mustAudit(t, openFake(t, k), rs)
	return sorted(k.String())
}

// sorted makes two listings equal that differ in the order of chains and tables
// without anything in them.
func sorted(s string) string {
	lines := strings.Split(s, "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// TestRandomFailures goes from ruleset to ruleset while anything may be refused;
// an Audit without refusals makes it right, and a second one writes nothing.
func TestRandomFailures(t *testing.T) {
	for seed := range uint64(12) {
		r := rand.New(rand.NewPCG(seed, 1))
		k := NewFake()
		f := openFake(t, k)
		was := newPlainRuleset()
		if seed%2 == 0 {
			was = randomRuleset(r)
			mustAudit(t, f, was)
		}
		for step := range 10 {
			rs := randomRuleset(r)
			k.Fail(func(what string) error {
				if r.IntN(8) == 0 {
					return errors.New("refused")
				}
				return nil
			})
			_, err := f.Apply(testContext(t), rs, diffRulesets(was, rs))
			k.Fail(nil)
			if err != nil {
				mustAudit(t, f, rs)
			}
			mustAudit(t, f, rs)
			before := k.Writes()
			mustBeRight(t, f, rs)
			if k.Writes() != before {
				t.Fatalf("seed %d step %d: an audit of what is right wrote", seed, step)
			}
			if got, want := sorted(k.String()), worldOf(t, rs); got != want {
				t.Fatalf("seed %d step %d: there is\n%s\nwant\n%s", seed, step, got, want)
			}
			was = rs
		}
	}
}

// TestOrder holds the order of writes: before the chains all that is added, then
// what is removed; after them what only they contain.
func TestOrder(t *testing.T) {
	k := NewFake()
	f := openFake(t, k)
	one := newPlainRuleset()
	one.set("caracal-free", HashIP, IPv4, "10.0.0.1", "10.0.0.2")
	one.set("caracal-peers", HashIP, IPv4, "10.0.0.3")
	one.chain(IPv4, FilterTable, "caracal-x", "-m set --match-set caracal-free src -j ACCEPT", "-j DROP")
	mustAudit(t, f, one)
	two := one.clone()
	two.set("caracal-free", HashIP, IPv4, "10.0.0.2")
	two.set("caracal-peers", HashIP, IPv4, "10.0.0.4")
	two.set("caracal-new", HashIP, IPv4, "10.0.0.5")
	two.chain(IPv4, FilterTable, "caracal-x", "-m set --match-set caracal-new src -j ACCEPT", "-j DROP")
	d := diffRulesets(one, two)
	for i := range d.Sets {
		if c := &d.Sets[i]; c.Name == "caracal-free" {
			c.RemoveLate, c.Remove = c.Remove, nil
		}
	}
	for _, refuse := range []string{"restore", ""} {
		var did []string
		k.Fail(func(what string) error {
			did = append(did, what)
			if refuse != "" && strings.HasPrefix(what, refuse) {
				return errors.New("refused")
			}
			return nil
		})
		_, err := f.Apply(testContext(t), two, d)
		want := []string{"create caracal-new", "add to caracal-new", "add to caracal-peers", "remove from caracal-peers",
			"restore IPv4 filter (nft)", "remove from caracal-free"}
		if refuse != "" {
			want = want[:5]
		}
		if !slices.Equal(slices.Compact(slices.Sorted(slices.Values(did))), slices.Sorted(slices.Values(want))) || (err != nil) != (refuse != "") {
			t.Errorf("it did %q, want %q; %v", did, want, err)
		}
		at := func(s string) int { return slices.Index(did, s) }
		if at(want[0]) > at(want[1]) || max(at(want[1]), at(want[2])) > at(want[3]) || at(want[3]) > at(want[4]) || refuse == "" && at(want[4]) > at(want[5]) {
			t.Errorf("the order is %q", did)
		}
		k.Fail(nil)
		mustAudit(t, f, one)
	}
}

func TestWithoutIPv6(t *testing.T) {
	k := NewFake()
	k.Without6()
	f := openFake(t, k)
	rs := sampleRuleset()
	if _, err := f.Audit(testContext(t), rs); err == nil || !strings.Contains(err.Error(), "a workload has IPv6 addresses") {
		t.Errorf("the error is %v", err)
	}
	four := rs.clone()
	four.set("caracal-local6", HashNetIface, IPv6)
	res := mustAudit(t, f, four)
	if len(res.Notes)+len(res.Unfiltered) != 0 {
		t.Errorf("the notes are %q, unfiltered is %q", res.Notes, res.Unfiltered)
	}
	if text := k.String(); strings.Contains(text, "IPv6") || !strings.Contains(text, "caracal-local4") {
		t.Errorf("there is %s", text)
	}
	if _, err := f.Apply(testContext(t), rs, diffRulesets(four, rs)); err == nil {
		t.Error("a workload with an IPv6 address has no rules, and nobody says so")
	}
}

func TestHangAndBell(t *testing.T) {
	k := NewFake()
	f := openFake(t, k)
	bell := f.Watch(testContext(t))
	rs := sampleRuleset()
	end := k.Hang()
	ctx, cancel := context.WithTimeout(testContext(t), 50*time.Millisecond)
	defer cancel()
	if _, err := f.Audit(ctx, rs); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the error is %v", err)
	}
	end()
	mustAudit(t, f, rs)
	if err := k.Edit(TableRef{BackendNFT, IPv4, FilterTable}, "-F", "-X"); err != nil {
		t.Fatal(err)
	}
	select {
	case <-bell:
	case <-time.After(30 * time.Second):
		t.Fatal("no bell")
	}
	res, err := f.Audit(testContext(t), rs)
	if err != nil || res.Chains != 3 || res.Hooks != 1 || len(res.Repairs) != 4 {
		t.Errorf("the repair is %+v, %v", res, err)
	}
	mustBeRight(t, f, rs)
}

func TestReadMark(t *testing.T) {
	const hash = "0123456789abcdef"
	long := Rule{Spec: "-j DROP", About: strings.Repeat("ü", 300) + `"\`}
	for _, c := range []struct {
		line, hash, about string
		ours              bool
	}{
		{`-m comment --comment "caracal:` + hash + ` default/web ingress 0" -j DROP`, hash, "default/web ingress 0", true},
		{`-j DROP -m comment --comment "caracal:` + hash + `"`, hash, "", true},
		{`-m comment --comment caracal:` + hash + ` -j DROP`, hash, "", true},
		{`-m comment --comment caracal:` + hash, hash, "", true},
		{`-m comment --comment "caracal:ipip-guard" -j DROP`, "", "", false},
		{`-m comment --comment "caracal:ipip-guard of a node" -j DROP`, "", "", false},
		{`-m comment --comment "caracal:` + hash + `0 x" -j DROP`, "", "", false},
		{`-m comment --comment "caracal:` + hash + ` x`, "", "", false},
		{`-m comment --comment "caracal:01234567"`, "", "", false},
		{`-m comment --comment "other" -j DROP`, "", "", false},
		{`-m comment --comment `, "", "", false},
		{`-j DROP`, "", "", false},
		{string(appendRule(nil, Rule{"-j DROP", `a "b\`}, hash)), hash, "a ?b?", true},
	} {
		hash, about, ours := readMark([]byte(c.line))
		if string(hash) != c.hash || string(about) != c.about || ours != c.ours {
			t.Errorf("readMark(%q) is %q, %q, %v", c.line, hash, about, ours)
		}
	}
	text := appendRule(nil, long, hash)
	if _, about, ours := readMark(text); !ours || len(text) > 300 || !strings.HasPrefix(long.About, string(about)) {
		t.Errorf("a long rule is %q", text)
	}
}

// TestHashes holds that each change of a chain shows in its digest.
func TestHashes(t *testing.T) {
	rules := []Rule{{"-j A", "a"}, {"-j B", "b"}, {"-j A", "a"}}
	seen := map[chainDigest]string{}
	for name, d := range map[string]chainDigest{
		"as it is":  digestOf("c", rules),
		"renamed":   digestOf("d", rules),
		"shorter":   digestOf("c", rules[:2]),
		"turned":    digestOf("c", []Rule{rules[1], rules[0], rules[2]}),
		"a comment": digestOf("c", []Rule{rules[0], {"-j B", "c"}, rules[2]}),
		"a spec":    digestOf("c", []Rule{rules[0], {"-j C", "b"}, rules[2]}),
		"empty":     digestOf("c", nil),
	} {
		if other, ok := seen[d]; ok {
			t.Errorf("%s and %s have the same digest", name, other)
		}
		seen[d] = name
	}
}
