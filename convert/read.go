package convert

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// maxInput bounds what is read of one source, in bytes: a cluster of 5,000 nodes
// with all its policies is a tenth of it.
const maxInput = 512 << 20

// Input is one file of documents.
type Input struct {
	// Name is what messages call it: a path, or "standard input".
	Name string
	Data []byte
}

// document is an object as it was given.
type document struct {
	group, version, kind string
	namespace, name      string
	tree                 map[string]any
	// place is where it was read, for messages.
	place string
}

// key names the object in messages: "BGPPeer rack1".
func (d *document) key() string {
	kind := d.kind
	if kind == "" {
		kind = "document"
	}
	return strings.TrimSpace(kind + " " + d.id())
}

// id is the name with the namespace, if it has one.
func (d *document) id() string {
	if d.namespace != "" {
		return d.namespace + "/" + d.name
	}
	return d.name
}

// read takes the documents of all inputs, with Lists taken apart, sorted by kind and
// name, so that neither files nor their order matter.
func read(inputs []Input) ([]*document, error) {
	var all []*document
	for _, in := range inputs {
		if len(in.Data) > maxInput {
			return nil, fmt.Errorf("%s has more than %d MiB; give it in parts", in.Name, maxInput>>20)
		}
		for i, text := range split(in.Data) {
			place := fmt.Sprintf("%s, document %d (line %d)", in.Name, i+1, text.line)
			tree, err := parse(text.data)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", place, err)
			}
			docs, err := unpack(tree, place)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", place, err)
			}
			all = append(all, docs...)
		}
	}
	slices.SortStableFunc(all, func(a, b *document) int {
		return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.namespace, b.namespace), cmp.Compare(a.name, b.name),
			// projectcalico.org before crd.projectcalico.org
			cmp.Compare(b.group, a.group))
	})
	return all, nil
}

type part struct {
	data []byte
	line int // where it begins, from 1
}

// split cuts a file at the lines that begin with "---" (YAML 1.2 section 9.1.2),
// and leaves out parts with nothing but comments and blanks.
func split(data []byte) []part {
	var parts []part
	begin, line, first := 0, 1, 1
	end := func(at int) {
		if p := data[begin:at]; !blank(p) {
			parts = append(parts, part{p, first})
		}
	}
	for at := 0; at < len(data); {
		next := len(data)
		if n := bytes.IndexByte(data[at:], '\n'); n >= 0 {
			next = at + n + 1
		}
		text := bytes.TrimRight(data[at:next], "\r\n")
		if rest, ok := bytes.CutPrefix(text, []byte("---")); ok && (len(rest) == 0 || rest[0] == ' ' || rest[0] == '\t') {
			end(at)
			begin, first = at+3, line
		}
		at = next
		line++
	}
	end(len(data))
	return parts
}

func blank(p []byte) bool {
	for l := range bytes.Lines(p) {
		if l = bytes.TrimSpace(l); len(l) > 0 && l[0] != '#' && !bytes.Equal(l, []byte("...")) {
			return false
		}
	}
	return true
}

// parse decodes a document into maps, slices, strings, bools and json.Numbers.
func parse(data []byte) (any, error) {
	text, err := yaml.YAMLToJSONStrict(data)
	if err != nil {
		return nil, errors.New("is not YAML: " + withoutValues(err.Error()))
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var tree any
	if err := d.Decode(&tree); err != nil {
		return nil, errors.New("is not YAML")
	}
	return tree, nil
}

// quoted is what messages about YAML repeat of the text, which may be a password.
var quoted = regexp.MustCompile("`[^`]*`|'[^']*'|\"[^\"]*\"|‘[^’]*’|“[^”]*”")

func withoutValues(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	for _, p := range []string{"error converting YAML to JSON: ", "yaml: "} {
		s = strings.TrimPrefix(s, p)
	}
	return quoted.ReplaceAllString(s, "…")
}

// unpack returns the objects of a document: itself, or the items of a List of
// kubectl or of calicoctl, which may hold Lists again.
func unpack(tree any, place string) ([]*document, error) {
	var docs []*document
	switch t := tree.(type) {
	case nil:
		return nil, nil
	case []any: // calicoctl prints a plain list
		for i, item := range t {
			more, err := unpack(item, fmt.Sprintf("%s, item %d", place, i+1))
			if err != nil {
				return nil, err
			}
			docs = append(docs, more...)
		}
		return docs, nil
	case map[string]any:
		kind, _ := t["kind"].(string)
		if items, ok := t["items"].([]any); ok && strings.HasSuffix(kind, "List") {
			return unpack(items, place)
		}
		if kind == "" {
			return nil, errors.New("has no kind; give what kubectl get -o yaml or calicoctl get -o yaml prints")
		}
		return []*document{describe(t, kind, place)}, nil
	}
	return nil, errors.New("is no object: it has no apiVersion, kind and metadata")
}

func describe(t map[string]any, kind, place string) *document {
	d := &document{kind: kind, tree: t, place: place}
	apiVersion, _ := t["apiVersion"].(string)
	if group, version, ok := strings.Cut(apiVersion, "/"); ok {
		d.group, d.version = group, version
	} else {
		d.version = apiVersion
	}
	meta, _ := t["metadata"].(map[string]any)
	d.name, _ = meta["name"].(string)
	d.namespace, _ = meta["namespace"].(string)
	return d
}
