package file

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// BenchmarkOneChange is a reload of 5,000 NodeConfigs of which one changed.
func BenchmarkOneChange(b *testing.B) {
	dir := b.TempDir()
	text := func(i, block int) string {
		return doc("NodeConfig", fmt.Sprintf("n%d", i), fmt.Sprintf("  addresses: [172.16.%d.%d/12]\n  blocks: [10.%d.%d.0/26]\n", 1+i/250, 1+i%250, block/250, block%250))
	}
	write := func(i, block int) {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("n%d.yaml", i)), []byte(text(i, block)), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "pool.yaml"), []byte(doc("IPPool", "pods", "  cidr: 10.0.0.0/8\n")), 0o644); err != nil {
		b.Fatal(err)
	}
	for i := range 5000 {
		write(i, i)
	}
	s := New(Options{Dir: dir, StateDir: b.TempDir(), Node: "n0"})
	s.loadAccepted()
	time.Sleep(100 * time.Millisecond)
	s.pass(passOptions{atOnce: true, asked: true})
	if s.Snapshot().Nodes.Len() != 5000 || len(s.Snapshot().Problems) > 0 {
		b.Fatalf("%d nodes, problems %v", s.Snapshot().Nodes.Len(), s.Snapshot().Problems)
	}
	for i := 0; b.Loop(); i++ {
		write(7, 6000+i%1000)
		s.pass(passOptions{atOnce: true, asked: true})
	}
}
