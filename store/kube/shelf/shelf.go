package shelf

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"iter"
	"os"
	"path/filepath"
	"strings"
)

const (
	// magic begins the first line; whose it is follows.
	magic = "caracal-shelf 1 "
	// last begins the last line; the checksum of all before it follows.
	last    = "sum "
	maxLine = 16 << 20 // bytes
	// unfinished begins the name of a file that is being written.
	unfinished = ".tmp-"
)

// ErrOther says that a file is another owner's.
var ErrOther = errors.New("it is another node's")

// line is one thing.
type line struct {
	Key   string          `json:"k"`
	Value json.RawMessage `json:"v"`
}

// Writer writes the things of one file.
type Writer struct {
	buf *bufio.Writer
	sum hash.Hash
	err error
}

// Put writes one thing. Its error is that of [Write].
func (w *Writer) Put(key string, value any) {
	if w.err != nil {
		return
	}
	text, err := json.Marshal(value)
	if err == nil {
		text, err = json.Marshal(line{key, text})
	}
	if err != nil {
		w.err = err
		return
	}
	w.text(append(text, '\n'))
}

func (w *Writer) text(b []byte) {
	w.sum.Write(b)
	if _, err := w.buf.Write(b); err != nil && w.err == nil {
		w.err = err
	}
}

// Write makes the file at path hold what fill puts, for that owner. The directory is
// made if it is not there. On an error the file is as it was.
func Write(path, owner string, fill func(*Writer) error) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("shelf: write %s: %w", path, err)
	}
	f, err := os.CreateTemp(dir, unfinished)
	if err != nil {
		return fmt.Errorf("shelf: write %s: %w", path, err)
	}
	if err = fillFile(f, owner, fill); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	} else {
		err = syncDir(dir)
	}
	if err != nil {
		return fmt.Errorf("shelf: write %s: %w", path, err)
	}
	return nil
}

// Sweep removes what a writer that was killed left in a directory. Nobody may be
// writing there.
func Sweep(dir string) {
	left, _ := filepath.Glob(filepath.Join(dir, unfinished+"*")) // the pattern is good
	for _, path := range left {
		_ = os.Remove(path) // what stays is no more than in the way
	}
}

func fillFile(f *os.File, owner string, fill func(*Writer) error) error {
	w := &Writer{buf: bufio.NewWriter(f), sum: sha256.New()}
	w.text([]byte(magic + owner + "\n"))
	err := fill(w)
	if err == nil {
		err = w.err
	}
	if err == nil {
		_, err = w.buf.WriteString(last + hex.EncodeToString(w.sum.Sum(nil)) + "\n")
	}
	if err == nil {
		err = w.buf.Flush()
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Reader reads the things of one file.
type Reader struct {
	in    *bufio.Reader
	sum   hash.Hash
	value json.RawMessage
	err   error
	ended bool
}

// Keys yields the key of each thing; [Reader.Value] is then that thing. What was
// yielded is to be believed only if [Reader.Err] returns nil afterwards.
func (r *Reader) Keys() iter.Seq[string] {
	return func(yield func(string) bool) {
		for r.err == nil && !r.ended {
			text, err := r.line()
			if err != nil {
				r.err = err
				return
			}
			if sum, ok := strings.CutPrefix(string(text[:min(len(text), 80)]), last); ok {
				r.ended = true
				if sum != hex.EncodeToString(r.sum.Sum(nil))+"\n" {
					r.err = errors.New("its checksum does not fit its content")
				} else if _, err := r.in.ReadByte(); err != io.EOF {
					r.err = errors.New("something follows its checksum")
				}
				return
			}
			r.sum.Write(text)
			var l line
			if err := json.Unmarshal(text, &l); err != nil {
				r.err = fmt.Errorf("a line of it cannot be read: %w", err)
				return
			}
			r.value = l.Value
			if !yield(l.Key) {
				return
			}
		}
	}
}

// line returns the next line with its end.
func (r *Reader) line() ([]byte, error) {
	var all []byte
	for {
		part, err := r.in.ReadSlice('\n')
		switch {
		case err == nil && all == nil:
			return part, nil
		case err == nil:
			return append(all, part...), nil
		case errors.Is(err, bufio.ErrBufferFull):
			if all = append(all, part...); len(all) > maxLine {
				return nil, errors.New("a line of it is too long")
			}
		case err == io.EOF:
			return nil, errors.New("it is cut off")
		default:
			return nil, err
		}
	}
}

// Value decodes the thing whose key was yielded last.
func (r *Reader) Value(v any) error {
	if err := json.Unmarshal(r.value, v); err != nil {
		r.err = fmt.Errorf("a line of it cannot be read: %w", err)
		return r.err
	}
	return nil
}

// Err says what is wrong with the file, as far as it was read.
func (r *Reader) Err() error {
	if r.err == nil && !r.ended {
		return errors.New("it was not read to its end")
	}
	return r.err
}

// Read gives the things in the file at path to take, and returns the file's size. An
// error is that of take, or says what is wrong with the file (fs.ErrNotExist if it
// is not there, [ErrOther] if it is another owner's); then nothing of it is to be
// used.
func Read(path, owner string, take func(*Reader) error) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, fmt.Errorf("shelf: read: %w", err)
	}
	defer f.Close()
	r := &Reader{in: bufio.NewReaderSize(f, 64<<10), sum: sha256.New()}
	head, err := r.line()
	if err != nil {
		return 0, fmt.Errorf("shelf: read %s: %w", path, err)
	}
	r.sum.Write(head)
	name, ok := strings.CutPrefix(string(bytes.TrimSuffix(head, []byte("\n"))), magic)
	switch {
	case !ok:
		return 0, fmt.Errorf("shelf: read %s: it does not begin as it should", path)
	case name != owner:
		return 0, fmt.Errorf("shelf: read %s: %w (%q)", path, ErrOther, name)
	}
	if err := take(r); err != nil {
		return 0, fmt.Errorf("shelf: read %s: %w", path, err)
	}
	st, err := f.Stat()
	if err != nil {
		return 0, fmt.Errorf("shelf: read %s: %w", path, err)
	}
	return st.Size(), nil
}
