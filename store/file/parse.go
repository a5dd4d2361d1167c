package file

import (
	"bytes"
	"strings"

	v1 "caracal.dev/caracal/api/v1"
	"caracal.dev/caracal/store"
)

// document is one YAML document of a file.
type document struct {
	path  string // of its file
	line  int    // where it begins, from 1
	ident v1.Ident
	// obj is the object, or err says why it was refused.
	obj *store.Object
	err error
}

// key is what the document says it is; the name is empty if it does not say.
func (d document) key() store.Key {
	if d.obj != nil {
		return d.obj.Key
	}
	return store.Key{Kind: d.ident.Kind, Name: d.ident.ObjectName()}
}

// parse takes a file's content. If any document is no YAML the whole file is
// refused: what follows a cut is missing, and what is missing must not count as
// deleted.
func (f *file) parse(text []byte) {
	if len(text) == 0 {
		f.refused = "it is empty; delete the file to remove its objects"
		return
	}
	for _, part := range split(text) {
		value, ident, err := decode(part.text)
		if v1.IsSyntax(err) {
			// Once more with the lines before it, so that the parser counts right.
			padded := append(bytes.Repeat([]byte("\n"), part.line-1), part.text...)
			if _, _, again := v1.Decode(padded); again != nil {
				err = again
			}
			f.refused, f.docs = err.Error(), nil
			return
		}
		d := document{path: f.path, line: part.line, ident: ident, err: err}
		if err == nil && value == nil {
			continue // nothing but comments
		}
		if err == nil {
			if d.obj, d.err = store.NewObject(value, f.path); d.obj != nil {
				d.obj.Raw = string(part.text)
			}
		}
		f.docs = append(f.docs, d)
	}
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
