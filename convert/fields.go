package convert

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// fields reads a group of fields and remembers which were asked about, so that what
// nobody asked about can be listed.
type fields struct {
	to   *conversion
	key  string // of the object, for messages
	path string // "spec", "spec.password"
	m    map[string]any
	seen map[string]bool
}

func (c *conversion) fields(key, path string, v any) *fields {
	m, _ := v.(map[string]any)
	return &fields{to: c, key: key, path: path, m: m, seen: map[string]bool{}}
}

// spec returns the fields of an object's spec.
func (c *conversion) spec(d *document) *fields { return c.fields(d.key(), "spec", d.tree["spec"]) }

// has reports whether a field says anything.
func (f *fields) has(name string) bool { return !empty(f.m[name]) }

func empty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case string:
		return v == ""
	case []any:
		return len(v) == 0
	case map[string]any:
		return len(v) == 0
	}
	return false
}

// take returns a field's value; nil if it says nothing.
func (f *fields) take(name string) any {
	f.seen[name] = true
	if empty(f.m[name]) {
		return nil
	}
	return f.m[name]
}

// skip marks fields that have no effect here, whatever they say.
func (f *fields) skip(names ...string) {
	for _, n := range names {
		f.seen[n] = true
	}
}

func (f *fields) str(name string) string {
	v := f.take(name)
	if v == nil {
		return ""
	}
	s, ok := v.(string)
	if !ok {
		f.lose(name, "is not the string that Calico expects", "put it right in the source, and convert again")
	}
	return s
}

func (f *fields) boolean(name string) *bool {
	v := f.take(name)
	if v == nil {
		return nil
	}
	switch b := v.(type) {
	case bool:
		return &b
	case string: // as crd.projectcalico.org/v1 has some of them
		if p, err := strconv.ParseBool(b); err == nil {
			return &p
		}
	}
	f.lose(name, "is neither true nor false", "put it right in the source, and convert again")
	return nil
}

// yes reports whether a field is true.
func (f *fields) yes(name string) bool {
	b := f.boolean(name)
	return b != nil && *b
}

func (f *fields) number(name string) *int64 {
	v := f.take(name)
	if v == nil {
		return nil
	}
	if n, ok := v.(json.Number); ok {
		if i, err := strconv.ParseInt(n.String(), 10, 64); err == nil {
			return &i
		}
	}
	f.lose(name, "is not a whole number", "put it right in the source, and convert again")
	return nil
}

// asn reads an AS number: a number, the same as a string, or two 16-bit numbers
// (asdot, RFC 5396).
func (f *fields) asn(name string) *uint32 {
	v := f.take(name)
	if v == nil {
		return nil
	}
	if n, ok := parseASN(fmt.Sprint(v)); ok {
		return &n
	}
	f.lose(name, "is not an AS number", "put it right in the source, and convert again")
	return nil
}

func parseASN(s string) (uint32, bool) {
	if hi, lo, ok := strings.Cut(s, "."); ok {
		h, err1 := strconv.ParseUint(hi, 10, 16)
		l, err2 := strconv.ParseUint(lo, 10, 16)
		return uint32(h<<16 | l), err1 == nil && err2 == nil
	}
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err == nil
}

// seconds reads a duration and rounds it up to whole seconds.
func (f *fields) seconds(name string) (time.Duration, bool) {
	s := f.str(name)
	if s == "" {
		return 0, false
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		f.lose(name, "is not a duration", "put it right in the source, and convert again")
		return 0, false
	}
	return (d + time.Second - 1).Truncate(time.Second), true
}

func (f *fields) strs(name string) []string {
	v := f.take(name)
	if v == nil {
		return nil
	}
	list, ok := v.([]any)
	var out []string
	for _, e := range list {
		s, isString := e.(string)
		ok = ok && isString
		out = append(out, s)
	}
	if !ok {
		f.lose(name, "is not a list of strings", "put it right in the source, and convert again")
		return nil
	}
	return out
}

// group returns a field that is a group of fields; nil if it says nothing.
func (f *fields) group(name string) *fields {
	v := f.take(name)
	if v == nil {
		return nil
	}
	if _, ok := v.(map[string]any); !ok {
		f.lose(name, "is not a group of fields", "put it right in the source, and convert again")
		return nil
	}
	return f.to.fields(f.key, f.path+"."+name, v)
}

// groups returns a field that is a list of groups.
func (f *fields) groups(name string) []*fields {
	v := f.take(name)
	list, ok := v.([]any)
	if v != nil && !ok {
		f.lose(name, "is not a list", "put it right in the source, and convert again")
	}
	var out []*fields
	for i, e := range list {
		out = append(out, f.to.fields(f.key, fmt.Sprintf("%s.%s[%d]", f.path, name, i), e))
	}
	return out
}

// lose lists a field that is not carried.
func (f *fields) lose(name, why, do string) {
	f.seen[name] = true
	path := f.path
	if name != "" {
		path += "." + name
	}
	value := shown(path, f.m[name])
	if name == "" {
		value = shown(path, f.m)
	}
	f.to.lose(f.key, path, value, why, do)
}

// loseUnless lists a field unless it says what both take for granted.
func (f *fields) loseUnless(name, granted, why, do string) {
	if v := f.take(name); v != nil && !strings.EqualFold(fmt.Sprint(v), granted) {
		f.lose(name, why, do)
	}
}

// rest lists what nobody asked about.
func (f *fields) rest() {
	for _, name := range slices.Sorted(maps.Keys(f.m)) {
		if !f.seen[name] && !empty(f.m[name]) {
			f.lose(name, "is no field that Calico is known to have", "if it is meant, look for its like in docs/CONFIGURATION.md")
		}
	}
}

var secretive = regexp.MustCompile(`(?i)pass|secret|token|credential|private`)

// shown is a value as a message shows it: short, and nothing that may be a secret.
func shown(path string, v any) string {
	if secretive.MatchString(path) {
		return "(not shown)"
	}
	if v == nil {
		return ""
	}
	s, isString := v.(string)
	if !isString {
		var b strings.Builder
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		if e.Encode(hidden(v)) != nil {
			return ""
		}
		s = strings.TrimSpace(b.String())
	}
	s = strings.Join(strings.Fields(s), " ")
	const most = 100
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
}

// hidden returns a value without what may be secret in it.
func hidden(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, e := range v {
			if out[k] = hidden(e); secretive.MatchString(k) {
				out[k] = "(not shown)"
			}
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = hidden(e)
		}
		return out
	}
	return v
}
