package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"caracal.dev/caracal/ipam"
)

// The names in a directory: records end in suffix, what is being written begins
// with temporary.
const (
	suffix     = ".rec"
	temporary  = ".tmp-"
	lockName   = ".lock"
	damagedDir = "damaged"
)

// ErrLocked: another process has the directory.
var ErrLocked = errors.New("another process has it")

// Store is a directory of records. All of them are in memory as well, so that
// only writes touch the disk. It implements [ipam.Store].
type Store struct {
	path    string
	lock    *os.File // the directory's lock
	dir     *os.File
	counter atomic.Uint64
	writes  [64]sync.Mutex // by key: one write of a record at a time
	seed    maphash.Seed

	mu      sync.RWMutex
	records map[string]ipam.Record
	damaged map[string]damage
	closed  bool
}

// damage is a record that cannot be read. Files are where it was moved to.
type damage struct {
	ipam.Damaged
	files []string
}

var _ ipam.Store = (*Store)(nil)

// Open opens a directory, which is made if it is not there, reads all of its
// records, and moves away what is damaged. The error wraps [ErrLocked] if another
// process has the directory open.
func Open(path string) (*Store, error) {
	s := &Store{path: path, seed: maphash.MakeSeed(), records: map[string]ipam.Record{}, damaged: map[string]damage{}}
	if err := s.open(); err != nil {
		_ = s.Close()
		return nil, fmt.Errorf("disk: open %s: %w", path, err)
	}
	return s, nil
}

func (s *Store) open() (err error) {
	if err := makeDir(s.path); err != nil {
		return err
	}
	if err := makeDir(filepath.Join(s.path, damagedDir)); err != nil {
		return err
	}
	if s.lock, err = os.OpenFile(filepath.Join(s.path, lockName), os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return err
	}
	if err := unix.Flock(int(s.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
		return fmt.Errorf("%w: is a second caracald running with the same --state?", ErrLocked)
	} else if err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	if s.dir, err = os.Open(s.path); err != nil {
		return err
	}
	if err := s.readDamaged(); err != nil {
		return err
	}
	return s.readRecords()
}

// makeDir makes a directory that survives a crash.
func makeDir(path string) error {
	if st, err := os.Stat(path); err == nil && st.IsDir() {
		return nil
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Close lets another process open the directory. No write may be under way.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	var errs []error
	for _, f := range []*os.File{s.dir, s.lock} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("disk: close %s: %w", s.path, err)
	}
	return nil
}

// readRecords reads the directory. What a crash left of a write was never part
// of the state.
func (s *Store) readRecords() error {
	entries, err := os.ReadDir(s.path)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		if strings.HasPrefix(name, temporary) {
			if err := os.Remove(filepath.Join(s.path, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			continue
		}
		if !strings.HasSuffix(name, suffix) {
			continue
		}
		r, err := s.read(name)
		if errors.Is(err, ipam.ErrDamaged) {
			if err := s.setAside(name, r.Key, err); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			// It may be read another time: better not to start than to take it for none.
			return err
		}
		r.Revision = s.revision()
		s.records[r.Key] = r
		if d, ok := s.damaged[r.Key]; ok { // written anew, and then a crash
			if err := s.forgetDamage(d); err != nil {
				return err
			}
			delete(s.damaged, r.Key)
		}
	}
	return nil
}

// read reads one record. The error wraps [ipam.ErrDamaged] if the content is
// wrong or cannot be read off the disk; the record has then the key that the
// file's name says.
func (s *Store) read(name string) (ipam.Record, error) {
	key, ok := keyOf(strings.TrimSuffix(name, suffix))
	path := filepath.Join(s.path, name)
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, unix.EIO), errors.Is(err, unix.EUCLEAN), errors.Is(err, unix.EBADMSG), errors.Is(err, unix.EISDIR):
		return ipam.Record{Key: key}, fmt.Errorf("%w: %w", err, ipam.ErrDamaged)
	case err != nil:
		return ipam.Record{}, err
	}
	r, err := decode(text)
	if err == nil && fileName(r.Key) != name {
		err = fmt.Errorf("it is the record of %s: %w", r.Key, ipam.ErrDamaged)
	}
	if err != nil && ok {
		r.Key = key
	}
	return r, err
}

// setAside moves a damaged record away, and remembers it.
func (s *Store) setAside(name, key string, reason error) error {
	to := filepath.Join(s.path, damagedDir, name)
	for i := 1; ; i++ {
		if _, err := os.Lstat(to); errors.Is(err, fs.ErrNotExist) {
			break
		}
		to = filepath.Join(s.path, damagedDir, strings.TrimSuffix(name, suffix)+"~"+strconv.Itoa(i)+suffix)
	}
	if err := os.Rename(filepath.Join(s.path, name), to); err != nil {
		return fmt.Errorf("set aside %s, which is damaged (%w): %w", name, reason, err)
	}
	if err := syncDir(filepath.Join(s.path, damagedDir)); err != nil {
		return err
	}
	if err := s.dir.Sync(); err != nil {
		return err
	}
	s.note(key, to, strings.TrimSuffix(reason.Error(), ": "+ipam.ErrDamaged.Error()))
	return nil
}

// note remembers a damage; one whose key is not known goes by its file.
func (s *Store) note(key, file, reason string) {
	id := key
	if id == "" {
		id = file
	}
	d, ok := s.damaged[id]
	if !ok {
		d.Damaged = ipam.Damaged{Key: key, Revision: s.revision()}
	}
	d.files = append(d.files, file)
	d.Message = fmt.Sprintf("the record was damaged (%s) and is now in %s. To mend it by hand, stop caracald, "+
		"put a good copy in the place of the damaged one, or remove it from there if no workload has an address of it", reason, file)
	s.damaged[id] = d
}

