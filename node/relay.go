package node

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"caracal.dev/caracal/bgp"
)

// Relayer passes paths on: see [bgp.Speaker].
type Relayer interface {
	// Relay passes on what the list has of each prefix that it names, from now on
	// that alone. What fails is tried again by the next call. It calls progress now
	// and then, since a large list takes long.
	Relay(ctx context.Context, list []bgp.Relay, progress func()) error
	// Complete says that all that was announced to us so far is passed on.
	Complete(ctx context.Context) error
}

// relayTask passes on what the mirror says is to be. A reflector of a thousand
// clients spends seconds on that, and no route is to wait for it, so it has a
// goroutine of its own and a mailbox with the newest word on each prefix.
type relayTask struct {
	speaker Relayer
	log     *slog.Logger
	beat    func()
	bell    <-chan struct{}
	ring    func()

	mu  sync.Mutex
	box map[netip.Prefix][]bgp.Relay
	// order has what is in the box in the order in which it came: the routes of one
	// neighbor, which are announced together, go into the same UPDATEs.
	order    []netip.Prefix
	complete bool // after what is in the box
}

func newRelayTask(speaker Relayer, log *slog.Logger, beat func()) *relayTask {
	t := &relayTask{speaker: speaker, log: log, beat: beat, box: map[netip.Prefix][]bgp.Relay{}}
	t.bell, t.ring = bell()
	return t
}

// put takes the newest word on a prefix, from the routes task.
func (t *relayTask) put(nlri netip.Prefix, relays []bgp.Relay) {
	if len(relays) == 0 {
		relays = []bgp.Relay{{NLRI: nlri}}
	}
	t.mu.Lock()
	if _, waiting := t.box[nlri]; !waiting {
		t.order = append(t.order, nlri)
	}
	t.box[nlri] = relays
	t.mu.Unlock()
	t.ring()
}

// done is told that with what was put so far nothing is missing.
func (t *relayTask) done() {
	t.mu.Lock()
	t.complete = true
	t.mu.Unlock()
	t.ring()
}

// relayChunk bounds how many prefixes are passed on in one turn, as the newest
// word on one of them waits for its end. A burst costs least if it is taken
// together.
const relayChunk = 1 << 16

// take takes some of what is in the mailbox; complete says that nothing is
// missing once that is passed on.
func (t *relayTask) take() (list []bgp.Relay, complete bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := min(relayChunk, len(t.order))
	for _, nlri := range t.order[:n] {
		list = append(list, t.box[nlri]...)
		delete(t.box, nlri)
	}
	if t.order = t.order[n:]; len(t.order) > 0 {
		t.ring()
		return list, false
	}
	t.order = nil // lets go of a burst's memory
	return list, t.complete
}

// A burst is given until nothing more of it came for burstQuiet, burstTime at
// most: it costs the less the fewer parts it is passed on in.
const (
	burstFrom  = 256 // prefixes
	burstQuiet = 20 * time.Millisecond
	burstTime  = time.Second
)

// gather waits for the rest of a burst.
func (t *relayTask) gather(ctx context.Context) {
	waiting := func() int {
		t.mu.Lock()
		defer t.mu.Unlock()
		return len(t.order)
	}
	end := time.Now().Add(burstTime)
	for n := waiting(); n >= burstFrom && time.Now().Before(end) && ctx.Err() == nil; {
		time.Sleep(burstQuiet)
		now := waiting()
		if now == n {
			return
		}
		n = now
	}
}

// relayRetry is how long what could not be passed on waits.
const relayRetry = time.Second

func (t *relayTask) run(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var failing string
	var retryAt time.Time
	completed := false
	for {
		t.beat()
		t.gather(ctx)
		list, complete := t.take()
		var err error
		if len(list) > 0 || failing != "" && !time.Now().Before(retryAt) {
			err = t.speaker.Relay(ctx, list, t.beat)
			retryAt = time.Now().Add(relayRetry)
			failing = t.say(failing, err)
		}
		if err == nil && failing == "" && complete && !completed {
			err = t.speaker.Complete(ctx)
			completed = err == nil
			failing = t.say(failing, err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.bell:
		case <-tick.C:
		}
	}
}

// say logs a failure when it starts, changes and ends.
func (t *relayTask) say(failing string, err error) string {
	now := ""
	if err != nil {
		now = err.Error()
	}
	switch {
	case now == failing:
	case now != "":
		t.log.Warn("paths are not passed on; it is tried again", "err", err)
	default:
		t.log.Info("paths are passed on again")
	}
	return now
}
