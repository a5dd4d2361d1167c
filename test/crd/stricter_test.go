package crd

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "caracal.dev/caracal/api/v1"
)

const peer = "apiVersion: caracal.dev/v1\nkind: BGPPeer\nmetadata: {name: p}\nspec: {peerIP: 192.0.2.1, asNumber: 65001, "

// The whole list of what the file store takes and the API server does not.
func TestStricter(t *testing.T) {
	many := func(n int, one string) string { return "[" + strings.Repeat(one+", ", n-1) + one + "]" }
	config := "apiVersion: caracal.dev/v1\nkind: BGPConfiguration\nmetadata: {name: default}\nspec: {"
	filter := "apiVersion: caracal.dev/v1\nkind: BGPFilter\nmetadata: {name: f}\nspec: {importV4: [{action: Accept, "
	for _, c := range []struct{ text, field, why string }{
		{peer + "nextHopMode: ''}", "spec.nextHopMode", "a word of an enumeration is one of it or absent, never empty"},
		{peer + "bfd: {transmitInterval: 300000us}}", "spec.bfd.transmitInterval", "an expression cannot count microseconds: write 300ms"},
		{peer + "filters: [" + letters(65) + "]}", "spec.filters", "expressions have a budget, so lists that they go over are bounded"},
		{peer + "maxPrefixesRetry: '" + strings.Repeat("0", 33) + "s'}", "spec.maxPrefixesRetry", "durations have at most 32 characters"},
		{config + "communities: [{name: " + strings.Repeat("x", 65) + ", value: '1:2'}]}", "spec.communities[0].name", "names have at most 64 characters"},
		{config + "prefixAdvertisements: [{cidr: 10.0.0.0/8, communities: " + many(17, "'1:2'") + "}]}", "spec.prefixAdvertisements[0].communities", "bounded, as above"},
		{filter + "communities: {values: " + many(33, "'1:2'") + "}}]}", "spec.importV4[0].communities.values", "bounded, as above"},
		{filter + "asPathPrefix: " + many(65, "7") + "}]}", "spec.importV4[0].asPathPrefix", "bounded, as above"},
	} {
		if _, _, err := v1.Decode([]byte(c.text)); err != nil {
			t.Errorf("the file store refuses it too: %v\n%s", err, c.text)
		}
		_, err := try(t, tree(c.text))
		if err == nil {
			t.Errorf("the API server takes %s after all (%s)", c.field, c.why)
		} else if !strings.Contains(err.Error(), c.field+":") {
			t.Errorf("%v\ndoes not name %s", err, c.field)
		}
	}
}

// letters are n different names.
func letters(n int) string {
	var all []string
	for i := range n {
		all = append(all, "f"+string(rune('a'+i/26))+string(rune('a'+i%26)))
	}
	return strings.Join(all, ", ")
}

// A big object stays within the budget that the API server has for the expressions of
// one request. (Of a filter one list is as long as it may be: all four pass as well,
// but keep a busy machine for longer than a request may take.)
func TestBudget(t *testing.T) {
	rule := "{action: Accept, cidr: 10.0.0.0/8, matchOperator: In, prefixLength: {min: 8, max: 32}, communities: {values: ['65000:1', '65000:1:2']}, asPathPrefix: [65000, 65001], operations: [{setMED: {value: 1}}, {addCommunity: {value: '65000:1'}}]}"
	rules := strings.Repeat(rule+",\n", 1000)
	var four, blocks, anycast []string
	for i := range 128 {
		blocks = append(blocks, "'2001:db8:1111:2222:"+hex(i)+"::/80'")
		if i < 64 {
			four = append(four, "'2001:db8:1111:3333:"+hex(i)+"::/80'")
			anycast = append(anycast, "'2001:db8:1111:4444:"+hex(i)+"::/80'")
		}
	}
	for name, text := range map[string]string{
		"BGPFilter":  "apiVersion: caracal.dev/v1\nkind: BGPFilter\nmetadata: {name: f}\nspec: {importV4: [" + rules + "]}",
		"NodeConfig": "apiVersion: caracal.dev/v1\nkind: NodeConfig\nmetadata: {name: a}\nspec: {addresses: [192.0.2.1/24, '2001:db8::1/64'], podCIDRs: [" + strings.Join(four, ", ") + "], blocks: [" + strings.Join(blocks, ", ") + "], anycastPrefixes: [" + strings.Join(anycast, ", ") + "]}",
		"BGPPeer":    peer + "filters: [" + letters(64) + "], nodeSelector: \"" + strings.Repeat("has(rack) && ", 1200) + "all()\"}",
	} {
		u := tree(text)
		if u == nil {
			t.Fatalf("%s is no YAML", name)
		}
		begin := time.Now()
		if _, err := try(t, u); err != nil {
			t.Errorf("%s: %.2000s", name, err.Error())
		}
		t.Logf("%s: %v", name, time.Since(begin).Round(time.Millisecond))
	}
}

func hex(i int) string { return string("0123456789abcdef"[i/16]) + string("0123456789abcdef"[i%16]) }

// The defaults that the API server writes into a BGPConfiguration are none: in one
// with a nodeSelector they would override.
func TestNoDefaultsThatOverride(t *testing.T) {
	for _, text := range []string{
		"apiVersion: caracal.dev/v1\nkind: BGPConfiguration\nmetadata: {name: default}",
		"apiVersion: caracal.dev/v1\nkind: BGPConfiguration\nmetadata: {name: rack}\nspec: {nodeSelector: has(rack), gracefulRestart: {}, bfd: {}}",
	} {
		served, err := try(t, tree(text))
		if err != nil {
			t.Fatal(err)
		}
		spec := served.Object["spec"].(map[string]any)
		delete(spec, "nodeSelector")
		for field, v := range spec {
			if group, ok := v.(map[string]any); !ok || len(group) > 0 {
				t.Errorf("spec.%s: %v", field, v)
			}
		}
	}
}

// What a daemon writes of itself passes the schema, also when it knows nothing yet.
func TestNodeStatus(t *testing.T) {
	o := &v1.CaracalNodeStatus{}
	o.APIVersion, o.Kind, o.Name = v1.APIVersion, v1.KindCaracalNodeStatus, "empty"
	u := unstructuredOf(t, o)
	created, err := resource(o.Kind).Create(t.Context(), u, metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict})
	if err != nil {
		t.Fatal(err)
	}
	created.Object["status"] = u.Object["status"]
	if _, err := resource(o.Kind).UpdateStatus(t.Context(), created, metav1.UpdateOptions{FieldValidation: metav1.FieldValidationStrict}); err != nil {
		t.Error(err)
	}
}
