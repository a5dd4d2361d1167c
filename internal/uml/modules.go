package uml

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// root is where Debian puts the modules of the kernel, under its version.
const root = "/usr/lib/uml/modules"

// load returns the files to insert for the modules, in order.
func load(names []string) ([]string, error) {
	if len(names) == 0 {
		return nil, nil
	}
	found, err := filepath.Glob(filepath.Join(root, "*", "modules.dep"))
	if err != nil || len(found) != 1 {
		return nil, fmt.Errorf("uml: find the kernel's modules: %d files %s/*/modules.dep, not one; install the Debian package user-mode-linux", len(found), root)
	}
	b, err := os.ReadFile(found[0])
	if err != nil {
		return nil, fmt.Errorf("uml: %w", err)
	}
	files, err := resolve(string(b), names)
	for i, f := range files {
		files[i] = filepath.Join(filepath.Dir(found[0]), f)
	}
	return files, err
}

// resolve returns the files of modules, each after what it depends on, given the
// text of a modules.dep (depmod(8)): "kernel/a.ko: kernel/b.ko kernel/c.ko", where
// what stands last is to be loaded first.
func resolve(dep string, names []string) ([]string, error) {
	needs := map[string][]string{}
	file := map[string]string{}
	for _, line := range strings.Split(dep, "\n") {
		path, rest, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		needs[path] = strings.Fields(rest)
		file[canonical(strings.TrimSuffix(filepath.Base(path), ".ko"))] = path
	}
	var order []string
	for _, name := range names {
		path, ok := file[canonical(name)]
		if !ok {
			return nil, fmt.Errorf("uml: the kernel has no module %s", name)
		}
		list := append([]string{path}, needs[path]...)
		slices.Reverse(list)
		for _, f := range list {
			if !slices.Contains(order, f) {
				order = append(order, f)
			}
		}
	}
	return order, nil
}

// canonical is a module's name as modprobe(8) compares it.
func canonical(name string) string { return strings.ReplaceAll(name, "-", "_") }
