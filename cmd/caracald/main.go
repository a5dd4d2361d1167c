// Command caracald is the routing daemon of one node: it announces the node's
// pod prefixes by BGP and installs those of the others in the kernel.
//
// Exit codes: 0 after SIGTERM, SIGINT or SIGUSR2; 1 when it could not go on; 2
// for wrong flags.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"caracal.dev/caracal/bfd"
	"caracal.dev/caracal/bgp"
	"caracal.dev/caracal/fib"
	"caracal.dev/caracal/internal/memory"
	"caracal.dev/caracal/internal/version"
	"caracal.dev/caracal/node"
	"caracal.dev/caracal/node/api"
)

func main() {
	dropped := memory.DropProgram()
	if bfd.Work() {
		return
	}
	f, err := parse(os.Args[1:])
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(0)
	case err != nil:
		os.Exit(2)
	case f.version:
		fmt.Println("caracald", version.String())
		return
	}
	log := newLog(f)
	slog.SetDefault(log) // what libraries write to package log looks like all else
	if dropped != nil {
		log.Debug("the program keeps more memory than it needs", "err", dropped)
	}
	if err := run(f, log); err != nil {
		log.Error("caracald stops", "err", err)
		os.Exit(1)
	}
}

func newLog(f flags) *slog.Logger {
	o := &slog.HandlerOptions{Level: f.logLevel}
	if f.logFormat == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, o))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, o))
}

func run(f flags, log *slog.Logger) error {
	if f.store == storeKubernetes {
		memory.Tune(memory.Objects())
	} else {
		memory.Tune(memory.Tables())
	}
	name, from, err := nodeName(f.node)
	if err != nil {
		return err
	}
	src, err := newSource(f, name, from, log)
	if err != nil {
		return err
	}
	endpoints, err := newEndpoints(f, src, log)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	serving := sync.OnceFunc(func() { go installCNI(ctx, f, log) })
	agent := node.New(node.Options{
		Store: endpoints.Overlay(), Reloader: endpoints.Overlay(), Viewer: src.store, Endpoints: endpoints, ConfigSource: src.says,
		OpenKernel: func(m fib.Mark) (node.Kernel, error) { return fib.OpenKernel(m) },
		NewSpeaker: func(restarting bool) (node.Speaker, error) {
			return bgp.New(bgp.Options{Log: log, Restarting: restarting}), nil
		},
		OpenRules: node.OpenRules, RemoveRules: node.RemoveRules, OpenFlusher: node.OpenFlusher,
		StateDir: f.state, Beside: src.tasks(endpoints), Problems: src.problems,
		Say: func(status string) {
			if status == node.Routing {
				serving()
			}
			_, _ = daemon.SdNotify(false, daemon.SdNotifyReady+"\nSTATUS="+status)
		},
		HTTPAddr: f.http,
		API:      api.Options{Socket: f.socket, Group: f.group, Log: log},
		Version:  version.String(),
		Log:      log,
	})
	log.Info("caracald starts", "node", name, "config", src.says, "version", version.String(), "pid", os.Getpid())
	go serveSignals(ctx, agent, src.store, log)
	err = agent.Run(ctx)
	_, _ = daemon.SdNotify(false, daemon.SdNotifyStopping)
	if errors.Is(err, node.ErrReexec) {
		log.Warn("caracald starts itself anew; routes stay in the kernel and neighbors keep theirs", "why", err)
		return reexec()
	}
	if err == nil {
		log.Info("caracald ends; its routes stay in the kernel (caracal cleanup removes them)")
	}
	return err
}

// serveSignals takes SIGHUP (read the configuration again) and SIGUSR2 (the
// host goes down: withdraw, close the sessions and end).
func serveSignals(ctx context.Context, agent *node.Agent, store node.Reloader, log *slog.Logger) {
	c := make(chan os.Signal, 4)
	signal.Notify(c, syscall.SIGHUP, syscall.SIGUSR2)
	for {
		select {
		case <-ctx.Done():
			return
		case s := <-c:
			if s == syscall.SIGUSR2 {
				agent.Leave()
				continue
			}
			ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
			if _, err := store.Reload(ctx); err != nil {
				log.Error("configuration not read again", "err", err)
			}
			cancel()
		}
	}
}

// reexec replaces the process by a new one of the same binary and arguments.
// Sockets close with it, without a Cease.
func reexec() error {
	path, err := os.Executable()
	if err == nil {
		err = syscall.Exec(path, os.Args, os.Environ())
	}
	return fmt.Errorf("starting anew: %w", err)
}
