package manifests

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"

	"caracal.dev/caracal/internal/kubetest"
)

// TestMain sets these: shared is the API of the tests that leave what they find, and
// binDir where the programs are built.
var (
	shared *kubetest.API
	binDir string
)

func TestMain(m *testing.M) { os.Exit(runAll(m)) }

func runAll(m *testing.M) int {
	dir, err := os.MkdirTemp("", "caracal-manifests-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binDir = dir
	api, err := kubetest.New(kubetest.Options{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer api.Close()
	shared = api
	return m.Run()
}

// at returns the path of a file of the repository.
func at(parts ...string) string { return filepath.Join(append([]string{"..", ".."}, parts...)...) }

// render is what `kubectl kustomize` makes of a directory of manifests/.
func render(t *testing.T, dir ...string) string {
	t.Helper()
	kubectl, err := kubetest.Program("kubectl")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(kubectl, "kustomize", at(append([]string{"manifests"}, dir...)...)).CombinedOutput()
	if err != nil {
		t.Fatalf("kubectl kustomize %s: %v\n%s", filepath.Join(dir...), err, out)
	}
	return string(out)
}

// install applies the one file as the handbook does, and waits for its kinds.
func install(t *testing.T, api *kubetest.API) {
	t.Helper()
	api.Apply(t, at("manifests", "caracal.yaml"))
}

// objects are the documents of a text.
func objects(t *testing.T, text string) []*unstructured.Unstructured {
	t.Helper()
	var out []*unstructured.Unstructured
	d := yaml.NewYAMLOrJSONDecoder(strings.NewReader(text), 4096)
	for {
		o := &unstructured.Unstructured{}
		err := d.Decode(&o.Object)
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(o.Object) > 0 {
			out = append(out, o)
		}
	}
}

// daemonSet returns the DaemonSet of a rendered text.
func daemonSet(t *testing.T, text string) *appsv1.DaemonSet {
	t.Helper()
	for _, o := range objects(t, text) {
		if o.GetKind() != "DaemonSet" {
			continue
		}
		ds := &appsv1.DaemonSet{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(o.Object, ds, true); err != nil {
			t.Fatalf("DaemonSet: %v", err)
		}
		return ds
	}
	t.Fatal("there is no DaemonSet")
	return nil
}

// container returns a Pod's container, or init container, of a name.
func container(t *testing.T, pod corev1.PodSpec, name string) corev1.Container {
	t.Helper()
	for _, list := range [][]corev1.Container{pod.Containers, pod.InitContainers} {
		for _, c := range list {
			if c.Name == name {
				return c
			}
		}
	}
	t.Fatalf("there is no container %s", name)
	return corev1.Container{}
}

// eventually waits until look returns nothing; what it returns is what is still wrong.
func eventually(t *testing.T, within time.Duration, look func() string) {
	t.Helper()
	end := time.Now().Add(within)
	for {
		wrong := look()
		if wrong == "" {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("after %v: %s", within, wrong)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
