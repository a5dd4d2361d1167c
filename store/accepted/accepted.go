package accepted

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

const (
	suffix  = ".json"
	corrupt = ".corrupt"
	// magic begins the first line of a record; the version follows.
	magic = "caracal-accepted 1"
	// syncTogether is the number of records from which one sync of the whole
	// file system is cheaper than one of each.
	syncTogether = 8
	maxRecord    = 64 << 20 // bytes
)

// Key identifies an object.
type Key struct{ Kind, Name string }

// Record is one accepted object.
type Record struct {
	Kind string `json:"kind"`
	// Name is "namespace/name" for kinds in a namespace.
	Name string `json:"name"`
	// Source is the file it came from, relative to the configuration directory.
	Source     string          `json:"source"`
	AcceptedAt time.Time       `json:"acceptedAt"`
	Object     json.RawMessage `json:"object"`
	// Raw is the object as it was written, to tell later whether a shorter text is
	// a part of it.
	Raw string `json:"raw,omitempty"`
}

// Key returns the identity of the record's object.
func (r Record) Key() Key { return Key{r.Kind, r.Name} }

// Corrupt is a file that could not be taken as a record. It was set aside: its
// name now ends in ".corrupt".
type Corrupt struct {
	// File is where it is now; Reason is why it was refused.
	File, Reason string
}

// Dir is a directory of records. It is not safe for concurrent use. It holds no
// state: its user knows what is on disk, from [Dir.Load] and from what it saved.
type Dir struct{ path string }

// Open returns the directory at path, which is made when it is first written
// to. It touches nothing yet.
func Open(path string) *Dir { return &Dir{path: path} }

// Path returns the directory's path.
func (d *Dir) Path() string { return d.path }

// Load reads every record and gives it to take, from several goroutines at a time;
// where take returns an error the record is as good as damaged. What is torn or
// does not fit its checksum is set aside and listed. An error means that the
// directory, or a record in it, could not be read: records may be missing then. A
// directory that does not exist is empty.
func (d *Dir) Load(take func(Record) error) ([]Corrupt, error) {
	entries, err := os.ReadDir(d.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("accepted: read directory: %w", err)
	}
	var mu sync.Mutex // guards bad and errs
	var bad []Corrupt
	var errs []error
	var work errgroup.Group
	work.SetLimit(runtime.GOMAXPROCS(0))
	for batch := range slices.Chunk(entries, 64) {
		work.Go(func() error {
			for _, e := range batch {
				c, err := d.load(e.Name(), take)
				if c.File == "" && err == nil {
					continue
				}
				mu.Lock()
				if err != nil {
					errs = append(errs, err)
				} else {
					bad = append(bad, c)
				}
				mu.Unlock()
			}
			return nil
		})
	}
	_ = work.Wait()
	slices.SortFunc(bad, func(a, b Corrupt) int { return strings.Compare(a.File, b.File) })
	if err := errors.Join(errs...); err != nil {
		return bad, fmt.Errorf("accepted: read records: %w", err)
	}
	return bad, nil
}

// load reads one file of the directory; a Corrupt without a File is none.
func (d *Dir) load(name string, take func(Record) error) (Corrupt, error) {
	if strings.HasPrefix(name, ".tmp-") {
		// What a crash left; it was never part of the state.
		return Corrupt{}, os.Remove(filepath.Join(d.path, name))
	}
	if !strings.HasSuffix(name, suffix) {
		return Corrupt{}, nil
	}
	r, reason, err := d.read(name)
	if err != nil {
		return Corrupt{}, err
	}
	if reason == "" {
		if err := take(r); err != nil {
			reason = err.Error()
		}
	}
	if reason != "" {
		return d.setAside(name, reason), nil
	}
	return Corrupt{}, nil
}

// read returns a record, or the reason why it is corrupt.
func (d *Dir) read(name string) (r Record, reason string, err error) {
	path := filepath.Join(d.path, name)
	if st, err := os.Stat(path); err != nil {
		return r, "", err
	} else if !st.Mode().IsRegular() || st.Size() > maxRecord {
		return r, "it is not a file of a record's size", nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return r, "", err
	}
	head, body, ok := strings.Cut(string(b), "\n")
	sum, isOurs := strings.CutPrefix(head, magic+" ")
	switch {
	case len(b) == 0:
		return r, "it is empty", nil
	case !isOurs:
		return r, "it does not begin as a record does", nil
	case !ok || checksum(body) != sum:
		return r, "its checksum does not fit its content", nil
	}
	if err := json.Unmarshal([]byte(body), &r); err != nil {
		return r, "it is no JSON: " + err.Error(), nil
	}
	if FileName(r.Key()) != name {
		return r, fmt.Sprintf("it is the record of %s %s, and belongs into %s", r.Kind, r.Name, FileName(r.Key())), nil
	}
	return r, "", nil
}

