package policy

import (
	"testing"

	"caracal.dev/caracal/felix"
)

// TestTable holds the evaluator against what the table says by hand.
func TestTable(t *testing.T) {
	names := map[string]bool{}
	byHand, all := 0, 0
	for _, c := range allCases() {
		if names[c.name] || c.says == "" {
			t.Errorf("case %q has the name of another, or no sentence", c.name)
		}
		names[c.name] = true
		turns, want := c.turns()
		for i, k := range turns {
			var wrong []string
			for _, p := range probesOf(base().endpoints(), c.allPorts()) {
				if k.unclear(p) {
					continue
				}
				all++
				if allowed, known := want[i].of(p); known {
					byHand++
					if k.allows(p.flow()) != allowed {
						wrong = append(wrong, p.String())
					}
				}
			}
			report(t, c, i, wrong)
		}
	}
	t.Logf("%d cases, %d connections, %d of them by hand", len(names), all, byHand)
	if len(names) < 150 {
		t.Errorf("%d cases are fewer than 150", len(names))
	}
}

// TestExplainTable holds felix.Explain against the evaluator.
func TestExplainTable(t *testing.T) {
	for _, c := range allCases() {
		turns, _ := c.turns()
		for i, k := range turns {
			report(t, c, i, explainDiffers(k, probesOf(k.endpoints(), c.allPorts())))
		}
	}
}

// explainDiffers returns the probes of which felix.Explain says otherwise.
func explainDiffers(k *cluster, list []*probe) (wrong []string) {
	snap := k.snapshot(k.nodes[0].name)
	number := map[string]uint8{"TCP": 6, "UDP": 17, "SCTP": 132}
	for _, p := range list {
		f := p.flow()
		v := felix.Explain(snap, felix.Flow{From: felix.End{Addr: f.src}, To: felix.End{Addr: f.dst}, Protocol: number[f.port.protocol], Port: f.port.number})
		if v.Allowed != k.allows(f) {
			wrong = append(wrong, p.String()+": explain says "+map[bool]string{true: "allowed", false: "denied"}[v.Allowed]+": "+v.Why+" "+v.Egress.Why+" "+v.Ingress.Why)
		}
	}
	return wrong
}