// readDamaged reads what was set aside and not mended yet.
func (s *Store) readDamaged() error {
	entries, err := os.ReadDir(filepath.Join(s.path, damagedDir))
	if err != nil {
		return err
	}
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), suffix)
		if !ok {
			continue // mended, or somebody's own
		}
		name, _, _ = strings.Cut(name, "~")
		key, _ := keyOf(name)
		s.note(key, filepath.Join(s.path, damagedDir, e.Name()), "found at an earlier start")
	}
	return nil
}

// forgetDamage marks files of what has been mended, so that they count no more.
// They are kept for whoever wants to know what happened.
func (s *Store) forgetDamage(d damage) error {
	for _, f := range d.files {
		if err := os.Rename(f, f+".mended"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return syncDir(filepath.Join(s.path, damagedDir))
}

func (s *Store) revision() string { return strconv.FormatUint(s.counter.Add(1), 10) }

// Get implements [ipam.Store].
func (s *Store) Get(_ context.Context, key string) (ipam.Record, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if d, ok := s.damaged[key]; ok {
		return ipam.Record{Key: key, Revision: d.Revision}, fmt.Errorf("%w: %s", ipam.ErrDamaged, d.Message)
	}
	r, ok := s.records[key]
	if !ok {
		return ipam.Record{}, fmt.Errorf("disk: read record %s: %w", key, ipam.ErrNotFound)
	}
	r.Value = bytes.Clone(r.Value)
	return r, nil
}

// List implements [ipam.Store].
func (s *Store) List(_ context.Context, prefix string) ([]ipam.Record, []ipam.Damaged, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var records []ipam.Record
	for key, r := range s.records {
		if strings.HasPrefix(key, prefix) {
			r.Value = bytes.Clone(r.Value)
			records = append(records, r)
		}
	}
	var damaged []ipam.Damaged
	for _, d := range s.damaged {
		if d.Key == "" || strings.HasPrefix(d.Key, prefix) {
			damaged = append(damaged, d.Damaged)
		}
	}
	slices.SortFunc(records, func(a, b ipam.Record) int { return strings.Compare(a.Key, b.Key) })
	slices.SortFunc(damaged, func(a, b ipam.Damaged) int { return strings.Compare(a.Key, b.Key) })
	return records, damaged, nil
}

// Put implements [ipam.Store]. It costs two syncs: of the file, and of the
// directory.
func (s *Store) Put(_ context.Context, r ipam.Record) (string, error) {
	if !ipam.ValidKey(r.Key) {
		return "", fmt.Errorf("disk: write record %q: it is no key", r.Key)
	}
	lock := s.writing(r.Key)
	defer lock.Unlock()
	d, mends, err := s.check(r.Key, r.Revision)
	if err != nil {
		return "", fmt.Errorf("disk: write record %s: %w", r.Key, err)
	}
	renamed, err := s.replace(r)
	if !renamed {
		return "", fmt.Errorf("disk: write record %s into %s: %w", r.Key, s.path, err)
	}
	// In place, whatever may still fail: the next reader finds it.
	r.Value, r.Revision = bytes.Clone(r.Value), s.revision()
	s.mu.Lock()
	s.records[r.Key] = r
	delete(s.damaged, r.Key)
	s.mu.Unlock()
	if err == nil && mends {
		err = s.forgetDamage(d)
	}
	if err != nil {
		return "", fmt.Errorf("disk: write record %s into %s: %w", r.Key, s.path, err)
	}
	return r.Revision, nil
}

// replace writes a record's file; renamed says that it is in its place, if maybe
// not yet safe from a crash.
func (s *Store) replace(r ipam.Record) (renamed bool, err error) {
	tmp := filepath.Join(s.path, temporary+strconv.FormatUint(s.counter.Add(1), 10))
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return false, err
	}
	_, err = f.Write(encode(r))
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp, filepath.Join(s.path, fileName(r.Key)))
	}
	if err != nil {
		_ = os.Remove(tmp)
		return false, err
	}
	return true, s.dir.Sync()
}

// Delete implements [ipam.Store].
func (s *Store) Delete(_ context.Context, key, revision string) error {
	lock := s.writing(key)
	defer lock.Unlock()
	s.mu.RLock()
	_, exists := s.records[key]
	_, isDamaged := s.damaged[key]
	s.mu.RUnlock()
	if !exists && !isDamaged {
		return nil
	}
	d, mends, err := s.check(key, revision)
	if err == nil && mends {
		err = s.forgetDamage(d)
	} else if err == nil {
		if err = os.Remove(filepath.Join(s.path, fileName(key))); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	if err != nil {
		return fmt.Errorf("disk: delete record %s: %w", key, err)
	}
	s.mu.Lock()
	delete(s.records, key)
	delete(s.damaged, key)
	s.mu.Unlock()
	if err := s.dir.Sync(); err != nil {
		return fmt.Errorf("disk: delete record %s: %w", key, err)
	}
	return nil
}

// writing waits until nobody else writes the record.
func (s *Store) writing(key string) *sync.Mutex {
	m := &s.writes[maphash.String(s.seed, key)%uint64(len(s.writes))]
	m.Lock()
	return m
}

// check compares a revision with that of what is there, and returns the damage
// that it stands for.
func (s *Store) check(key, revision string) (damage, bool, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return damage{}, false, errors.New("the store is closed")
	}
	have := s.records[key].Revision
	d, ok := s.damaged[key]
	if ok {
		if revision == "" {
			return d, false, fmt.Errorf("%w: %s", ipam.ErrDamaged, d.Message)
		}
		have = d.Revision
	}
	if have != revision {
		return d, false, ipam.ErrConflict
	}
	return d, ok, nil
}
