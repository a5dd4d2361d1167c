package v1

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// SyntaxError says that a text is not YAML at all, so that not even its kind
// and name are known.
type SyntaxError struct{ Msg string }

// Error implements error.
func (e *SyntaxError) Error() string { return e.Msg }

// Ident is what a document says it is; fields that it does not say are empty.
type Ident struct{ Kind, Namespace, Name string }

// ObjectName is the name as in [ObjectName].
func (i Ident) ObjectName() string {
	if (i.Kind == KindWorkload || i.Kind == KindNetworkPolicy) && i.Name != "" {
		if i.Namespace == "" {
			return "default/" + i.Name
		}
		return i.Namespace + "/" + i.Name
	}
	return i.Name
}

// Decode reads one YAML or JSON document strictly, fills in the defaults and
// validates it. The Object is nil for a document that is empty, and when there
// is an error: a [*SyntaxError] or [Errors]. Ident is filled in as far as it is
// known in either case. Of the metadata only name, namespace and labels are
// kept.
func Decode(doc []byte) (Object, Ident, error) {
	text, err := yaml.YAMLToJSONStrict(doc)
	if err != nil {
		// Not strict, a repeated key is no error; then the identity is known.
		loose, looseErr := yaml.YAMLToJSON(doc)
		if looseErr != nil {
			return nil, Ident{}, &SyntaxError{trimYAML(looseErr)}
		}
		_, id := parseTree(loose)
		return nil, id, Errors{{Path: "document", Msg: trimYAML(err)}}
	}
	return decodeJSON(text)
}

// DecodeCanonical is [Decode] of what [Encode] gave, without the detour by YAML.
func DecodeCanonical(text []byte) (Object, Ident, error) { return decodeJSON(text) }

func decodeJSON(text []byte) (Object, Ident, error) {
	o, id, err := parse(text)
	if o == nil || err != nil {
		return nil, id, err
	}
	if errs := o.Validate(); len(errs) > 0 {
		return nil, id, errs
	}
	return o, id, nil
}

// parse is decodeJSON without validation.
func parse(text []byte) (Object, Ident, error) {
	tree, id := parseTree(text)
	if tree == nil {
		return nil, id, nil
	}
	top, ok := tree.(map[string]any)
	if !ok {
		return nil, id, Errors{{Path: "document", Msg: "must have apiVersion, kind, metadata and spec, but is " + nounOf(tree)}}
	}
	o, errs := shell(top, id)
	if len(errs) > 0 {
		return nil, id, errs
	}
	if errs := checkFields("", tree, reflect.TypeOf(o).Elem()); len(errs) > 0 {
		return nil, id, errs
	}
	if err := json.Unmarshal(text, o); err != nil {
		return nil, id, Errors{{Path: "document", Msg: err.Error()}}
	}
	m := o.Meta()
	*m = metav1.ObjectMeta{Name: m.Name, Namespace: m.Namespace, Labels: m.Labels}
	o.Default()
	return o, id, nil
}

// Encode returns the canonical JSON of an object: [Decode] gives an equal one,
// and objects that mean the same have the same text.
func Encode(o Object) ([]byte, error) {
	b, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("api: encode %s %s: %w", o.ResourceKind(), ObjectName(o), err)
	}
	return b, nil
}

// shell checks what every document has and returns an empty object of its kind.
func shell(top map[string]any, id Ident) (Object, Errors) {
	var errs Errors
	version := apiVersionOf(id.Kind)
	switch v, ok := top["apiVersion"]; {
	case !ok:
		errs = append(errs, FieldError{"apiVersion", "is missing; it must be " + version})
	case v != version:
		errs = append(errs, FieldError{"apiVersion", fmt.Sprintf("must be %s, not %s", version, clip(fmt.Sprint(v)))})
	}
	o := New(id.Kind)
	switch {
	case id.Kind == "" && top["kind"] == nil:
		errs = append(errs, FieldError{"kind", "is missing; it must be one of " + strings.Join(Kinds(), ", ")})
	case o == nil:
		errs = append(errs, FieldError{"kind", fmt.Sprintf("%v is not known; it must be one of %s", top["kind"], strings.Join(Kinds(), ", "))})
	}
	return o, errs
}

