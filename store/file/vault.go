package file

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"caracal.dev/caracal"
	v1 "caracal.dev/caracal/api/v1"
	"caracal.dev/caracal/store"
)

// secretsDir holds the passwords, a file local/secrets/NAME/KEY for each. What
// is in it is never read as configuration.
const secretsDir = "local/secrets"

// vault reads passwords, and remembers those that it has read: a password that
// was in force stays so while its file cannot be read, since a session without
// one is never an answer and a session that goes down helps nobody.
type vault struct {
	dir string
	// read are the passwords in force, by path. They are in memory only.
	read map[string]caracal.Secret
}

func newVault(dir string) *vault {
	return &vault{dir: dir, read: map[string]caracal.Secret{}}
}

// look is one reading: each file is read once in it.
type look struct {
	vault *vault
	seen  map[string]caracal.Password
	// problems are files that cannot be read and whose last password stays.
	problems []caracal.Problem
	// unsettled says that a file is just being written.
	unsettled bool
}

func (v *vault) look() *look { return &look{vault: v, seen: map[string]caracal.Password{}} }

// password implements [store.Secrets].
func (l *look) password(ref v1.SecretKeyRef) caracal.Password {
	path := store.SecretPath(ref)
	if p, ok := l.seen[path]; ok {
		return p
	}
	p := caracal.Password{From: path}
	word, err := readSecret(filepath.Join(l.vault.dir, secretsDir), filepath.Join(ref.Name, ref.Key))
	last := l.vault.read[path]
	switch {
	case err == nil:
		p.Secret = caracal.NewSecret(word)
	case errors.Is(err, errChanging) && !last.IsZero():
		p.Secret, l.unsettled = last, true
	case !last.IsZero():
		p.Secret = last
		l.problems = append(l.problems, caracal.Problem{Severity: caracal.Warning, Source: path, Message: fmt.Sprintf(
			"%s: %v; the password that was read before stays in force until caracald stops, and then its sessions stay down", path, err)})
	default:
		p.Err = err.Error()
		l.unsettled = l.unsettled || errors.Is(err, errChanging)
	}
	l.seen[path] = p
	return p
}

// keep remembers the passwords that were found, and forgets all others: what no
// resource names any more is no longer in force.
func (l *look) keep() {
	l.vault.read = map[string]caracal.Secret{}
	for path, p := range l.seen {
		if !p.Secret.IsZero() {
			l.vault.read[path] = p.Secret
		}
	}
}

// readSecret reads the password in a file below dir. Nothing that it returns as
// an error has a byte of the file in it.
func readSecret(dir, name string) (string, error) {
	// A Root follows symbolic links, but none that leads out of it.
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", secretError(err)
	}
	defer root.Close()
	// Without O_NONBLOCK a FIFO in place of the file would block us for good.
	f, err := root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		if info, lerr := root.Lstat(name); lerr == nil && info.Mode()&fs.ModeSymlink != 0 {
			return "", errors.New("it is a symbolic link that leads nowhere, or out of " + secretsDir)
		}
		return "", secretError(err)
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return "", secretError(err)
	case !info.Mode().IsRegular():
		return "", errors.New("it is no regular file")
	case info.Mode().Perm()&^0o600 != 0:
		return "", fmt.Errorf("its mode %04o lets others at it, so it is not used; run chmod 600 on it", info.Mode().Perm())
	case info.Size() > store.MaxPassword+2:
		return "", fmt.Errorf("it has %d bytes; a password has at most %d", info.Size(), store.MaxPassword)
	case time.Since(info.ModTime()) < writeTime && hasWriter(f):
		return "", errChanging
	}
	text, err := io.ReadAll(io.LimitReader(f, store.MaxPassword+3))
	if err != nil {
		return "", secretError(err)
	}
	return store.CheckPassword(string(text))
}

// secretError leaves out the path, which stands before the error already.
func secretError(err error) error {
	switch pe, ok := errors.AsType[*fs.PathError](err); {
	case errors.Is(err, fs.ErrNotExist):
		return errors.New("it does not exist")
	case ok:
		return fmt.Errorf("it cannot be read: %w", pe.Err)
	}
	return fmt.Errorf("it cannot be read: %w", err)
}

// secretDepth is how many directories below secretsDir are watched: NAME, and
// there those that Kubernetes swaps in by a symbolic link; their names begin with
// a dot.
const secretDepth = 2

// secretDirs lists the directories to watch for passwords, with their inodes.
// What cannot be listed is left out; reading a password in it says why.
func secretDirs(dir string) map[string]stamp {
	dirs := map[string]stamp{}
	root, err := filepath.EvalSymlinks(filepath.Join(dir, secretsDir))
	if err != nil {
		return nil
	}
	_ = filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.IsDir() {
			return nil
		}
		rel, _ := filepath.Rel(root, path)
		if strings.Count(filepath.ToSlash(rel), "/") >= secretDepth {
			return filepath.SkipDir
		}
		var st unix.Stat_t
		if unix.Stat(path, &st) == nil {
			dirs[path] = stamp{dev: st.Dev, ino: st.Ino}
		}
		return nil
	})
	return dirs
}
