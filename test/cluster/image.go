package cluster

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// Image is a container's image, packed into a file as `docker save` does.
type Image struct {
	Name string // "localhost/caracal:test"
	Path string
}

// PackImage packs a root file system as an image with one layer and writes it to
// path. All files become root's. argv is what a container of it runs if its Pod says
// nothing else.
func PackImage(name, root, path string, argv ...string) (Image, error) {
	layer, err := packLayer(root)
	if err != nil {
		return Image{}, fmt.Errorf("cluster: pack image %s: %w", name, err)
	}
	conf, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": map[string]any{"Entrypoint": argv, "Env": []string{"PATH=/usr/local/bin:/usr/sbin:/bin"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + sum(layer)}},
	})
	if err != nil {
		return Image{}, fmt.Errorf("cluster: pack image %s: %w", name, err)
	}
	manifest, err := json.Marshal([]any{map[string]any{
		"Config": sum(conf) + ".json", "RepoTags": []string{name}, "Layers": []string{"layer.tar"},
	}})
	if err != nil {
		return Image{}, fmt.Errorf("cluster: pack image %s: %w", name, err)
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, f := range []struct {
		name string
		text []byte
	}{{sum(conf) + ".json", conf}, {"layer.tar", layer}, {"manifest.json", manifest}} {
		err := w.WriteHeader(&tar.Header{Name: f.name, Mode: 0o644, Size: int64(len(f.text))})
		if err == nil {
			_, err = w.Write(f.text)
		}
		if err != nil {
			return Image{}, fmt.Errorf("cluster: pack image %s: %w", name, err)
		}
	}
	if err := w.Close(); err != nil {
		return Image{}, fmt.Errorf("cluster: pack image %s: %w", name, err)
	}
	if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
		return Image{}, fmt.Errorf("cluster: pack image %s: %w", name, err)
	}
	return Image{name, path}, nil
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// packLayer makes the tar of a directory.
func packLayer(root string) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		return packFile(w, root, path, d)
	})
	if err != nil {
		return nil, err
	}
	return out.Bytes(), w.Close()
}

func packFile(w *tar.Writer, root, path string, d fs.DirEntry) error {
	info, err := d.Info()
	if err != nil {
		return err
	}
	link := ""
	if info.Mode()&fs.ModeSymlink != 0 {
		if link, err = os.Readlink(path); err != nil {
			return err
		}
	}
	h, err := tar.FileInfoHeader(info, link)
	if err != nil {
		return err
	}
	if h.Name, err = filepath.Rel(root, path); err != nil {
		return err
	}
	h.Uid, h.Gid, h.Uname, h.Gname = 0, 0, "root", "root"
	if d.IsDir() {
		h.Name += "/"
	}
	if err := w.WriteHeader(h); err != nil || !info.Mode().IsRegular() {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}
