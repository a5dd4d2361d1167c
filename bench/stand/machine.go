package stand

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
)

// Machine describes where this runs, for the reader of the figures.
func Machine() string {
	var u syscall.Utsname
	release := "?"
	if syscall.Uname(&u) == nil {
		var b strings.Builder
		for _, c := range u.Release {
			if c == 0 {
				break
			}
			b.WriteByte(byte(c))
		}
		release = b.String()
	}
	return fmt.Sprintf("%d × %s, Linux %s, %s, %s", runtime.NumCPU(),
		field("/proc/cpuinfo", "model name"), release, field("/etc/os-release", "PRETTY_NAME"), runtime.Version())
}

// field returns the value of the first "key: value" or key="value" line.
func field(file, key string) string {
	f, err := os.Open(file)
	if err != nil {
		return "?"
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		k, v, ok := strings.Cut(strings.Replace(s.Text(), "=", ":", 1), ":")
		if ok && strings.TrimSpace(k) == key {
			return strings.Trim(v, " \"")
		}
	}
	return "?"
}
