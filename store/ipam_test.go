package store

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"caracal.dev/caracal"
)

func TestBuildIPAM(t *testing.T) {
	workload := func(addrs string) *Object {
		return object(t, "w.yaml", "Workload", "w", "node: a, interfaceName: x, ipNetworks: ["+addrs+"]")
	}
	base := []*Object{
		host(t, "a", "", "192.0.2.1/24, 2001:db8::1/64", "blocks: [10.0.0.0/26], tunnelAddress: 10.0.0.1, anycastPrefixes: [203.0.113.9/32]"),
		object(t, "pool.yaml", "IPPool", "p", "cidr: 10.0.0.0/16"),
	}
	for _, c := range []struct {
		name  string
		extra []*Object
		want  string
	}{
		{"by default", nil, "podCIDR strict=false max=0 30s []"},
		{"configured", []*Object{
			object(t, "i.yaml", "IPAMConfiguration", "default", "mode: blocks, strictAffinity: true, maxBlocksPerHost: 3, cooldown: 1m"),
			object(t, "r.yaml", "IPReservation", "r", "reservedCIDRs: [10.0.0.8/29, 10.0.0.1]"),
			object(t, "s.yaml", "IPReservation", "s", "reservedCIDRs: [10.0.0.8/29]"),
			workload("10.0.0.3")},
			"blocks strict=true max=3 1m0s [10.0.0.1/32 10.0.0.8/29]"},
		{"no mode", []*Object{object(t, "i.yaml", "IPAMConfiguration", "default", "cooldown: 0s")},
			"podCIDR strict=false max=0 0s []"},
	} {
		objects := slices.Concat(base, c.extra)
		s, _ := cluster(t, "a", nil, objects...)
		if got := describeIPAM(s.IPAM); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
		if _, _, changed := Build(s, objects, nil); changed {
			t.Errorf("%s: the same again is a change", c.name)
		}
	}
	before, _ := cluster(t, "a", nil, base...)
	if _, _, changed := Build(before, append(slices.Clone(base), object(t, "r.yaml", "IPReservation", "r", "reservedCIDRs: [10.0.0.9]")), nil); !changed {
		t.Error("a new reservation is no change")
	}
}

func describeIPAM(c caracal.IPAM) string {
	return fmt.Sprintf("%s strict=%t max=%d %s %s", c.Mode, c.StrictAffinity, c.MaxBlocks, c.Cooldown.Round(time.Second), c.Reserved)
}

func TestIPAMWarnings(t *testing.T) {
	a := host(t, "a", "", "192.0.2.1/24", "blocks: [10.0.0.0/26, 172.16.0.0/26]")
	pool := object(t, "p.yaml", "IPPool", "p", "cidr: 10.0.0.0/16")
	spare := object(t, "q.yaml", "IPPool", "q", "cidr: 10.9.0.0/16")
	const elsewhere = "a.yaml: NodeConfig a: 172.16.0.0/26 is in no IPPool, so other nodes do not accept its route"
	const noBlock = "q.yaml: IPPool q: no NodeConfig has a block or podCIDR in 10.9.0.0/16, so no container gets an address of it; list a block of it under spec.blocks of each node that is to use it"
	for _, c := range []struct {
		name    string
		objects []*Object
		want    []string
	}{
		{"nothing amiss", nil, nil},
		{"reservations", []*Object{object(t, "r.yaml", "IPReservation", "r", "reservedCIDRs: [10.0.0.1, 172.16.0.8/29, 10.8.0.0/24, \"fd00::1\"]")}, []string{
			"r.yaml: IPReservation r: spec.reservedCIDRs: 10.8.0.0/24 is in no IPPool and in no podCIDR or block of a node, so nobody gives addresses of it",
			"r.yaml: IPReservation r: spec.reservedCIDRs: fd00::1/128 is in no IPPool and in no podCIDR or block of a node, so nobody gives addresses of it"}},
		{"a whole pool", []*Object{object(t, "r.yaml", "IPReservation", "r", "reservedCIDRs: [10.0.0.0/8]")}, []string{
			"r.yaml: IPReservation r: spec.reservedCIDRs: 10.0.0.0/8 leaves nothing of IPPool p, 10.0.0.0/16; if that is meant, disabled: true there says it plainly"}},
		{"a pool without blocks", []*Object{spare}, []string{noBlock}},
		{"that is disabled", []*Object{object(t, "q.yaml", "IPPool", "q", "cidr: 10.9.0.0/16, disabled: true")}, nil},
		{"that has a workload", []*Object{spare, object(t, "w.yaml", "Workload", "w", "node: a, interfaceName: x, ipNetworks: [10.9.0.1]")}, nil},
		{"that nodes claim", []*Object{spare, object(t, "i.yaml", "IPAMConfiguration", "default", "mode: blocks, strictAffinity: true, maxBlocksPerHost: 3")}, nil},
		{"without effect", []*Object{object(t, "i.yaml", "IPAMConfiguration", "default", "strictAffinity: true, maxBlocksPerHost: 3")}, []string{
			"i.yaml: IPAMConfiguration default: spec.strictAffinity: has an effect only in mode blocks: in mode podCIDR a node gives what its NodeConfig lists, and nothing else",
			"i.yaml: IPAMConfiguration default: spec.maxBlocksPerHost: has an effect only in mode blocks: in mode podCIDR a node gives what its NodeConfig lists, and nothing else"}},
	} {
		var got []string
		for _, p := range Warnings(slices.Concat([]*Object{a, pool}, c.objects)) {
			if p.Message != elsewhere {
				got = append(got, p.Message)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s:\n%s\nwant\n%s", c.name, strings.Join(got, "\n"), strings.Join(c.want, "\n"))
		}
	}
}
