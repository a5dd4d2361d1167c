package crd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"

	v1 "caracal.dev/caracal/api/v1"
	"caracal.dev/caracal/internal/kubetest"
)

const crds = "../../manifests/base/crds.yaml"

// shared is the API server of all tests here; TestMain sets it.
var shared *kubetest.API

func TestMain(m *testing.M) {
	api, err := kubetest.New(kubetest.Options{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	shared = api
	code := 1
	if err := applyCRDs(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	} else {
		code = m.Run()
	}
	api.Close()
	os.Exit(code)
}

func applyCRDs() error {
	text, err := os.ReadFile(crds)
	if err != nil {
		return err
	}
	return shared.TryApply(context.Background(), string(text))
}

// plurals are the resources of our kinds.
func plurals() map[string]string {
	return map[string]string{
		v1.KindBGPConfiguration: "bgpconfigurations", v1.KindBGPPeer: "bgppeers", v1.KindBGPFilter: "bgpfilters",
		v1.KindIPPool: "ippools", v1.KindNodeConfig: "nodeconfigs", v1.KindIPAMConfiguration: "ipamconfigurations",
		v1.KindIPReservation: "ipreservations", v1.KindDataplaneConfiguration: "dataplaneconfigurations",
		v1.KindIPAMBlock: "ipamblocks", v1.KindBlockAffinity: "blockaffinities", v1.KindCaracalNodeStatus: "caracalnodestatuses",
	}
}

func resource(kind string) dynamic.ResourceInterface {
	return shared.Dynamic().Resource(schema.GroupVersionResource{Group: "caracal.dev", Version: "v1", Resource: plurals()[kind]})
}

// document is one of a file of documents, with the comment before it.
type document struct{ text, comment string }

func documents(t *testing.T, file string) (all []document) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range strings.Split(strings.TrimSuffix(string(b), "---\n"), "\n---\n") {
		comment := ""
		if rest, ok := strings.CutPrefix(part, "# "); ok {
			comment, part, _ = strings.Cut(rest, "\n")
		}
		all = append(all, document{part + "\n", comment})
	}
	return all
}

// tree returns a document as an object; nil if it is none of our kinds.
func tree(text string) *unstructured.Unstructured {
	b, err := yaml.YAMLToJSONStrict([]byte(text))
	if err != nil {
		return nil
	}
	u := &unstructured.Unstructured{}
	if u.UnmarshalJSON(b) != nil || u.GetAPIVersion() != v1.APIVersion || plurals()[u.GetKind()] == "" {
		return nil
	}
	return u
}

// try asks the API server whether it would take an object, as kubectl asks.
func try(t *testing.T, u *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	t.Helper()
	return resource(u.GetKind()).Create(t.Context(), u, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldValidation: metav1.FieldValidationStrict})
}

func TestRefused(t *testing.T) {
	asked, unused := 0, judgedByTheDaemon()
	for _, d := range documents(t, "../../api/v1/testdata/refused.yaml") {
		u := tree(d.text)
		if u == nil {
			continue // not YAML, or no kind of ours
		}
		asked++
		_, err := try(t, u)
		excuse := ""
		for words := range judgedByTheDaemon() {
			if strings.Contains(d.comment, words) {
				excuse = words
			}
		}
		delete(unused, excuse)
		switch {
		case excuse != "" && err == nil:
		case excuse != "":
			t.Errorf("the API server refuses what only the daemon was to refuse; take it off the list\n%s\n%v", d.text, err)
		case err == nil:
			t.Errorf("the API server takes\n%s\nthe file store says %s", d.text, d.comment)
		case strings.Contains(d.text, "hunter2") && strings.Contains(err.Error(), "hunter2"):
			t.Errorf("the password is in the message: %v", err)
		default:
			namesFields(t, d, err)
		}
	}
	if asked < 180 || len(unused) > 0 {
		t.Errorf("%d documents were asked about; not among them: %v", asked, unused)
	}
}

// namesFields reports whether the API server's words name the fields that the file
// store names. It ends at the first stage that finds something: unknown fields, then
// the schema, then the rules; so of several only those of the first are named.
func namesFields(t *testing.T, d document, err error) {
	t.Helper()
	said := err.Error()
	early := strings.Contains(said, "strict decoding error") || strings.Contains(said, "some validation rules were not checked")
	named := 0
	for _, one := range strings.Split(d.comment, "; ") {
		path, _, ok := strings.Cut(one, ": ")
		if !ok || strings.Contains(path, " ") {
			continue // the second half of a sentence
		}
		for words, other := range saidElsewhere() {
			if strings.HasPrefix(one, words) {
				path = other
			}
		}
		if strings.Contains(said, path) || strings.Contains(said, listOf(path)) {
			named++
		} else if !early {
			t.Errorf("the API server does not name %s:\n%s\nthe file store says %s\n%s", path, said, d.comment, d.text)
		}
	}
	if named == 0 {
		t.Errorf("the API server names none of the fields:\n%s\nthe file store says %s\n%s", said, d.comment, d.text)
	}
}

// listOf is the list or group that a field is in: a rule about several elements of a
// list is one about the list, and that a field is missing is said of what it is in.
func listOf(path string) string {
	if end := strings.LastIndexAny(path, "[."); end > 0 {
		return path[:end] + ":"
	}
	return path
}

// What the file store takes the API server takes, and after its defaults the object
// means the same.
func TestAccepted(t *testing.T) {
	for _, d := range slices.Concat(documents(t, "../../api/v1/testdata/accepted.yaml"), examples(t, "../../docs/CONFIGURATION.md")) {
		u := tree(d.text)
		if u == nil {
			continue
		}
		want, _, err := v1.Decode([]byte(d.text))
		if err != nil {
			t.Fatal(err)
		}
		served, err := try(t, u)
		if err != nil {
			t.Errorf("the API server refuses\n%s\n%v", d.text, err)
			continue
		}
		got, _, err := v1.FromAPI(served.Object)
		if err != nil {
			t.Errorf("the daemon refuses what the API server gives for\n%s\n%v", d.text, err)
			continue
		}
		a, errA := v1.Encode(want)
		b, errB := v1.Encode(got)
		if err := errors.Join(errA, errB); err != nil {
			t.Fatal(err)
		}
		if string(a) != string(b) {
			t.Errorf("not the same:\nfile: %s\nAPI:  %s", a, b)
		}
	}
}

// examples are the documents in the YAML of a page.
func examples(t *testing.T, page string) (all []document) {
	t.Helper()
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range strings.Split(string(b), "```yaml\n")[1:] {
		example, _, _ := strings.Cut(part, "```")
		for _, text := range strings.Split(example, "---\n") {
			all = append(all, document{text: text})
		}
	}
	return all
}
