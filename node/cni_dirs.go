package node

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// cniDirsFile lists, a line each, the directories in which the daemon has told a
// container runtime of its network, so that cleanup finds them.
const cniDirsFile = "cni-directories"

// RecordCNI notes a directory of a container runtime in the state directory.
func RecordCNI(stateDir, dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("node: record CNI directory: %w", err)
	}
	dirs, err := RecordedCNI(stateDir)
	if err != nil {
		return err
	}
	if slices.Contains(dirs, dir) {
		return nil
	}
	text := strings.Join(append(dirs, dir), "\n") + "\n"
	path := filepath.Join(stateDir, cniDirsFile)
	err = os.WriteFile(path+".tmp", []byte(text), 0o600)
	if err == nil {
		err = os.Rename(path+".tmp", path)
	}
	if err != nil {
		return fmt.Errorf("node: record CNI directory: %w", err)
	}
	return nil
}

// RecordedCNI returns the directories that [RecordCNI] noted.
func RecordedCNI(stateDir string) ([]string, error) {
	b, err := os.ReadFile(filepath.Join(stateDir, cniDirsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("node: read CNI directories: %w", err)
	}
	var dirs []string
	for line := range bytes.Lines(b) {
		if dir := string(bytes.TrimSpace(line)); dir != "" {
			dirs = append(dirs, dir)
		}
	}
	return dirs, nil
}
