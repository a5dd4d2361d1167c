package file

import (
	"fmt"
	"slices"
	"time"

	"caracal.dev/caracal"
	v1 "caracal.dev/caracal/api/v1"
	"caracal.dev/caracal/store"
)

// choose settles which document speaks for each object that was found.
func (p *pass) choose() {
	for key, first := range p.found { // Problems and proposals are put into order later
		docs := append([]*document{first}, p.more[key]...)
		acc := p.old.accepted[key]
		if acc != nil && !slices.ContainsFunc(docs, func(d *document) bool { return d.file.path == acc.Source }) && p.isShielded(acc.Source) {
			// The file it was accepted from may still hold it.
			p.keep(acc)
			p.duplicates(key, docs, -1, acc.Source)
			continue
		}
		i := pick(docs, acc)
		d := docs[i]
		if d.obj == nil {
			p.refuse(key, d, acc)
		} else {
			p.propose(d, acc)
		}
		p.duplicates(key, docs, i, d.file.path)
	}
}

// pick returns the document that speaks for an object: the one in the file that
// it was accepted from, else one that says the same, else the first good one.
func pick(docs []*document, acc *store.Object) int {
	if len(docs) == 1 {
		return 0
	}
	rank := func(d *document) int {
		switch {
		case acc != nil && d.file.path == acc.Source && d.obj != nil && d.obj.Sum == acc.Sum:
			return 0
		case acc != nil && d.file.path == acc.Source:
			return 1
		case acc != nil && d.obj != nil && d.obj.Sum == acc.Sum:
			return 2
		case d.obj != nil:
			return 3
		}
		return 4
	}
	best := 0
	for i := range docs {
		if rank(docs[i]) < rank(docs[best]) {
			best = i
		}
	}
	return best
}

func (p *pass) refuse(key store.Key, d *document, acc *store.Object) {
	message := store.Sentence(d.file.path, key, d.bad.err.Error())
	if acc != nil {
		p.keep(acc)
		message += versionStays(acc)
	} else {
		message += p.isolate(d)
	}
	p.orphan(key.Kind, acc != nil)
	p.problem(caracal.Rejected, d.file.path, key, message)
}

func versionStays(acc *store.Object) string {
	return fmt.Sprintf("; the version accepted at %s stays in force", stampText(acc.AcceptedAt))
}

// propose puts forward a version of an object. One that means the same as the
// accepted one is no change, though its file may be another.
func (p *pass) propose(d *document, acc *store.Object) {
	o := d.obj
	if acc == o {
		p.keep(acc)
		return
	}
	again := *o
	o, p.fresh = &again, append(p.fresh, d)
	if acc != nil && acc.Sum == o.Sum {
		o.AcceptedAt = acc.AcceptedAt
		p.keep(o)
		return
	}
	o.AcceptedAt = time.Time{}
	p.changed = append(p.changed, o)
	p.kept[o.Key] = true
}

// duplicates reports every document of an object but the one chosen.
func (p *pass) duplicates(key store.Key, docs []*document, chosen int, chosenPath string) {
	for i, d := range docs {
		if i == chosen {
			continue
		}
		var what string
		switch {
		case d.bad != nil:
			what = d.bad.err.Error() + "; besides, the object is in " + chosenPath + " too"
		case d.file.path == chosenPath && chosen >= 0:
			what = fmt.Sprintf("it is in this file twice, at line %d and at line %d; the one at line %d is taken, so remove one", min(d.line, docs[chosen].line), max(d.line, docs[chosen].line), docs[chosen].line)
		default:
			what = fmt.Sprintf("it is in %s too; the one in %s is taken, so remove one", chosenPath, chosenPath)
		}
		path := d.file.path
		p.spoiled[path] = true
		p.problem(caracal.Rejected, path, key, store.Sentence(path, key, what))
	}
}

// missing finds the accepted objects that are in no file any more.
func (p *pass) missing() {
	for key, o := range p.old.accepted {
		switch {
		case p.kept[key] || p.found[key] != nil:
		case p.isShielded(o.Source):
			p.keep(o)
		case p.spoiled[o.Source]:
			p.keepSpoiled(o)
		case !p.settled && !p.old.held[key]:
			// What is not written yet must not look like a removal.
			p.deferred = append(p.deferred, o)
			p.keep(o)
		default:
			p.removed[o.Kind] = append(p.removed[o.Kind], o)
		}
	}
}

