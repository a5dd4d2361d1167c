package ipam

import (
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"caracal.dev/caracal"
)

func TestBlockOf(t *testing.T) {
	for _, c := range []struct {
		pool string
		size int
		addr string
		want string
	}{
		{"10.0.0.0/16", 0, "10.0.3.200", "10.0.3.192/26"},
		{"10.0.0.0/16", 24, "10.0.3.200", "10.0.3.0/24"},
		{"10.0.0.0/28", 0, "10.0.0.3", "10.0.0.0/28"},
		{"10.0.0.0/16", 99, "10.0.0.3", "10.0.0.0/26"},
		{"10.0.0.0/16", 26, "10.1.0.0", ""},
		{"10.0.0.0/16", 26, "fd00::1", ""},
		{"fd00::/48", 0, "fd00::1:40", "fd00::1:40/122"},
		{"fd00::/48", 64, "fd00:0:0:7::1", "fd00:0:0:7::/64"},
	} {
		got, ok := BlockOf(caracal.Pool{CIDR: netip.MustParsePrefix(c.pool), BlockSize: c.size}, addr(c.addr))
		if ok != (c.want != "") || ok && got.String() != c.want {
			t.Errorf("%s in blocks of /%d: %s is in %s; want %s", c.pool, c.size, c.addr, got, c.want)
		}
	}
}

func TestNthBlock(t *testing.T) {
	for _, c := range []struct {
		pool  string
		size  int
		count uint64
		n     uint64
		want  string
	}{
		{"10.0.0.0/24", 26, 4, 3, "10.0.0.192/26"},
		{"0.0.0.0/0", 32, 1 << 32, 1<<32 - 1, "255.255.255.255/32"},
		{"10.0.0.0/26", 26, 1, 0, "10.0.0.0/26"},
		{"10.0.0.0/28", 26, 0, 0, ""},
		{"fd00::/120", 122, 4, 1, "fd00::40/122"},
		{"fd00::/48", 64, 1 << 16, 0xffff, "fd00:0:0:ffff::/64"},
		{"fd00::/48", 122, maxIndex, 1 << 60, "fd00:0:0:4::/122"},
		{"fd00::/8", 56, 1 << 48, 1, "fd00:0:0:100::/56"},
		{"fd00::/64", 128, maxIndex, 1<<62 - 1, "fd00::3fff:ffff:ffff:ffff/128"},
	} {
		pool := netip.MustParsePrefix(c.pool)
		if got := numBlocks(pool, c.size); got != c.count {
			t.Errorf("%s has %d blocks of /%d; want %d", c.pool, got, c.size, c.count)
		}
		if c.want == "" {
			continue
		}
		got := nthBlock(pool, c.size, c.n)
		if got.String() != c.want {
			t.Errorf("block %d of /%d in %s is %s; want %s", c.n, c.size, c.pool, got, c.want)
		}
		for _, a := range []netip.Addr{got.Addr(), Last(got)} {
			if n, ok := blockIndex(pool, c.size, a); n != c.n || !ok {
				t.Errorf("%s is in block %d of /%d in %s, %v; want %d", a, n, c.size, c.pool, ok, c.n)
			}
		}
	}
	if _, ok := blockIndex(netip.MustParsePrefix("fd00::/48"), 128, addr("fd00:0:0:ffff::")); ok {
		t.Error("a block beyond those that are counted has an index")
	}
}

func TestLast(t *testing.T) {
	for in, want := range map[string]string{
		"10.0.0.0/26": "10.0.0.63", "10.0.0.7/32": "10.0.0.7", "0.0.0.0/0": "255.255.255.255",
		"fd00::/64": "fd00::ffff:ffff:ffff:ffff", "fd00::/122": "fd00::3f", "fd00::/48": "fd00::ffff:ffff:ffff:ffff:ffff",
		"::/0": "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fd00::1/128": "fd00::1",
	} {
		if got := Last(netip.MustParsePrefix(in)); got.String() != want {
			t.Errorf("the last of %s is %s; want %s", in, got, want)
		}
	}
}

