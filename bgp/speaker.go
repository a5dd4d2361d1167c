package bgp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// DefaultDeferral is used where [Options.DeferralTime] is 0. It is short since
// nothing is waited for: see tracker.announceEarly. GoBGP counts it in seconds.
const DefaultDeferral = time.Second

// Options are what a [Speaker] is made with.
type Options struct {
	// Log is required.
	Log *slog.Logger
	// Restarting says that the kernel holds routes that an earlier process wrote
	// since the machine booted, and that they were adopted. It sets the restart
	// and forwarding bits in OPEN (RFC 4724 section 3), so that neighbors keep
	// sending.
	Restarting bool
	// DeferralTime is how long after Established GoBGP passes on no change then.
	// What is originated before the session is announced at once all the same.
	DeferralTime time.Duration
}

// Speaker is a BGP speaker (RFC 4271). Apply makes it do what a [Config] says;
// Bell and Take hand out what happens. All methods may be called from any
// goroutine; those that change something wait for each other.
type Speaker struct {
	opts    Options
	inbox   *inbox
	tracker *tracker

	// What is read of the speaker does not wait for Apply: it takes these and the
	// tracker.
	running   atomic.Pointer[engine] // the same as engine
	announced [2]atomic.Uint64       // prefixes of IPv4 and IPv6

	mu      sync.Mutex
	engine  *engine // nil until the first Apply that succeeds in starting it
	started time.Time
	global  Global
	// listening is global with only the addresses that were there at the start,
	// missing has the others and why.
	listening Global
	missing   map[netip.Addr]error
	have      applied
	relays    relays
	// withdrawn has what was taken from GoBGP lately: see missed.go.
	withdrawn []withdrawal
	// holding: announcements wait for Complete.
	holding  bool
	begun    bool // Apply has got so far
	exported exported
	options  map[string]peerOptions // as neighbors were added, by name
	disabled map[string]string      // operator's reasons by neighbor name
	left     bool
}

// New returns a Speaker that does nothing yet.
func New(opts Options) *Speaker {
	if opts.DeferralTime == 0 {
		opts.DeferralTime = DefaultDeferral
	}
	in := newInbox()
	s := &Speaker{
		opts:     opts,
		inbox:    in,
		tracker:  newTracker(opts.Log, in),
		have:     applied{neighbors: map[string]Neighbor{}, paths: map[netip.Prefix]own{}},
		relays:   newRelays(),
		options:  map[string]peerOptions{},
		disabled: map[string]string{},
	}
	s.tracker.revive, s.tracker.shed, s.tracker.release, s.tracker.arrived = s.revive, s.shed, s.release, s.catchUp
	s.tracker.impatient = s.dial
	return s
}

// Bell returns the channel that rings when there are events to [Speaker.Take].
func (s *Speaker) Bell() <-chan struct{} { return s.inbox.bell }

// Take returns all events since the last call, in the order they happened.
func (s *Speaker) Take() []Event { return s.inbox.take() }

// Apply makes the speaker do what cfg says and changes nothing else: a session
// whose neighbor is the same in cfg is not touched. The first Apply starts to
// listen; its error says what holds the address, and the next Apply tries again.
// An address that no interface has is left out as long as there is another; it
// is in Result.Failed, and once it is there Apply asks for a restart.
// Paths are added before neighbors, so that a neighbor's first End-of-RIB
// covers them.
//
// A step that fails does not stop the others. It is in the Result, also as the
// error, and the next Apply repeats it. When the AS number, router ID, port or
// listen addresses differ from those of the start, the error is a
// [*RestartNeeded] and nothing is applied; it is another error while the new
// addresses cannot be listened on.
func (s *Speaker) Apply(ctx context.Context, cfg Config) (Result, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left {
		return Result{}, errors.New("bgp: apply: this node has left: start the daemon again to come back")
	}
	if cfg.Global.ASN == 0 || !cfg.Global.RouterID.IsValid() || cfg.Global.ListenAddrs == "" {
		return Result{}, errors.New("bgp: apply: no AS number, router ID or listen address for this node: sessions stay as they are; check its NodeConfig")
	}
	if s.engine == nil {
		if err := s.start(ctx, cfg.Global); err != nil {
			return Result{}, fmt.Errorf("bgp: start: %w", err)
		}
	} else if why := whyRestart(s.global, cfg.Global); why != "" {
		if err := s.restart(ctx, cfg.Global, why); err != nil {
			return Result{}, err
		}
	}
	res := Result{Failed: map[string]error{}}
	if err := s.relisten(ctx, &res); err != nil {
		return Result{}, err
	}
	d := diff(s.have, cfg)
	s.rename(d.rename)
	if err := s.holdFirst(ctx, cfg); err != nil {
		res.Failed[stepHold] = err
		return res, res.err()
	}
	before, err := s.export(ctx, cfg)
	if err != nil { // whom it does not name would be announced everything
		res.Failed[stepExport] = err
		return res, res.err()
	}
	s.originate(d, cfg, &res)
	s.rerelay(cfg, d, &res)
	s.change(ctx, d, &res)
	s.announceAnew(ctx, before, d, &res)
	if _, err := s.export(ctx, cfg); err != nil {
		res.Failed[stepExport] = err
	}
	names := make(map[string]bool, len(cfg.Neighbors))
	for _, n := range cfg.Neighbors {
		names[n.Name] = true
		if s.exported.policy.alike[n.Addr.WithZone("")] {
			res.Failed[n.Name] = errAlike
		}
	}
	s.tracker.sweep(names)
	return res, res.err()
}

