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
	"strings"
	"time"

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

// Dir is a directory of records. It is not safe for concurrent use.
type Dir struct {
	path string
	// have is the checksum of each record on disk, by file name; nil until the
	// directory was read.
	have map[string]string
}

// Open returns the directory at path, which is made when it is first written
// to. It touches nothing yet.
func Open(path string) *Dir { return &Dir{path: path} }

// Path returns the directory's path.
func (d *Dir) Path() string { return d.path }

// Load reads every record. What is torn or does not fit its checksum is set
// aside and listed. An error means that the directory, or a record in it, could
// not be read: records may be missing then. A directory that does not exist is
// empty.
func (d *Dir) Load() ([]Record, []Corrupt, error) {
	entries, err := os.ReadDir(d.path)
	if errors.Is(err, fs.ErrNotExist) {
		d.have = map[string]string{}
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("accepted: read directory: %w", err)
	}
	d.have = make(map[string]string, len(entries))
	var records []Record
	var bad []Corrupt
	var errs []error
	for _, e := range entries {
		name := e.Name()
		if strings.HasPrefix(name, ".tmp-") {
			// What a crash left; it was never part of the state.
			errs = append(errs, os.Remove(filepath.Join(d.path, name)))
			continue
		}
		if !strings.HasSuffix(name, suffix) {
			continue
		}
		r, sum, reason, err := d.read(name)
		switch {
		case err != nil:
			errs = append(errs, err)
		case reason != "":
			bad = append(bad, d.SetAside(name, reason))
		default:
			d.have[name] = sum
			records = append(records, r)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return records, bad, fmt.Errorf("accepted: read records: %w", err)
	}
	return records, bad, nil
}

// read returns a record and its checksum, or the reason why it is corrupt.
func (d *Dir) read(name string) (r Record, sum, reason string, err error) {
	path := filepath.Join(d.path, name)
	if st, err := os.Stat(path); err != nil {
		return r, "", "", err
	} else if !st.Mode().IsRegular() || st.Size() > maxRecord {
		return r, "", "it is not a file of a record's size", nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return r, "", "", err
	}
	head, body, ok := strings.Cut(string(b), "\n")
	sum, isOurs := strings.CutPrefix(head, magic+" ")
	switch {
	case len(b) == 0:
		return r, "", "it is empty", nil
	case !isOurs:
		return r, "", "it does not begin as a record does", nil
	case !ok || checksum(body) != sum:
		return r, "", "its checksum does not fit its content", nil
	}
	if err := json.Unmarshal([]byte(body), &r); err != nil {
		return r, "", "it is no JSON: " + err.Error(), nil
	}
	if FileName(r.Key()) != name {
		return r, "", fmt.Sprintf("it is the record of %s %s, and belongs into %s", r.Kind, r.Name, FileName(r.Key())), nil
	}
	return r, sum, "", nil
}

// SetAside renames the record in the file name so that it is not read again.
func (d *Dir) SetAside(name, reason string) Corrupt {
	from, to := filepath.Join(d.path, name), filepath.Join(d.path, name+corrupt)
	delete(d.have, name)
	if err := os.Rename(from, to); err != nil {
		return Corrupt{from, reason + "; it could not be set aside: " + err.Error()}
	}
	return Corrupt{to, reason}
}

// Save makes the directory hold exactly these records. It writes only those
// that differ from what is there, and when there are none it touches nothing.
// One record that fails does not stop the others; what failed is tried again by
// the next Save. Old records are removed only when all new ones are in place.
func (d *Dir) Save(records []Record) error {
	if d.have == nil {
		if _, _, err := d.Load(); err != nil && d.have == nil {
			return err
		}
	}
	want := make(map[string]bool, len(records))
	var dirty []pending
	for _, r := range records {
		body, err := json.Marshal(r)
		if err != nil {
			return fmt.Errorf("accepted: encode %s %s: %w", r.Kind, r.Name, err)
		}
		p := pending{name: FileName(r.Key()), body: string(body) + "\n"}
		p.sum = checksum(p.body)
		want[p.name] = true
		if d.have[p.name] != p.sum {
			dirty = append(dirty, p)
		}
	}
	var gone []string
	for name := range d.have {
		if !want[name] {
			gone = append(gone, name)
		}
	}
	if len(dirty) == 0 && len(gone) == 0 {
		return nil
	}
	if err := d.write(dirty, gone); err != nil {
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
		d.have[p.name] = p.sum
	}
	if len(errs) == 0 {
		for _, name := range gone {
			if err := os.Remove(filepath.Join(d.path, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, err)
				continue
			}
			delete(d.have, name)
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
