package v1

import (
	"encoding/json"
	"fmt"

	"sigs.k8s.io/yaml"
)

// Items returns the objects of a List of Kubernetes, which is what kubectl prints
// for several: each as JSON, to be given to [Decode]. It reports whether the
// document is such a List; an error says why its items cannot be read.
func Items(doc []byte) (items [][]byte, isList bool, err error) {
	text, err := yaml.YAMLToJSON(doc)
	if err != nil {
		return nil, false, nil
	}
	if _, id := parseTree(text); id.Kind != "List" {
		return nil, false, nil
	}
	if _, err := yaml.YAMLToJSONStrict(doc); err != nil {
		return nil, true, Errors{{"document", trimYAML(err)}}
	}
	var list struct {
		APIVersion string          `json:"apiVersion"`
		Items      json.RawMessage `json:"items"`
	}
	if err := json.Unmarshal(text, &list); err != nil || list.APIVersion != "v1" {
		return nil, true, Errors{{"apiVersion", "must be v1 for a List"}}
	}
	var parts []json.RawMessage
	if err := json.Unmarshal(list.Items, &parts); err != nil || parts == nil {
		return nil, true, Errors{{"items", "must be a list of objects"}}
	}
	for i, p := range parts {
		if len(p) == 0 || p[0] != '{' {
			return nil, true, Errors{{fmt.Sprintf("items[%d]", i), "must be an object"}}
		}
		items = append(items, p)
	}
	return items, true, nil
}
