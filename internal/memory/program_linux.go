package memory

import (
	"fmt"
	"os"
	"runtime/debug"
	"strings"

	"golang.org/x/sys/unix"
)

// DropProgram gives back the pages of the program's own file that only its start
// needed: packages that are linked for one kind of store have initialized
// themselves for the others, too. What is needed of them later comes back from the
// page cache, some pages at a time.
//
// Read-only pages that are not those of the file stay: a program that is relocated, or
// linked with libraries, has written to them before they became read-only.
func DropProgram() error {
	path, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("memory: find our own program: %w", err)
	}
	maps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		return fmt.Errorf("memory: list mappings: %w", err)
	}
	for _, m := range readOnly(string(maps), path) {
		// madvise(2), MADV_DONTNEED: "repopulating the memory contents from the
		// up-to-date contents of the underlying mapped file".
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, m[0], m[1]-m[0], unix.MADV_DONTNEED); errno != 0 {
			return fmt.Errorf("memory: drop pages of our own program: %w", errno)
		}
	}
	return nil
}

// GiveBack gives back to the system what a phase of much work has left: free parts of
// the heap, and pages of the program ([DropProgram]). It takes as long as a collection.
func GiveBack() {
	debug.FreeOSMemory()
	_ = DropProgram() // what it cannot drop it keeps
}

// readOnly returns where a file is mapped, cannot be written to, and is as it is on
// disk, of the text of /proc/PID/smaps (proc(5)): no page is anonymous, a copy of our
// own.
func readOnly(smaps, path string) (list [][2]uintptr) {
	var last [2]uintptr // the mapping that the lines are about; zero: none of those
	for line := range strings.Lines(smaps) {
		var from, to uintptr
		var mode string
		if _, err := fmt.Sscanf(line, "%x-%x %s", &from, &to, &mode); err == nil {
			last = [2]uintptr{}
			if strings.HasSuffix(strings.TrimSpace(line), " "+path) && strings.HasPrefix(mode, "r") && mode[1] == '-' {
				last = [2]uintptr{from, to}
			}
			continue
		}
		if size, ok := strings.CutPrefix(line, "Anonymous:"); ok && last[1] != 0 && strings.TrimSpace(size) == "0 kB" {
			list = append(list, last)
		}
	}
	return list
}
