package api

import "sync"

// queueSize bounds the events that wait for one client: about 1 MB.
const queueSize = 8192

// eventQueue is between the daemon, which never waits, and a client, which may
// be slow. When it is full what comes next is counted and dropped: so the
// dropped ones are always after all that are queued.
type eventQueue struct {
	bell chan struct{} // capacity 1: "look"

	mu      sync.Mutex
	events  []MonitorEvent
	dropped uint64
}

func newEventQueue() *eventQueue { return &eventQueue{bell: make(chan struct{}, 1)} }

func (q *eventQueue) push(ev MonitorEvent) {
	q.mu.Lock()
	if len(q.events) < queueSize {
		q.events = append(q.events, ev)
	} else {
		q.dropped++
	}
	q.mu.Unlock()
	select {
	case q.bell <- struct{}{}:
	default:
	}
}

// take empties the queue; dropped is how many were lost after these.
func (q *eventQueue) take() (events []MonitorEvent, dropped uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	events, dropped = q.events, q.dropped
	q.events, q.dropped = nil, 0
	return events, dropped
}