// setAside renames the record in the file name so that it is not read again.
func (d *Dir) setAside(name, reason string) Corrupt {
	from, to := filepath.Join(d.path, name), filepath.Join(d.path, name+corrupt)
	if err := os.Rename(from, to); err != nil {
		return Corrupt{from, reason + "; it could not be set aside: " + err.Error()}
	}
	return Corrupt{to, reason}
}

// Read returns one record.
func (d *Dir) Read(k Key) (Record, error) {
	r, reason, err := d.read(FileName(k))
	if err == nil && reason != "" {
		err = errors.New(reason)
	}
	if err != nil {
		return r, fmt.Errorf("accepted: read %s %s: %w", k.Kind, k.Name, err)
	}
	return r, nil
}

// Save writes records, and removes those that are gone. One record that fails does
// not stop the others; then all of this is to be saved again. Old records are
// removed only when all new ones are in place.
func (d *Dir) Save(records []Record, gone []Key) error {
	if len(records) == 0 && len(gone) == 0 {
		return nil
	}
	dirty := make([]pending, 0, len(records))
	for _, r := range records {
		body, err := json.Marshal(r)
		if err != nil {
			return fmt.Errorf("accepted: encode %s %s: %w", r.Kind, r.Name, err)
		}
		p := pending{name: FileName(r.Key()), body: string(body) + "\n"}
		p.sum = checksum(p.body)
		dirty = append(dirty, p)
	}
	names := make([]string, 0, len(gone))
	for _, k := range gone {
		names = append(names, FileName(k))
	}
	if err := d.write(dirty, names); err != nil {
		return fmt.Errorf("accepted: save into %s: %w", d.path, err)
	}
	return nil
}

// pending is a record to be written.
type pending struct{ name, sum, body, tmp string }

func (d *Dir) write(dirty []pending, gone []string) error {
	if err := os.MkdirAll(d.path, 0o700); err != nil {
		return err
	}
	dir, err := os.Open(d.path)
	if err != nil {
		return err
	}
	defer dir.Close()
	var errs []error
	together := len(dirty) >= syncTogether
	written := dirty[:0:0]
	for _, p := range dirty {
		if p.tmp, err = d.writeTemp(p, !together); err != nil {
			errs = append(errs, err)
			if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EROFS) {
				break // the others would fail alike
			}
			continue
		}
		written = append(written, p)
	}
	if together && len(written) > 0 {
		if err := unix.Syncfs(int(dir.Fd())); err != nil {
			for _, p := range written {
				_ = os.Remove(p.tmp)
			}
			return errors.Join(append(errs, fmt.Errorf("syncfs: %w", err))...)
		}
	}
	for _, p := range written {
		if err := os.Rename(p.tmp, filepath.Join(d.path, p.name)); err != nil {
			_ = os.Remove(p.tmp)
			errs = append(errs, err)
			continue
		}
	}
	if len(errs) == 0 {
		for _, name := range gone {
			if err := os.Remove(filepath.Join(d.path, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(append(errs, dir.Sync())...)
}

func (d *Dir) writeTemp(p pending, sync bool) (string, error) {
	f, err := os.CreateTemp(d.path, ".tmp-")
	if err != nil {
		return "", err
	}
	_, err = f.WriteString(magic + " " + p.sum + "\n" + p.body)
	if err == nil && sync {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return "", err
	}
	return f.Name(), nil
}

func checksum(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// FileName returns the name of an object's record in the directory. A name that
// would be too long for the file system is cut, and its hash added.
func FileName(k Key) string {
	// Neither a kind nor a name has a "~" in it (they are DNS names).
	s := k.Kind + "_" + strings.ReplaceAll(k.Name, "/", "~")
	if len(s) > 200 {
		s = s[:120] + "~" + checksum(k.Kind + "/" + k.Name)[:32]
	}
	return s + suffix
}
