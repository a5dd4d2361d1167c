package file

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"caracal.dev/caracal"
	v1 "caracal.dev/caracal/api/v1"
	"caracal.dev/caracal/store"
)

// state is what the store remembers from one pass to the next. A pass does not
// change it but returns the next one.
type state struct {
	// accepted are the objects in force, and objects the same sorted by kind and name.
	accepted map[store.Key]*store.Object
	objects  []*store.Object
	// held are the removals that wait for a confirmation.
	held map[store.Key]bool
	// heldAt is when a removal was last held; zero if none is.
	heldAt time.Time
	// selfSeen says that this run has read a NodeConfig of the own node.
	selfSeen bool
	// recent are the removals of the last while.
	recent []removal
	// lost says that accepted objects of the last run could not be read.
	lost bool
	// synced stays true once it is.
	synced bool
	// stands are the policies that stand in for refused ones, sorted.
	stands []*store.Object
}

type removal struct {
	kind  string
	count int
	at    time.Time
}

// outcome is what a pass makes of a scan.
type outcome struct {
	state   state
	objects []*store.Object // in force, sorted by kind and name
	// stands are in force besides, and never accepted; see [store.RejectedPolicy].
	stands []*store.Object
	// fresh are documents whose object was proposed for the first time.
	fresh      []*document
	incomplete map[string]string
	problems   []caracal.Problem
	// missing says that objects were judged that are in no file any more; deferred
	// are those whose removal waits for the directory to settle.
	missing  bool
	deferred []*store.Object
}

// pass is the work of one plan.
type pass struct {
	input

	// found are the documents by what they say they are, and more those beyond the
	// first, in the order of files.
	found map[store.Key]*document
	more  map[store.Key][]*document
	fresh []*document
	// stands are the policies that stand in for refused ones, by name.
	stands map[string]*store.Object
	// shielded are sources whose objects cannot be missed: path or directory.
	shielded []string
	// spoiled are the files with a refused document.
	spoiled map[string]bool
	changed []*store.Object // new objects and new versions
	kept    map[store.Key]bool
	// moved are objects in force that were read anew, from wherever they are now.
	moved     map[store.Key]*store.Object
	inForce   int
	removed   map[string][]*store.Object // by kind
	held      map[store.Key]bool
	problems  []caracal.Problem
	incompl   map[string]string
	orphaned  []string // kinds of refused documents that nothing stands in for; "" unknown
	documents int
	deferred  []*store.Object
}

// input is what a pass decides by.
type input struct {
	dir string
	// self is the node we run on, selfFrom how we know: "--node" or "hostname".
	self, selfFrom string
	old            state
	scan           *scan
	now            time.Time
	// confirm lets the removals through that are held.
	confirm bool
	// settled says that what is missing is not just being written elsewhere.
	settled bool
	// raw returns the accepted document of a key as it was written.
	raw func(store.Key) string
}

// plan decides what a scan means, given what is in force. It is pure.
func plan(in input) outcome {
	p := &pass{
		input: in, found: make(map[store.Key]*document, len(in.old.accepted)), more: map[store.Key][]*document{},
		stands: map[string]*store.Object{}, spoiled: map[string]bool{},
		kept: make(map[store.Key]bool, len(in.old.accepted)), removed: map[string][]*store.Object{}, held: map[store.Key]bool{},
		incompl: map[string]string{}, moved: map[store.Key]*store.Object{},
	}
	if in.scan.err != nil {
		p.unreadableDir()
	} else {
		p.unreadable()
		p.collect()
		p.choose()
		p.missing()
		p.misfits()
	}
	p.holdRemovals()
	return p.finish()
}

// keep leaves an accepted object in force as it is.
func (p *pass) keep(o *store.Object) {
	if !p.kept[o.Key] {
		p.kept[o.Key] = true
		if o != p.old.accepted[o.Key] {
			p.moved[o.Key] = o
		}
		p.inForce++
	}
}

// proposed is what is to be judged so far. What is in force is listed in its own
// order, which spares Judge to sort it.
func (p *pass) proposed() store.Proposal {
	q := store.Proposal{Changed: p.changed, Accepted: p.old.accepted, InForce: make([]*store.Object, 0, p.inForce)}
	isChanged := make(map[store.Key]bool, len(p.changed))
	for _, o := range p.changed {
		isChanged[o.Key] = true
	}
	for _, o := range p.old.objects {
		if !p.kept[o.Key] || isChanged[o.Key] {
			continue
		}
		if again, ok := p.moved[o.Key]; ok {
			o = again
		}
		q.InForce = append(q.InForce, o)
	}
	return q
}

func (p *pass) problem(sev caracal.Severity, source string, key store.Key, message string) {
	p.problems = append(p.problems, caracal.Problem{
		Severity: sev, Source: source, Kind: key.Kind, Name: key.Name, Message: message,
	})
}

// unreadableDir keeps everything.
func (p *pass) unreadableDir() {
	for _, o := range p.old.accepted {
		p.keep(o)
	}
	msg := fmt.Sprintf("the configuration directory cannot be read: %v", p.scan.err)
	p.allIncomplete(msg)
	p.problem(caracal.Rejected, "", store.Key{}, msg+p.standIn(slices.Collect(maps.Values(p.old.accepted))))
}

