package endpoint

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"

	"caracal.dev/caracal"
)

// deletion is what the plugin leaves on disk when a container is deleted while
// the daemon does not answer. The names are those of proto's EndpointID in JSON.
type deletion struct {
	ID struct {
		ContainerID  string `json:"containerId"`
		ContainerID2 string `json:"container_id"`
		Interface    string `json:"ifname"`
		Network      string `json:"network"`
	} `json:"id"`
}

func (d deletion) id() ID {
	id := ID{d.ID.ContainerID, d.ID.Interface, d.ID.Network}
	if id.ContainerID == "" {
		id.ContainerID = d.ID.ContainerID2
	}
	return id
}

func (r *Registry) queueDir() string { return filepath.Join(r.o.Dir, "deletions") }

// keepQueue removes what is in the queue, and what comes, until ctx ends.
func (r *Registry) keepQueue(ctx context.Context) {
	dropped, ring := r.watchQueue(ctx)
	for {
		select {
		case <-ctx.Done():
			return
		case <-dropped:
			if r.applyQueue(ctx) {
				ring() // again, in a moment
			}
		}
	}
}

// applyQueue removes what the files of the queue name, and each file after that.
// It reports whether something is left to be tried again.
func (r *Registry) applyQueue(ctx context.Context) (again bool) {
	files, err := os.ReadDir(r.queueDir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.overlay.report("queue", []caracal.Problem{trouble("", "containers that were deleted while the daemon was down may keep their addresses: "+err.Error())})
		return true
	}
	var problems []caracal.Problem
	for _, f := range files {
		path := filepath.Join(r.queueDir(), f.Name())
		if f.Type().IsRegular() && strings.HasPrefix(f.Name(), ".") {
			r.dropUnfinished(f, path)
			continue
		}
		if f.IsDir() || !strings.HasSuffix(f.Name(), suffix) {
			continue
		}
		if err := r.applyDeletion(ctx, path); err != nil {
			problems, again = append(problems, trouble("", "the deletion in "+path+" cannot be carried out: "+err.Error())), true
		}
	}
	r.overlay.report("queue", problems)
	return again
}

// unfinishedFor is how old a file may be that the plugin has not given its name
// yet. It writes one in milliseconds.
const unfinishedFor = time.Hour

// dropUnfinished removes what a plugin left that was killed while it wrote. The
// runtime was not told that the deletion succeeded, and asks again.
func (r *Registry) dropUnfinished(f fs.DirEntry, path string) {
	if st, err := f.Info(); err == nil && r.o.Now().Sub(st.ModTime()) > unfinishedFor {
		_ = os.Remove(path) // it is looked at again
	}
}

func (r *Registry) applyDeletion(ctx context.Context, path string) error {
	st, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	d, err := readDeletion(path, st)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the plugin took it back
	}
	if _, unread := errors.AsType[*fs.PathError](err); unread {
		return err
	}
	if err != nil {
		// The audit frees what it was about, once the container is gone.
		if err := os.Rename(path, path+corrupt); err != nil {
			return err
		}
		r.o.Log.Error("endpoint: a deletion that cannot be read was set aside", "file", path+corrupt, "err", err)
		return nil
	}
	for _, id := range r.meant(d.id()) {
		freed, done, err := r.removeIf(ctx, id, func(e *Endpoint) bool { return e == nil || !e.Added.After(st.ModTime()) })
		if err != nil {
			return err
		}
		if !done {
			continue // it was added again since
		}
		r.o.Log.Info("endpoint: a container was deleted while the daemon was down", "container", id.ContainerID, "interface", id.Interface, "addresses", freed)
	}
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// readDeletion reads a file of the queue. One that is no file could be read forever.
func readDeletion(path string, st fs.FileInfo) (d deletion, err error) {
	if !st.Mode().IsRegular() || st.Size() > maxRecord {
		return d, errors.New("it is not a file of a deletion's size")
	}
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, &d)
	}
	if err == nil && d.id().ContainerID == "" {
		err = errors.New("it names no container")
	}
	return d, err
}

// queueRetry is the time after which what failed is tried again.
const queueRetry = time.Second

// watchQueue returns a bell that rings when there may be something in the queue,
// and a function that rings it later.
func (r *Registry) watchQueue(ctx context.Context) (<-chan struct{}, func()) {
	bell := make(chan struct{}, 1)
	ring := func() {
		select {
		case bell <- struct{}{}:
		default:
		}
	}
	later := func() { time.AfterFunc(queueRetry, ring) }
	err := os.MkdirAll(r.queueDir(), 0o700)
	var w *fsnotify.Watcher
	if err == nil {
		w, err = fsnotify.NewWatcher()
	}
	if err == nil {
		if err = w.Add(r.queueDir()); err != nil {
			w.Close()
		}
	}
	if err != nil {
		r.o.Log.Warn("endpoint: deletions are looked for once a second", "dir", r.queueDir(), "err", err)
		go pollQueue(ctx, ring)
		return bell, later
	}
	go func() {
		defer w.Close()
		for {
			select {
			case <-ctx.Done():
				return
			case _, ok := <-w.Events:
				if !ok {
					return
				}
				ring()
			case <-w.Errors: // an overflow: look
				ring()
			}
		}
	}()
	ring() // what came before the watch
	return bell, later
}

func pollQueue(ctx context.Context, ring func()) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			ring()
		}
	}
}
