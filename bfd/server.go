package bfd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Options are what a [Server] is made with.
type Options struct {
	// Log is required. Changes of state are logged by [Server.Take], so that the
	// server's own thread never waits for whoever reads the log.
	Log *slog.Logger
	// Resume are the sessions that the process before this one has paused. Each is
	// used by the first Apply that asks for the same one, until its time is over.
	Resume []Saved
}

// Server keeps BFD sessions. All methods may be called from any goroutine; those
// that change something wait for each other, and none waits for the network,
// but for Pause and Close.
//
// Work is done in turns (see turn): by a thread of the server's own with a
// raised priority, or by any of Go's if that one is late.
type Server struct {
	log   *slog.Logger
	inbox *inbox
	epoch time.Time
	// inside is where sockets are opened, and raise is tried on the thread; tests
	// have others.
	inside func(func())
	raise  func() (string, error)

	change sync.Mutex // held by Apply, Pause and Close
	bell   bell       // -1 until the thread runs
	done   chan struct{}

	mu        sync.Mutex
	closed    bool
	resume    []Saved
	sessions  map[string]*session
	leaving   []*session
	byDiscr   map[uint32]*session
	byAddr    map[netip.Addr][]*session
	ports     map[uint16]bool
	listeners map[origin]*listener
	// planned is when the next turn should be, last when the last one was.
	planned, last time.Duration
	relief        *time.Timer
	stats         Stats
}

// session is a Session at work. The fields are guarded by Server.mu.
type session struct {
	*machine
	conf    Session
	out     *sender // nil while it cannot be opened
	err     error
	port    uint16        // of the last sender: it stays the session's
	retryAt time.Duration // not before then is out opened again
	until   time.Duration // when leaving: the end of it
	status  Status        // what is counted and remembered
}

// New returns a Server without sessions. It takes no port and has no thread
// before the first session.
func New(opts Options) *Server {
	return &Server{
		log: opts.Log, resume: slices.Clone(opts.Resume), inbox: newInbox(), epoch: time.Now(), inside: func(fn func()) { fn() }, raise: raise,
		bell: -1, done: make(chan struct{}),
		sessions: map[string]*session{}, byDiscr: map[uint32]*session{}, byAddr: map[netip.Addr][]*session{},
		ports: map[uint16]bool{}, listeners: map[origin]*listener{}, planned: never,
	}
}

// Bell returns the channel that rings when there are events to [Server.Take].
func (s *Server) Bell() <-chan struct{} { return s.inbox.bell }

// Take returns all events since the last call, in the order they happened.
func (s *Server) Take() []Event {
	events := s.inbox.take()
	logEvents(s.log, events)
	return events
}

// now returns the time since the epoch, on the monotonic clock.
func (s *Server) now() time.Duration { return time.Since(s.epoch) }

// Apply makes the server have the given sessions and changes nothing else: one
// that is the same is not touched. New timers of a session are agreed with the
// neighbor by a poll sequence and leave its state alone (RFC 5880 section 6.8.3).
// A session with another address or device is another session. One that is no
// longer wanted tells its neighbor AdminDown for a detection time.
//
// failed says by name what cannot be had, or has no socket now. The latter is
// tried again every second by the server itself, the former by the next Apply.
func (s *Server) Apply(want []Session) (failed map[string]error) {
	s.change.Lock()
	defer s.change.Unlock()
	if err := s.start(want); err != nil {
		failed = map[string]error{}
		for _, w := range want {
			failed[w.Name] = fmt.Errorf("bfd: apply: %w", err)
		}
		return failed
	}
	s.mu.Lock()
	have := make(map[string]Session, len(s.sessions))
	for name, x := range s.sessions {
		have[name] = x.conf
	}
	s.mu.Unlock()
	d, failed := plan(have, want)
	for _, name := range d.remove {
		s.remove(name)
	}
	for _, conf := range d.add {
		s.add(conf)
	}
	s.mu.Lock()
	now := s.now()
	for _, conf := range d.update {
		s.sessions[conf.Name].conf = conf
	}
	for name, x := range s.sessions {
		x.hold = 0 // the end of a pause
		x.setTiming(x.conf.timing(), now)
		if x.err != nil && (x.out == nil || s.listeners[x.origin()] == nil) {
			failed[name] = x.err
		}
	}
	s.mu.Unlock()
	for name, err := range failed {
		failed[name] = fmt.Errorf("bfd: apply session of %s: %w", name, err)
	}
	s.wake()
	return failed
}

// start begins the thread when the first session is asked for.
func (s *Server) start(want []Session) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errors.New("the server is closed")
	}
	if s.bell >= 0 || !slices.ContainsFunc(want, func(w Session) bool { return w.BFD.Enabled }) {
		return nil
	}
	b, err := newBell()
	if err != nil {
		return err
	}
	s.bell = b
	s.relief = time.AfterFunc(time.Hour, s.relieve)
	go s.run()
	return nil
}

func (s *Server) wake() {
	if s.bell >= 0 {
		s.bell.ring()
	}
}

