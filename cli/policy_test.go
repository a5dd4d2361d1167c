package cli

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "caracal.dev/caracal/proto"
)

func samplePolicyStatus() *pb.PolicyStatus {
	return &pb.PolicyStatus{
		Backend: "nft", Since: ago(2 * time.Hour), Updated: ago(3 * time.Minute), Chains: 41, Rules: 230, Sets: 19, Members: 1204,
		Endpoints: 30, Ingress: 12, Egress: 1, Audited: ago(20 * time.Second), Repaired: 2, RepairedAt: ago(time.Hour), Repairs: []string{"chain caracal-in"},
	}
}

func brokenPolicyStatus() *pb.PolicyStatus {
	p := samplePolicyStatus()
	p.Problem, p.FailingSince = "felix: apply: iptables-nft-restore is missing; install iptables", ago(time.Minute)
	return p
}

func samplePolicies() *pb.PolicyList {
	return &pb.PolicyList{Status: samplePolicyStatus(), Policies: []*pb.Policy{
		{Namespace: "default", Name: "web", Source: "cluster/web.yaml", Pods: "app=web", Types: []string{"Ingress"}, Active: true,
			Selected: []string{"default/web-1", "default/web-2"}, Chains: []string{"caracal-pi-0123456789"}, Rules: []*pb.PolicyRule{
				{Direction: "ingress", Index: 0, Peers: "pods app=db of default; or 203.0.113.0/24 except 203.0.113.7/32", Ports: "80/tcp", Counted: true, Packets: 71, Bytes: 4260},
				{Direction: "ingress", Index: 1, Peers: "everybody", Ports: "http/tcp"},
			}},
		{Namespace: "prod", Name: "broken", Source: "cluster/broken.yaml", Pods: "all", Types: []string{"Ingress", "Egress"}, Invalid: "spec.ingress[0].ports[0].port: 70000 is no port"},
	}}
}

func sampleVerdict(allowed bool) *pb.PolicyVerdict {
	v := &pb.PolicyVerdict{
		Allowed: allowed, From: "default/db", FromAddress: "10.64.0.4", To: "default/web", ToAddress: "10.64.0.3", Protocol: "tcp", Port: 80,
		Egress: &pb.PolicySide{Workload: "default/db", Node: "a", Allowed: true, Why: "egress of default/db is not isolated: no policy selects it for egress"},
		Ingress: &pb.PolicySide{Workload: "default/web", Node: "a", Allowed: allowed, Isolated: true, Policies: []string{"default/deny", "default/web"},
			Policy: "default/web", Why: "ingress of default/web is isolated by default/deny, default/web; rule 0 of default/web allows this", Counted: true, Packets: 71, Bytes: 4260},
	}
	if !allowed {
		v.Ingress = &pb.PolicySide{Workload: "default/web", Node: "b", Isolated: true, Policies: []string{"default/deny"},
			Why: "ingress of default/web is isolated by default/deny, and no rule of theirs allows this"}
		v.Why = v.Ingress.Why
	}
	return v
}

func sampleSets() *pb.SetList {
	return &pb.SetList{Sets: []*pb.Set{
		{Name: "caracal-local4", Type: "hash:net,iface", Family: "ipv4", Size: 1002, About: "local workloads", Members: []string{"10.64.0.3,car0a1b2c3d4e5", "10.64.0.4,car0a1b2c3d4e6"}},
		{Name: "caracal-p-0123456789-4", Type: "hash:ip", Family: "ipv4", Size: 0, About: "app=db in default"},
	}}
}

func sampleEndpoint(inForce bool) *pb.PolicyEndpoint {
	e := &pb.PolicyEndpoint{Workload: "default/web", Interface: "car0a1b2c3d4e5", Addresses: []string{"10.64.0.3", "2001:db8:64::3"},
		Ingress: []string{"default/deny", "default/web"}, InForce: inForce, Since: ago(2 * time.Hour)}
	if !inForce {
		e.Why = "try again later: policy of workload default/web (interface car0a1b2c3d4e5) is not in force: the kernel's rules cannot be written: felix: apply: iptables-nft-restore is missing; install iptables"
	}
	return e
}

func (d *fakeDaemon) ExplainPolicy(_ context.Context, req *pb.ExplainPolicyRequest) (*pb.PolicyVerdict, error) {
	d.note(strings.Join([]string{"explain", req.From, req.To, req.Protocol}, " "))
	if req.From == "nobody" {
		return nil, status.Error(codes.NotFound, `not found: there is no workload "nobody"`)
	}
	return sampleVerdict(req.Port == 80), nil
}

