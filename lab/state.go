package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// runDir holds one directory for each lab.
const runDir = "/run/caracal-lab"

// state is what has to be known to remove a lab. It is written before what it
// names is made, so it may name things that do not exist, never the reverse.
type state struct {
	ID string
	// Owner is the process that is building or using the lab.
	Owner processID
	// Kept says that the lab outlives its owner: "lab up" sets it last.
	Kept       bool
	Topology   Topology
	Namespaces []string
	Processes  []savedProcess
	// Caracald and Caracal are the binaries.
	Caracald, Caracal string
}

// savedProcess is a daemon as the next process that opens the lab finds it.
type savedProcess struct {
	processID
	Node, Name string
	Argv       []string
}

func labDir(id string) string { return filepath.Join(runDir, id) }

func statePath(id string) string { return filepath.Join(labDir(id), "state.json") }

// save replaces the state file in one rename.
func (s *state) save() error {
	b, err := json.MarshalIndent(s, "", "\t")
	if err != nil {
		return err
	}
	tmp := statePath(s.ID) + ".new"
	if err := os.WriteFile(tmp, append(b, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, statePath(s.ID))
}

// errNoLab says that there is no lab of that name.
var errNoLab = errors.New("no such lab")

func loadState(id string) (*state, error) {
	b, err := os.ReadFile(statePath(id))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%q: %w (%s does not exist; \"lab up\" makes one)", id, errNoLab, statePath(id))
	}
	if err != nil {
		return nil, err
	}
	var s state
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("%s: %w", statePath(id), err)
	}
	return &s, nil
}

// lock takes the lock of all labs, under which they are claimed and pruned.
// The lock is on the directory itself, so nothing is left once it is removed.
func lock() (unlock func(), err error) {
	for {
		if err := os.MkdirAll(runDir, 0o755); errors.Is(err, os.ErrExist) {
			continue // made and removed by another lab meanwhile
		} else if err != nil {
			return nil, err
		}
		f, err := os.Open(runDir)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", runDir, err)
		}
		// Another lab may have removed the directory while we waited.
		held, err1 := f.Stat()
		now, err2 := os.Stat(runDir)
		if err1 == nil && err2 == nil && os.SameFile(held, now) {
			return func() {
				os.Remove(runDir) // fails while it holds a lab
				f.Close()
			}, nil
		}
		f.Close()
	}
}

// list returns the names of the labs there are, whole or not.
func list() ([]string, error) {
	entries, err := os.ReadDir(runDir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	var ids []string
	for _, e := range entries {
		if e.IsDir() {
			ids = append(ids, e.Name())
		}
	}
	return ids, err
}

// claim makes a lab's directory with the first state in it.
func claim(s *state) error {
	unlock, err := lock()
	if err != nil {
		return err
	}
	defer unlock()
	if err := os.Mkdir(labDir(s.ID), 0o755); errors.Is(err, os.ErrExist) {
		return fmt.Errorf("there is a lab %q already; remove it with \"caracal lab down --id %s\"", s.ID, s.ID)
	} else if err != nil {
		return err
	}
	return s.save()
}

// Prune removes the labs whose owner died before it could do so. Labs that are
// in use, and those that "lab up" has finished, stay. It returns the names of
// what it removed.
func Prune() ([]string, error) {
	unlock, err := lock()
	if err != nil {
		return nil, fmt.Errorf("lab: prune: %w", err)
	}
	defer unlock()
	ids, err := list()
	if err != nil {
		return nil, fmt.Errorf("lab: prune: %w", err)
	}
	var gone []string
	var errs []error
	for _, id := range ids {
		s, err := loadState(id)
		switch {
		case errors.Is(err, errNoLab):
			// Claiming writes the state under the lock that we hold: its owner died
			// between two system calls, and nothing else had been made.
			err = os.RemoveAll(labDir(id))
		case err != nil:
		case s.Kept || s.Owner.alive():
			continue
		default:
			err = demolish(s)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("lab: prune %s: %w", id, err))
			continue
		}
		gone = append(gone, id)
	}
	return gone, errors.Join(errs...)
}

// demolish removes everything of a lab: processes, namespaces, files. The files
// stay while something else could not be removed, so that it can be tried
// again.
func demolish(s *state) error {
	errs := []error{killAll(s)}
	k := newKernel()
	defer k.close()
	errs = append(errs, k.remove(leftovers(s)))
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return os.RemoveAll(labDir(s.ID))
}

// leftovers lists the namespaces that the state names and those that carry the
// lab's prefix.
func leftovers(s *state) []string {
	out := slices.Clone(s.Namespaces)
	entries, err := os.ReadDir(netnsDir)
	if err != nil {
		return out // there is none
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), names{s.ID}.node("")) && !slices.Contains(out, e.Name()) {
			out = append(out, e.Name())
		}
	}
	return out
}
