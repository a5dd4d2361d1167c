package rib

import (
	"fmt"
	"net/netip"
)

// Code is the kind of a [Verdict].
type Code uint8

// The verdicts. Everything but Accepted keeps a path out of the kernel.
const (
	Accepted         Code = iota
	RefusedUnknown        // the neighbor is not (or no longer) configured
	RefusedExternal       // no import policy for an external neighbor (RFC 8212)
	RefusedDefault        // 0.0.0.0/0 or ::/0
	RefusedRange          // multicast, loopback, link-local
	RefusedNextHop        // the next hop is no node's address
	RefusedSelf           // the next hop is this node
	RefusedNoPool         // outside every pool
	RefusedTooWide        // covers a pool, or more than a block
	RefusedNoOwner        // in a pool, but in no node's block
	RefusedLocal          // this node owns the prefix
	RefusedNotTheirs      // another node owns the prefix
	RefusedLoop           // our own AS number is in the AS_PATH (RFC 4271 section 9.1.2)
	RefusedReflected      // it was reflected back to us (RFC 4456 section 8)
	RefusedFilter         // an import filter says so
	RefusedPools          // in a pool, and the external neighbor may not carry those
	RefusedConnected      // this node, or a network that it is on
	RefusedService        // in a range of Services, from whom nothing of it is passed on
	// ServiceOfNode is in a range of Services and from a node that announces it. Like
	// everything in such a range it stays out of the kernel, for this node serves it
	// itself; but a reflector passes it on to those who do not.
	ServiceOfNode
)

// String returns a short name for the code, usable as a metric label.
func (c Code) String() string {
	return [...]string{"accepted", "unknown-neighbor", "external", "default-route", "range", "next-hop-unknown",
		"next-hop-self", "no-pool", "too-wide", "no-owner", "local", "not-owner", "as-loop",
		"reflected-back", "filter", "pools", "connected", "service", "service-of-node"}[c]
}

// used reports whether a path with the verdict may be chosen among others of its
// prefix, be it only to be passed on.
func (c Code) used() bool { return c == Accepted || c == ServiceOfNode }

// Verdict is the judgement of a path with what is needed to explain it.
type Verdict struct {
	Code Code
	// Owner is the node that owns the prefix, NextHopNode the one that owns the
	// next hop, Pool the pool that the prefix is in; empty where there is none.
	Owner, NextHopNode, Pool string
	// Rule is the rule of an import filter that decided, in words, Peer the
	// BGPPeer that would have to allow it, Network the connected one.
	Rule, Peer string
	Network    netip.Prefix
}

// Explain says in a sentence for an operator why the path has its verdict;
// empty for an accepted one.
func (v Verdict) Explain(nlri netip.Prefix, nextHop netip.Addr) string {
	switch v.Code {
	case Accepted:
		return ""
	case RefusedUnknown:
		return "its neighbor is not configured"
	case RefusedExternal:
		if v.Peer == "" {
			return "nothing is taken from an external neighbor without an import policy (RFC 8212)"
		}
		return fmt.Sprintf("no import filter and no acceptRanges of BGPPeer %s let it in (RFC 8212)", v.Peer)
	case RefusedReflected:
		return "it was reflected back to us: its ORIGINATOR_ID is this node or its CLUSTER_LIST has our cluster (RFC 4456 section 8)"
	case RefusedFilter:
		return "rejected by " + v.Rule
	case RefusedPools:
		return fmt.Sprintf("%s is in IPPool %s, and an external neighbor carries pods' prefixes only with acceptPools", nlri, v.Pool)
	case RefusedConnected:
		if !v.Network.IsValid() {
			return fmt.Sprintf("%s is this node itself", nlri)
		}
		return fmt.Sprintf("%s is in %s, a network that this node is on: only an import filter or acceptRanges that name it, or a part of it, let it in", nlri, v.Network)
	case RefusedService:
		return fmt.Sprintf("%s is in a range of Services: each node serves those itself, and takes no route for them from anybody", nlri)
	case ServiceOfNode:
		return fmt.Sprintf("%s is in a range of Services: node %s announces it for others, and this node serves it itself; a reflector passes it on", nlri, v.NextHopNode)
	case RefusedLoop:
		return "its AS path contains our own AS number: it comes back to us (RFC 4271 section 9.1.2)"
	case RefusedDefault:
		if v.Peer != "" {
			return fmt.Sprintf("the default route is taken only with acceptDefaultRoute in BGPPeer %s", v.Peer)
		}
		return "the default route is never taken from a node"
	case RefusedRange:
		return fmt.Sprintf("%s is not a range that pods can have", nlri)
	case RefusedNextHop:
		return fmt.Sprintf("next hop %s is the address of no node; %s belongs to node %s", nextHop, nlri, v.Owner)
	case RefusedSelf:
		if v.Owner == "" {
			return fmt.Sprintf("next hop %s is this node", nextHop)
		}
		return fmt.Sprintf("next hop %s is this node, but %s belongs to node %s", nextHop, nlri, v.Owner)
	case RefusedNoPool:
		if v.Peer != "" {
			return fmt.Sprintf("%s is in no IPPool, and no import filter or acceptRanges of BGPPeer %s let it in", nlri, v.Peer)
		}
		return fmt.Sprintf("%s is in no IPPool", nlri)
	case RefusedTooWide:
		return fmt.Sprintf("%s is wider than what any one node owns in it", nlri)
	case RefusedNoOwner:
		return fmt.Sprintf("%s is in IPPool %s, but no node owns a block with it", nlri, v.Pool)
	case RefusedLocal:
		return fmt.Sprintf("%s belongs to this node", nlri)
	default:
		return fmt.Sprintf("%s belongs to node %s, but next hop %s is node %s", nlri, v.Owner, nextHop, v.NextHopNode)
	}
}