func TestNetworkAddrs(t *testing.T) {
	for in, want := range map[string][]netip.Prefix{
		"10.0.0.0/24":  pfx("10.0.0.0/32", "10.0.0.255/32"),
		"10.0.0.4/30":  pfx("10.0.0.4/32", "10.0.0.7/32"),
		"10.0.0.0/31":  nil,
		"10.0.0.1/32":  nil,
		"fd00::1/64":   pfx("fd00::/128"),
		"fd00::/127":   nil,
		"10.0.0.77/24": pfx("10.0.0.0/32", "10.0.0.255/32"),
	} {
		if got := NetworkAddrs(netip.MustParsePrefix(in)); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v; want %v", in, got, want)
		}
	}
}

func TestRanges(t *testing.T) {
	r := newRanges(pfx("10.0.1.0/24", "10.0.0.0/26", "10.0.1.128/25", "fd00::/64", "10.0.0.0/26", "10.0.2.0/30"))
	if want := ranges(pfx("10.0.0.0/26", "10.0.1.0/24", "10.0.2.0/30", "fd00::/64")); !reflect.DeepEqual(r, want) {
		t.Fatalf("got %v", r)
	}
	for in, want := range map[string]string{
		"10.0.0.0/8": "10.0.0.0/26", "10.0.0.64/26": "", "10.0.1.7/32": "10.0.1.0/24", "10.0.2.0/24": "10.0.2.0/30",
		"fd00::/48": "fd00::/64", "fd00:0:0:1::/64": "", "9.0.0.0/8": "", "10.0.0.0/26": "10.0.0.0/26",
	} {
		got, ok := r.overlapping(netip.MustParsePrefix(in))
		if ok != (want != "") || ok && got.String() != want {
			t.Errorf("%s overlaps %s; want %s", in, got, want)
		}
	}
	for in, want := range map[string]float64{"10.0.0.0/8": 64 + 256 + 4, "10.0.1.0/26": 64, "10.0.0.0/25": 64, "11.0.0.0/8": 0, "fd00::/48": 1 << 64} {
		if got := r.size(netip.MustParsePrefix(in)); got != want {
			t.Errorf("%v addresses of %s are in the set; want %v", got, in, want)
		}
	}
	for in, want := range map[string]string{"10.0.2.4": "10.0.2.4/30", "10.0.2.9": "10.0.2.8/29", "10.0.3.0": "10.0.3.0/26", "10.0.0.1": ""} {
		got, ok := splitAround(addr(in), 26, r)
		if ok != (want != "") || ok && got.String() != want {
			t.Errorf("around %s: %s; want %s", in, got, want)
		}
	}
	r.add(netip.MustParsePrefix("10.0.0.64/26"))
	r.remove(netip.MustParsePrefix("10.0.1.0/24"))
	r.remove(netip.MustParsePrefix("10.0.2.0/29")) // not of the set
	if want := ranges(pfx("10.0.0.0/26", "10.0.0.64/26", "10.0.2.0/30", "fd00::/64")); !reflect.DeepEqual(r, want) {
		t.Fatalf("got %v", r)
	}
}

