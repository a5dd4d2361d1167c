package stand

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

// Main is the main of a benchmark: it runs bench until that ends or the program
// is interrupted, and exits with 1 after an error.
func Main(name string, bench func(ctx context.Context, args []string, out io.Writer) error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := bench(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
}

// Subjects returns what a benchmark compares, and what each says it is: bird, and
// caracald unless its Binary is empty. It fails without root, which namespaces
// need.
func Subjects(ctx context.Context, bird BIRD, caracald Caracald) (subjects []Subject, versions string, err error) {
	if os.Geteuid() != 0 {
		return nil, "", errors.New("needs root to make network namespaces; run it with sudo")
	}
	subjects = []Subject{bird}
	if caracald.Binary != "" {
		if caracald.Binary, err = filepath.Abs(caracald.Binary); err != nil {
			return nil, "", err
		}
		subjects = append(subjects, caracald)
	}
	list, err := Versions(ctx, subjects)
	return subjects, strings.Join(list, "; "), err
}
