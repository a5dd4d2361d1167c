package v1

import "testing"

// BenchmarkDecode is what one document of the two kinds that there are many of
// costs.
func BenchmarkDecode(b *testing.B) {
	for name, text := range map[string]string{
		"Workload":      "apiVersion: caracal.dev/v1\nkind: Workload\nmetadata:\n  name: web-5d78c9869d-abcde\n  namespace: shop\n  labels: {app: web, tier: front, pod-template-hash: 5d78c9869d}\nspec:\n  node: node-17\n  interfaceName: car0123456789a\n  ipNetworks: [10.20.30.40]\n  ports:\n    - {name: http, port: 8080}\n",
		"NetworkPolicy": "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: web, namespace: shop}\nspec:\n  podSelector: {matchLabels: {app: web}}\n  policyTypes: [Ingress]\n  ingress:\n    - from:\n        - podSelector: {matchLabels: {app: proxy}}\n        - ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}\n      ports: [{port: 80}, {port: http, protocol: TCP}]\n",
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if o, _, err := Decode([]byte(text)); o == nil {
					b.Fatal(err)
				}
			}
		})
	}
}
