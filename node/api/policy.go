package api

import (
	"context"
	"net/netip"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"caracal.dev/caracal/felix"
	pb "caracal.dev/caracal/proto"
)

// Policies answers what is about NetworkPolicies and the kernel's rules.
type Policies interface {
	// ExplainPolicy says what the policies make of a flow. Its ends are the names of
	// workloads or addresses; a name that is not known is [ErrNotFound].
	ExplainPolicy(ctx context.Context, from, to string, protocol uint8, port uint16) (PolicyVerdict, error)
	// Policies are those of a name, or all if it is empty.
	Policies(ctx context.Context, name string) ([]Policy, error)
	// Sets are the kernel's sets: all without their members, or one with them.
	Sets(ctx context.Context, name string) ([]PolicySet, error)
	// PolicyEndpoint is a local workload by its name, address or interface.
	PolicyEndpoint(ctx context.Context, name string) (PolicyEndpoint, error)
	// PolicyStatus is the state of the rules as a whole.
	PolicyStatus() PolicyStatus
}

// PolicyStatus is the state of the kernel's rules.
type PolicyStatus struct {
	// Off says that there are none; Waiting why none have been written yet.
	Off     bool
	Waiting string
	Backend string // "nft" or "legacy"
	// Since is when they were in force first in this process, Updated when they were
	// brought up to date last, with the Snapshot of Generation.
	Since, Updated               time.Time
	Generation                   uint64
	Chains, Rules, Sets, Members int
	// Endpoints are the local workloads, Ingress and Egress those isolated in a
	// direction.
	Endpoints, Ingress, Egress int
	// Problem is why they are not up to date, since FailingSince.
	Problem      string
	FailingSince time.Time
	Audited      time.Time
	// Repaired counts sets and chains that were not as they should be; Repairs names
	// those of the last time.
	Repaired   int
	RepairedAt time.Time
	Repairs    []string
}

// RuleCounters are what a rule has counted; Known says that this node enforces it.
type RuleCounters struct {
	Known          bool
	Packets, Bytes uint64
}

// PolicyVerdict is a [felix.Verdict] with what the rules that decide have counted.
type PolicyVerdict struct {
	felix.Verdict
	Egress, Ingress RuleCounters
}

// Policy is a NetworkPolicy as this node has it.
type Policy struct {
	Namespace, Name, Source string
	// Pods is the selector in words.
	Pods  string
	Types []string // "Ingress", "Egress"
	// Selected are the local workloads that it isolates, sorted.
	Selected []string
	Invalid  string
	Rules    []PolicyRule
	// Chains are those of the kernel that are its, sorted.
	Chains []string
}

// PolicyRule is one rule of a Policy, in words.
type PolicyRule struct {
	Ingress      bool
	Index        int
	Peers, Ports string
	Counters     RuleCounters
}

// PolicySet is an ipset of ours.
type PolicySet struct {
	felix.Set
	About string // what is in it
	Size  int
	// Members are sorted, and not all if they are more than [MostMembers].
	Members []string
}

// MostMembers is how many members of a set are listed.
const MostMembers = 1000

// PolicyEndpoint is a local workload as the rules know it.
type PolicyEndpoint struct {
	felix.Endpoint
	// InForce says that the kernel has its rules as it is; else Why says why not.
	InForce bool
	Since   time.Time
	Why     string
}

type policyServer struct {
	pb.UnimplementedPoliciesServer
	src Policies
}

// protocols are those that have a name here.
var protocols = map[string]uint8{"icmp": 1, "ipip": 4, "tcp": 6, "udp": 17, "icmpv6": 58, "sctp": 132}

// ExplainPolicy implements the RPC.
func (s policyServer) ExplainPolicy(ctx context.Context, req *pb.ExplainPolicyRequest) (*pb.PolicyVerdict, error) {
	protocol, ok := protocols[req.Protocol]
	switch {
	case !ok:
		return nil, status.Errorf(codes.InvalidArgument, "the protocol %q is not known: tcp, udp, sctp, icmp, icmpv6 or ipip", req.Protocol)
	case req.From == "" || req.To == "":
		return nil, status.Error(codes.InvalidArgument, "say from where to where: explain policy --from POD --to POD --port 80/tcp")
	case req.Port > 65535:
		return nil, status.Errorf(codes.InvalidArgument, "there is no port %d", req.Port)
	}
	v, err := s.src.ExplainPolicy(ctx, req.From, req.To, protocol, uint16(req.Port))
	if err != nil {
		return nil, statusOf(err)
	}
	m := &pb.PolicyVerdict{
		Allowed: v.Allowed, Why: v.Why, From: v.From.Workload, FromAddress: text(v.From.Addr), To: v.To.Workload, ToAddress: text(v.To.Addr),
		Protocol: req.Protocol, Port: req.Port,
	}
	if v.Verdict.Egress.Why != "" {
		m.Egress = sideMessage(v.Verdict.Egress, v.Egress)
	}
	if v.Verdict.Ingress.Why != "" {
		m.Ingress = sideMessage(v.Verdict.Ingress, v.Ingress)
	}
	return m, nil
}