// parseTree decodes JSON into maps, slices, strings, bools and json.Numbers, and
// finds out what the document says it is.
func parseTree(text []byte) (any, Ident) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var tree any
	if err := d.Decode(&tree); err != nil {
		return nil, Ident{}
	}
	top, _ := tree.(map[string]any)
	meta, _ := top["metadata"].(map[string]any)
	var id Ident
	id.Kind, _ = top["kind"].(string)
	id.Name, _ = meta["name"].(string)
	id.Namespace, _ = meta["namespace"].(string)
	return tree, id
}

func trimYAML(err error) string {
	s := strings.TrimPrefix(err.Error(), "yaml: ")
	s = strings.TrimPrefix(s, "unmarshal errors:\n")
	s = strings.Replace(s, "found character that cannot start any token", "found a character that cannot start a value (a tab? YAML wants spaces)", 1)
	s = strings.Replace(s, "found a tab character that violates indentation", "found a tab (YAML wants spaces)", 1)
	s = unknownAnchor.ReplaceAllString(s, "a value begins with *, which YAML takes for the name of an anchor; put it in quotes")
	return clip(strings.Join(strings.Fields(strings.ReplaceAll(s, "\n", ";")), " "))
}

// unknownAnchor has a value in it, and that may be a password.
var unknownAnchor = regexp.MustCompile(`unknown anchor '.*' referenced`)

// treeChecker is a type that says itself what may stand in its place.
type treeChecker interface {
	checkTree(path string, v any) Errors
}

// checkFields compares a tree with the Go type that it is to be decoded into:
// encoding/json neither gives the path of an unknown field nor minds the case
// of letters.
func checkFields(path string, v any, t reflect.Type) Errors {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if v == nil {
		return nil
	}
	if own, ok := reflect.Zero(t).Interface().(treeChecker); ok {
		return own.checkTree(path, v)
	}
	if reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]()) {
		return nil
	}
	mismatch := func(want string) Errors {
		return Errors{{Path: path, Msg: fmt.Sprintf("must be %s, not %s", want, nounOf(v))}}
	}
	switch t.Kind() {
	case reflect.Struct:
		m, ok := v.(map[string]any)
		if !ok {
			return mismatch("a group of fields")
		}
		return checkStruct(path, m, t)
	case reflect.Map:
		m, ok := v.(map[string]any)
		if !ok {
			return mismatch("a group of fields")
		}
		var errs Errors
		for _, k := range sortedKeys(m) {
			errs = append(errs, checkFields(path+"."+k, m[k], t.Elem())...)
		}
		return errs
	case reflect.Slice:
		list, ok := v.([]any)
		if !ok {
			return mismatch("a list")
		}
		var errs Errors
		for i, e := range list {
			at := fmt.Sprintf("%s[%d]", path, i)
			if e == nil {
				errs = append(errs, FieldError{at, "must not be empty"})
			}
			errs = append(errs, checkFields(at, e, t.Elem())...)
		}
		return errs
	case reflect.String:
		return checkString(path, v)
	case reflect.Bool:
		if _, ok := v.(bool); !ok {
			return mismatch("true or false")
		}
	default:
		return checkNumber(path, v, t)
	}
	return nil
}

func checkString(path string, v any) Errors {
	switch v := v.(type) {
	case string:
		return nil
	case bool:
		return Errors{{path, "must be a string; put it in quotes, for y, n, yes, no, on, off, true and false mean true or false without"}}
	case json.Number:
		msg := "must be a string (in quotes), not " + nounOf(v)
		if unit := durationUnit(path); unit != "" {
			msg += fmt.Sprintf("; write %s%s", clip(v.String()), unit)
		}
		return Errors{{path, msg}}
	}
	return Errors{{path, "must be a string (in quotes), not " + nounOf(v)}}
}

// durationUnit is the unit that is usual for a field that holds a duration, by its
// name; empty for other fields.
func durationUnit(path string) string {
	switch {
	case strings.Contains(path, ".bfd.") && strings.HasSuffix(path, "Interval"):
		return "ms"
	case strings.HasSuffix(path, "Time"), strings.HasSuffix(path, "Interval"), strings.HasSuffix(path, "Retry"), path == "spec.cooldown":
		return "s"
	}
	return ""
}

