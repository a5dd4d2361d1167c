package kube

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"caracal.dev/caracal"
	v1 "caracal.dev/caracal/api/v1"
	"caracal.dev/caracal/store/kube/shelf"
)

// What is kept on disk besides the kinds: the resources of caracal.dev in force, with
// what was made of Nodes, and the Secrets.
const (
	fileAccepted = "accepted"
	fileSecrets  = "secrets"
)

// How long a change waits until it is on disk: all small files soon, large ones less
// often, and the Pods of the whole cluster rarely; they are far from all needed, and
// what is old about them is put right by the first list.
const (
	saveSoon  = 2 * time.Second
	saveLarge = time.Minute
	savePods  = 5 * time.Minute
	largeFile = 256 << 10 // bytes
)

// disk keeps what was last taken from the API in a directory, a file for each kind.
type disk struct {
	o     Options
	dir   string
	dirty map[string]time.Time // since when what is on disk is old, by file
	sizes map[string]int64
	busy  chan map[string]error // what is being written; nil if nothing is
	found []caracal.Problem     // by loading
	wrong string                // the last save
	news  bool                  // wrong is not what it was
}

func openDisk(o Options) *disk {
	d := &disk{o: o, dirty: map[string]time.Time{}, sizes: map[string]int64{}}
	if o.StateDir != "" {
		d.dir = filepath.Join(o.StateDir, "kube")
	}
	return d
}

// fileOf returns where a kind is kept.
func fileOf(kind string) string {
	switch kind {
	case kindPods, v1.KindNamespace, v1.KindNetworkPolicy, kindService, kindEndpointSlice, kindNode, v1.KindNodeConfig, v1.KindBlockAffinity:
		return kind
	}
	return fileAccepted
}

// touch notes that a kind has changed.
func (d *disk) touch(kind string) {
	d.mark(fileOf(kind))
	if judged(kind) {
		d.mark(fileAccepted)
	}
}

func (d *disk) mark(file string) {
	if _, known := d.dirty[file]; !known {
		d.dirty[file] = time.Now()
	}
}

// problems are those of the directory.
func (d *disk) problems() []caracal.Problem {
	list := d.found
	if d.wrong != "" {
		list = append(list[:len(list):len(list)], caracal.Problem{Severity: caracal.Warning, Message: d.wrong})
	}
	return list
}

// load takes what the last run kept into the world, and reports whether that was
// everything.
func (d *disk) load(w *world, v *vault) bool {
	if d.dir == "" {
		return false
	}
	shelf.Sweep(d.dir)
	whole := true
	for _, file := range append(plainFiles(), fileSecrets) {
		whole = d.loadFile(file, func(r *shelf.Reader) error { return loadKind(w, v, file, r) }) && whole
	}
	// After the others: it says which of them were in force.
	return d.loadFile(fileAccepted, func(r *shelf.Reader) error { return loadAccepted(w, r) }) && whole
}

// plainFiles are the kinds that have a file of their own.
func plainFiles() []string {
	var list []string
	for _, kind := range kinds() {
		if fileOf(kind) == kind {
			list = append(list, kind)
		}
	}
	return list
}

// loadFile reads one file. What cannot be read is set aside.
func (d *disk) loadFile(file string, take func(*shelf.Reader) error) bool {
	path := filepath.Join(d.dir, file)
	size, err := shelf.Read(path, d.o.Node, take)
	switch {
	case err == nil:
		d.sizes[file] = size
		return true
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, shelf.ErrOther):
		return false
	}
	aside := path + ".corrupt"
	if rerr := os.Rename(path, aside); rerr != nil {
		aside = path
	}
	d.found = append(d.found, caracal.Problem{Severity: caracal.Warning, Message: fmt.Sprintf(
		"%s: what was last known of the API cannot be used: %v; it is read anew from the API, so delete the file when you have seen this", aside, err)})
	return false
}

// save writes what is due, on a goroutine of its own; all that is left if this is the
// end.
func (d *disk) save(w *world, v *vault, end bool) {
	if d.dir == "" {
		return
	}
	if d.busy != nil {
		select {
		case failed := <-d.busy:
			d.done(failed)
		default:
			if !end {
				return
			}
			d.done(<-d.busy)
		}
	}
	if v.unsaved() {
		d.mark(fileSecrets)
	}
	jobs := map[string]func(*shelf.Writer) error{}
	for file, since := range d.dirty {
		if !w.savable(file) || !end && time.Since(since) < d.patience(file) {
			continue
		}
		jobs[file] = w.capture(file, v)
		delete(d.dirty, file)
	}
	if len(jobs) == 0 {
		return
	}
	done := make(chan map[string]error, 1)
	go func() { done <- writeAll(d.dir, d.o.Node, jobs) }()
	d.busy = done
	if end {
		d.done(<-done)
	}
}

func writeAll(dir, node string, jobs map[string]func(*shelf.Writer) error) map[string]error {
	failed := map[string]error{}
	for file, write := range jobs {
		failed[file] = shelf.Write(filepath.Join(dir, file), node, write)
	}
	return failed
}

// done takes the result of a save.
func (d *disk) done(results map[string]error) {
	was := d.wrong
	d.busy, d.wrong = nil, ""
	defer func() { d.news = d.news || d.wrong != was }()
	for file, err := range results {
		if err != nil {
			d.mark(file)
			d.wrong = fmt.Sprintf("what is known of the API cannot be kept on disk, so a start without the API could not fall back on it: %v", err)
			continue
		}
		if st, err := os.Stat(filepath.Join(d.dir, file)); err == nil {
			d.sizes[file] = st.Size()
		}
	}
}

func (d *disk) patience(file string) time.Duration {
	switch {
	case file == kindPods:
		if d.sizes[file] < largeFile {
			return saveSoon
		}
		return savePods
	case d.sizes[file] >= largeFile:
		return saveLarge
	}
	return saveSoon
}