// add begins a session, or goes on with one that was paused.
func (s *Server) add(conf Session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	for _, x := range slices.Clone(s.leaving) {
		if x.conf.Remote == conf.Remote { // it would take the new one down again
			s.drop(x)
		}
	}
	x := &session{conf: conf}
	x.status.Since = time.Now()
	if saved, ok := s.saved(conf); ok {
		x.machine, x.port = resumed(conf.timing(), saved, rand.Float64, now), saved.Port
		s.event(x, &change{was: Down, state: Up, far: x.far, reason: "resumed after a restart"})
	} else {
		x.machine = newMachine(conf.timing(), s.freshDiscr(), rand.Float64, now)
	}
	s.sessions[conf.Name] = x
	s.byDiscr[x.discr] = x
	s.byAddr[conf.Remote] = append(s.byAddr[conf.Remote], x)
	s.open(x, now)
}

// saved takes the paused session that conf goes on with.
func (s *Server) saved(conf Session) (Saved, bool) {
	for i, r := range s.resume {
		same := Session{Local: r.Local, Remote: r.Remote, Interface: r.Interface, Multihop: r.Multihop} == conf.ends()
		if r.Name != conf.Name || !same {
			continue
		}
		s.resume = slices.Delete(s.resume, i, i+1)
		return r, time.Now().Before(r.Until) && s.byDiscr[r.Discr] == nil && r.Discr != 0 && r.RemoteDiscr != 0 && r.RemoteMultiplier != 0
	}
	return Saved{}, false
}

// freshDiscr returns a discriminator that is unique here and hard to guess
// (RFC 5880 section 6.8.1).
func (s *Server) freshDiscr() uint32 {
	for {
		if d := rand.Uint32(); d != 0 && s.byDiscr[d] == nil {
			return d
		}
	}
}

// remove lets a session leave.
func (s *Server) remove(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.sessions[name]
	delete(s.sessions, name)
	was := x.state
	x.until = x.leave(s.now())
	s.transmit(x, s.now())
	s.leaving = append(s.leaving, x)
	s.inbox.push(Event{
		Name: name, State: AdminDown, Was: was, Diag: DiagAdminDown, RemoteDiag: x.far.diag, RemoteCPI: x.far.cpi,
		Removed: true, Reason: "no longer configured", At: time.Now(),
	})
}

// Pause asks the neighbor of each session that is Up to bear a silence of d, by
// a poll sequence, and returns those that agreed before ctx ended. It is for a
// process that ends to be started again at once: it calls Pause, keeps what is
// returned, and calls Close(false); its successor has it as [Options.Resume], and
// the neighbors see one session that never left Up. The next Apply ends a pause.
func (s *Server) Pause(ctx context.Context, d time.Duration) []Saved {
	s.change.Lock()
	defer s.change.Unlock()
	s.mu.Lock()
	for _, x := range s.sessions {
		if x.state == Up {
			hold := d/time.Duration(x.conf.BFD.Multiplier) + time.Millisecond
			x.pause(min(hold, maxInterval).Truncate(time.Microsecond), s.now())
		}
	}
	s.mu.Unlock()
	s.wake()
	look := time.NewTicker(2 * time.Millisecond)
	defer look.Stop()
	for {
		saved, all := s.paused()
		if all {
			return saved
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return saved
		}
	}
}

// paused returns the sessions whose neighbors agreed to the pause, and whether
// they all did.
func (s *Server) paused() (out []Saved, all bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all = true
	for _, x := range s.sessions {
		if x.state != Up {
			continue
		}
		if !x.paused() {
			all = false
			continue
		}
		bears := time.Duration(x.conf.BFD.Multiplier) * x.txInterval()
		out = append(out, Saved{
			Name: x.conf.Name, Local: x.conf.Local, Remote: x.conf.Remote, Interface: x.conf.Interface, Multihop: x.conf.Multihop,
			Discr: x.discr, RemoteDiscr: x.far.discr, Port: x.port,
			RemoteMultiplier: x.far.multiplier, RemoteMinTx: x.far.minTx, RemoteMinRx: x.far.minRx, RemoteCPI: x.far.cpi,
			Hold: x.desiredTx, Until: time.Now().Add(x.lastTx + bears - s.now()),
		})
	}
	return out, all
}

// How often, and how far apart, AdminDown is sent at the end.
const (
	closePackets = 3
	closeGap     = 20 * time.Millisecond
)

// Close ends all sessions, and sends no events of it. With adminDown every
// neighbor is told first that this is on purpose, a few times within 40 ms.
// Without, the neighbors' detection times begin to run, or those of a pause.
func (s *Server) Close(adminDown bool) {
	s.change.Lock()
	defer s.change.Unlock()
	for i := 0; adminDown && i < closePackets; i++ {
		if i > 0 {
			time.Sleep(closeGap)
		}
		s.mu.Lock()
		for _, x := range s.sessions {
			x.leave(s.now())
			s.transmit(x, s.now())
		}
		s.mu.Unlock()
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.closed = true
	running := s.bell >= 0
	if running {
		s.relief.Stop()
	}
	s.mu.Unlock()
	if running {
		s.bell.ring()
		<-s.done // so that nobody waits on what is closed now
		s.bell.close()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range s.byDiscr {
		x.shut()
	}
	for _, l := range s.listeners {
		l.close()
	}
	clear(s.sessions)
	clear(s.listeners)
}
