package crd

// judgedByTheDaemon are refusals of the file store, by a part of its words, that the
// API server does not know, with the reason. The daemon refuses these objects with a
// Problem, and keeps what it last accepted.
func judgedByTheDaemon() map[string]string {
	return map[string]string{
		"column 8: expected \")\"":                                         "a regular expression cannot count parentheses",
		"spec.reachableBy: 192.0.2.1 is the neighbor itself":               "the API server cannot bound the cost of taking the port off a peerIP",
		"spec.prefixAdvertisements[1].cidr: 2001:db8::/32 is listed twice": "the keys of a list are compared as they are written",
		"spec.anycastPrefixes[1]: 2001:db8::/64 is listed twice":           "the elements of a list are compared as they are written",
		"is in no namespace":                                               "the API server drops the namespace of an object that can be in none",
		"spec.addresses: is missing":                                       "in Kubernetes the Node has the addresses",
	}
}

// saidElsewhere are refusals of which the API server names the field in another way,
// by the first of the file store's words.
func saidElsewhere() map[string]string {
	return map[string]string{
		// The elements of a set are compared as they are written, and this one is the
		// address of another in other words.
		"spec.reservedCIDRs[3]: 10.0.0.1/32 is listed twice": "spec.reservedCIDRs",
		// The rule compares two lists, so it stands at what they are both in.
		"spec.prefixAdvertisements[0].communities[0]: \"blue\" is no name": "spec.prefixAdvertisements",
		"metadata.labels.rack: must be a string":                           "ObjectMeta.labels",
		"metadata.name: must be a string":                                  "ObjectMeta.name",
	}
}
