package stand

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// KernelRoutes returns how many prefixes the main table of the process's
// namespace holds. The kernel counts them itself, in a few milliseconds.
func KernelRoutes(pid int) (int, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/fib_triestat", pid))
	if err != nil {
		return 0, err
	}
	// While the namespace has no rules of its own, the main and the local table
	// are one trie, shown twice.
	_, table, _ := bytes.Cut(b, []byte("Main:"))
	_, count, ok := bytes.Cut(table, []byte("Prefixes:"))
	if !ok {
		return 0, fmt.Errorf("no prefix count in /proc/%d/net/fib_triestat", pid)
	}
	return strconv.Atoi(strings.Fields(string(count[:min(len(count), 40)]))[0])
}

// clockTick is the unit of the times in /proc/PID/stat: USER_HZ, which is 100
// on every Linux that Go runs on.
const clockTick = 10 * time.Millisecond

// CPUTime returns what the process has used so far, user and system, ended
// threads included.
func CPUTime(pid int) (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The name in parentheses may hold anything, so count from its end: utime
	// and stime are fields 14 and 15 of proc(5), the name is field 2.
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	var ticks int
	for _, f := range fields[11:13] {
		n, err := strconv.Atoi(f)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * clockTick, nil
}

// PeakRSS returns the largest resident size the process has had, in bytes.
func PeakRSS(pid int) (int, error) { return statusBytes(pid, "VmHWM:") }

// RSS returns the resident size of the process, in bytes.
func RSS(pid int) (int, error) { return statusBytes(pid, "VmRSS:") }

func statusBytes(pid int, key string) (int, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	_, rest, ok := strings.Cut(string(b), key)
	if !ok {
		return 0, fmt.Errorf("no %s in /proc/%d/status", key, pid)
	}
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	return kib << 10, err
}
