package disk

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"caracal.dev/caracal/ipam"
)

const blockKey = "block/10.0.0.0-26"

func allocator(t *testing.T, s ipam.Store) *ipam.Allocator {
	t.Helper()
	a := ipam.New(s)
	a.Configure(ipam.Plan{
		Node: "a", Mode: ipam.ModePodCIDR, Cooldown: time.Hour,
		Static: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/26"), netip.MustParsePrefix("fd00::/64")},
	})
	return a
}

func assign(t *testing.T, a *ipam.Allocator, handle string) []ipam.Allocation {
	t.Helper()
	got, err := a.Assign(context.Background(), ipam.Request{Handle: handle, V4: 1, V6: 1})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// TestTruncated: a record that ends at any byte but the last is damaged, and
// no address of it is given; at the last, it is whole.
func TestTruncated(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ipam")
	s := mustOpen(t, path)
	a := allocator(t, s)
	first := assign(t, a, "h1")
	assign(t, a, "h2")
	file := filepath.Join(path, fileName(blockKey))
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for size := range len(whole) + 1 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		_ = os.RemoveAll(filepath.Join(path, damagedDir))
		if err := os.WriteFile(file, whole[:size], 0o600); err != nil {
			t.Fatal(err)
		}
		if s, err = Open(path); err != nil {
			t.Fatal(err)
		}
		_, damaged, _ := s.List(context.Background(), "")
		if size == len(whole) {
			if len(damaged) > 0 {
				t.Fatalf("the whole record: %+v", damaged)
			}
			break
		}
		if len(damaged) != 1 || damaged[0].Key != blockKey || !strings.Contains(damaged[0].Message, filepath.Join(path, damagedDir)) {
			t.Fatalf("%d bytes: %+v", size, damaged)
		}
	}
	defer s.Close()
	got, err := allocator(t, s).Allocations(context.Background())
	if err != nil || len(got) != 4 || got[0].Addr != first[0].Addr {
		t.Fatalf("%+v %v", got, err)
	}
}

