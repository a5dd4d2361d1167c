package memory

import (
	"os"
	"reflect"
	"regexp"
	"strconv"
	"testing"
)

func TestReadOnly(t *testing.T) {
	const maps = `00400000-0192c000 r-xp 00000000 fe:00 1055801                            /usr/local/bin/a program
0192c000-03d2c000 r--p 0152c000 fe:00 1055801                            /usr/local/bin/a program
03d2c000-03e00000 rw-p 0392c000 fe:00 1055801                            /usr/local/bin/a program
c000000000-c004000000 rw-p 00000000 00:00 0
7f0000000000-7f0000010000 r--p 00000000 fe:00 7                          /usr/lib/other program
7ffd00000000-7ffd00001000 r-xp 00000000 00:00 0                          [vdso]
`
	want := [][2]uintptr{{0x400000, 0x192c000}, {0x192c000, 0x3d2c000}}
	if got := readOnly(maps, "/usr/local/bin/a program"); !reflect.DeepEqual(got, want) {
		t.Errorf("%x, want %x", got, want)
	}
}

// The tests' program is as those that are installed, not relocated: it has fewer pages
// of its file afterwards, and goes on.
func TestDropProgram(t *testing.T) {
	rss := func() int {
		b, err := os.ReadFile("/proc/self/status")
		if err != nil {
			t.Fatal(err)
		}
		m := regexp.MustCompile(`RssFile:\s+(\d+) kB`).FindSubmatch(b)
		n, err := strconv.Atoi(string(m[1]))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := rss()
	if err := DropProgram(); err != nil {
		t.Fatal(err)
	}
	if after := rss(); after >= before {
		t.Errorf("%d kB of the file in memory, before %d", after, before)
	}
}