// change carries out what differs of the neighbors. Whoever leaves an address
// does so before another takes it, as two nodes may swap theirs.
func (s *Speaker) change(ctx context.Context, d delta, res *Result) {
	for _, n := range d.remove {
		if s.remove(ctx, n, nil, res) {
			res.Removed = append(res.Removed, n.Name)
		}
	}
	var moved []Neighbor
	for _, n := range d.reset {
		old := s.have.neighbors[n.Name]
		if old.Addr != n.Addr && s.remove(ctx, old, &n, res) {
			moved = append(moved, n)
		}
	}
	for _, n := range d.update {
		s.update(ctx, n, res)
	}
	for _, n := range d.reset {
		if old := s.have.neighbors[n.Name]; old.Addr == n.Addr && s.remove(ctx, old, &n, res) {
			res.Reset = append(res.Reset, n.Name)
			s.add(ctx, n, res)
		}
	}
	for _, n := range moved {
		res.Reset = append(res.Reset, n.Name)
		s.add(ctx, n, res)
	}
	for _, n := range d.add {
		if s.add(ctx, n, res) {
			res.Added = append(res.Added, n.Name)
		}
	}
}

// err joins what failed.
func (r Result) err() error {
	if len(r.Failed) == 0 {
		return nil
	}
	var lines []string
	for _, what := range slices.Sorted(maps.Keys(r.Failed)) {
		lines = append(lines, fmt.Sprintf("%s: %v", what, r.Failed[what]))
	}
	return fmt.Errorf("bgp: apply: %d steps failed, to be tried again: %s", len(lines), strings.Join(lines, "; "))
}

func (s *Speaker) start(ctx context.Context, g Global) error {
	missing, err := probeStart(ctx, g)
	if err != nil {
		return err
	}
	listening := g.without(missing)
	log := slog.New(newLogAdapter(s.opts.Log.Handler(), s.tracker.name, faults{
		lost: s.tracker.lostTrack, unsure: s.tracker.unsure, attempted: s.tracker.attempted, down: s.tracker.unsettled,
	}))
	e, err := startEngine(ctx, listening, log, s.tracker)
	if err != nil {
		return err
	}
	s.tracker.setEngine(e, g.ASN)
	s.engine, s.global, s.started = e, g, time.Now()
	s.listening, s.missing = listening, missing
	s.running.Store(e)
	s.opts.Log.Info("speaker started", "asn", g.ASN, "router_id", g.RouterID, "port", g.Port,
		"listen", listening.ListenAddrs, "restarting", s.opts.Restarting)
	return nil
}

// errDeferring is why a withdrawal has to wait: while GoBGP defers, it passes
// none on, also not of what tracker.announceEarly announced.
var errDeferring = errors.New("cannot be withdrawn in the first second of a session after a restart or a lost connection")

// originate adds before it withdraws, so that a change is told once. GoBGP may send both
// the other way round: what must not leave a gap, Plan keeps (see plan_replace.go).
func (s *Speaker) originate(d delta, cfg Config, res *Result) {
	defer s.count()
	paths := make(map[netip.Prefix]own, len(d.announce))
	for _, p := range d.announce {
		paths[p] = cfg.own(p)
	}
	s.engine.announce(paths, d.announce, res.Failed)
	for _, p := range d.announce {
		if res.Failed[p.String()] == nil {
			s.have.paths[p] = paths[p]
			res.Originated = append(res.Originated, p)
		}
	}
	if len(d.withdraw) > 0 && !s.left && s.engine.deferring() {
		for _, p := range d.withdraw {
			res.Failed[p.String()] = errDeferring
		}
		return
	}
	s.engine.withdraw(s.have.paths, d.withdraw, res.Failed)
	if !s.left && len(d.withdraw) > 0 && s.engine.deferring() { // since a moment ago
		s.engine.announce(s.have.paths, d.withdraw, res.Failed)
		for _, p := range d.withdraw {
			res.Failed[p.String()] = errDeferring
		}
		return
	}
	for _, p := range d.withdraw {
		if res.Failed[p.String()] == nil {
			s.withdrew(withdrawal{nlri: p, own: s.have.paths[p]})
			delete(s.have.paths, p)
			res.Withdrawn = append(res.Withdrawn, p)
		}
	}
}

