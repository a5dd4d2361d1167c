package kubetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/restmapper"
)

// Apply applies the objects of YAML files, each of one or several documents, in
// their order, as `kubectl apply --server-side` does, and waits until the resources
// that their CustomResourceDefinitions define are served. An object of a namespaced
// kind without a namespace goes into "default".
func (a *API) Apply(t testing.TB, files ...string) {
	t.Helper()
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatalf("kubetest: apply %s: %v", file, err)
		}
		if err := a.apply(t.Context(), text); err != nil {
			t.Fatalf("kubetest: apply %s: %v", file, err)
		}
	}
}

// ApplyYAML is [API.Apply] for text.
func (a *API) ApplyYAML(t testing.TB, text string) {
	t.Helper()
	if err := a.TryApply(t.Context(), text); err != nil {
		t.Fatal(err)
	}
}

// TryApply is [API.ApplyYAML] for objects that the API may refuse: the error wraps
// its answer. It ends at the first object that is refused.
func (a *API) TryApply(ctx context.Context, text string) error {
	if err := a.apply(ctx, []byte(text)); err != nil {
		return fmt.Errorf("kubetest: apply: %w", err)
	}
	return nil
}

func (a *API) apply(ctx context.Context, text []byte) error {
	objects, err := parse(text)
	if err != nil {
		return err
	}
	var crds []*unstructured.Unstructured
	for _, o := range objects {
		if o.GetKind() == "CustomResourceDefinition" {
			crds = append(crds, o)
		} else if err := a.waitServed(ctx, crds); err != nil {
			return err
		} else {
			crds = nil
		}
		if err := a.applyOne(ctx, o); err != nil {
			return err
		}
	}
	return a.waitServed(ctx, crds)
}

// parse splits YAML into its objects; a List is taken apart.
func parse(text []byte) ([]*unstructured.Unstructured, error) {
	var out []*unstructured.Unstructured
	d := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
	for n := 1; ; n++ {
		o := &unstructured.Unstructured{}
		err := d.Decode(&o.Object)
		switch {
		case errors.Is(err, io.EOF):
			return out, nil
		case err != nil:
			return nil, fmt.Errorf("document %d: %w", n, err)
		case len(o.Object) == 0: // an empty document
		case o.IsList():
			err := o.EachListItem(func(item runtime.Object) error {
				out = append(out, item.(*unstructured.Unstructured))
				return nil
			})
			if err != nil {
				return nil, fmt.Errorf("document %d: %w", n, err)
			}
		default:
			out = append(out, o)
		}
	}
}

func (a *API) applyOne(ctx context.Context, o *unstructured.Unstructured) error {
	name := o.GetKind() + " " + o.GetName()
	r, err := a.resource(o)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if _, err := r.Apply(ctx, o.GetName(), o, metav1.ApplyOptions{FieldManager: "kubetest", Force: true}); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// resource finds where objects of o's kind are served. The API's list of kinds
// lags behind a little, so one that is not in it is looked for again.
func (a *API) resource(o *unstructured.Unstructured) (dynamic.ResourceInterface, error) {
	kind := o.GroupVersionKind()
	m, err := a.mapping(kind, false)
	for end := time.Now().Add(time.Minute); meta.IsNoMatchError(err) && time.Now().Before(end); {
		if m, err = a.mapping(kind, true); err != nil {
			time.Sleep(50 * time.Millisecond)
		}
	}
	if err != nil {
		return nil, err
	}
	r := a.dyn.Resource(m.Resource)
	if m.Scope.Name() != meta.RESTScopeNameNamespace {
		return r, nil
	}
	namespace := o.GetNamespace()
	if namespace == "" {
		namespace = metav1.NamespaceDefault
	}
	return r.Namespace(namespace), nil
}

// mapping looks a kind up in what the API said last that it serves, or says now.
func (a *API) mapping(kind schema.GroupVersionKind, now bool) (*meta.RESTMapping, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.kinds == nil || now {
		d, err := discovery.NewDiscoveryClientForConfig(a.admin)
		if err != nil {
			return nil, err
		}
		groups, err := restmapper.GetAPIGroupResources(d)
		if err != nil {
			return nil, err
		}
		a.kinds = restmapper.NewDiscoveryRESTMapper(groups)
	}
	return a.kinds.RESTMapping(kind.GroupKind(), kind.Version)
}

// waitServed waits until the API serves every version of these definitions. It says
// "Established" a little before it does, so what counts is that a list succeeds.
func (a *API) waitServed(ctx context.Context, crds []*unstructured.Unstructured) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for _, crd := range crds {
		group, _, _ := unstructured.NestedString(crd.Object, "spec", "group")
		plural, _, _ := unstructured.NestedString(crd.Object, "spec", "names", "plural")
		versions, _, _ := unstructured.NestedSlice(crd.Object, "spec", "versions")
		for _, v := range versions {
			version, ok := v.(map[string]any)
			if !ok || version["served"] != true {
				continue
			}
			name, _ := version["name"].(string)
			if err := a.waitListed(ctx, schema.GroupVersionResource{Group: group, Version: name, Resource: plural}); err != nil {
				return fmt.Errorf("CustomResourceDefinition %s: %w", crd.GetName(), err)
			}
		}
	}
	return nil
}

func (a *API) waitListed(ctx context.Context, r schema.GroupVersionResource) error {
	for {
		_, err := a.dyn.Resource(r).List(ctx, metav1.ListOptions{Limit: 1})
		if err == nil || !apierrors.IsNotFound(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("is not served: %w", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
