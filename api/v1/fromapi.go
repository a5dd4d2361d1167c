package v1

import (
	"encoding/json"
	"fmt"
	"slices"
)

// FromAPI reads an object as the API server of Kubernetes serves it, the tree of an
// unstructured.Unstructured: strictly, with defaults and validation like [Decode],
// for what the schema of the API server cannot say (selectors, for one) is refused
// here. It differs from Decode in three things. The metadata may have what the API
// server adds; only name, namespace and labels are kept. A status, and fields
// that are null, are passed over. A NodeConfig needs no addresses, since the Node
// of the same name has them. A field that is not known is an error here too: it
// is of a definition newer than this program, and half of an object is not taken.
//
// The tree is not changed, and nothing of it is kept. The error is of type
// [Errors], and the Object is then nil; Ident is filled in as far as it is known.
func FromAPI(tree map[string]any) (Object, Ident, error) {
	meta, _ := tree["metadata"].(map[string]any)
	trimmed := map[string]any{}
	for k, v := range tree {
		switch k {
		case "status":
		case "metadata":
			kept := map[string]any{}
			for _, f := range []string{"name", "namespace", "labels"} {
				if of, ok := meta[f]; ok {
					kept[f] = of
				}
			}
			trimmed[k] = kept
		default:
			trimmed[k] = v
		}
	}
	text, err := json.Marshal(trimmed)
	if err != nil {
		return nil, Ident{}, Errors{{Path: "document", Msg: fmt.Sprintf("cannot be read: %v", err)}}
	}
	o, id, err := parse(text)
	if o == nil || err != nil {
		return nil, id, err
	}
	errs := o.Validate()
	if _, ok := o.(*NodeConfig); ok {
		errs = slices.DeleteFunc(errs, func(e FieldError) bool { return e == noAddresses })
	}
	if len(errs) > 0 {
		return nil, id, errs
	}
	return o, id, nil
}
