package file

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"
)

// watcher rings when something in the directories that it follows changes. It
// says nothing of what: a pass looks for itself.
type watcher struct {
	dir  string
	fs   *fsnotify.Watcher
	err  error
	bell chan struct{}
	// followed are the watches, with the inode that each was set on: a path may
	// lead to another directory later (a symbolic link that is swapped).
	followed map[string]stamp
}

func newWatcher(dir string) *watcher {
	w := &watcher{dir: filepath.Clean(dir), bell: make(chan struct{}, 1), followed: map[string]stamp{}}
	if w.fs, w.err = fsnotify.NewWatcher(); w.err == nil {
		go w.drain()
	}
	return w
}

// drain turns events into bells until the watcher is closed.
func (w *watcher) drain() {
	for {
		select {
		case e, ok := <-w.fs.Events:
			if !ok {
				return
			}
			// Of the directory above only what happens to ours counts.
			if filepath.Dir(e.Name) == filepath.Dir(w.dir) && e.Name != w.dir {
				continue
			}
			// Reading a file, or changing its times, is none of our concern, but
			// changing its mode may make it readable.
		case _, ok := <-w.fs.Errors:
			if !ok {
				return
			}
			// Events were lost: look.
		}
		select {
		case w.bell <- struct{}{}:
		default:
		}
	}
}

// rings reports whether something changed that nobody took note of yet.
func (w *watcher) rings() bool { return len(w.bell) > 0 }

// watches reports whether changes in all these directories ring.
func (w *watcher) watches(dirs map[string]stamp) bool {
	if w.err != nil {
		return false
	}
	for path, id := range dirs {
		if was, ok := w.followed[path]; !ok || was != id {
			return false
		}
	}
	return true
}

func (w *watcher) events() <-chan struct{} { return w.bell }

func (w *watcher) close() {
	if w.fs != nil {
		_ = w.fs.Close()
	}
}

// follow sets the watches to these directories and to the one above the first.
// It reports whether to look again, since what was written before a watch was set
// has rung no bell, and why it could not set all.
func (w *watcher) follow(dirs map[string]stamp) (again bool, why string) {
	const slow = "changes of the configuration are noticed only once a minute: %v"
	if w.err != nil {
		return false, fmt.Sprintf(slow, w.err)
	}
	above := filepath.Dir(w.dir)
	for path, id := range w.followed {
		if now, ok := dirs[path]; path != above && (!ok || now != id) {
			_ = w.fs.Remove(path) // it may be gone, and its watch with it
			delete(w.followed, path)
		}
	}
	// A directory that was deleted took its watch with it, even if there is a new
	// one in its place with the same inode number.
	alive := map[string]bool{}
	for _, path := range w.fs.WatchList() {
		alive[path] = true
	}
	for path, id := range withAbove(dirs, above) {
		if _, ok := w.followed[path]; ok && alive[path] {
			continue
		}
		err := w.fs.Add(path)
		switch {
		case err == nil:
			w.followed[path], again = id, true
		case errors.Is(err, fs.ErrNotExist) && path != above:
			again = true // deleted since the scan
		case errors.Is(err, unix.ENOSPC):
			why = fmt.Sprintf(slow, fmt.Errorf("watch %s: %w (raise the sysctl fs.inotify.max_user_watches)", path, err))
		default:
			why = fmt.Sprintf(slow, fmt.Errorf("watch %s: %w", path, err))
		}
	}
	return again, why
}

func withAbove(dirs map[string]stamp, above string) map[string]stamp {
	all := maps.Clone(dirs)
	if _, ok := all[above]; !ok {
		all[above] = stamp{}
	}
	return all
}
