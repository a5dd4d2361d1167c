package bfd

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// ProcessOptions are what a [Process] is made with.
type ProcessOptions struct {
	// Log is required.
	Log *slog.Logger
	// StateFile is where sessions are kept from the end of one process to the
	// start of the next, best on a file system that a reboot empties:
	// "/run/caracal/bfd.json". Hold is the silence that neighbors are asked to bear
	// meanwhile, the restart time of BGP. Without both, sessions end with the
	// process.
	StateFile string
	Hold      time.Duration
}

// Process is a [Server] in a process of its own, the worker, with the same
// methods. It is what a daemon should use: Go's scheduler lets a goroutine wait
// behind all others when there is more to do than processors, longer than the
// detection times of BFD; the worker has nothing else to do, and all its threads
// have a raised priority.
//
// When the process that has the Process ends in whatever way, the worker asks
// the neighbors for patience, saves the sessions, and ends. The next worker goes
// on with them.
type Process struct {
	opts   ProcessOptions
	inbox  *inbox
	inside func(func()) // where the worker is started; a namespace in tests

	call sync.Mutex // held by Apply and Close, and while the worker is asked

	mu     sync.Mutex
	closed bool
	want   []Session
	worker *hired // nil if there is none
	states map[string]State
}

// hired is a worker as seen from outside.
type hired struct {
	cmd     *exec.Cmd
	conn    *wire
	answers chan reply
	gone    chan struct{} // closed after the worker's end
}

// NewProcess returns a Process without sessions. It has no worker before the
// first session. The program must call [Work] when it starts.
func NewProcess(opts ProcessOptions) *Process {
	return &Process{opts: opts, inbox: newInbox(), inside: func(fn func()) { fn() }, states: map[string]State{}}
}

// Bell returns the channel that rings when there are events to [Process.Take].
func (p *Process) Bell() <-chan struct{} { return p.inbox.bell }

// Take returns all events since the last call, in the order they happened.
func (p *Process) Take() []Event {
	events := p.inbox.take()
	logEvents(p.opts.Log, events)
	return events
}

// Apply is [Server.Apply]. If the worker cannot be started, all sessions fail.
func (p *Process) Apply(want []Session) (failed map[string]error) {
	p.call.Lock()
	defer p.call.Unlock()
	p.mu.Lock()
	p.want = append([]Session{}, want...)
	p.mu.Unlock()
	failed = map[string]error{}
	r, err := p.apply(want)
	if err != nil {
		for _, s := range want {
			if s.BFD.Enabled {
				failed[s.Name] = fmt.Errorf("bfd: apply: %w", err)
			}
		}
	}
	for name, why := range r.Failed {
		failed[name] = errors.New(why)
	}
	return failed
}

func (p *Process) apply(want []Session) (reply, error) {
	p.mu.Lock()
	closed, w := p.closed, p.worker
	p.mu.Unlock()
	if closed {
		return reply{}, errors.New("it is closed")
	}
	if w == nil {
		some := false
		for _, s := range want {
			some = some || s.BFD.Enabled
		}
		if !some {
			return reply{}, nil
		}
		var err error
		if w, err = p.hire(); err != nil {
			return reply{}, fmt.Errorf("start the BFD process: %w", err)
		}
	}
	return w.ask(request{Op: opApply, Sessions: want})
}

// Status is [Server.Status]; empty without a worker.
func (p *Process) Status() []Status { return p.report().Status }

// Stats is [Server.Stats].
func (p *Process) Stats() Stats { return p.report().Stats }

func (p *Process) report() reply {
	p.call.Lock()
	defer p.call.Unlock()
	p.mu.Lock()
	w := p.worker
	p.mu.Unlock()
	if w == nil {
		return reply{}
	}
	r, _ := w.ask(request{Op: opStatus})
	return r
}