func sideMessage(s felix.Side, c RuleCounters) *pb.PolicySide {
	return &pb.PolicySide{
		Workload: s.Workload, Node: s.Node, Allowed: s.Allowed, Isolated: s.Isolated, Policies: s.Policies, Policy: s.Policy,
		Rule: count(s.Rule), Why: s.Why, Counted: c.Known, Packets: c.Packets, Bytes: c.Bytes,
	}
}

// ListPolicies implements the RPC.
func (s policyServer) ListPolicies(ctx context.Context, req *pb.PoliciesRequest) (*pb.PolicyList, error) {
	all, err := s.src.Policies(ctx, req.Name)
	if err != nil {
		return nil, statusOf(err)
	}
	list := &pb.PolicyList{Status: policyStatusMessage(s.src.PolicyStatus())}
	for _, p := range all {
		m := &pb.Policy{
			Namespace: p.Namespace, Name: p.Name, Source: p.Source, Pods: p.Pods, Types: p.Types, Active: len(p.Selected) > 0,
			Selected: p.Selected, Invalid: p.Invalid, Chains: p.Chains,
		}
		for _, r := range p.Rules {
			direction := "egress"
			if r.Ingress {
				direction = "ingress"
			}
			m.Rules = append(m.Rules, &pb.PolicyRule{
				Direction: direction, Index: count(r.Index), Peers: r.Peers, Ports: r.Ports,
				Counted: r.Counters.Known, Packets: r.Counters.Packets, Bytes: r.Counters.Bytes,
			})
		}
		list.Policies = append(list.Policies, m)
	}
	return list, nil
}

// ListSets implements the RPC.
func (s policyServer) ListSets(ctx context.Context, req *pb.SetsRequest) (*pb.SetList, error) {
	all, err := s.src.Sets(ctx, req.Name)
	if err != nil {
		return nil, statusOf(err)
	}
	list := &pb.SetList{}
	for _, p := range all {
		family := "ipv4"
		if p.Family == felix.IPv6 {
			family = "ipv6"
		}
		list.Sets = append(list.Sets, &pb.Set{Name: p.Name, Type: p.Type.String(), Family: family, About: p.About, Size: count(p.Size), Members: p.Members})
	}
	return list, nil
}

// GetPolicyEndpoint implements the RPC.
func (s policyServer) GetPolicyEndpoint(ctx context.Context, req *pb.PolicyEndpointRequest) (*pb.PolicyEndpoint, error) {
	if req.Name == "" {
		return nil, status.Error(codes.InvalidArgument, "say which workload: show endpoint POD")
	}
	e, err := s.src.PolicyEndpoint(ctx, req.Name)
	if err != nil {
		return nil, statusOf(err)
	}
	m := &pb.PolicyEndpoint{
		Workload: e.Workload, Interface: e.Interface, Ingress: e.Ingress, Egress: e.Egress, InForce: e.InForce, Since: stamp(e.Since), Why: e.Why,
	}
	for _, a := range e.Addrs {
		m.Addresses = append(m.Addresses, a.String())
	}
	return m, nil
}

func policyStatusMessage(s PolicyStatus) *pb.PolicyStatus {
	return &pb.PolicyStatus{
		Off: s.Off, Waiting: s.Waiting, Backend: s.Backend, Since: stamp(s.Since), Updated: stamp(s.Updated),
		Chains: count(s.Chains), Rules: count(s.Rules), Sets: count(s.Sets), Members: count(s.Members),
		Endpoints: count(s.Endpoints), Ingress: count(s.Ingress), Egress: count(s.Egress), Problem: s.Problem, FailingSince: stamp(s.FailingSince),
		Audited: stamp(s.Audited), Repaired: count(s.Repaired), RepairedAt: stamp(s.RepairedAt), Repairs: s.Repairs,
	}
}

// ParseEnd reads an end of a flow: an address, or the name of a workload.
func ParseEnd(s string) felix.End {
	if a, err := netip.ParseAddr(s); err == nil {
		return felix.End{Addr: a.Unmap()}
	}
	return felix.End{Workload: s}
}
