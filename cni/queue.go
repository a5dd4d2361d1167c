package cni

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"caracal.dev/caracal"
)

// queued is the content of a file in the queue of deletions.
type queued struct {
	ID queuedID `json:"id"`
}

type queuedID struct {
	ContainerID string `json:"container_id"`
	IfName      string `json:"ifname"`
	Network     string `json:"network"`
}

// queueDir is where the daemon looks for what was deleted while it was down.
func queueDir(stateDir string) string { return filepath.Join(stateDir, "deletions") }

// queueFile is the same for the same interface, so that a DEL that is repeated
// is in the queue once.
func queueFile(stateDir string, id endpointID) string {
	return filepath.Join(queueDir(stateDir), caracal.HostInterface(id.ContainerID, id.IfName)+".json")
}

// enqueue leaves a deletion for the daemon, on disk when it returns.
func enqueue(stateDir string, id endpointID) error {
	if err := write(stateDir, id); err != nil {
		return fmt.Errorf("queue the removal for caracald in %s: %w", queueDir(stateDir), err)
	}
	return nil
}

func write(stateDir string, id endpointID) error {
	b, err := json.Marshal(queued{queuedID(id)})
	if err != nil {
		return err
	}
	for _, dir := range []string{stateDir, queueDir(stateDir)} {
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return replaceFile(queueFile(stateDir, id), b, 0o600)
}

// dequeue takes a deletion back, and reports whether there was one.
func dequeue(stateDir string, id endpointID) bool {
	return os.Remove(queueFile(stateDir, id)) == nil
}

// replaceFile writes a file so that there is the old one or the new one at any
// time, and the new one on disk when it returns. The name under which it is
// written begins with a dot.
func replaceFile(path string, content []byte, mode fs.FileMode) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	_, err = f.Write(content)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