func TestNext(t *testing.T) {
	for _, c := range []struct {
		name, block, last string
		taken             []string
		reserved          []netip.Prefix
		but               []netip.Addr
		want              string
	}{
		{name: "first", block: "10.0.0.0/30", want: "10.0.0.0"},
		{name: "after the last", block: "10.0.0.0/30", last: "10.0.0.1", want: "10.0.0.2"},
		{name: "around", block: "10.0.0.0/30", last: "10.0.0.3", want: "10.0.0.0"},
		{name: "around to the last itself", block: "10.0.0.0/30", last: "10.0.0.2", taken: []string{"10.0.0.0", "10.0.0.1", "10.0.0.3"}, want: "10.0.0.2"},
		{name: "full", block: "10.0.0.0/31", taken: []string{"10.0.0.0", "10.0.0.1"}},
		{name: "reserved", block: "10.0.0.0/29", reserved: pfx("10.0.0.0/30", "10.0.0.5/32"), taken: []string{"10.0.0.4"}, want: "10.0.0.6"},
		{name: "reserved and full", block: "10.0.0.0/30", reserved: pfx("10.0.0.0/31"), taken: []string{"10.0.0.2", "10.0.0.3"}},
		{name: "wholly reserved", block: "10.0.0.0/29", reserved: pfx("10.0.0.0/8")},
		{name: "chosen already", block: "10.0.0.0/30", but: []netip.Addr{addr("10.0.0.0"), addr("10.0.0.1")}, taken: []string{"10.0.0.2"}, want: "10.0.0.3"},
		{name: "the end of all addresses", block: "255.255.255.252/30", last: "255.255.255.254", taken: []string{"255.255.255.255"}, want: "255.255.255.252"},
		{name: "a large block", block: "fd00::/64", last: "fd00::ffff:ffff:ffff:fffe", taken: []string{"fd00::", "fd00::ffff:ffff:ffff:ffff"}, want: "fd00::1"},
		{name: "a large reserved range", block: "fd00::/64", reserved: pfx("fd00::/65"), want: "fd00::8000:0:0:0"},
		{name: "all of a large block", block: "::/0", last: "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", reserved: pfx("::/1"), want: "8000::"},
	} {
		b := &block{cidr: netip.MustParsePrefix(c.block)}
		if c.last != "" {
			b.last = addr(c.last)
		}
		for _, a := range c.taken {
			b.insert(&entry{addr: addr(a), handle: "h"})
		}
		got := b.next(newRanges(c.reserved), c.but)
		if got.IsValid() != (c.want != "") || got.IsValid() && got.String() != c.want {
			t.Errorf("%s: %s; want %s", c.name, got, c.want)
		}
	}
}

// TestBlockRandom holds a block against a map, whatever is done to it.
func TestBlockRandom(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	b := &block{cidr: netip.MustParsePrefix("10.0.0.0/28"), node: "a", key: "block/10.0.0.0-28"}
	now, cooldown := time.Unix(1e9, 0), time.Minute
	model := map[netip.Addr]time.Time{} // zero: in use
	for range 20_000 {
		switch a := b.next(nil, nil); r.IntN(3) {
		case 0:
			if !a.IsValid() {
				if len(model) != 16 {
					t.Fatalf("no address of %d", 16-len(model))
				}
				break
			}
			if _, ok := model[a]; ok {
				t.Fatalf("%s is taken", a)
			}
			b.insert(&entry{addr: a, handle: "h", node: "a"})
			b.last, model[a] = a, time.Time{}
		case 1:
			if len(b.entries) > 0 {
				if e := b.entries[r.IntN(len(b.entries))]; e.inUse() {
					b.free(e, now, cooldown)
					model[e.addr] = now
				}
			}
		case 2:
			now = now.Add(time.Duration(r.IntN(30)) * time.Second)
			b.thaw(now, cooldown)
			for a, at := range model {
				if !at.IsZero() && now.Sub(at) >= cooldown {
					delete(model, a)
				}
			}
		}
		if len(model) != len(b.entries) || b.freed != len(slices.DeleteFunc(slices.Clone(b.entries), (*entry).inUse)) {
			t.Fatalf("%d entries, %d of them freed; want %d", len(b.entries), b.freed, len(model))
		}
		again, err := decodeBlock(Record{Key: b.key, Value: b.record()})
		if err != nil {
			t.Fatalf("written and read: %v", err)
		}
		again.lines.stale = true // what was changed line by line is as if made anew
		if got, want := string(b.record()), string(again.record()); got != want {
			t.Fatalf("changed line by line:\n%s\nmade anew:\n%s", got, want)
		}
	}
}
