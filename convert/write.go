package convert

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	v1 "caracal.dev/caracal/api/v1"
	"caracal.dev/caracal/store"
)

// settle keeps of the objects what is valid and fits together, as the stores judge
// it, and brings everything into order.
func (c *conversion) settle() {
	slices.SortFunc(c.out, compareObjects)
	objects := map[store.Key]v1.Object{}
	var proposed []*store.Object
	for _, o := range c.out {
		decoded, err := decode(o)
		if err != nil {
			c.refused(o.ResourceKind()+" "+v1.ObjectName(o), err)
			continue
		}
		so, err := store.NewObject(decoded, "", "", nil)
		if err != nil {
			c.refused(o.ResourceKind()+" "+v1.ObjectName(o), err)
			continue
		}
		objects[so.Key] = o
		proposed = append(proposed, so)
	}
	v := store.Judge(store.Proposal{Changed: proposed})
	for _, r := range v.Rejected {
		field, why, _ := strings.Cut(r.Reason, ": ")
		c.lose(r.Object.Key.String(), field, "", why+"; the object is left out", "make the two fit, and convert again")
	}
	for _, o := range v.Objects {
		c.result.Objects = append(c.result.Objects, objects[o.Key])
	}
	slices.SortFunc(c.result.Objects, compareObjects)
	slices.SortStableFunc(c.result.Losses, func(a, b Loss) int { return strings.Compare(a.Object, b.Object) })
	c.result.Losses = slices.Compact(c.result.Losses)
	slices.Sort(c.result.Notes)
}

// choose leaves of what is written the kinds that were asked for.
func (c *conversion) choose() {
	if len(c.opts.Only) == 0 {
		return
	}
	r := c.result
	r.Objects = slices.DeleteFunc(r.Objects, func(o v1.Object) bool { return !slices.Contains(c.opts.Only, o.ResourceKind()) })
	r.Passed = slices.DeleteFunc(r.Passed, func(tree map[string]any) bool { return !slices.Contains(c.opts.Only, fmt.Sprint(tree["kind"])) })
}

func (c *conversion) refused(key string, err error) {
	const do = "put it right in the source, or write the object by hand"
	errs, ok := err.(v1.Errors)
	if !ok {
		c.lose(key, "", "", "is refused: "+err.Error(), do)
	}
	for _, e := range errs {
		c.lose(key, e.Path, "", e.Msg+"; the object is left out", do)
	}
}

// YAML is the objects and what is passed on, as a file of the file store's directory
// cluster, or for kubectl apply.
func (r *Result) YAML() ([]byte, error) {
	var b strings.Builder
	for _, o := range r.Objects {
		tree, err := treeOf(o)
		if err == nil {
			err = writeTree(&b, tree)
		}
		if err != nil {
			return nil, fmt.Errorf("convert: write %s %s: %w", o.ResourceKind(), v1.ObjectName(o), err)
		}
	}
	for _, tree := range r.Passed {
		if err := writeTree(&b, tree); err != nil {
			return nil, fmt.Errorf("convert: %w", err)
		}
	}
	return []byte(b.String()), nil
}

// treeOf is an object as it is written: with what it says, and no defaults.
func treeOf(o v1.Object) (map[string]any, error) {
	text, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	t, err := parse(text)
	if err != nil {
		return nil, err
	}
	tree, _ := plain(t).(map[string]any)
	tree["apiVersion"], tree["kind"] = v1.APIVersion, o.ResourceKind()
	if meta, ok := tree["metadata"].(map[string]any); ok && meta["creationTimestamp"] == nil {
		delete(meta, "creationTimestamp")
	}
	return tree, nil
}

// decode reads an object back as a store will.
func decode(o v1.Object) (v1.Object, error) {
	tree, err := treeOf(o)
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(tree)
	if err != nil {
		return nil, err
	}
	decoded, _, err := v1.Decode(text)
	return decoded, err
}

func writeTree(b *strings.Builder, tree map[string]any) error {
	text, err := yaml.Marshal(tree)
	if err != nil {
		return err
	}
	b.WriteString("---\n")
	b.Write(text)
	return nil
}

// Report is everything that an operator must know and that is not in the objects, a
// line each: first what is no longer protected.
func (r *Result) Report() string {
	var b strings.Builder
	for _, e := range r.Exposed {
		fmt.Fprintln(&b, e)
	}
	for _, l := range r.Losses {
		fmt.Fprintln(&b, l)
	}
	for _, n := range r.Notes {
		fmt.Fprintln(&b, "note:", n)
	}
	fmt.Fprintf(&b, "%d objects written, %d passed on unchanged, %d things not carried, %d unprotected\n", len(r.Objects), len(r.Passed), len(r.Losses), len(r.Exposed))
	return b.String()
}
