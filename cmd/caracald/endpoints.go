package main

import (
	"context"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"caracal.dev/caracal/cni"
	"caracal.dev/caracal/endpoint"
	"caracal.dev/caracal/ipam"
	"caracal.dev/caracal/ipam/disk"
	"caracal.dev/caracal/node"
)

// newEndpoints makes what knows this node's containers. Nothing is opened before
// it runs, which is when no other daemon has the socket.
func newEndpoints(f flags, src source, log *slog.Logger) (*endpoint.Registry, error) {
	host, err := endpoint.NewHost()
	if err != nil {
		return nil, err
	}
	return endpoint.New(endpoint.Options{
		Source: src.store,
		IPAM:   src.ipam, Shared: src.shared, Knows: src.knows,
		Dir:    f.state,
		Ground: host, AddrsOf: host.AddrsOf,
		Wires: wires{},
		Log:   log,
	}), nil
}

// lateStore opens the directory of address records when it is first needed, and
// tries again while that fails: routes need no addresses.
type lateStore struct {
	path string
	mu   sync.Mutex
	is   *disk.Store
}

func (s *lateStore) open() (*disk.Store, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.is != nil {
		return s.is, nil
	}
	is, err := disk.Open(s.path)
	if err != nil {
		return nil, err
	}
	s.is = is
	return is, nil
}

// Get implements ipam.Store.
func (s *lateStore) Get(ctx context.Context, key string) (ipam.Record, error) {
	is, err := s.open()
	if err != nil {
		return ipam.Record{}, err
	}
	return is.Get(ctx, key)
}

// List implements ipam.Store.
func (s *lateStore) List(ctx context.Context, prefix string) ([]ipam.Record, []ipam.Damaged, error) {
	is, err := s.open()
	if err != nil {
		return nil, nil, err
	}
	return is.List(ctx, prefix)
}

// Put implements ipam.Store.
func (s *lateStore) Put(ctx context.Context, r ipam.Record) (string, error) {
	is, err := s.open()
	if err != nil {
		return "", err
	}
	return is.Put(ctx, r)
}

// Delete implements ipam.Store.
func (s *lateStore) Delete(ctx context.Context, key, revision string) error {
	is, err := s.open()
	if err != nil {
		return err
	}
	return is.Delete(ctx, key, revision)
}

// installCNI tells the container runtime of this node's network, as soon as the
// daemon can serve it, and tries again while that fails.
func installCNI(ctx context.Context, f flags, log *slog.Logger) {
	said := ""
	for {
		err := tryInstallCNI(f, log)
		if err == nil {
			return
		}
		if err.Error() != said {
			said = err.Error()
			log.Error("the container runtime is not told of this network; tried again", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(10 * time.Second):
		}
	}
}

func tryInstallCNI(f flags, log *slog.Logger) error {
	if f.cniBinDir != "" {
		switch written, err := cni.InstallBinary(f.cniBinDir, ""); {
		case err != nil:
			return err
		case written:
			log.Info("CNI plugin installed", "dir", f.cniBinDir)
		}
	}
	if f.installCNI == "" {
		return nil
	}
	if err := node.RecordCNI(f.state, f.installCNI); err != nil { // first: cleanup must find it
		return err
	}
	socket, err := filepath.Abs(f.socket)
	if err != nil {
		return err
	}
	state, err := filepath.Abs(f.state)
	if err != nil {
		return err
	}
	written, err := cni.Install(f.installCNI, cni.Options{Socket: socket, StateDir: state})
	if written {
		log.Info("CNI configuration installed", "file", filepath.Join(f.installCNI, cni.ConflistName))
	}
	return err
}