// keepSpoiled keeps an object of a file with a refused document: that document
// may be what became of it.
func (p *pass) keepSpoiled(o *store.Object) {
	p.keep(o)
	p.problem(caracal.Rejected, o.Source, o.Key, store.Sentence(o.Source, o.Key,
		"it is not in the file any more, but a document of the file is refused"+versionStays(o)))
}

// misfits does the same for the files of documents that will be refused because
// they do not fit with the other objects.
func (p *pass) misfits() {
	for again := len(p.removed) > 0; again; {
		again = false
		for _, r := range store.Judge(p.proposed()).Rejected {
			for kind, gone := range p.removed {
				p.removed[kind] = slices.DeleteFunc(gone, func(o *store.Object) bool {
					if o.Source != r.Object.Source {
						return false
					}
					p.keepSpoiled(o)
					again = true // kept, it may be in the way of others
					return true
				})
				if len(p.removed[kind]) == 0 {
					delete(p.removed, kind)
				}
			}
		}
	}
}

// names lists the names of objects, not too many.
func names(objects []*store.Object) string {
	list := make([]string, len(objects))
	for i, o := range objects {
		list[i] = o.Name
	}
	slices.Sort(list)
	return enumerate(list)
}

// enumerate joins a sorted list, not more than ten of it.
func enumerate(list []string) string {
	const most = 10
	text := ""
	for i, s := range list {
		if i == most {
			return fmt.Sprintf("%s and %d more", text, len(list)-most)
		}
		if i > 0 {
			text += ", "
		}
		text += s
	}
	return text
}

// finish judges the proposal and puts the outcome together.
func (p *pass) finish() outcome {
	verdict := store.Judge(p.proposed())
	for _, r := range verdict.Rejected {
		message := store.Sentence(r.Object.Source, r.Object.Key, r.Reason)
		if r.InForce != nil {
			message += versionStays(r.InForce)
		}
		p.orphan(r.Object.Kind, r.InForce != nil)
		p.problem(caracal.Rejected, r.Object.Source, r.Object.Key, message)
	}
	for _, r := range verdict.Strained {
		p.problem(caracal.Warning, r.Object.Source, r.Object.Key, store.Sentence(r.Object.Source, r.Object.Key, r.Reason))
	}
	out := outcome{objects: verdict.Objects, fresh: p.fresh, stands: p.standIns(), incomplete: p.incompl, missing: len(p.removed) > 0, deferred: p.deferred}
	accepted := make(map[store.Key]*store.Object, len(out.objects))
	for i, o := range out.objects {
		if o.AcceptedAt.IsZero() {
			stamped := *o
			stamped.AcceptedAt = p.now
			o, out.objects[i] = &stamped, &stamped
		}
		accepted[o.Key] = o
	}
	p.problems = append(p.problems, store.Warnings(out.objects)...)
	p.missingSelf(accepted)
	lost := p.lost()
	out.state = state{
		accepted: accepted, objects: out.objects, held: p.held, heldAt: p.old.heldAt, recent: p.old.recent, lost: lost,
		selfSeen: p.old.selfSeen || p.found[p.selfKey()] != nil, stands: out.stands,
		synced: p.old.synced || len(p.old.accepted) > 0 || p.scan.err == nil && p.documents > 0,
	}
	if !out.state.synced && p.scan.err == nil {
		p.problem(caracal.Warning, "", store.Key{}, fmt.Sprintf("%s holds no configuration; write one (caracal init makes a first one)", p.dir))
	}
	out.problems = p.problems
	return out
}

// lost marks what may be missing because accepted objects of the last run could
// not be read, and reports whether anything still may be.
func (p *pass) lost() bool {
	if !p.old.lost {
		return false
	}
	const reason = "objects accepted by the last run could not be read from disk, and their files are refused now"
	for _, kind := range p.orphaned {
		if kind == "" || v1.New(kind) == nil {
			p.allIncomplete(reason)
		} else {
			p.incompl[kind] = reason
		}
	}
	return len(p.orphaned) > 0 || len(p.incompl) > 0
}