// unreadable shields the objects of directories and files that cannot be read,
// and marks their kinds, or all where none is known, as incomplete.
func (p *pass) unreadable() {
	bad := maps.Clone(p.scan.badDirs)
	for _, top := range []string{"cluster", "local"} {
		// These two are mounted or linked in as a whole, so their absence is no
		// deletion of files.
		if _, listed := p.scan.dirs[filepath.Join(p.dir, top)]; !listed && bad[top] == nil && len(p.under(top)) > 0 {
			bad[top] = fmt.Errorf("it does not exist any more (to remove its objects, run: caracal configure confirm)")
		}
	}
	for _, f := range p.scan.files {
		if f.readErr != nil {
			bad[f.path] = f.readErr
		}
	}
	for _, path := range slices.Sorted(maps.Keys(bad)) {
		objects := p.under(path)
		msg := fmt.Sprintf("%s: cannot be read: %v", path, bad[path])
		if p.confirm && allHeld(objects, p.old.held) {
			continue // asked about, and confirmed
		}
		p.shielded = append(p.shielded, path)
		if _, top := map[string]bool{"cluster": true, "local": true}[path]; top {
			for _, o := range objects {
				p.held[o.Key] = true
			}
		}
		if len(objects) == 0 {
			p.allIncomplete(msg)
		}
		for _, o := range objects {
			p.incompl[o.Kind] = msg
		}
		p.problem(caracal.Rejected, path, store.Key{}, msg+p.standIn(objects))
	}
}

func allHeld(objects []*store.Object, held map[store.Key]bool) bool {
	for _, o := range objects {
		if !held[o.Key] {
			return false
		}
	}
	return len(objects) > 0
}

func (p *pass) allIncomplete(reason string) {
	for _, k := range v1.Kinds() {
		p.incompl[k] = reason
	}
}

// under returns the accepted objects of a file, or of the files below a
// directory, sorted.
func (p *pass) under(path string) []*store.Object {
	var list []*store.Object
	for _, o := range p.old.accepted {
		if o.Source == path || strings.HasPrefix(o.Source, path+"/") {
			list = append(list, o)
		}
	}
	return list
}

func (p *pass) isShielded(source string) bool {
	return slices.ContainsFunc(p.shielded, func(s string) bool {
		return source == s || strings.HasPrefix(source, s+"/")
	})
}

// collect goes through the documents.
func (p *pass) collect() {
	for _, f := range p.scan.files {
		if f.refused != "" {
			objects := p.under(f.path)
			p.shielded = append(p.shielded, f.path)
			p.orphan("", len(objects) > 0)
			p.problem(caracal.Rejected, f.path, store.Key{}, f.path+": "+f.refused+p.standIn(objects))
		}
		for i := range f.docs {
			p.documents++
			d := p.whole(&f.docs[i])
			if d.bad != nil {
				p.spoiled[f.path] = true
			}
			key := d.key()
			if key.Kind == "" || key.Name == "" {
				p.orphan(key.Kind, false)
				what := fmt.Sprintf("document at line %d: %v", d.line, d.bad.err) + p.isolate(d)
				p.problem(caracal.Rejected, f.path, key, store.Sentence(f.path, key, what))
			} else if p.found[key] == nil {
				p.found[key] = d
			} else {
				p.more[key] = append(p.more[key], d)
			}
		}
	}
}

// whole refuses a document that is the accepted one up to the middle of a line.
func (p *pass) whole(d *document) *document {
	if d.obj == nil || d.obj.Text == nil || strings.HasSuffix(d.obj.Text.Raw, "\n") {
		return d
	}
	acc := p.old.accepted[d.obj.Key]
	if acc == nil || acc == d.obj || acc.Source != d.file.path || acc.RawSum == d.obj.RawSum {
		return d
	}
	was := ""
	if acc.Text != nil {
		was = acc.Text.Raw
	} else if p.raw != nil {
		was = p.raw(acc.Key)
	}
	if !cutOff(d.obj.Text.Raw, was) {
		return d
	}
	id := v1.Ident{Kind: d.obj.Kind, Name: d.obj.Name}
	if space, name, ok := strings.Cut(id.Name, "/"); ok {
		id.Namespace, id.Name = space, name
	}
	return &document{file: d.file, line: d.line, bad: &refusal{ident: id, err: errCutOff}}
}

var errCutOff = errors.New("the file ends in the middle of a line, where the accepted version goes on; write it again, whole")

// orphan notes that something of a kind was refused and nothing stands in.
func (p *pass) orphan(kind string, standIn bool) {
	if !standIn {
		p.orphaned = append(p.orphaned, kind)
	}
}

// standIn says what stays in force instead of what was refused.
func (p *pass) standIn(objects []*store.Object) string {
	if len(objects) == 0 {
		return ""
	}
	last := objects[0].AcceptedAt
	for _, o := range objects {
		if o.AcceptedAt.After(last) {
			last = o.AcceptedAt
		}
	}
	if len(objects) == 1 {
		return fmt.Sprintf("; %s as accepted at %s stays in force", objects[0].Key, stampText(last))
	}
	return fmt.Sprintf("; the %d objects accepted before, the last at %s, stay in force", len(objects), stampText(last))
}

func stampText(t time.Time) string { return t.UTC().Format(time.RFC3339) }