func checkNumber(path string, v any, t reflect.Type) Errors {
	n, ok := v.(json.Number)
	if !ok {
		return Errors{{Path: path, Msg: "must be a whole number, not " + nounOf(v)}}
	}
	if json.Unmarshal([]byte(n), reflect.New(t).Interface()) == nil {
		return nil
	}
	if t.Kind() == reflect.Uint32 {
		return Errors{{Path: path, Msg: fmt.Sprintf("must be a whole number from 0 to 4294967295, not %s", n)}}
	}
	return Errors{{Path: path, Msg: fmt.Sprintf("must be a whole number, not %s", n)}}
}

func checkStruct(path string, m map[string]any, t reflect.Type) Errors {
	known := knownFields(t)
	prefix := ""
	if path != "" {
		prefix = path + "."
	}
	var errs Errors
	for _, k := range sortedKeys(m) {
		ft, ok := known[k]
		if !ok {
			errs = append(errs, FieldError{prefix + clip(k), "unknown field" + suggest(k, known)})
			continue
		}
		errs = append(errs, checkFields(prefix+k, m[k], ft)...)
	}
	return errs
}

// fieldTables are the fields of each type that was asked about: to list them by
// reflection takes longer than to decode a document.
var fieldTables sync.Map // of map[string]reflect.Type, by reflect.Type

// knownFields returns the fields of a struct by their names in documents. It must
// not be changed.
func knownFields(t reflect.Type) map[string]reflect.Type {
	if known, ok := fieldTables.Load(t); ok {
		return known.(map[string]reflect.Type)
	}
	known := map[string]reflect.Type{}
	addFields(known, t)
	fieldTables.Store(t, known)
	return known
}

func addFields(known map[string]reflect.Type, t reflect.Type) {
	for f := range t.Fields() {
		name, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" && opts == "inline" {
			addFields(known, f.Type)
		} else if name != "" && name != "-" {
			known[name] = f.Type
		}
	}
}

// elsewhere says how fields of Calico that have no namesake here are written.
var elsewhere = map[string]string{
	"keepOriginalNextHop":    "write nextHopMode: Keep",
	"maxRestartTime":         "write gracefulRestart: {restartTime: …}",
	"nodeMeshMaxRestartTime": "write gracefulRestart: {restartTime: …}",
	"localWorkloadSelector":  "workloads are no neighbors here",
	"autoAllocateBlocks":     "write mode: podCIDR for nodes that claim no blocks",
	"setPriority":            "write setLocalPreference or setMED",
}

// suggest offers the known field that was likely meant.
func suggest(name string, known map[string]reflect.Type) string {
	if instead, ok := elsewhere[name]; ok {
		return " (" + instead + ")"
	}
	for k := range known {
		if strings.EqualFold(k, name) {
			return fmt.Sprintf(" (did you mean %s?)", k)
		}
	}
	best, bestDist := "", 3
	for _, k := range sortedKeys(known) {
		if d := editDistance(k, name); d < bestDist && (d < len(k)/2 || len(k) > 3 && sameLetters(k, name)) {
			best, bestDist = k, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean %s?)", best)
}

// sameLetters reports whether two names differ only in the order of letters, a
// slip that a Levenshtein distance counts as two.
func sameLetters(a, b string) bool {
	x, y := []byte(a), []byte(b)
	slices.Sort(x)
	slices.Sort(y)
	return bytes.Equal(x, y)
}

// editDistance is the number of letters to insert, delete or replace
// (Levenshtein); names that are far longer than any field count as far away.
func editDistance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return max(len(a), len(b))
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diag := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diag, row[j+1] = row[j+1], min(row[j]+1, row[j+1]+1, diag+cost)
		}
	}
	return row[len(b)]
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func nounOf(v any) string {
	switch v := v.(type) {
	case nil:
		return "empty"
	case string:
		return fmt.Sprintf("the string %q", clip(v))
	case json.Number:
		return "the number " + clip(v.String())
	case bool:
		return fmt.Sprintf("%v", v)
	case []any:
		return "a list"
	default:
		return "a group of fields"
	}
}

// clip shortens what a user wrote for a message.
func clip(s string) string {
	const most = 200
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
}

// IsSyntax reports whether err says that a text is not YAML at all.
func IsSyntax(err error) bool {
	_, ok := errors.AsType[*SyntaxError](err)
	return ok
}
