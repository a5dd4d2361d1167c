// This file and its companion become a part of caracald where a test wants a daemon
// whose wall clock is wrong, and can be set while it runs: each look at CLOCK_REALTIME
// has as many seconds added as a file says, which is mapped into memory. Everything
// else, CLOCK_MONOTONIC above all, is as it is.

package main

import (
	"os"
	"path/filepath"
	"syscall"
	"unsafe"

	_ "unsafe" // for go:linkname
)

// shiftEnv names the file for the processes that the daemon starts.
const shiftEnv = "CARACAL_TEST_CLOCK"

// clockOfRuntime is the function of the vDSO by which package runtime reads clocks,
// clock_gettime(2). This variable is among those that others may link to.
//
//go:linkname clockOfRuntime runtime.vdsoClockgettimeSym
var clockOfRuntime uintptr

var (
	trueClock uintptr
	shift     *int64 // seconds
)

// shiftedClock returns the address of what takes the place of the vDSO's function.
func shiftedClock() uintptr

func init() {
	path := os.Getenv(shiftEnv)
	for i, a := range os.Args[:len(os.Args)-1] {
		if a == "--state-dir" {
			path = filepath.Join(filepath.Dir(os.Args[i+1]), "clock")
		}
	}
	if path == "" {
		return
	}
	f, err := os.Open(path)
	if err != nil {
		panic(err)
	}
	defer f.Close()
	page, err := syscall.Mmap(int(f.Fd()), 0, 8, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		panic(err)
	}
	if err := os.Setenv(shiftEnv, path); err != nil {
		panic(err)
	}
	if clockOfRuntime == 0 {
		panic("the kernel gives no vDSO to take the clock from")
	}
	shift, trueClock = (*int64)(unsafe.Pointer(&page[0])), clockOfRuntime
	clockOfRuntime = shiftedClock()
}