func (d *fakeDaemon) ListPolicies(context.Context, *pb.PoliciesRequest) (*pb.PolicyList, error) {
	return samplePolicies(), nil
}

func (d *fakeDaemon) ListSets(context.Context, *pb.SetsRequest) (*pb.SetList, error) {
	return sampleSets(), nil
}

func (d *fakeDaemon) GetPolicyEndpoint(context.Context, *pb.PolicyEndpointRequest) (*pb.PolicyEndpoint, error) {
	return sampleEndpoint(true), nil
}

func TestRenderPolicy(t *testing.T) {
	for name, render := range map[string]func(io.Writer){
		"policy":           func(w io.Writer) { renderPolicies(w, now, samplePolicies(), false) },
		"policy-whole":     func(w io.Writer) { renderPolicies(w, now, samplePolicies(), true) },
		"policy-broken":    func(w io.Writer) { renderPolicies(w, now, &pb.PolicyList{Status: brokenPolicyStatus()}, false) },
		"explain-allowed":  func(w io.Writer) { renderVerdict(w, sampleVerdict(true)) },
		"explain-denied":   func(w io.Writer) { renderVerdict(w, sampleVerdict(false)) },
		"sets":             func(w io.Writer) { renderSets(w, sampleSets(), false) },
		"sets-whole":       func(w io.Writer) { renderSets(w, &pb.SetList{Sets: sampleSets().Sets[:1]}, true) },
		"endpoint":         func(w io.Writer) { renderEndpoint(w, now, sampleEndpoint(true)) },
		"endpoint-waiting": func(w io.Writer) { renderEndpoint(w, now, sampleEndpoint(false)) },
	} {
		var out bytes.Buffer
		render(&out)
		golden(t, name, out.String())
	}
	for _, c := range []struct {
		p    *pb.PolicyStatus
		want string
	}{
		{&pb.PolicyStatus{Off: true}, "disabled: nobody is isolated"},
		{&pb.PolicyStatus{Off: true, Waiting: "disabled, but"}, "disabled, but"},
		{&pb.PolicyStatus{Waiting: "the first pass has not begun"}, "not in force: the first pass has not begun"},
		{&pb.PolicyStatus{Problem: "no iptables"}, "not in force: no iptables"},
	} {
		if got := policyText(now, c.p); got != c.want {
			t.Errorf("%v: %q, want %q", c.p, got, c.want)
		}
	}
}

func TestPolicyCommands(t *testing.T) {
	socket := serve(t, &fakeDaemon{})
	for line, want := range map[string]struct {
		code int
		text string
	}{
		"explain policy --from db --to web --port 80/tcp":          {ExitOK, "allowed: default/db"},
		"explain policy --from db --to web --port 80":              {ExitOK, "rule 0 of default/web"},
		"explain pol --from db --to 192.0.2.9 --port icmp":         {ExitFailed, "denied"},
		"explain policy --from db --to web --port 80/tcp -o json":  {ExitOK, `"policy": "default/web"`},
		"explain policy --from nobody --to web --port 80/tcp":      {ExitFailed, "no workload"},
		"explain policy --from db --to web --port 80/frob":         {ExitUsage, "is not a port"},
		"explain policy --from db --to web --port 70000/tcp":       {ExitUsage, "is not a port"},
		"explain policy --from db":                                 {ExitUsage, "say which connection"},
		"explain policy --port 53/udp --to web --from default/web": {ExitFailed, "enforced on node b"},
		"show policy":               {ExitOK, "rejected, so it allows nothing"},
		"show policy default/web":   {ExitOK, "caracal-pi-0123456789"},
		"show sets":                 {ExitOK, "app=db in default"},
		"show sets caracal-local4":  {ExitOK, "1000 more"},
		"show endpoint web":         {ExitOK, "rules in force"},
		"show endpoint web -o json": {ExitOK, `"inForce": true`},
		"show endpoint":             {ExitUsage, "POD"},
	} {
		code, out, errs := runWith(t, testOptions(""), append([]string{"--socket", socket}, strings.Fields(line)...)...)
		if code != want.code || !strings.Contains(out+errs, want.text) {
			t.Errorf("%s: code %d, want %d and %q\n%s%s", line, code, want.code, want.text, out, errs)
		}
	}
}