// TestTruncatedAllocator: the same with an allocator, at some of the sizes: it
// gives nothing of the block, and mends it from what is known.
func TestTruncatedAllocator(t *testing.T) {
	for _, size := range []int64{0, 1, 40, 100, 200} {
		path := filepath.Join(t.TempDir(), "ipam")
		s := mustOpen(t, path)
		a := allocator(t, s)
		known := append(assign(t, a, "h1"), assign(t, a, "h2")...)
		if err := errors.Join(s.Close(), os.Truncate(filepath.Join(path, fileName(blockKey)), size)); err != nil {
			t.Fatal(err)
		}
		for range 3 { // starts without anybody who tells what is in use
			s = mustOpen(t, path)
			a = allocator(t, s)
			if _, err := a.Assign(context.Background(), ipam.Request{Handle: "h3", V4: 1}); !errors.Is(err, ipam.ErrExhausted) {
				t.Fatalf("%d bytes: %v", size, err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
		s = mustOpen(t, path)
		a = allocator(t, s)
		if err := a.Adopt(context.Background(), known); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = mustOpen(t, path)
		got, err := allocator(t, s).Allocations(context.Background())
		if err != nil || len(got) != 4 || got[0].Addr != known[0].Addr || got[0].Handle != "h1" {
			t.Fatalf("%d bytes, mended: %+v %v", size, got, err)
		}
		if _, damaged, _ := s.List(context.Background(), ""); len(damaged) > 0 {
			t.Fatalf("still damaged: %+v", damaged)
		}
	}
}

// TestCrashedWrite: what a crash leaves of a write beside the record is removed.
func TestCrashedWrite(t *testing.T) {
	path := t.TempDir()
	s := mustOpen(t, path)
	if _, err := s.Put(context.Background(), ipam.Record{Key: blockKey, Value: []byte("one")}); err != nil {
		t.Fatal(err)
	}
	text := encode(ipam.Record{Key: blockKey, Value: []byte("two")})
	for i := range 5 {
		name := filepath.Join(path, fmt.Sprint(temporary, i+1))
		if err := os.WriteFile(name, text[:len(text)*i/4], 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, path)
	r, err := s.Get(context.Background(), blockKey)
	if err != nil || string(r.Value) != "one" {
		t.Fatalf("%q %v", r.Value, err)
	}
	if left, _ := filepath.Glob(filepath.Join(path, temporary+"*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if _, err := s.Put(context.Background(), ipam.Record{Key: blockKey, Value: []byte("two"), Revision: r.Revision}); err != nil {
		t.Error(err)
	}
}

// TestDamagedFiles: whatever stands in the place of a record.
func TestDamagedFiles(t *testing.T) {
	good := encode(ipam.Record{Key: blockKey, Value: []byte("one")})
	flipped := append([]byte(nil), good...)
	flipped[len(flipped)-1] ^= 1
	for name, c := range map[string]struct {
		make func(file string) error
		want string
	}{
		"zeros":       {func(f string) error { return os.WriteFile(f, make([]byte, 500), 0o600) }, "it does not begin as a record does"},
		"flipped":     {func(f string) error { return os.WriteFile(f, flipped, 0o600) }, "its checksum does not fit its content"},
		"longer":      {func(f string) error { return os.WriteFile(f, append(good, 0), 0o600) }, "its checksum does not fit its content"},
		"another's":   {func(f string) error { return os.WriteFile(f, encode(ipam.Record{Key: "block/10.0.1.0-26"}), 0o600) }, "it is the record of block/10.0.1.0-26"},
		"a directory": {func(f string) error { return os.Mkdir(f, 0o700) }, "is a directory"},
	} {
		t.Run(name, func(t *testing.T) {
			path := t.TempDir()
			file := filepath.Join(path, fileName(blockKey))
			if err := c.make(file); err != nil {
				t.Fatal(err)
			}
			s := mustOpen(t, path)
			_, damaged, err := s.List(context.Background(), "block/")
			if err != nil || len(damaged) != 1 || damaged[0].Key != blockKey || !strings.Contains(damaged[0].Message, c.want) {
				t.Fatalf("%+v %v; want %q", damaged, err, c.want)
			}
			// By hand: a good copy in its place, and all is well.
			if err := errors.Join(s.Close(), os.WriteFile(file, good, 0o600)); err != nil {
				t.Fatal(err)
			}
			s = mustOpen(t, path)
			r, err := s.Get(context.Background(), blockKey)
			_, damaged, _ = s.List(context.Background(), "")
			if err != nil || string(r.Value) != "one" || len(damaged) > 0 {
				t.Fatalf("%q %v %+v", r.Value, err, damaged)
			}
		})
	}
}

// TestFullDisk: an assignment that cannot be written is refused with the reason,
// and nothing of it stays; what was given before stays given.
func TestFullDisk(t *testing.T) {
	path := t.TempDir()
	if err := unix.Mount("none", path, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatalf("mount a small file system: %v", err)
	}
	defer func() { _ = unix.Unmount(path, unix.MNT_DETACH) }()
	s := mustOpen(t, filepath.Join(path, "ipam"))
	defer s.Close()
	a := allocator(t, s)
	before := assign(t, a, "h1")
	fill, err := os.Create(filepath.Join(path, "fill"))
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = fill.Write(make([]byte, 4096))
	}
	_ = fill.Close()
	_, err = a.Assign(context.Background(), ipam.Request{Handle: "h2", V4: 1, V6: 1})
	if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), path) {
		t.Fatalf("a full disk: %v", err)
	}
	if err := os.Remove(fill.Name()); err != nil {
		t.Fatal(err)
	}
	got, err := a.Allocations(context.Background())
	if err != nil || len(got) != 2 || got[0].Addr != before[0].Addr {
		t.Fatalf("%+v %v", got, err)
	}
	assign(t, a, "h2")
}

// TestOneWrite: an assignment to a node with room costs one file and one sync of
// the directory for each family; asking again costs nothing.
func TestOneWrite(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	a := allocator(t, s)
	assign(t, a, "h1")
	count := func() uint64 { return s.counter.Load() }
	before := count() // each write takes a temporary name and a revision
	if _, err := a.Assign(context.Background(), ipam.Request{Handle: "h2", V4: 1}); err != nil {
		t.Fatal(err)
	}
	if n := count() - before; n != 2 {
		t.Errorf("%d names and revisions for one address; want 2", n)
	}
	before = count()
	assign(t, a, "h1")
	if n := count() - before; n != 0 {
		t.Errorf("%d names and revisions for asking again", n)
	}
}

// BenchmarkAssign is one address of each family, with 250 workloads on the node.
func BenchmarkAssign(b *testing.B) {
	for _, parallel := range []bool{false, true} {
		b.Run(fmt.Sprintf("parallel=%v", parallel), func(b *testing.B) {
			s, err := Open(b.TempDir())
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			a := ipam.New(s)
			a.Configure(ipam.Plan{Node: "a", Static: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16"), netip.MustParsePrefix("fd00::/64")}})
			ctx := context.Background()
			one := func(i int) error {
				_, err := a.Assign(ctx, ipam.Request{Handle: fmt.Sprint("cni/net/", i), V4: 1, V6: 1})
				return err
			}
			for i := range 250 {
				if err := one(i); err != nil {
					b.Fatal(err)
				}
			}
			n := 250
			for b.Loop() {
				if !parallel {
					n++
					if err := one(n); err != nil {
						b.Fatal(err)
					}
					continue
				}
				errs := make(chan error, 100)
				for range 100 {
					n++
					go func(i int) { errs <- one(i) }(n)
				}
				for range 100 {
					if err := <-errs; err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

// BenchmarkOpen is the start of a daemon with 250 workloads of both families on
// record.
func BenchmarkOpen(b *testing.B) {
	path := b.TempDir()
	start := func() (*Store, *ipam.Allocator) {
		s, err := Open(path)
		if err != nil {
			b.Fatal(err)
		}
		a := ipam.New(s)
		a.Configure(ipam.Plan{Node: "a", Static: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("fd00::/64")}})
		return s, a
	}
	s, a := start()
	id := strings.Repeat("0123456789abcdef", 4)
	for i := range 250 {
		r := ipam.Request{Handle: fmt.Sprintf("cni/net/%s%d/eth0", id, i), V4: 1, V6: 1, Owner: ipam.Owner{
			Kind: "cni", ContainerID: id, Interface: "eth0", Namespace: "default", Name: "web", NetNS: "/var/run/netns/cni-" + id,
		}}
		if _, err := a.Assign(context.Background(), r); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		s, a = start()
		if got, err := a.Allocations(context.Background()); err != nil || len(got) != 500 {
			b.Fatalf("%d %v", len(got), err)
		}
	}
	_ = s.Close()
}
