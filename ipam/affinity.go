package ipam

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
)

// BlockAffinity says that a block is a node's, in whatever state.
type BlockAffinity struct {
	Node  string
	CIDR  netip.Prefix
	State Affinity
}

// Borrowed is an address that is used on another node than that of its block:
// its /32 or /128 is the borrower's to announce, and nobody else's.
type Borrowed struct {
	Addr  netip.Addr
	Node  string // the borrower
	Block netip.Prefix
	// Certain is false while the borrower takes it or gives it back: it is not in
	// use then.
	Certain bool
}

// Affinities lists the blocks of all nodes, which is what a node has to know of
// others' blocks; it reads none of the blocks.
func Affinities(ctx context.Context, s Store) ([]BlockAffinity, []Damaged, error) {
	records, damaged, err := s.List(ctx, affinityKeys)
	if err != nil {
		return nil, damaged, fmt.Errorf("ipam: list affinities: %w", err)
	}
	var out []BlockAffinity
	for _, r := range records {
		f, err := decodeAffinity(r)
		if err != nil {
			damaged = append(damaged, Damaged{Key: r.Key, Message: badRecord(r.Key, err), Revision: r.Revision})
			continue
		}
		out = append(out, BlockAffinity{Node: f.node, CIDR: f.cidr, State: f.state})
	}
	return out, damaged, nil
}

// ListBorrowed lists the borrowed addresses of all nodes.
func ListBorrowed(ctx context.Context, s Store) ([]Borrowed, []Damaged, error) {
	records, damaged, err := s.List(ctx, borrowedKeys)
	if err != nil {
		return nil, damaged, fmt.Errorf("ipam: list borrowed addresses: %w", err)
	}
	var out []Borrowed
	for _, r := range records {
		l, err := decodeLoan(r)
		if err != nil {
			damaged = append(damaged, Damaged{Key: r.Key, Message: badRecord(r.Key, err), Revision: r.Revision})
			continue
		}
		out = append(out, Borrowed{Addr: l.addr, Node: l.node, Block: l.block, Certain: l.state == AffinityConfirmed})
	}
	return out, damaged, nil
}

// affinity is a record of which node has which block.
type affinity struct {
	node     string
	cidr     netip.Prefix
	state    Affinity
	revision string
}

type stateLine struct {
	Version int          `json:"version"`
	State   Affinity     `json:"state"`
	Node    string       `json:"node,omitempty"`
	Block   netip.Prefix `json:"block,omitzero"`
}

func (s stateLine) check() error {
	switch {
	case s.Version != recordVersion:
		return fmt.Errorf("it has version %d, %w", s.Version, errNewer)
	case s.State != AffinityPending && s.State != AffinityConfirmed && s.State != AffinityReleasing && s.State != AffinityStatic:
		return fmt.Errorf("%q is no state", s.State)
	}
	return nil
}

func decodeAffinity(r Record) (*affinity, error) {
	node, cidr, ok := affinityOfKey(r.Key)
	if !ok {
		return nil, errors.New("its key names no node and block")
	}
	var s stateLine
	if err := strictJSON(r.Value, &s); err != nil {
		return nil, err
	}
	return &affinity{node: node, cidr: cidr, state: s.State, revision: r.Revision}, s.check()
}

// put writes the affinity in a state.
func (f *affinity) put(ctx context.Context, s Store, state Affinity) error {
	if f.state == state && f.revision != "" {
		return nil
	}
	text, _ := json.Marshal(stateLine{Version: recordVersion, State: state}) // has no unencodable value
	revision, err := s.Put(ctx, Record{Key: affinityKey(f.node, f.cidr), Value: append(text, '\n'), Revision: f.revision})
	if err != nil {
		return fmt.Errorf("write affinity of %s to node %s: %w", f.cidr, f.node, err)
	}
	f.state, f.revision = state, revision
	return nil
}

func (f *affinity) delete(ctx context.Context, s Store) error {
	if err := s.Delete(ctx, affinityKey(f.node, f.cidr), f.revision); err != nil {
		return fmt.Errorf("delete affinity of %s to node %s: %w", f.cidr, f.node, err)
	}
	return nil
}

// loan is a record of a borrowed address.
type loan struct {
	addr     netip.Addr
	node     string
	block    netip.Prefix
	state    Affinity // pending, confirmed, releasing
	revision string
}

func decodeLoan(r Record) (*loan, error) {
	addr, err := netip.ParseAddr(r.Key[len(borrowedKeys):])
	if err != nil {
		return nil, err
	}
	var s stateLine
	if err := strictJSON(r.Value, &s); err != nil {
		return nil, err
	}
	if s.Node == "" || !s.Block.Contains(addr) {
		return nil, fmt.Errorf("it says of node %q and block %s", s.Node, s.Block)
	}
	return &loan{addr: addr, node: s.Node, block: s.Block, state: s.State, revision: r.Revision}, s.check()
}

func (l *loan) put(ctx context.Context, s Store, state Affinity) error {
	if l.state == state && l.revision != "" {
		return nil
	}
	text, _ := json.Marshal(stateLine{Version: recordVersion, State: state, Node: l.node, Block: l.block})
	revision, err := s.Put(ctx, Record{Key: borrowedKey(l.addr), Value: append(text, '\n'), Revision: l.revision})
	if err != nil {
		return fmt.Errorf("write that %s is borrowed: %w", l.addr, err)
	}
	l.state, l.revision = state, revision
	return nil
}

func (l *loan) delete(ctx context.Context, s Store) error {
	if err := s.Delete(ctx, borrowedKey(l.addr), l.revision); err != nil {
		return fmt.Errorf("delete that %s is borrowed: %w", l.addr, err)
	}
	return nil
}

func badRecord(key string, err error) string {
	return fmt.Sprintf("record %s cannot be understood: %v", key, err)
}
