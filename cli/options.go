package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	pb "caracal.dev/caracal/proto"
)

// Exit codes of the program. Of several commands on standard input the first
// failure counts.
const (
	// ExitOK: done; for a route or a neighbor that was asked for, also: it exists.
	ExitOK = 0
	// ExitFailed: the daemon said no, what was named does not exist, or the
	// configuration has objects that were rejected or held.
	ExitFailed = 1
	// ExitUsage: the command was not understood.
	ExitUsage = 2
	// ExitNoDaemon: nobody answers on the socket, or it may not be opened.
	ExitNoDaemon = 3
	// ExitTimeout: the daemon took the call and did not answer within --timeout.
	ExitTimeout = 4
)

// DefaultSocket is where the daemon listens unless told otherwise.
const DefaultSocket = "/run/caracal/caracal.sock"

// DefaultTimeout is how long the daemon may take for an answer, or for the next
// part of a long one.
const DefaultTimeout = 10 * time.Second

// Options are what the program runs with. Stdin, Stdout and Stderr must be set.
type Options struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Env is os.Getenv; nil means an empty environment.
	Env func(string) string
	// Now is time.Now; its location is the one times are shown in.
	Now func() time.Time
	// Version is this program's.
	Version string
	// Commands are those that another room implements.
	Commands []External
	// Cleanup does what cleanup does when no daemon runs: list what of ours is in
	// the kernel, and with yes delete it. nil means that it takes a daemon.
	Cleanup func(ctx context.Context, yes bool) (*pb.CleanupReply, error)
	// Attach has the daemon add an endpoint, wires its namespace up in this process
	// and waits until packets flow; Detach takes it away by its name.
	Attach func(ctx context.Context, daemon pb.EndpointsClient, req *pb.AddEndpointRequest) (*pb.Wiring, error)
	Detach func(ctx context.Context, daemon pb.EndpointsClient, name string) (*pb.RemoveReply, error)
}

// External is a command of its own, with its own arguments: `caracal lab …`.
// It is never abbreviated.
type External struct {
	Name, Help string
	// Run returns the exit code. ctx ends with SIGINT and SIGTERM.
	Run func(ctx context.Context, args []string, stdout, stderr io.Writer) int
}

// Format is how answers are printed.
type Format string

// The formats of -o.
const (
	Table Format = "table"
	JSON  Format = "json"
	YAML  Format = "yaml"
)

// flags are what can stand anywhere on the command line.
type flags struct {
	format  Format
	socket  string
	timeout time.Duration
	help    bool
	version bool
}

func defaultFlags(env func(string) string) flags {
	f := flags{format: Table, socket: DefaultSocket, timeout: DefaultTimeout}
	if s := env("CARACAL_SOCKET"); s != "" {
		f.socket = s
	}
	return f
}

// takeFlags takes the flags out of args and returns the words that are left.
// After the name of an External everything is its own.
func (f *flags) takeFlags(args []string, externals []External) ([]string, error) {
	var words []string
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		if len(words) == 0 && isExternal(arg, externals) {
			return append([]string{arg}, args...), nil
		}
		name, value, joined := strings.Cut(arg, "=")
		switch name {
		case "-h", "--help", "-help":
			f.help = true
		case "--version", "-version":
			f.version = true
		case "-o", "--output", "--socket", "--timeout":
			if name == "--timeout" && len(words) > 0 && words[0] == "drain" {
				words = append(words, split(name, value, joined)...) // that of the drain
				continue
			}
			if !joined {
				if len(args) == 0 {
					return nil, fmt.Errorf("%s needs a value", name)
				}
				value, args = args[0], args[1:]
			}
			if err := f.set(name, value); err != nil {
				return nil, err
			}
		default:
			if strings.HasPrefix(arg, "--") {
				words = append(words, split(name, value, joined)...)
			} else {
				words = append(words, arg)
			}
		}
	}
	return words, nil
}

// split writes "--name=value" as two words.
func split(name, value string, joined bool) []string {
	if joined {
		return []string{name, value}
	}
	return []string{name}
}

func isExternal(name string, externals []External) bool {
	for _, x := range externals {
		if x.Name == name {
			return true
		}
	}
	return false
}

func (f *flags) set(name, value string) error {
	switch name {
	case "-o", "--output":
		switch Format(value) {
		case Table, JSON, YAML:
			f.format = Format(value)
			return nil
		}
		return fmt.Errorf("%s takes table, json or yaml, not %q", name, value)
	case "--socket":
		if value == "" {
			return errors.New("--socket needs a path")
		}
		f.socket = value
		return nil
	default:
		d, err := time.ParseDuration(value)
		if err != nil || d <= 0 {
			return fmt.Errorf("--timeout takes a time such as 10s, not %q", value)
		}
		f.timeout = d
		return nil
	}
}