// Close ends the sessions and returns when the worker has ended, within two
// seconds. With adminDown the neighbors are told that it is on purpose: for a
// daemon that is to stay away. Without, it is as if the process was killed: for
// one that comes back.
func (p *Process) Close(adminDown bool) {
	p.call.Lock()
	defer p.call.Unlock()
	p.mu.Lock()
	p.closed = true
	w := p.worker
	p.mu.Unlock()
	if w == nil {
		return
	}
	if adminDown {
		_, _ = w.ask(request{Op: opLeave})
	}
	w.conn.Close()
	select {
	case <-w.gone:
	case <-time.After(2 * pauseTime):
		_ = w.cmd.Process.Kill()
	}
}

// answerTime is how long an answer may take; a worker that takes longer is ended.
const answerTime = 10 * time.Second

func (w *hired) ask(q request) (reply, error) {
	if err := w.conn.send(q); err != nil {
		return reply{}, fmt.Errorf("ask the BFD process: %w", err)
	}
	select {
	case r := <-w.answers:
		return r, nil
	case <-w.gone:
		return reply{}, errors.New("the BFD process ended; it will be started again")
	case <-time.After(answerTime):
		_ = w.cmd.Process.Kill()
		return reply{}, fmt.Errorf("the BFD process did not answer for %s; it will be started again", answerTime)
	}
}

// hire starts a worker: this program again, told by its environment.
func (p *Process) hire() (*hired, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	theirs := os.NewFile(uintptr(fds[1]), "bfd worker")
	defer theirs.Close()
	conn, err := newWire(os.NewFile(uintptr(fds[0]), "bfd"))
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{os.Args[0], "bfd"} // for who looks at a list of processes
	cmd.Env = append(os.Environ(), workerEnv+"=1")
	cmd.Stderr = os.Stderr
	cmd.ExtraFiles = []*os.File{theirs}
	p.inside(func() { err = cmd.Start() })
	if err != nil {
		conn.Close()
		return nil, err
	}
	w := &hired{cmd: cmd, conn: conn, answers: make(chan reply, 1), gone: make(chan struct{})}
	if err := conn.send(request{Op: opBegin, StateFile: p.opts.StateFile, Hold: p.opts.Hold}); err != nil {
		p.opts.Log.Debug("the BFD process does not listen", "err", err) // it is gone: see listen
	}
	p.mu.Lock()
	p.worker = w
	p.mu.Unlock()
	p.opts.Log.Info("BFD process started", "pid", cmd.Process.Pid)
	go p.listen(w)
	return w, nil
}

// listen takes what the worker says until it ends, and then starts another.
func (p *Process) listen(w *hired) {
	for {
		var r reply
		if w.conn.dec.Decode(&r) != nil {
			break
		}
		if r.Answer {
			w.answers <- r
			continue
		}
		p.mu.Lock()
		for _, e := range r.Events {
			if p.states[e.Name] = e.State; e.Removed {
				delete(p.states, e.Name)
			}
		}
		p.mu.Unlock()
		for _, e := range r.Events {
			p.inbox.push(e)
		}
	}
	err := w.cmd.Wait()
	w.conn.Close()
	p.mu.Lock()
	p.worker = nil
	closed := p.closed
	if !closed {
		p.lost(time.Now())
	}
	p.mu.Unlock()
	close(w.gone)
	if closed {
		return
	}
	p.opts.Log.Error("the BFD process ended; starting another", "err", err)
	time.Sleep(retryEvery)
	p.revive()
}

// lost says of every session that it is no more, which is nobody's failure but
// ours.
func (p *Process) lost(at time.Time) {
	for name, was := range p.states {
		p.inbox.push(Event{Name: name, State: AdminDown, Was: was, Diag: DiagAdminDown, Reason: "our BFD process ended", At: at})
	}
	clear(p.states)
}

// revive gives a new worker the sessions of the last Apply.
func (p *Process) revive() {
	p.call.Lock()
	defer p.call.Unlock()
	p.mu.Lock()
	want, there := p.want, p.worker != nil || p.closed
	p.mu.Unlock()
	if there {
		return
	}
	if _, err := p.apply(want); err != nil {
		p.opts.Log.Error("the BFD process cannot be started; the next change of a neighbor tries again", "err", err)
	}
}
