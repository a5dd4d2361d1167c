package manifests

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"caracal.dev/caracal/internal/kubetest"
)

func TestOneFileIsCurrent(t *testing.T) {
	t.Parallel()
	out, err := exec.Command(at("scripts", "manifests"), "--check").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// One `kubectl apply` installs everything on an empty cluster, with nothing that the
// API does not know, and a second one changes nothing.
func TestOneApply(t *testing.T) {
	t.Parallel()
	api := kubetest.Start(t, kubetest.Options{})
	file := at("manifests", "caracal.yaml")
	apply := []string{"apply", "--server-side", "--validate=strict", "-f", file}
	first := api.Kubectl(t, apply...)
	want := len(objects(t, read(t, file)))
	if got := strings.Count(first, "serverside-applied"); got != want {
		t.Errorf("%d of %d objects were applied:\n%s", got, want, first)
	}
	versions := func() string {
		return api.Kubectl(t, "get", "-f", file, "-o", `jsonpath={range .items[*]}{.kind}/{.metadata.name} {.metadata.generation}{"\n"}{end}`)
	}
	before := versions()
	api.Kubectl(t, apply...)
	if after := versions(); after != before {
		t.Errorf("the second apply changed something:\n%s\nwas\n%s", after, before)
	}
	// What an operator types who knows nothing of server-side apply: a field that the
	// API fills in would be reported as changed each time.
	api.Kubectl(t, "apply", "--validate=strict", "-f", file)
	for line := range strings.Lines(api.Kubectl(t, "apply", "--validate=strict", "-f", file)) {
		if !strings.Contains(line, "unchanged") {
			t.Errorf("another apply says: %s", line)
		}
	}
	api.Kubectl(t, "apply", "--validate=strict", "--dry-run=server", "-f", at("manifests", "cleanup.yaml"))
	warnings(t, api)
}

// warnings fails for an admission policy that the API finds something wrong with.
func warnings(t *testing.T, api *kubetest.API) {
	t.Helper()
	said := func() string {
		return api.Kubectl(t, "get", "validatingadmissionpolicies", "-o",
			`jsonpath={range .items[*]}{.metadata.name} {.status.typeChecking.expressionWarnings}{"\n"}{end}`)
	}
	if got := said(); strings.Contains(got, "ERROR") {
		t.Error(got)
	}
}

// Every overlay, and the component, are taken by the API as they stand.
func TestOverlays(t *testing.T) {
	t.Parallel()
	install(t, shared)
	for _, overlay := range []string{"mesh", "reflector", "tor"} {
		t.Run(overlay, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "all.yaml")
			if err := os.WriteFile(file, []byte(render(t, "overlays", overlay)), 0o644); err != nil {
				t.Fatal(err)
			}
			shared.Kubectl(t, "apply", "--server-side", "--force-conflicts", "--validate=strict", "--dry-run=server", "-f", file)
		})
	}
}

// With the component podmonitor the daemon serves on the node's address, and its
// probes ask there.
func TestPodMonitor(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	manifests, err := filepath.Abs(at("manifests"))
	if err != nil {
		t.Fatal(err)
	}
	// kustomize takes no absolute paths, and follows links.
	if err := os.Symlink(manifests, filepath.Join(dir, "manifests")); err != nil {
		t.Fatal(err)
	}
	relative, err := filepath.Rel(mustEval(t, dir), manifests)
	if err != nil {
		t.Fatal(err)
	}
	text := "resources: [" + relative + "/overlays/mesh]\ncomponents: [" + relative + "/components/podmonitor]\n"
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	kubectl, err := kubetest.Program("kubectl")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(kubectl, "kustomize", dir).CombinedOutput()
	if err != nil {
		t.Fatalf("kubectl kustomize: %v\n%s", err, out)
	}
	c := container(t, daemonSet(t, string(out)).Spec.Template.Spec, "caracald")
	if c.StartupProbe.HTTPGet.Host != "" || c.LivenessProbe.HTTPGet.Host != "" || c.ReadinessProbe.HTTPGet.Host != "" {
		t.Error("a probe asks 127.0.0.1, where the daemon does not serve any more")
	}
	if got := c.Args[len(c.Args)-1]; got != "--http=[$(NODE_IP)]:9179" {
		t.Errorf("the last argument is %s", got)
	}
	if len(c.Ports) != 1 || c.Ports[0].Name != "metrics" {
		t.Errorf("ports %v", c.Ports)
	}
	if !strings.Contains(string(out), "kind: PodMonitor") {
		t.Error("there is no PodMonitor")
	}
}

func mustEval(t *testing.T, path string) string {
	t.Helper()
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		t.Fatal(err)
	}
	return real
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
