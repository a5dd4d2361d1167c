package bfd

import (
	"log/slog"
	"sync"
)

// inbox takes events in order until someone fetches them all at once.
type inbox struct {
	mu     sync.Mutex
	events []Event
	bell   chan struct{}
}

func newInbox() *inbox { return &inbox{bell: make(chan struct{}, 1)} }

func (b *inbox) push(e Event) {
	b.mu.Lock()
	b.events = append(b.events, e)
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

// logEvents logs what an operator wants to know of.
func logEvents(log *slog.Logger, events []Event) {
	for _, e := range events {
		switch {
		case e.Removed:
			log.Info("BFD session removed", "neighbor", e.Name)
		case e.Was == Up:
			log.Info("BFD session down", "neighbor", e.Name, "reason", e.Reason)
		case e.State == Up:
			log.Info("BFD session up", "neighbor", e.Name)
		}
	}
}
