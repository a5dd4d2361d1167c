package ipam

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"
)

const goodRecord = `{"version":1,"block":"10.0.0.0/26","node":"a","last":"10.0.0.9"}
{"addr":"10.0.0.3","handle":"cni/net/1/eth0","kind":"cni","container":"1","ifname":"eth0","namespace":"ns","name":"a\"b","netns":"/run/netns/x","since":"2026-01-01T00:00:00Z","with":["fd00::1"]}
{"addr":"10.0.0.4","handle":"h","node":"b","since":"2026-01-01T00:00:00.5Z"}
{"addr":"10.0.0.9","handle":"old","freed":"2026-01-02T00:00:00Z"}
`

func TestEncodeBlock(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	b := &block{key: "block/10.0.0.0-26", cidr: netip.MustParsePrefix("10.0.0.0/26"), node: "a", last: addr("10.0.0.9")}
	b.insert(&entry{addr: addr("10.0.0.9"), handle: "old", node: "a", freed: at.AddDate(0, 0, 1)})
	b.insert(&entry{addr: addr("10.0.0.4"), handle: "h", node: "b", since: at.Add(time.Second / 2)})
	b.insert(&entry{
		addr: addr("10.0.0.3"), handle: "cni/net/1/eth0", node: "a", since: at, with: []netip.Addr{addr("fd00::1")},
		owner: Owner{Kind: "cni", ContainerID: "1", Interface: "eth0", Namespace: "ns", Name: `a"b`, NetNS: "/run/netns/x"},
	})
	if got := string(b.record()); got != goodRecord {
		t.Errorf("got\n%s\nwant\n%s", got, goodRecord)
	}
	back, err := decodeBlock(Record{Key: b.key, Value: []byte(goodRecord), Revision: "7"})
	if err != nil {
		t.Fatal(err)
	}
	back.lines.stale = true
	if got := string(back.record()); got != goodRecord || back.revision != "7" || back.freed != 1 {
		t.Errorf("read and written again:\n%s", got)
	}
}

func TestDecodeBlockErrors(t *testing.T) {
	for name, c := range map[string]struct{ old, new, want string }{
		"no whole line":      {"T00:00:00Z\"}\n", "T00:00:00Z\"}", "whole line"},
		"later version":      {`"version":1`, `"version":2`, "version 2"},
		"other block":        {"10.0.0.0/26", "10.0.1.0/26", "it is about block 10.0.1.0/26"},
		"nobody's":           {`"node":"a"`, `"node":""`, `of node ""`},
		"foreign address":    {`"addr":"10.0.0.3"`, `"addr":"10.0.0.64"`, "not of the block"},
		"order":              {`"addr":"10.0.0.3"`, `"addr":"10.0.0.5"`, "10.0.0.4 is not after 10.0.0.5"},
		"twice":              {`"addr":"10.0.0.3"`, `"addr":"10.0.0.4"`, "10.0.0.4 is not after 10.0.0.4"},
		"no handle":          {`"handle":"h",`, "", "given to nobody"},
		"an unknown field":   {`"handle":"h"`, `"handle":"h","x":1`, "unknown field"},
		"no JSON":            {`{"addr":"10.0.0.4"`, `"addr":"10.0.0.4"`, "line 3"},
		"two objects a line": {`.5Z"}`, `.5Z"}{}`, "more after"},
		"a wrong last":       {`"last":"10.0.0.9"`, `"last":"10.9.0.9"`, "not of the block"},
	} {
		value := strings.Replace(goodRecord, c.old, c.new, 1)
		if value == goodRecord {
			t.Fatalf("%s: nothing was changed", name)
		}
		_, err := decodeBlock(Record{Key: "block/10.0.0.0-26", Value: []byte(value)})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want %q", name, err, c.want)
		}
	}
}

func FuzzDecodeBlock(f *testing.F) {
	f.Add([]byte(goodRecord))
	f.Add([]byte("\n"))
	f.Add([]byte("{}\n{}\n"))
	f.Fuzz(func(t *testing.T, value []byte) {
		b, err := decodeBlock(Record{Key: "block/10.0.0.0-26", Value: value})
		if err != nil {
			return
		}
		b.lines.stale = true
		text := b.record()
		again, err := decodeBlock(Record{Key: b.key, Value: text})
		if err != nil {
			t.Fatalf("%v of what was read and written:\n%s", err, text)
		}
		if string(again.record()) != string(text) {
			t.Fatal("it changes each time it is read and written")
		}
	})
}

func TestAffinityRecords(t *testing.T) {
	ctx, s := context.Background(), NewMemory()
	f := &affinity{node: "Node_1", cidr: netip.MustParsePrefix("fd00::/122")}
	l := &loan{addr: addr("10.0.0.9"), node: "b", block: netip.MustParsePrefix("10.0.0.0/26")}
	if err := errors.Join(f.put(ctx, s, AffinityPending), f.put(ctx, s, AffinityConfirmed), l.put(ctx, s, AffinityPending)); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		"affinity/%4eode%5f1/fd00::-122": `{"version":1,"state":"confirmed"}` + "\n",
		"borrowed/10.0.0.9":              `{"version":1,"state":"pending","node":"b","block":"10.0.0.0/26"}` + "\n",
	} {
		if r, err := s.Get(ctx, key); err != nil || string(r.Value) != want {
			t.Errorf("%s: %s %v", key, r.Value, err)
		}
	}
	affinities, _, err := Affinities(ctx, s)
	if err != nil || len(affinities) != 1 || affinities[0] != (BlockAffinity{"Node_1", f.cidr, AffinityConfirmed}) {
		t.Errorf("%+v %v", affinities, err)
	}
	loans, _, err := ListBorrowed(ctx, s)
	if err != nil || len(loans) != 1 || loans[0] != (Borrowed{Addr: l.addr, Node: "b", Block: l.block}) {
		t.Errorf("%+v %v", loans, err)
	}
	for key, value := range map[string]string{
		"affinity/a/10.0.0.0-26":  `{"version":2,"state":"confirmed"}`,
		"affinity/b/10.0.0.0-26":  `{"version":1,"state":"x"}`,
		"affinity/c/10.0.0.0-26":  `nothing`,
		"affinity/10.0.0.0-26":    `{"version":1,"state":"confirmed"}`,
		"affinity/a/10.0.0.1-26":  `{"version":1,"state":"confirmed"}`,
		"affinity/%zz/10.0.1.0-2": `{"version":1,"state":"confirmed"}`,
		"borrowed/10.0.0.300":     `{"version":1,"state":"confirmed","node":"b","block":"10.0.0.0/26"}`,
		"borrowed/10.0.1.9":       `{"version":1,"state":"confirmed","node":"b","block":"10.0.0.0/26"}`,
		"borrowed/10.0.0.8":       `{"version":1,"state":"confirmed","block":"10.0.0.0/26"}`,
	} {
		if _, err := s.Put(ctx, Record{Key: key, Value: []byte(value)}); err != nil {
			t.Fatal(err)
		}
	}
	affinities, bad, err := Affinities(ctx, s)
	if err != nil || len(affinities) != 1 || len(bad) != 6 {
		t.Errorf("%+v %+v %v", affinities, bad, err)
	}
	loans, bad, err = ListBorrowed(ctx, s)
	if err != nil || len(loans) != 1 || len(bad) != 3 || !strings.Contains(bad[0].Message, "record borrowed/10.0.0.300 cannot be understood") {
		t.Errorf("%+v %+v %v", loans, bad, err)
	}
}
