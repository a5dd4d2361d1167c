package bgp

import "sync"

// inbox takes events in order until someone fetches them all at once. It is
// unbounded: dropping an event would leave the mirror wrong for good, and the
// rings of the bell come faster than the events are worth waiting for.
type inbox struct {
	mu     sync.Mutex
	events []Event
	bell   chan struct{}
}

func newInbox() *inbox { return &inbox{bell: make(chan struct{}, 1)} }

func (b *inbox) push(events ...Event) {
	if len(events) == 0 {
		return
	}
	b.mu.Lock()
	b.events = append(b.events, events...)
	b.mu.Unlock()
	select {
	case b.bell <- struct{}{}:
	default:
	}
}

func (b *inbox) take() []Event {
	b.mu.Lock()
	defer b.mu.Unlock()
	events := b.events
	b.events = nil
	return events
}
