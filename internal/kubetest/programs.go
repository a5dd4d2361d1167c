package kubetest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// ProgramsEnv names the directory of Kubernetes' programs, where it is not bin/kube
// of this module.
const ProgramsEnv = "KUBE_PROGRAMS"

// Program returns the path of one of Kubernetes' programs ("kube-apiserver",
// "etcd", "kubectl"): in the directory that the environment variable KUBE_PROGRAMS
// names, else in bin/kube of the module around the working directory. The error
// says what builds it.
func Program(name string) (string, error) {
	dir := os.Getenv(ProgramsEnv)
	if dir == "" {
		root, err := moduleRoot()
		if err != nil {
			return "", fmt.Errorf("kubetest: find %s: %w", name, err)
		}
		dir = filepath.Join(root, "bin", "kube")
	}
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("kubetest: find %s: %w: build Kubernetes' programs first, once, with `make kube-programs` (or PROGRAMS=all for those of a whole cluster)", name, err)
	}
	return path, nil
}

// moduleRoot is the directory of the go.mod that the working directory belongs to:
// tests run in the directory of their package.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for d := dir; ; d = filepath.Dir(d) {
		if _, err := os.Stat(filepath.Join(d, "go.mod")); err == nil {
			return d, nil
		}
		if d == filepath.Dir(d) {
			return "", errors.New("no go.mod above " + dir + ", and " + ProgramsEnv + " is not set")
		}
	}
}
