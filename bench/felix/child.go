package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"

	"caracal.dev/caracal/bench/felix/cluster"
	"caracal.dev/caracal/bench/stand"
	"caracal.dev/caracal/internal/memory"
)

// result is what a child process measured.
type result struct {
	Size    cluster.Size
	Backend string
	// Again says that the kernel had all of it already.
	Again bool
	Rules counts
	// Compile and Program are the parts of a start, from a Snapshot to the kernel;
	// Audit is a comparison of all later on, when nothing differs.
	Compile, Program, Audit cost
	// Tidy is what it took to destroy the sets that the changes left.
	Tidy cost
	// Wrote is how many objects the start changed in the kernel.
	Wrote int
	// ClusterRSS is the memory with nothing but the Snapshot, PeakRSS the most that
	// this process has had.
	ClusterRSS, PeakRSS int
	Changes             []changed
}

// changed is what one kind of change took, each time that it happened.
type changed struct {
	Name  string
	Costs []cost
	// Compile is the part of the costs before anything is written.
	Compile []cost
}

// childArgs are the arguments of a child process.
type childArgs struct {
	size, backend, files, profile string
	again                         bool
	changes                       int
	ipv6                          bool
}

func (a childArgs) list() []string {
	return []string{"child", "--size", a.size, "--backend", a.backend, "--files", a.files, "--profile", a.profile,
		fmt.Sprintf("--again=%t", a.again), fmt.Sprintf("--changes=%d", a.changes), fmt.Sprintf("--ipv6=%t", a.ipv6)}
}

// child is the process that is measured: it makes a cluster, puts its policies into
// force in the namespace that it was started in, and changes it. Nothing else happens
// in it, so what the processors did is what this took.
func child(ctx context.Context, args []string, out io.Writer) error {
	var a childArgs
	flags := flag.NewFlagSet("felix child", flag.ExitOnError)
	flags.StringVar(&a.size, "size", "a", "")
	flags.StringVar(&a.backend, "backend", "nft", "")
	flags.StringVar(&a.files, "files", "", "a directory to write the rules into")
	flags.StringVar(&a.profile, "profile", "", "the beginning of the names of the profiles")
	flags.BoolVar(&a.again, "again", false, "")
	flags.IntVar(&a.changes, "changes", 0, "")
	flags.BoolVar(&a.ipv6, "ipv6", false, "")
	flags.Parse(args)
	size, err := sizeOf(a.size)
	if err != nil {
		return err
	}
	size.IPv6 = a.ipv6
	memory.Tune(memory.Tables()) // as the daemon does
	runtime.LockOSThread()       // Open is for the namespace of the thread
	defer runtime.UnlockOSThread()

	c := cluster.New(size)
	debug.FreeOSMemory()
	r := result{Size: size, Backend: a.backend, Again: a.again}
	if r.ClusterRSS, err = stand.RSS(os.Getpid()); err != nil {
		return err
	}
	if err := measure(ctx, &r, c, a); err != nil {
		return err
	}
	if r.PeakRSS, err = stand.PeakRSS(os.Getpid()); err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(r)
}
