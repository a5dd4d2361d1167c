package file

import (
	"bytes"
	"runtime"
	"strings"

	"golang.org/x/sync/errgroup"

	"caracal.dev/caracal"
	v1 "caracal.dev/caracal/api/v1"
	"caracal.dev/caracal/store"
)

// document is one YAML document of a file.
type document struct {
	file *file
	line int // where it begins, from 1
	// obj is the object; nil if the document was refused. Once it is accepted it is
	// the very object in force.
	obj *store.Object
	bad *refusal
}

// refusal says why a document was refused.
type refusal struct {
	ident v1.Ident
	err   error
	// policy is what stands in for a NetworkPolicy; nil for other kinds.
	policy *caracal.Policy
}

// key is what the document says it is; the name is empty if it does not say.
func (d *document) key() store.Key {
	if d.obj != nil {
		return d.obj.Key
	}
	return store.Key{Kind: d.bad.ident.Kind, Name: d.bad.ident.ObjectName()}
}

// parse takes a file's content. If any document is no YAML the whole file is
// refused: what follows a cut is missing, and what is missing must not count as
// deleted.
func (f *file) parse(text []byte, words *store.Words) {
	if len(text) == 0 {
		f.refused = "it is empty; delete the file to remove its objects"
		return
	}
	parts := split(text)
	read := make([]reading, len(parts))
	inParallel(len(parts), func(i int) { read[i] = parts[i].decode(f, words) })
	n := 0
	for _, r := range read {
		if r.syntax != nil {
			f.refused = r.syntax.Error()
			return
		}
		n += len(r.docs)
	}
	f.docs = make([]document, 0, n)
	for _, r := range read {
		f.docs = append(f.docs, r.docs...)
	}
	f.compact()
}

// compact moves the objects of the file next to each other.
func (f *file) compact() {
	var good []*document
	var objects []*store.Object
	for i := range f.docs {
		if d := &f.docs[i]; d.obj != nil {
			good, objects = append(good, d), append(objects, d.obj)
		}
	}
	store.Compact(objects)
	for i, d := range good {
		d.obj = objects[i]
	}
}

// inParallel calls do with 0 to n-1, on all processors if there are many.
func inParallel(n int, do func(i int)) {
	const chunk = 32
	if n <= chunk {
		for i := range n {
			do(i)
		}
		return
	}
	var work errgroup.Group
	work.SetLimit(runtime.GOMAXPROCS(0))
	for from := 0; from < n; from += chunk {
		work.Go(func() error {
			for i := from; i < min(from+chunk, n); i++ {
				do(i)
			}
			return nil
		})
	}
	_ = work.Wait()
}

// reading is what one part of a file was found to be: documents, none if it holds
// nothing but comments, or no YAML at all.
type reading struct {
	docs   []document
	syntax error
}

func (p part) decode(f *file, words *store.Words) reading {
	value, ident, err := decode(p.text)
	switch {
	case v1.IsSyntax(err):
		// Once more with the lines before it, so that the parser counts right.
		padded := append(bytes.Repeat([]byte("\n"), p.line-1), p.text...)
		if _, _, again := v1.Decode(padded); again != nil {
			err = again
		}
		return reading{syntax: err}
	case err == nil && value == nil:
		return reading{}
	}
	if ident.Kind == "List" {
		if items, isList, bad := v1.Items(p.text); bad != nil {
			err = bad
		} else if isList {
			return p.decodeItems(f, items, words)
		}
	}
	return reading{docs: []document{p.document(f, value, ident, err, words)}}
}

// decodeItems reads the objects of a List as if each were a document of its own.
func (p part) decodeItems(f *file, items [][]byte, words *store.Words) reading {
	var r reading
	for _, text := range items {
		item := part{text: append(text, '\n'), line: p.line}
		value, ident, err := decode(item.text)
		r.docs = append(r.docs, item.document(f, value, ident, err, words))
	}
	return r
}

// document wraps what the text of a document was decoded to.
func (p part) document(f *file, value v1.Object, ident v1.Ident, err error, words *store.Words) document {
	d := document{file: f, line: p.line}
	if err == nil {
		d.obj, err = store.NewObject(value, f.path, string(p.text), words)
	}
	if err != nil {
		d.bad = &refusal{ident: ident, err: err}
		if ident.Kind == v1.KindNetworkPolicy {
			policy := v1.RejectedPolicy(p.text, err.Error())
			policy.Source = f.path
			d.bad.policy = &policy
		}
	}
	return d
}

// decode is [v1.Decode], and refuses what files cannot be the source of: two nodes
// that each read files of their own would claim the same block.
func decode(text []byte) (v1.Object, v1.Ident, error) {
	value, ident, err := v1.Decode(text)
	if c, ok := value.(*v1.IPAMConfiguration); ok && c.Spec.Mode == v1.IPAMBlocks {
		return nil, ident, v1.Errors{{Path: "spec.mode", Msg: "blocks takes a store that all nodes share, such as Kubernetes, for two nodes must not claim the same block; with files write podCIDR, and list each node's blocks in its NodeConfig"}}
	}
	return value, ident, err
}

// cutOff reports whether text is the accepted one up to the middle of a line.
// Hardly anybody edits a file like that, but a writer that died leaves it so.
func cutOff(text, accepted string) bool {
	return len(text) < len(accepted) && strings.HasPrefix(accepted, text) &&
		!strings.HasSuffix(text, "\n") && accepted[len(text)] != '\n'
}

type part struct {
	text []byte
	line int
}

// split cuts a stream at its document markers (YAML 1.2 section 9.1): a line that
// begins with "---" or "..." followed by a blank or by its end cannot be anything
// else. What follows "---" on its line belongs to the document.
func split(text []byte) []part {
	var parts []part
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
	// A lone carriage return is a line break in YAML too (section 5.4).
	text = bytes.ReplaceAll(bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n")), []byte("\r"), []byte("\n"))
	start, startLine, line := 0, 1, 1
	for pos := 0; pos < len(text); line++ {
		next := len(text)
		if end := bytes.IndexByte(text[pos:], '\n'); end >= 0 {
			next = pos + end + 1
		}
		switch {
		case isMarker(text[pos:next], "---") && pos > start:
			parts = append(parts, part{text[start:pos], startLine})
			start, startLine = pos, line
		case isMarker(text[pos:next], "..."):
			parts = append(parts, part{text[start:pos], startLine})
			start, startLine = next, line+1
		}
		pos = next
	}
	return append(parts, part{text[start:], startLine})
}

func isMarker(line []byte, marker string) bool {
	rest, ok := bytes.CutPrefix(line, []byte(marker))
	return ok && (len(rest) == 0 || strings.IndexByte(" \t\n", rest[0]) >= 0)
}
