package memory

import (
	"debug/elf"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// DropProgram gives back the pages of the program's own file that only its start
// needed: packages that are linked for one kind of store have initialized
// themselves for the others, too. What is needed of them later comes back from the
// page cache, some pages at a time.
//
// It does nothing for a program that is relocated, since not all of its read-only
// pages are those of the file.
func DropProgram() error {
	exe, err := elf.Open("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("memory: read our own program: %w", err)
	}
	defer exe.Close()
	if exe.Type != elf.ET_EXEC {
		return nil
	}
	path, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("memory: find our own program: %w", err)
	}
	maps, err := os.ReadFile("/proc/self/maps")
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

// readOnly returns where a file is mapped and cannot be written to, of the text of
// /proc/PID/maps (proc(5)).
func readOnly(maps, path string) (list [][2]uintptr) {
	for line := range strings.Lines(maps) {
		var from, to uintptr
		var mode string
		if _, err := fmt.Sscanf(line, "%x-%x %s", &from, &to, &mode); err != nil {
			continue
		}
		if strings.HasSuffix(strings.TrimSpace(line), " "+path) && strings.HasPrefix(mode, "r") && mode[1] == '-' {
			list = append(list, [2]uintptr{from, to})
		}
	}
	return list
}
