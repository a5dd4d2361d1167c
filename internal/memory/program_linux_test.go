package memory

import (
	"os"
	"os/exec"
	"reflect"
	"regexp"
	"runtime"
	"strconv"
	"testing"
)

func TestReadOnly(t *testing.T) {
	const smaps = `00400000-0192c000 r-xp 00000000 fe:00 1055801                            /usr/local/bin/a program
Size:              21680 kB
Private_Dirty:         0 kB
Anonymous:             0 kB
0192c000-03d2c000 r--p 0152c000 fe:00 1055801                            /usr/local/bin/a program
Anonymous:             0 kB
03d2c000-03d30000 r--p 0392c000 fe:00 1055801                            /usr/local/bin/a program
Private_Dirty:         8 kB
Anonymous:             8 kB
03d30000-03e00000 rw-p 03930000 fe:00 1055801                            /usr/local/bin/a program
Anonymous:             0 kB
c000000000-c004000000 rw-p 00000000 00:00 0
Anonymous:             0 kB
7f0000000000-7f0000010000 r--p 00000000 fe:00 7                          /usr/lib/other program
Anonymous:             0 kB
7ffd00000000-7ffd00001000 r-xp 00000000 00:00 0                          [vdso]
Anonymous:             0 kB
VmFlags: rd ex mr mw me de
`
	want := [][2]uintptr{{0x400000, 0x192c000}, {0x192c000, 0x3d2c000}}
	if got := readOnly(smaps, "/usr/local/bin/a program"); !reflect.DeepEqual(got, want) {
		t.Errorf("%x, want %x", got, want)
	}
}

// The tests' program has fewer pages of its file afterwards, and goes on; with the race
// detector it is linked with libraries, and must keep what the linker has written.
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
	GiveBack()
	for range 3 {
		if err := DropProgram(); err != nil {
			t.Fatal(err)
		}
		runtime.GC()
		if _, err := exec.Command("true").Output(); err != nil { // much of the runtime, and of what is linked
			t.Fatal(err)
		}
	}
	if err := DropProgram(); err != nil {
		t.Fatal(err)
	}
	if after := rss(); after >= before {
		t.Errorf("%d kB of the file in memory, before %d", after, before)
	}
}
