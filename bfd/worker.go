package bfd

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"
)

// workerEnv is set in the environment of a worker. Its connection is file 3.
const (
	workerEnv  = "CARACAL_BFD_WORKER"
	workerFile = 3
)

// How long a worker waits for its predecessor to end, and for its neighbors to
// agree to a pause.
const (
	successionTime = 3 * time.Second
	pauseTime      = time.Second
)

// Work does the work of a [Process] and returns true, if this process was
// started for it. Every program that has a Process calls it first of all, and
// ends when it returns true.
func Work() bool {
	if os.Getenv(workerEnv) == "" {
		return false
	}
	// The end of the connection is the only end: signals to a terminal's or a
	// unit's processes are for the one that started us.
	signal.Ignore(unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGUSR1, unix.SIGUSR2)
	os.Unsetenv(workerEnv)
	conn, err := newWire(os.NewFile(workerFile, "bfd"))
	if err != nil {
		return true
	}
	var first request
	if conn.dec.Decode(&first) != nil || first.Op != opBegin {
		return true
	}
	raiseAll()
	w := &worker{conn: conn, begin: first, log: slog.New(slog.DiscardHandler)}
	w.run()
	return true
}

// worker is the other end of a Process.
type worker struct {
	conn   *wire
	begin  request
	log    *slog.Logger
	server *Server
}

func (w *worker) run() {
	var resume []Saved
	if w.begin.StateFile != "" {
		if lock := succeed(w.begin.StateFile + ".lock"); lock != nil {
			defer lock.Close()
		}
		resume, _ = load(w.begin.StateFile) // one that cannot be read is none
	}
	w.server = New(Options{Log: w.log, Resume: resume})
	go w.forward()
	for {
		var q request
		if w.conn.dec.Decode(&q) != nil {
			w.orphaned()
			return
		}
		if q.Op == opLeave {
			w.server.Close(true)
			_ = w.conn.send(reply{Answer: true})
			return
		}
		if w.conn.send(w.answer(q)) != nil {
			w.orphaned()
			return
		}
	}
}

func (w *worker) answer(q request) reply {
	r := reply{Answer: true}
	switch q.Op {
	case opApply:
		r.Failed = map[string]string{}
		for name, err := range w.server.Apply(q.Sessions) {
			r.Failed[name] = err.Error()
		}
	case opStatus:
		r.Status, r.Stats = w.server.Status(), w.server.Stats()
	}
	return r
}

// forward passes events on.
func (w *worker) forward() {
	for range w.server.Bell() {
		if w.conn.send(reply{Events: w.server.Take()}) != nil {
			return
		}
	}
}

// orphaned ends a worker whose daemon has ended, which may come back: the
// neighbors are asked to be patient.
func (w *worker) orphaned() {
	if w.begin.StateFile != "" && w.begin.Hold > 0 {
		ctx, cancel := context.WithTimeout(context.Background(), pauseTime)
		defer cancel()
		if saved := w.server.Pause(ctx, w.begin.Hold); len(saved) > 0 {
			_ = save(w.begin.StateFile, saved)
		}
	}
	w.server.Close(false)
}

// succeed waits until an earlier worker has saved its sessions and ended. The
// lock is this one's until it is closed; nil without one.
func succeed(path string) *os.File {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil
	}
	for deadline := time.Now().Add(successionTime); ; time.Sleep(10 * time.Millisecond) {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil || time.Now().After(deadline) {
			return f
		}
	}
}
