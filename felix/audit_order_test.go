package felix

import (
	"context"
	"testing"
)

// watchedTables calls see before each write.
type watchedTables struct {
	TableHost
	see func(TableRef)
}

func (w watchedTables) Restore(ctx context.Context, ref TableRef, text []byte) error {
	w.see(ref)
	return w.TableHost.Restore(ctx, ref, text)
}

// TestAuditAddsPeersLate: an Audit that changes chains adds to peers and to the
// addresses of interfaces after that, and to those that are free before it.
func TestAuditAddsPeersLate(t *testing.T) {
	k := NewFake()
	old := newPlainRuleset()
	old.set("caracal-local4", HashNetIface, IPv4, "10.0.0.1,car1")
	old.set("caracal-free-in4", HashNetIface, IPv4)
	old.set("caracal-p4-x", HashIP, IPv4, "10.0.0.7")
	old.chain(IPv4, FilterTable, "caracal-forward", "-m set --match-set caracal-p4-x src -j ACCEPT", "-m set --match-set caracal-free-in4 dst,dst -j ACCEPT")
	old.hook(IPv4, FilterTable, "FORWARD", "-j caracal-forward")
	mustAudit(t, openFake(t, k), old)
	rs := old.clone()
	for set, m := range map[string]string{"caracal-local4": "10.0.0.2,car1", "caracal-free-in4": "10.0.0.1,car1", "caracal-p4-x": "10.0.0.8"} {
		rs.members[set][parseMember(m)] = true
	}
	rs.chain(IPv4, FilterTable, "caracal-forward", "-m set --match-set caracal-p4-x src -j DROP", "-m set --match-set caracal-free-in4 dst,dst -j ACCEPT")
	members := func(set string) (n int) {
		if err := k.Members(t.Context(), set, func(Member, bool) { n++ }); err != nil {
			t.Error(err)
		}
		return n
	}
	host, writes := k.Host(), 0
	host.Tables = watchedTables{k, func(TableRef) {
		writes++
		if members("caracal-local4") != 1 || members("caracal-p4-x") != 1 || members("caracal-free-in4") != 1 {
			t.Errorf("when the chains are written: local %d, peers %d, free %d members", members("caracal-local4"), members("caracal-p4-x"), members("caracal-free-in4"))
		}
	}}
	f, err := Open(FilterOptions{Host: host, Backend: BackendNFT})
	if err != nil {
		t.Fatal(err)
	}
	mustAudit(t, f, rs)
	if writes == 0 || members("caracal-local4") != 2 || members("caracal-p4-x") != 2 {
		t.Errorf("%d writes; in the end local %d, peers %d members", writes, members("caracal-local4"), members("caracal-p4-x"))
	}
}
