package file

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"caracal.dev/caracal/store"
)

const (
	maxFile  = 16 << 20 // bytes of one file
	maxFiles = 200_000  // in the directory
	maxDepth = 16       // of directories below it; symbolic links may loop
	// settleTime is how long a file must be left alone that looks as if its
	// writer were not done: it is empty, or its last line has no end.
	settleTime = time.Second
	// writeTime is how long a file may go unchanged while a program has it open for
	// writing until it is taken as it is.
	writeTime = 5 * time.Second
)

// stamp changes whenever a file's content may have.
type stamp struct {
	dev, ino     uint64
	size         int64
	mtime, ctime int64 // ns
}

func stampOf(st *unix.Stat_t) stamp {
	return stamp{st.Dev, st.Ino, st.Size, st.Mtim.Nano(), st.Ctim.Nano()}
}

// scan is what the directory was found to hold.
type scan struct {
	// err says that the directory itself cannot be read.
	err error
	// badDirs are directories below it that cannot be read, by relative path.
	badDirs map[string]error
	files   []*file // sorted by path
	// dirs are all directories visited, by path, with their inodes: what to watch.
	dirs map[string]stamp
	// listed are the same directories as they were before they were listed.
	listed map[string]stamp
	// unsettled says that a file is likely still being written.
	unsettled bool
	// moving says that directories changed each time while their files were read,
	// so that a file that was renamed may be missing.
	moving bool
}

// file is one YAML file as last read.
type file struct {
	path string // relative to the directory
	// readErr says that it cannot be read, refused why its content cannot be taken
	// as a whole. In either case docs is empty.
	readErr error
	refused string
	docs    []document

	id     stamp
	readAt int64 // UnixNano
	sum    store.Sum
}

// scanner reads the directory and remembers what it read: a file whose stamp is
// the same is not read again, one whose content is the same not parsed again.
type scanner struct {
	dir   string
	now   func() time.Time
	words *store.Words
	last  []*file // sorted by path
}

func newScanner(dir string, now func() time.Time) *scanner {
	return &scanner{dir: dir, now: now, words: store.NewWords()}
}

// scanTries bounds how often a directory is read that changes meanwhile.
const scanTries = 3

// scan reads what has changed. A file that is renamed after its directory was
// listed is found under neither name, so then the directory is read again.
func (s *scanner) scan() *scan {
	for range scanTries {
		if res := s.scanOnce(); res.err != nil || res.dirsStill() {
			return res
		}
	}
	res := s.scanOnce()
	res.moving = !res.dirsStill()
	return res
}

// dirsStill reports whether no directory has changed since it was listed.
func (r *scan) dirsStill() bool {
	for path, was := range r.listed {
		var st unix.Stat_t
		if unix.Stat(path, &st) != nil || stampOf(&st) != was {
			return false
		}
	}
	return true
}

// still reports whether no directory has changed since it was listed, and no
// file since it was read.
func (s *scanner) still(r *scan) bool {
	for _, f := range r.files {
		var st unix.Stat_t
		if f.readErr == nil && (unix.Stat(filepath.Join(s.dir, f.path), &st) != nil || stampOf(&st) != f.id) {
			return false
		}
	}
	return r.dirsStill()
}

// same reports whether two scans found the same files and directories, with the
// same times.
func (r *scan) same(o *scan) bool {
	return maps.Equal(r.listed, o.listed) && slices.EqualFunc(r.files, o.files, func(a, b *file) bool {
		return a.path == b.path && a.id == b.id
	})
}

func (s *scanner) scanOnce() *scan {
	res := &scan{badDirs: map[string]error{}, dirs: map[string]stamp{}, listed: map[string]stamp{}}
	var paths []string
	if err := s.walk(res, "", 0, &paths); err != nil {
		res.err = err
		return res
	}
	slices.Sort(paths)
	files, unsettled := s.known(paths), make([]bool, len(paths))
	inParallel(len(paths), func(i int) { files[i], unsettled[i] = s.file(paths[i], files[i]) })
	res.files = slices.DeleteFunc(files, func(f *file) bool { return f == nil }) // deleted meanwhile
	res.unsettled = slices.Contains(unsettled, true)
	s.last = res.files
	return res
}

// known returns, for sorted paths, the files as last read; nil where one was not.
func (s *scanner) known(paths []string) []*file {
	files, last := make([]*file, len(paths)), s.last
	for i, p := range paths {
		for len(last) > 0 && last[0].path < p {
			last = last[1:]
		}
		if len(last) > 0 && last[0].path == p {
			files[i] = last[0]
		}
	}
	return files
}

// forget has a file read again.
func (s *scanner) forget(path string) {
	s.last = slices.DeleteFunc(slices.Clone(s.last), func(f *file) bool { return f.path == path })
}