// count publishes how many prefixes are announced.
func (s *Speaker) count() {
	var n [2]uint64
	for p := range s.have.paths {
		n[index(p.Addr().Is6())]++
	}
	s.announced[0].Store(n[0])
	s.announced[1].Store(n[1])
}

// index is where arrays have a family: IPv4, IPv6.
func index(v6 bool) int {
	if v6 {
		return 1
	}
	return 0
}

// add gives GoBGP a neighbor.
func (s *Speaker) add(ctx context.Context, n Neighbor, res *Result) bool {
	// Only sessions of the time right after the start are a restart's.
	started := s.opts.Restarting && time.Since(s.started) < n.RestartTime
	o := peerOptions{restarting: started, started: started, deferral: s.deferral()}
	var why *string
	if reason, ok := s.disabled[n.Name]; ok {
		o.down, why = true, &reason
	}
	if err := s.tracker.add(n, o, why); err != nil {
		res.Failed[n.Name] = err
		return false
	}
	err := n.usable()
	if err == nil {
		err = s.engine.add(ctx, n, o)
	} else {
		s.engine.unprotect(n.Addr) // it is away
	}
	if err != nil {
		s.tracker.failed(n.Addr, err)
		if !unreadable(n.Password) { // no attempt mends that, and Plan has said it
			res.Failed[n.Name] = err
		}
		return false
	}
	s.have.neighbors[n.Name], s.options[n.Name] = n, o
	return true
}

func (s *Speaker) update(ctx context.Context, n Neighbor, res *Result) {
	if err := s.engine.update(ctx, n, s.options[n.Name]); err != nil {
		res.Failed[n.Name] = err
		return
	}
	was := s.have.neighbors[n.Name]
	s.have.neighbors[n.Name] = n
	s.tracker.update(n)
	s.tracker.checkLimit(n.Addr)
	// A node that became a reflector may announce more before our configuration
	// knows it; a higher limit is what it waits for.
	if _, disabled := s.disabled[n.Name]; !disabled && n.MaxPrefixes > was.MaxPrefixes && s.tracker.isHeld(n.Addr) {
		if err := s.up(ctx, n); err != nil {
			res.Failed[n.Name] = err
		}
	}
}

// removalTimeout bounds the wait for what a removed neighbor sent last.
const removalTimeout = 10 * time.Second

// remove returns when everything of the neighbor is in the inbox, so that
// what has its address next cannot be mistaken for it, or when ctx ends. With
// again the paths are kept for that successor.
func (s *Speaker) remove(ctx context.Context, n Neighbor, again *Neighbor, res *Result) bool {
	if err := ctx.Err(); err != nil {
		res.Failed[n.Name] = err
		return false
	}
	gone := s.tracker.leaving(n.Addr, again)
	end := s.engine.remove
	if again != nil && again.Addr == n.Addr {
		end = s.engine.pull
	}
	if err := end(ctx, n.Addr); err != nil {
		s.tracker.staying(n.Addr)
		res.Failed[n.Name] = err
		return false
	}
	select {
	case <-gone:
	case <-ctx.Done():
		res.Failed[n.Name] = ctx.Err()
		s.tracker.left(n.Addr)
	case <-time.After(removalTimeout):
		s.opts.Log.Error("GoBGP did not report the end of a removed neighbor", "neighbor", n.Name)
		s.tracker.left(n.Addr)
	}
	delete(s.have.neighbors, n.Name)
	delete(s.options, n.Name)
	return true
}

// Close stops the events. It ends no session and sends no Cease: the process is
// expected to exit then, and its neighbors to keep its routes until its
// successor is there (RFC 4724).
func (s *Speaker) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.engine != nil {
		s.engine.unwatch()
	}
	s.tracker.close()
}

// withdrawTime is given to the withdrawals of [Speaker.Leave] to go out.
const withdrawTime = 500 * time.Millisecond

// Leave withdraws what was announced, ends all sessions with a Cease, and stops
// listening: for a node that will not be back. Apply fails afterwards, and a
// second Leave does nothing.
func (s *Speaker) Leave(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.engine == nil || s.left {
		return nil
	}
	s.left = true
	res := Result{Failed: map[string]error{}}
	paths := slices.SortedFunc(maps.Keys(s.have.paths), netip.Prefix.Compare)
	s.originate(delta{withdraw: paths}, Config{}, &res)
	if len(paths) > 0 {
		select {
		case <-time.After(withdrawTime):
		case <-ctx.Done():
		}
	}
	s.engine.unwatch()
	s.tracker.close()
	if err := errors.Join(s.engine.stop(ctx), res.err()); err != nil {
		return fmt.Errorf("bgp: leave: %w", err)
	}
	return nil
}
