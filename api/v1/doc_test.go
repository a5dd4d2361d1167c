package v1

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

// TestConfigurationPage keeps docs/CONFIGURATION.md complete: each kind has a
// section that names all its fields, and its examples are accepted.
func TestConfigurationPage(t *testing.T) {
	text, err := os.ReadFile("../../docs/CONFIGURATION.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range Kinds() {
		_, section, ok := strings.Cut(string(text), "\n## "+kind+"\n")
		if !ok {
			t.Errorf("there is no section %s", kind)
			continue
		}
		section, _, _ = strings.Cut(section, "\n## ")
		spec, _ := reflect.TypeOf(New(kind)).Elem().FieldByName("Spec")
		if kind == KindNetworkPolicy {
			for _, field := range fieldsOf("", spec.Type) {
				for _, word := range strings.Split(strings.ReplaceAll(field, "[]", ""), ".") {
					if !strings.Contains(section, "`"+word+"`") {
						t.Errorf("the section %s does not mention `%s` of %s", kind, word, field)
					}
				}
			}
			spec.Type = reflect.TypeFor[ignored]()
		}
		for _, field := range fieldsOf("", spec.Type) {
			if kind == KindBGPFilter {
				_, field, _ = strings.Cut(field, ".") // the four lists have the same rules
			}
			if !strings.Contains(section, "`"+field+"`") {
				t.Errorf("the section %s does not mention `%s`", kind, field)
			}
		}
		if !strings.Contains(section, "\nkind: "+kind+"\n") {
			t.Errorf("the section %s has no example", kind)
		}
	}
	checkExamples(t, string(text))
}

// TestPolicyPage holds the examples of docs/POLICY.md to what is accepted.
func TestPolicyPage(t *testing.T) {
	text, err := os.ReadFile("../../docs/POLICY.md")
	if err != nil {
		t.Fatal(err)
	}
	checkExamples(t, string(text))
}

func checkExamples(t *testing.T, page string) {
	for i, part := range strings.Split(page, "```yaml\n")[1:] {
		example, _, _ := strings.Cut(part, "```")
		for _, doc := range strings.Split(example, "---\n") {
			if o, _, err := Decode([]byte(doc)); err != nil || o == nil || len(o.Warnings()) > 0 {
				t.Errorf("example %d is not accepted: %v", i+1, err)
			}
		}
	}
}

// fieldsOf lists the fields as the page writes them: "ports[].name".
func fieldsOf(prefix string, of reflect.Type) []string {
	known := map[string]reflect.Type{}
	addFields(known, of)
	var all []string
	for _, name := range sortedKeys(known) {
		inner, path := known[name], prefix+name
		if inner.Kind() == reflect.Slice {
			inner = inner.Elem()
			path += "[]"
		}
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		if inner.Kind() == reflect.Struct {
			all = append(all, fieldsOf(path+".", inner)...)
		} else {
			all = append(all, prefix+name)
		}
	}
	return all
}