// walk lists the YAML files of a directory and of those below it.
func (s *scanner) walk(res *scan, rel string, depth int, paths *[]string) error {
	path := filepath.Join(s.dir, rel)
	if depth > maxDepth {
		return fmt.Errorf("more than %d directories deep; is there a loop of symbolic links?", maxDepth)
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return &fs.PathError{Op: "read", Path: path, Err: err}
	}
	res.dirs[path], res.listed[path] = stamp{dev: st.Dev, ino: st.Ino}, stampOf(&st)
	entries, err := os.ReadDir(path)
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return &fs.PathError{Op: "read", Path: path, Err: pe.Err} // one error, one text
	} else if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		if strings.HasPrefix(name, ".") {
			continue
		}
		at := filepath.Join(rel, name)
		isDir := e.IsDir()
		if e.Type()&fs.ModeSymlink != 0 {
			target, err := os.Stat(filepath.Join(s.dir, at))
			if err != nil {
				if isYAML(name) {
					*paths = append(*paths, at) // reading it gives the reason
				} else {
					res.badDirs[at] = err
				}
				continue
			}
			isDir = target.IsDir()
		}
		switch {
		case isDir && at == secretsDir:
			maps.Copy(res.dirs, secretDirs(s.dir))
		case isDir:
			// One deleted between being listed and being read is simply gone.
			if err := s.walk(res, at, depth+1, paths); err != nil && !errors.Is(err, fs.ErrNotExist) {
				res.badDirs[at] = err
			}
		case isYAML(name):
			if len(*paths) >= maxFiles {
				return fmt.Errorf("more than %d files", maxFiles)
			}
			*paths = append(*paths, at)
		}
	}
	return nil
}

func isYAML(name string) bool {
	return strings.HasSuffix(name, ".yaml") || strings.HasSuffix(name, ".yml")
}

// file returns a file, the old one if it has not changed, and whether it is likely
// still being written; nil if it does not exist any more. Old is nil if it was not
// read before.
func (s *scanner) file(rel string, old *file) (*file, bool) {
	path := filepath.Join(s.dir, rel)
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return s.unreadable(rel, err)
	}
	// A change within the clock tick of our last reading would leave the stamp as
	// it is; so a young file is read again.
	if old != nil && old.readErr == nil && old.id == stampOf(&st) && old.readAt-old.id.ctime > int64(50*time.Millisecond) {
		return old, false
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return s.unreadable(rel, errors.New("it is not a regular file"))
	}
	readAt := s.now().UnixNano()
	text, id, err := readStable(path)
	if old != nil && old.readErr == nil && errors.Is(err, errChanging) {
		return old, true // what it was stays until its writer is done
	}
	if err != nil {
		f, _ := s.unreadable(rel, err)
		return f, errors.Is(err, errChanging)
	}
	f := &file{path: rel, id: id, readAt: readAt, sum: store.SumOf(text)}
	unsettled := (len(text) == 0 || text[len(text)-1] != '\n') && readAt-id.mtime < int64(settleTime) && readAt >= id.mtime
	if old != nil && old.readErr == nil && old.sum == f.sum {
		f.docs, f.refused = old.docs, old.refused // they know the file by its path, which is the same
		return f, unsettled
	}
	f.parse(text, s.words)
	return f, unsettled
}

func (s *scanner) unreadable(rel string, err error) (*file, bool) {
	if errors.Is(err, fs.ErrNotExist) {
		// A dangling link is there and cannot be read; a deleted file is not there.
		if info, lerr := os.Lstat(filepath.Join(s.dir, rel)); lerr != nil || info.Mode()&fs.ModeSymlink == 0 {
			return nil, false
		}
		err = errors.New("it is a symbolic link to a file that does not exist")
	}
	return &file{path: rel, readErr: err}, false
}

var errChanging = errors.New("it is being written to")

// readStable reads a file that does not change while it is read.
func readStable(path string) ([]byte, stamp, error) {
	for range 3 {
		text, before, after, err := readOnce(path)
		if err != nil {
			return nil, stamp{}, err
		}
		if before == after && int64(len(text)) == after.size {
			return text, after, nil
		}
	}
	return nil, stamp{}, errChanging
}

// hasWriter reports whether some program has the file open for writing: only
// half of it may be there, and that half may well be valid. The kernel grants no
// read lease on such a file (fcntl(2), F_SETLEASE). Where it grants none at all,
// as on some network file systems, nobody is known to write.
func hasWriter(f *os.File) bool {
	if _, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_RDLCK); err != nil {
		return errors.Is(err, unix.EAGAIN)
	}
	_, _ = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_UNLCK) // closing it does the same
	return false
}

func readOnce(path string) (text []byte, before, after stamp, err error) {
	// Without O_NONBLOCK a file replaced by a FIFO would block us for good.
	fd, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, stamp{}, stamp{}, err
	}
	defer fd.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(fd.Fd()), &st); err != nil {
		return nil, stamp{}, stamp{}, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	if st.Size > maxFile {
		return nil, stamp{}, stamp{}, fmt.Errorf("it is larger than %d MiB", maxFile>>20)
	}
	if time.Since(time.Unix(st.Mtim.Unix())) < writeTime && hasWriter(fd) {
		return nil, stamp{}, stamp{}, errChanging
	}
	before = stampOf(&st)
	text, err = io.ReadAll(io.LimitReader(fd, maxFile+1))
	if err != nil {
		return nil, stamp{}, stamp{}, err
	}
	if err := unix.Fstat(int(fd.Fd()), &st); err != nil {
		return nil, stamp{}, stamp{}, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	return text, before, stampOf(&st), nil
}
